package medium

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/installer/config"
)

const id = "0123456789abcdef0123456789abcdef"

// iso makes a medium with xorriso. An empty document leaves it out.
func iso(t *testing.T, volumeSet string, document []byte) string {
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "x.iso")
	if err := os.MkdirAll(filepath.Join(dir, "imagefactory"), 0o755); err != nil {
		t.Fatal(err)
	}
	if document != nil {
		if err := os.WriteFile(filepath.Join(dir, config.MediumPath), document, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "LABEL", "-volset", volumeSet, "-o", image, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("this test needs xorriso: %v: %s", err, out)
	}
	return image
}

func document(t *testing.T, id string) []byte {
	t.Helper()
	c := config.Config{Format: 1, Name: "node", Version: "1", Arch: "x86_64", ID: id, Mode: config.ModeLive, After: config.Reboot,
		OnFailure: config.Shell, Root: config.RootImage{File: "/live/root.img", Filesystem: "ext4"}}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// machine makes directories like /sys and /dev, with images as devices. "sda1" is a partition of "sda".
func machine(t *testing.T, images map[string]string) Finder {
	t.Helper()
	f := Finder{Sys: t.TempDir(), Dev: t.TempDir()}
	class := filepath.Join(f.Sys, "class/block")
	if err := os.MkdirAll(class, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, image := range images {
		disk := strings.TrimRight(name, "0123456789")
		partition := disk != name && strings.HasPrefix(name, "sd")
		dir := filepath.Join(f.Sys, "devices", name)
		if partition {
			dir = filepath.Join(f.Sys, "devices", disk, name)
		}
		if err := os.MkdirAll(filepath.Join(dir, "device"), 0o755); err != nil {
			t.Fatal(err)
		}
		if partition {
			if err := os.WriteFile(filepath.Join(dir, "partition"), []byte("1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(filepath.Join(dir, "device/model"), []byte("Stick 3000  \n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(class, name)); err != nil {
			t.Fatal(err)
		}
		if image == "" {
			continue
		}
		if err := os.Symlink(image, filepath.Join(f.Dev, name)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestFind(t *testing.T) {
	ours := iso(t, id, document(t, id))
	other := iso(t, strings.Repeat("f", 32), document(t, strings.Repeat("f", 32)))
	foreign := iso(t, "SOMETHING ELSE", nil)
	blank := filepath.Join(t.TempDir(), "blank")
	if err := os.WriteFile(blank, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		devices map[string]string
		id      string
		want    string // the device, and the disk
		problem string
	}{
		"CD":                           {map[string]string{"sr0": ours, "sda": blank}, id, "sr0 sr0", ""},
		"without an id":                {map[string]string{"sr0": ours, "sda": blank, "sr1": foreign}, "", "sr0 sr0", ""},
		"whole stick and partition":    {map[string]string{"sdb": ours, "sdb1": ours}, id, "sdb sdb", ""},
		"partition only":               {map[string]string{"sdb": blank, "sdb1": ours}, id, "sdb1 sdb", ""},
		"another medium is there, too": {map[string]string{"sr0": other, "sr1": ours}, id, "sr1 sr1", ""},
		"several of one id":            {map[string]string{"sr0": ours, "sdb": ours, "sdb1": ours}, id, "", "there are 2 media"},
		"several without an id":        {map[string]string{"sr0": ours, "sr1": other}, "", "", "there are 2 media"},
		"none":                         {map[string]string{"sda": blank, "sr0": foreign, "sr1": "", "ram0": ours, "loop0": ours, "fd0": ours}, id, "", ""},
		"no device at all":             {nil, id, "", ""},
	} {
		f := machine(t, c.devices)
		f.ID = c.id
		m, looked, err := f.Find()
		switch {
		case c.problem != "":
			if several := (*SeveralError)(nil); !errors.As(err, &several) || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "" && m != nil:
			t.Errorf("%s: found %s", name, m)
		case c.want != "" && (m == nil || m.Name+" "+m.Disk != c.want || m.Config.ID != id):
			t.Errorf("%s: found %v, looked at %v", name, m, looked)
		}
		if m != nil {
			if !strings.HasSuffix(m.String(), "(Stick 3000)") {
				t.Errorf("%s: it is called %s", name, m)
			}
			m.Close()
		}
	}
}

// Whatever is wrong with a medium is said of it.
func TestSaysWhy(t *testing.T) {
	spoilt := append([]byte(nil), document(t, id)...)
	spoilt[len(spoilt)/2] = '!'
	for want, image := range map[string]string{
		`holds another ISO 9660 volume, labelled "LABEL"`: iso(t, "OTHER", nil),
		"without /imagefactory/install.json":              iso(t, id, nil),
		"is not that of its volume":                       iso(t, id, document(t, strings.Repeat("e", 32))),
		"/imagefactory/install.json: ":                    iso(t, id, spoilt),
	} {
		f := machine(t, map[string]string{"sr0": image})
		f.ID = id
		m, looked, err := f.Find()
		if m != nil || err != nil || len(looked) != 1 || !strings.Contains(looked[0].Why, want) {
			t.Errorf("%s: %v %v %v", want, m, looked, err)
		}
	}
}

func TestWait(t *testing.T) {
	f := machine(t, map[string]string{"sr0": ""})
	f.ID = id
	_, err := f.Wait(t.Context(), nil, 10*time.Millisecond)
	if missing := (*NotFoundError)(nil); !errors.As(err, &missing) || !strings.Contains(err.Error(), "no medium with the id "+id) ||
		!strings.Contains(err.Error(), "sr0: it does not answer") {
		t.Errorf("%v", err)
	}
	// A disc that comes later is found when its event does.
	changes := make(chan struct{})
	ours := iso(t, id, document(t, id))
	go func() {
		changes <- struct{}{}
		if err := os.Symlink(ours, filepath.Join(f.Dev, "sr0")); err != nil {
			t.Error(err)
		}
		changes <- struct{}{}
	}()
	m, err := f.Wait(t.Context(), changes, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := machine(t, nil).Wait(ctx, nil, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A medium that goes while it is read is named, and so is a file that it lacks.
func TestReadErrors(t *testing.T) {
	image := iso(t, id, document(t, id))
	f := machine(t, map[string]string{"sr0": image})
	m, _, err := f.Find()
	if err != nil || m == nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Open("/imagefactory/none"); err == nil || !strings.Contains(err.Error(), "sr0 (Stick 3000) has no file /imagefactory/none") {
		t.Errorf("%v", err)
	}
	file, err := m.Open(config.MediumPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.ReadAt(make([]byte, 10), 0); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(image, 40<<10); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(m.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := file.ReadAt(make([]byte, 10), 0); err == nil || !strings.Contains(err.Error(), "was taken away") || !strings.Contains(err.Error(), "Stick 3000") {
		t.Errorf("%v", err)
	}
}
