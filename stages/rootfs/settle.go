package rootfs

import (
	"fmt"
	"path"

	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// SettleRPM gives the package database in the directory dir of root the form in which the
// build writes it. Whatever program of the target opened it for writing has left it in
// SQLite's WAL mode, which nobody can read on a read-only root. A root without such a
// database stays as it is.
func SettleRPM(st *store.Store, root Root, dir string) (Root, error) {
	t, err := root.Load(st)
	if err != nil {
		return Root{}, err
	}
	at, err := t.Resolve(path.Join(dir, rpmdb.FileName))
	if err != nil {
		return root, nil
	}
	file, ok := t.Lookup(at)
	if !ok || file.Type != tree.Regular {
		return root, nil
	}
	if left, ok := t.Lookup(at + "-wal"); ok && left.Size > 0 {
		return Root{}, fmt.Errorf("/%s-wal holds changes: a program that used the package database did not close it", at)
	}
	before, err := st.ReadAll(file.Digest)
	if err != nil {
		return Root{}, err
	}
	after, err := rpmdb.Rewrite(before)
	if err != nil {
		return Root{}, fmt.Errorf("the package database /%s: %w", at, err)
	}
	digest, err := st.Put(after)
	if err != nil || digest == file.Digest {
		return root, err
	}
	file.Digest, file.Size, file.Link = digest, int64(len(after)), 0
	edit := t.Edit()
	edit.Put(file)
	edit.Remove(at + "-wal")
	edit.Remove(at + "-shm")
	if t, err = edit.Tree(); err != nil {
		return Root{}, err
	}
	return Save(st, t)
}
