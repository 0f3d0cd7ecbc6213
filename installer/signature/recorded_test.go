package signature

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// unpack writes a recorded image, with holes, and returns its path.
func unpack(t *testing.T, recorded string) string {
	t.Helper()
	path := sparse(t, 0, nil)
	size := unpackAt(t, recorded, path, 0)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpackAt writes what is not zero of a recorded image into a file, and returns the length of the image.
func unpackAt(t *testing.T, recorded, path string, offset int64) (size int64) {
	t.Helper()
	in, err := os.Open(recorded)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	decoder, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	zeros, buf := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(decoder, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], offset+size); err != nil {
				t.Fatal(err)
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return size
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecorded compares with blkid on images that the tools of twenty projects made (testdata/record.sh).
func TestRecorded(t *testing.T) {
	recorded, err := filepath.Glob("testdata/*.zst")
	if err != nil || len(recorded) < 20 {
		t.Fatalf("%d recorded images: %v", len(recorded), err)
	}
	for _, name := range recorded {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".zst"), func(t *testing.T) {
			image := unpack(t, name)
			// A signature must be found wherever it is: as the whole disk, and in a partition.
			found := agree(t, image)
			info, err := os.Stat(image)
			if err != nil {
				t.Fatal(err)
			}
			disk := sparse(t, info.Size()+4<<20, nil)
			run(t, "start=1MiB, size="+sectors(info.Size())+"\n", "sfdisk", "-q", "--label", "gpt", disk)
			unpackAt(t, name, disk, 1<<20)
			contents := scanFile(t, disk)
			if len(contents.Found) != 2 || contents.Found[0].Kind != "gpt" {
				t.Fatalf("in a partition: %v", contents)
			}
			inside := contents.Found[1]
			found.Partition, found.Offset = 1, found.Offset+1<<20
			if inside != found {
				t.Errorf("in a partition: %+v, as a disk: %+v", inside, found)
			}
		})
	}
}

// beginning returns the first bytes of a recorded image.
func beginning(f *testing.F, recorded string, most int64) []byte {
	f.Helper()
	packed, err := os.Open(recorded)
	if err != nil {
		f.Fatal(err)
	}
	defer packed.Close()
	decoder, err := zstd.NewReader(packed)
	if err != nil {
		f.Fatal(err)
	}
	defer decoder.Close()
	image, err := io.ReadAll(io.LimitReader(decoder, most))
	if err != nil {
		f.Fatal(err)
	}
	return image
}
