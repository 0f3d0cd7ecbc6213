package installer

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/installer/payload"
)

// The mark is there from the first write to the end, and whoever restores a payload does not see it.
func TestMarkedDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xee}, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	marked := func(want bool) {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if id, ok := unfinished(f); ok != want || ok && id != "abcdef" {
			t.Errorf("marked %v, by %q", ok, id)
		}
	}
	device, err := payload.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	d := newMarkedDevice(device, "abcdef")
	marked(false)
	if err := d.Zero(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	marked(true)
	// As chunks begin and end: over the sector, in front of it, behind it.
	want := make([]byte, 4<<20)
	copy(want[1<<20:], bytes.Repeat([]byte{0xee}, 3<<20))
	for _, at := range []struct{ off, length int }{{0, 1 << 20}, {0, 4096}, {1 << 20, 8192}, {1<<20 - 8192, 8192}, {1<<20 - 4096, 8192}} {
		p := aligned(t, at.length)
		for i := range p {
			p[i] = byte(i*7 + at.off)
		}
		before := bytes.Clone(p)
		if n, err := d.WriteAt(p, int64(at.off)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		if !bytes.Equal(p, before) {
			t.Error("the caller's buffer was changed")
		}
		copy(want[at.off:], p)
		marked(true)
		got := aligned(t, at.length)
		if n, err := d.ReadAt(got, int64(at.off)); n != len(got) || err != nil || !bytes.Equal(got, p) {
			t.Errorf("at %d: read back %d bytes, %v, or others", at.off, n, err)
		}
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := d.unmark(path); err != nil {
		t.Fatal(err)
	}
	marked(false)
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the disk is not what was written to it: %v", err)
	}
}

// A device that loses the mark is found out as one that loses other data.
func TestMarkedDeviceReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	device, err := payload.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if _, err := newMarkedDevice(device, "ab").ReadAt(aligned(t, 4096), 1<<20-4096); err == nil {
		t.Error("a missing mark was not noticed")
	}
}

// aligned is memory as direct I/O wants it.
func aligned(t *testing.T, n int) []byte {
	t.Helper()
	p, err := pages(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { free(p) })
	return p
}
