package fetch

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// isoTree is what the test images hold. The second name is longer than plain ISO 9660
// allows, and so is the depth of the third.
var isoTree = map[string][]byte{
	"media.repo": []byte("[media]\n"),
	"BaseOS/Packages/a-package-with-a-long-name-1.0~rc1+git-1.el9.x86_64.rpm": content(5000),
	"1/2/3/4/5/6/7/8/9/10/deep":  []byte("deep"),
	"AppStream/Packages/empty":   {},
	"AppStream/Packages/A/b.rpm": content(70_000),
}

// isoMakers are the programs distributions' images are made with.
var isoMakers = map[string][]string{
	"genisoimage": {"genisoimage", "-quiet", "-R", "-J"},
	"xorriso":     {"xorriso", "-as", "mkisofs", "-quiet", "-R", "-J"},
	"plain":       {"genisoimage", "-quiet", "-R", "-D", "-J", "-iso-level", "3"},
}

// makeISO makes an image of isoTree.
func makeISO(t testing.TB, maker string) string {
	t.Helper()
	args := isoMakers[maker]
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Fatalf("this test needs %s: install the package of that name", args[0])
	}
	dir := t.TempDir()
	for name, p := range isoTree {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(t.TempDir(), "a dvd, 100%.iso")
	if out, err := exec.Command(args[0], append(args[1:], "-o", image, dir)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", maker, err, out)
	}
	return image
}

func TestISO(t *testing.T) {
	for maker := range isoMakers {
		t.Run(maker, func(t *testing.T) {
			c := newClient(t, Options{Offline: true})
			base := "iso:" + makeISO(t, maker)
			list, err := c.List(t.Context(), base)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range list {
				names = append(names, f.Path)
				want := isoTree[f.Path]
				if f.Size != int64(len(want)) {
					t.Errorf("%s has %d bytes, want %d", f.Path, f.Size, len(want))
				}
				path, err := c.Get(t.Context(), Request{URLs: []string{f.URL}, Digest: digestOf(want), Size: f.Size})
				if err != nil {
					t.Fatal(err)
				}
				checkObject(t, path, want)
				got, err := c.Fresh(t.Context(), f.URL, nil)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("Fresh %s: %d bytes, %v", f.URL, len(got), err)
				}
			}
			if len(names) != len(isoTree) || !slices.IsSorted(names) {
				t.Errorf("found %q", names)
			}
			for dir, want := range map[string]string{
				"!/AppStream/":        "Packages/A/b.rpm Packages/empty",
				"!/AppStream/..//1/.": "2/3/4/5/6/7/8/9/10/deep",
			} {
				list, err := c.List(t.Context(), base+dir)
				var got []string
				for _, f := range list {
					got = append(got, f.Path)
				}
				if strings.Join(got, " ") != want || err != nil {
					t.Errorf("%s: %q, %v; want %s", dir, got, err, want)
				}
			}
		})
	}
}

func TestISOErrors(t *testing.T) {
	image := makeISO(t, "genisoimage")
	whole, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, p []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, p, 0o644); err != nil {
			t.Fatal(err)
		}
		return "iso:" + path
	}
	good := write("good.iso", whole)
	const packageB = "AppStream/Packages/A/b.rpm"
	files, _, err := readISO(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Options{})
	for _, test := range []struct {
		url, want string
		notFound  bool
	}{
		{good + "!/AppStream/none", "not found: " + dir + "/good.iso has no file AppStream/none", true},
		{good + "!/AppStream", "AppStream in " + dir + "/good.iso is a directory", false},
		{good, ". in " + dir + "/good.iso is a directory", false},
		{"iso:" + dir + "/none.iso!/a", "not found: open " + dir + "/none.iso: no such file or directory", true},
		{"iso:none.iso!/a", "the URL of a file has an absolute path, not iso:none.iso!/a", false},
		{write("short.iso", whole[:17*2048]) + "!/a", "short.iso cannot be read as an ISO 9660 image: it is cut short: what describes its files is not all there", false},
		{write("cut.iso", whole[:files[packageB].offset+100]) + "!/" + packageB, dir + "/cut.iso is cut short: " + packageB + " lies beyond its end", false},
		{write("text.iso", bytes.Repeat([]byte("text"), 40000)) + "!/a", "text.iso cannot be read as an ISO 9660 image: it has no primary volume descriptor", false},
		{write("empty.iso", nil) + "!/a", "empty.iso cannot be read as an ISO 9660 image: it is cut short: what describes its files is not all there", false},
	} {
		_, err := c.Fresh(t.Context(), test.url, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNotFound) != test.notFound {
			t.Errorf("%s: error %v, want %s", test.url, err, test.want)
		}
		_, err = c.Get(t.Context(), Request{URLs: []string{test.url}, Digest: digestOf(nil)})
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNotFound) != test.notFound {
			t.Errorf("%s: error of Get %v, want %s", test.url, err, test.want)
		}
	}
	if _, err := c.List(t.Context(), good+"!/none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	// An image that was written anew is read anew.
	if err := os.WriteFile(dir+"/good.iso", []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(t.Context(), good); err == nil {
		t.Error("the image that was replaced is still there")
	}
}

func TestOpenAndListFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b 1%.rpm", "sub/a.rpm"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link.rpm": "sub/a.rpm", "nowhere": "none", "loop": "."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, Options{})
	list, err := c.List(t.Context(), "file://"+dir+"/")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		got = append(got, f.Path)
		p, err := c.Fresh(t.Context(), f.URL, nil)
		if err != nil || int64(len(p)) != f.Size {
			t.Errorf("%s: %q, %v", f.URL, p, err)
		}
	}
	if want := []string{"b 1%.rpm", "link.rpm", "sub/a.rpm"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if _, err := c.List(t.Context(), "file://"+dir+"/none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := c.Open(t.Context(), "http://host/"); err == nil || err.Error() != "http://host/ is not a file or iso URL" {
		t.Errorf("error %v", err)
	}
}

func FuzzISO(f *testing.F) {
	p, err := os.ReadFile(makeISO(f, "genisoimage"))
	if err != nil {
		f.Fatal(err)
	}
	const descriptions = 60 * isoSector // what precedes the contents of files
	f.Add(p[isoDescriptors*isoSector : descriptions])
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 1<<20 {
			return
		}
		// The first 16 sectors are never looked at.
		_, _, _ = readISO(bytes.NewReader(append(make([]byte, isoDescriptors*isoSector), p...)))
	})
}
