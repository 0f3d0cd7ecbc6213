package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/inspect"
)

// withDNF are the paths that may differ between a root that is installed natively and one
// that the host's dnf installed, and why.
var withDNF = []struct{ pattern, why string }{
	{`^/var/lib/rpm/rpmdb\.sqlite$`, "the time of installation; dnf's rpm also keeps the repository's key in it, as a package gpg-pubkey"},
	{`^/boot/vmlinuz-`, "its time: packages put the real kernel-install over the one that does nothing, so it copies the kernel itself"},
	{`^/var/lib/rpmtest/order$`, "rpm tells file triggers of a directory that several new packages own for some of them only; TestRPM compares the rest"},
	{`^/var/lib/dnf(/.*)?$`, "dnf's own records"},
	{`^/etc/dnf(/.*)?$`, "dnf remembers which module streams are enabled"},
	{`^/(etc/fstab|boot/grub2/grub\.cfg)$`, "the root's UUID, which follows from the build"},
}

// TestRPMWithDNF has the host's dnf install what TestRPM installs natively: the same
// packages, the same files.
func TestRPMWithDNF(t *testing.T) {
	if !full() {
		t.Skip("takes minutes: set IMAGEFACTORY_TEST=full")
	}
	site := newRPMSite(t)
	b := newBuilder(t)
	var locks [2][]string
	var files [2]map[string]string
	for i, installer := range []string{"native", "dnf"} {
		name := "rpm-" + installer
		recipe := b.writeRPM(t, site, rpmRecipe{file: name, installer: installer, packages: rpmPackages, modules: []string{"greet:2"}, outputs: []string{"raw"}})
		b.must(t, t.Context(), "lock", recipe)
		locks[i] = lockedPackages(t, b, recipe)
		b.must(t, t.Context(), "build", recipe)
		files[i] = describeFiles(t, filepath.Join(b.Home, "out", name+"-1-x86_64.raw"))
	}
	if !slices.Equal(locks[0], locks[1]) {
		t.Errorf("dnf chose other packages:\n%s", strings.Join(differences(locks[0], locks[1]), "\n"))
	}
	differ := 0
	for _, path := range slices.Sorted(maps.Keys(union(files[0], files[1]))) {
		native, dnf := files[0][path], files[1][path]
		if native == dnf {
			continue
		}
		differ++
		if !slices.ContainsFunc(withDNF, func(e struct{ pattern, why string }) bool { return regexp.MustCompile(e.pattern).MatchString(path) }) {
			t.Errorf("%s:\n native %s\n    dnf %s", path, native, dnf)
		}
	}
	t.Logf("%d of %d files differ", differ, len(files[0]))
}

func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// describeFiles returns everything that is to be said of each file of an image's root, by
// its path.
func describeFiles(t *testing.T, path string) map[string]string {
	t.Helper()
	image, err := inspect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	root, err := image.File("/")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	err = root.Walk(func(f *inspect.File) error {
		text := fmt.Sprintf("%s %s %d:%d %d %s", f.Type, f.Mode, f.UID, f.GID, f.Size, f.Target)
		for _, x := range f.Xattrs {
			text += fmt.Sprintf(" %s=%x", x.Name, x.Value)
		}
		if f.IsRegular() {
			r, err := f.Open()
			if err != nil {
				return err
			}
			h := sha256.New()
			if _, err := io.Copy(h, r); err != nil {
				return err
			}
			text += " " + f.MTime.UTC().String() + " " + hex.EncodeToString(h.Sum(nil))
		}
		files[f.Path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 5000 {
		t.Errorf("%s has only %d files", path, len(files))
	}
	return files
}
