package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// registry serves container images as the OCI distribution specification describes, to
// those who pull.
type registry struct {
	*httptest.Server
	mu     sync.Mutex
	blobs  map[string][]byte // by digest; manifests too
	tags   map[string]string // NAME:TAG to the manifest's digest
	pulled []string          // paths that were asked for
}

// newRegistry starts an empty registry for the time of the test.
func newRegistry(t testing.TB) *registry {
	t.Helper()
	r := &registry{blobs: map[string][]byte{}, tags: map[string]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// host is what a reference to one of the registry's images begins with.
func (r *registry) host() string { return strings.TrimPrefix(r.URL, "http://") }

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulled = append(r.pulled, req.URL.Path)
	name, reference, manifest := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/manifests/")
	if !manifest {
		_, reference, _ = strings.Cut(req.URL.Path, "/blobs/")
	}
	if digest, ok := r.tags[name+":"+reference]; ok {
		reference = digest
	}
	switch data, ok := r.blobs[reference]; {
	case req.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case !ok:
		http.Error(w, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, http.StatusNotFound)
	default:
		w.Header().Set("Docker-Content-Digest", reference)
		w.Header().Set("Content-Type", "application/octet-stream")
		if manifest {
			w.Header().Set("Content-Type", manifestType)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data)
	}
}

// blob stores data and returns its descriptor.
func (r *registry) blob(mediaType string, data []byte) map[string]any {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[digest] = data
	return map[string]any{"mediaType": mediaType, "digest": digest, "size": len(data)}
}

// greeting adds the image NAME:TAG with the program of e2e/greeting and returns its
// manifest's digest.
func (r *registry) greeting(t testing.TB, name, tag string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "greeting")
	if err := goBuild(path, "./e2e/greeting"); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var layer, packed bytes.Buffer
	archive := tar.NewWriter(&layer)
	err = archive.WriteHeader(&tar.Header{Name: "greeting", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = archive.Write(program)
	}
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	compressor := gzip.NewWriter(&packed)
	if _, err := compressor.Write(layer.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := compressor.Close(); err != nil {
		t.Fatal(err)
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	configuration := encode(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/greeting"}, "Env": []string{"GREETER=" + name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))}},
	})
	manifest := r.blob(manifestType, encode(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": r.blob("application/vnd.oci.image.config.v1+json", configuration),
		"layers": []any{r.blob("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())},
	}))
	digest := manifest["digest"].(string)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[name+":"+tag] = digest
	return digest
}
