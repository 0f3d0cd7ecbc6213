package media

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// idSuffix is that of the empty file, named by the medium's id, by which boot loaders find the medium.
const idSuffix = ".id"

// stub returns the configuration that lies where an EFI GRUB looks for one: it goes on with the menu of the medium with
// this id, whatever its device is called and whatever else is there.
func stub(id string) string {
	return fmt.Sprintf("search --no-floppy --file --set=root /%s/%s%s\nset prefix=($root)/%s\nconfigfile $prefix/grub.cfg\n", dir, id, idSuffix, grubDir)
}

// efiTree returns what is on the EFI file system.
func (l Loaders) efiTree(st *store.Store, id string, epoch int64) (*tree.Tree, error) {
	now := tree.Time{Sec: epoch}
	edit := tree.Empty(now).Edit()
	put := func(p string, digest store.Digest, size int64) error {
		if err := edit.MkdirAll(tree.Parent(p), tree.Entry{Mode: 0o755, MTime: now}); err != nil {
			return err
		}
		edit.Put(tree.Entry{Path: p, Type: tree.Regular, Mode: 0o644, MTime: now, Digest: digest, Size: size})
		return nil
	}
	for _, f := range l.EFI {
		if err := put(f.Path, f.Digest, f.Size); err != nil {
			return nil, err
		}
	}
	for p, text := range map[string]string{
		path.Join(strings.TrimPrefix(l.EFIPrefix, "/"), "grub.cfg"): stub(id),
		path.Join(dir, id+idSuffix):                                 id + "\n",
	} {
		digest, err := st.Put([]byte(text))
		if err != nil {
			return nil, err
		}
		if err := put(p, digest, int64(len(text))); err != nil {
			return nil, err
		}
	}
	return edit.Tree()
}

// efiImage writes the EFI file system.
func efiImage(ctx context.Context, st *store.Store, t *tree.Tree, id string, epoch int64) (disk.Image, error) {
	size, err := fat.MinSize(t)
	if err != nil {
		return disk.Image{}, err
	}
	raw, err := hex.DecodeString(id[:8])
	if err != nil {
		return disk.Image{}, err
	}
	return fat.Write(ctx, st, t, fat.Options{Size: size, Label: "EFI", VolumeID: binary.BigEndian.Uint32(raw), Time: tree.Time{Sec: epoch}})
}
