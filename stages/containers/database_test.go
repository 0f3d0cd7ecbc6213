package containers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

// TestDatabase writes a database that takes many pages, twice, and has bbolt check it.
func TestDatabase(t *testing.T) {
	c := stagetest.Cache(t)
	write := func() []byte {
		m := metadata{version: metadataVersion, namespaces: map[string]*namespace{}}
		for _, name := range []string{"k8s.io", "default"} {
			n := m.namespace(name)
			for i := range 40 {
				top := store.Sum([]byte(fmt.Sprint("top", i)))
				labels := map[string]string{}
				for l := range 10 {
					layer := store.Sum([]byte(fmt.Sprint("layer", i, l)))
					labels[fmt.Sprint(contentLabel, "l.", l)] = layer.String()
					n.content[layer] = content{size: int64(l << 20)}
				}
				n.content[top] = content{size: 1, labels: labels}
				n.images[fmt.Sprintf("registry.example.com/it%d:1", i)] = Blob{top, 1, "application/vnd.oci.image.manifest.v1+json"}
			}
		}
		data, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) ([]byte, error) {
			return (&placer{run: run, epoch: stagetest.Epoch}).database(ctx, m)
		})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	start := time.Now()
	first := write()
	t.Logf("80 images of 10 layers: %d bytes in %s", len(first), time.Since(start))
	if !bytes.Equal(first, write()) {
		t.Error("two writes differ")
	}
	file := filepath.Join(t.TempDir(), "meta.db")
	if err := os.WriteFile(file, first, 0o644); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		n := 0
		err := tx.Bucket([]byte("v1")).Bucket([]byte("default")).Bucket([]byte("content")).Bucket([]byte("blob")).ForEachBucket(func([]byte) error {
			n++
			return nil
		})
		if n != 440 {
			t.Errorf("%d blobs", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
