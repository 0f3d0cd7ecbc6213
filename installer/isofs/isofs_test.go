package isofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// master makes an ISO of files with xorriso, which has the arguments of mkisofs.
func master(t *testing.T, files map[string][]byte, args ...string) string {
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "x.iso")
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("xorriso", append([]string{"-as", "mkisofs", "-quiet", "-R", "-o", image}, append(args, dir)...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("this test needs xorriso: %v: %s", err, out)
	}
	return image
}

func random(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

func TestReadsWhatXorrisoWrites(t *testing.T) {
	long := strings.Repeat("long-name-", 24)
	files := map[string][]byte{
		"imagefactory/install.json": []byte("{}\n"), "imagefactory/payload": random(1 << 20), "empty": nil,
		"UPPER.TXT": []byte("upper"), "a/b/c/d/e/f/deep.file.with.dots": []byte("deep"), long: []byte("long"),
	}
	for i := range 300 { // a directory of several sectors
		files[fmt.Sprintf("many/file-%03d", i)] = fmt.Append(nil, i)
	}
	image := master(t, files, "-V", "VOLUME_1", "-volset", "0123456789abcdef0123")
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if v.ID != "VOLUME_1" || v.SetID != "0123456789abcdef0123" {
		t.Errorf("identifiers %q, %q", v.ID, v.SetID)
	}
	if info, _ := f.Stat(); v.Size > info.Size() || v.Size < 1<<20 {
		t.Errorf("%d of %d bytes", v.Size, info.Size())
	}
	for name, want := range files {
		if got, err := v.ReadFile("/"+name, 2<<20); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for _, name := range []string{"/none", "/many/none", "/empty/none", "/imagefactory/PAYLOAD"} {
		if _, err := v.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.Open("/many"); err == nil {
		t.Error("a directory was opened as a file")
	}
	if _, err := v.ReadFile("/imagefactory/payload", 100); err == nil {
		t.Error("a file larger than expected was read")
	}
}

// Files over 4 GiB lie in several extents.
func TestSeveralExtents(t *testing.T) {
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "x.iso")
	path := filepath.Join(dir, "large")
	const size = 4<<30 + 5<<20
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	marks := []int64{0, 1 << 30, 4<<30 - 5000, 4<<30 + 1, size - 10}
	for _, at := range marks {
		if _, err := f.WriteAt(fmt.Appendf(nil, "%010d", at), at); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	// Through a filter, so that the image is written sparse as well.
	cmd := exec.Command("sh", "-c", `xorriso -as mkisofs -quiet -R -iso-level 3 "$1" | dd of="$2" bs=1M iflag=fullblock conv=sparse status=none`, "sh", dir, image)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v: %s", err, out)
	}
	f, err = os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	large, err := v.Open("/large")
	if err != nil {
		t.Fatal(err)
	}
	if large.Size() != size || len(large.extents) < 2 {
		t.Fatalf("%d bytes in %d extents", large.Size(), len(large.extents))
	}
	for _, at := range marks {
		p := make([]byte, 10)
		if _, err := large.ReadAt(p, at); err != nil || string(p) != fmt.Sprintf("%010d", at) {
			t.Errorf("at %d: %q %v", at, p, err)
		}
	}
	// Over the border of the extents.
	border := large.extents[0].size
	p := make([]byte, 8192)
	if n, err := large.ReadAt(p, border-4096); n != len(p) || err != nil {
		t.Errorf("over the border: %d %v", n, err)
	}
	if n, err := large.ReadAt(p, size-100); n != 100 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d %v", n, err)
	}
}

func TestNoISO(t *testing.T) {
	for name, image := range map[string][]byte{"empty": nil, "short": make([]byte, 40000), "zeros": make([]byte, 1<<20), "random": random(1 << 20)} {
		if _, err := Open(bytes.NewReader(image)); !errors.Is(err, ErrNoISO) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("input/output error")
	if _, err := Open(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("an error of the device became %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a-long-name.txt"), []byte("hello"), 0o644); err != nil {
		f.Fatal(err)
	}
	image := filepath.Join(f.TempDir(), "x.iso")
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-R", "-no-pad", "-o", image, dir).CombinedOutput(); err != nil {
		f.Fatalf("this test needs xorriso: %v: %s", err, out)
	}
	data, err := os.ReadFile(image)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[firstDescriptor*sector:])
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Open(bytes.NewReader(append(make([]byte, firstDescriptor*sector), data...)))
		if err != nil {
			return
		}
		v.ReadFile("/a-long-name.txt", 1<<20)
		v.ReadFile("/x/y", 1<<20)
	})
}
