package extract

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Everything of an entry is there, and nothing outside of the directory is touched.
func TestTo(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	one := stagetest.Owner(stagetest.Mode(stagetest.File(t, st, "bin/one", "x"), 0o4755), 3_000_000_000, 7)
	one.Link, one.Xattrs = 1, []tree.Xattr{{Name: "user.a", Value: []byte("b")}}
	two := one
	two.Path = "bin/two"
	old := stagetest.Mode(stagetest.Dir("dir"), 0o2750)
	old.MTime = tree.Time{Sec: 5, Nsec: 6}
	outside := filepath.Join(t.TempDir(), "outside")
	value := stagetest.Tree(t, one, two, old, stagetest.Owner(stagetest.Link("dir/link", outside), 8, 9), tree.Entry{Path: "pipe", Type: tree.FIFO, Mode: 0o622},
		tree.Entry{Path: "dev/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3})
	dir := filepath.Join(t.TempDir(), "root")
	err = To(t.Context(), st, value, dir)
	if os.Geteuid() != 0 {
		if !errors.Is(err, ErrNotRoot) {
			t.Error(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	inode := uint64(0)
	for _, e := range value.Entries() {
		if e.Path == tree.Root {
			continue
		}
		var stat unix.Stat_t
		p := filepath.Join(dir, e.Path)
		if err := unix.Lstat(p, &stat); err != nil {
			if e.Type == tree.CharDevice {
				continue // not allowed here
			}
			t.Error(err)
			continue
		}
		if stat.Uid != e.UID || stat.Gid != e.GID || e.Type != tree.Symlink && stat.Mode&0o7777 != e.Mode || stat.Mtim.Sec != e.MTime.Sec || uint32(stat.Mtim.Nsec) != e.MTime.Nsec {
			t.Errorf("%+v is %+v", e, stat)
		}
		if e.Link == 0 {
			continue
		}
		if inode != 0 && stat.Ino != inode || stat.Nlink != 2 {
			t.Errorf("%s is another file", e.Path)
		}
		inode = stat.Ino
		b := make([]byte, 8)
		if n, err := unix.Lgetxattr(p, "user.a", b); err != nil && !errors.Is(err, unix.ENOTSUP) || err == nil && string(b[:n]) != "b" {
			t.Errorf("%q %v", b, err)
		}
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a link was followed")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can enter: %v %v", info.Mode(), err)
	}
}
