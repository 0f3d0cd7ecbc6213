package inspect

import (
	"errors"
	"fmt"
	"io"

	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// volume is a file system of an image. Paths are those of package tree.
type volume interface {
	describe() FileSystem
	// stat returns the entry at path; where there is nothing, fs.ErrNotExist.
	stat(path string) (tree.Entry, error)
	// readDir returns the entries in a directory, sorted by name.
	readDir(path string) ([]tree.Entry, error)
	// open returns a reader over a regular file.
	open(path string) (io.Reader, error)
	// walk calls visit for everything in it, the root first, in a tree's order. Link numbers the files with several names
	// from 1 on; open is set for regular files.
	walk(visit func(e tree.Entry, open func() (*io.SectionReader, error)) error) error
}

// openVolume opens the file system in r, or returns nil when it is of no kind
// this package reads.
func openVolume(r *io.SectionReader) (volume, error) {
	if has(r, 0x438, "\x53\xef") { // s_magic of ext4
		f, err := ext4.Open(r, r.Size())
		if err != nil {
			return nil, err
		}
		return ext4Volume{f}, nil
	}
	// The signature at the end of a boot sector, and the type that every formatter writes, for people, into FAT boot sectors.
	if has(r, 510, "\x55\xaa") && (has(r, 54, "FAT1") || has(r, 82, "FAT32")) {
		f, err := fat.Open(r, r.Size())
		if err != nil {
			return nil, err
		}
		return fatVolume{f}, nil
	}
	return nil, nil
}

// has reports whether r holds text at offset.
func has(r io.ReaderAt, offset int64, text string) bool {
	p := make([]byte, len(text))
	_, err := r.ReadAt(p, offset)
	return (err == nil || errors.Is(err, io.EOF)) && string(p) == text
}

// ext4Volume adapts package ext4.
type ext4Volume struct{ fs *ext4.FS }

func (v ext4Volume) describe() FileSystem {
	info := v.fs.Info()
	free := int64(info.FreeBlocks) * int64(info.BlockSize)
	return FileSystem{
		Type: "ext4", Label: info.Label, UUID: partition.GUID(info.UUID).String(),
		Size: int64(info.Blocks) * int64(info.BlockSize), Free: &free, Features: info.Features,
	}
}

func (v ext4Volume) stat(path string) (tree.Entry, error) {
	n, err := v.fs.Stat(path)
	if err != nil {
		return tree.Entry{}, err
	}
	return n.Entry, nil
}

func (v ext4Volume) readDir(path string) ([]tree.Entry, error) {
	nodes, err := v.fs.ReadDir(path)
	if err != nil {
		return nil, err
	}
	entries := make([]tree.Entry, len(nodes))
	for i, n := range nodes {
		entries[i] = n.Entry
	}
	return entries, nil
}

func (v ext4Volume) open(path string) (io.Reader, error) {
	f, err := v.fs.Open(path)
	if err != nil {
		return nil, err
	}
	return f.NewReader(), nil
}

func (v ext4Volume) walk(visit func(tree.Entry, func() (*io.SectionReader, error)) error) error {
	return v.fs.Walk(func(n *ext4.Node) error {
		return visit(n.Entry, func() (*io.SectionReader, error) {
			f, err := v.fs.OpenNode(n)
			if err != nil {
				return nil, err
			}
			return f.NewReader(), nil
		})
	})
}

// fatVolume adapts package fat.
type fatVolume struct{ fs *fat.FS }

func (v fatVolume) describe() FileSystem {
	info := v.fs.Info()
	return FileSystem{
		Type: fmt.Sprintf("fat%d", info.Bits), Label: info.Label, Size: info.Size,
		UUID: fmt.Sprintf("%04X-%04X", info.VolumeID>>16, info.VolumeID&0xffff),
	}
}

func (v fatVolume) stat(path string) (tree.Entry, error)      { return v.fs.Stat(path) }
func (v fatVolume) readDir(path string) ([]tree.Entry, error) { return v.fs.ReadDir(path) }

func (v fatVolume) open(path string) (io.Reader, error) {
	r, err := v.fs.Open(path)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// What walk accepts of a FAT file system, whose directories can hold one another: each of them costs reading all above it.
const (
	maxFATDirectories = 4096
	maxFATDepth       = 32
)

func (v fatVolume) walk(visit func(tree.Entry, func() (*io.SectionReader, error)) error) error {
	root, err := v.fs.Stat(tree.Root)
	if err != nil {
		return err
	}
	directories := 0
	var walk func(e tree.Entry, depth int) error
	walk = func(e tree.Entry, depth int) error {
		err := visit(e, func() (*io.SectionReader, error) { return v.fs.Open(e.Path) })
		if err != nil || e.Type != tree.Directory {
			return err
		}
		if directories++; directories > maxFATDirectories || depth > maxFATDepth {
			return fmt.Errorf("/%s: the FAT file system has more than %d directories, or more than %d inside one another: they are not read",
				e.Path, maxFATDirectories, maxFATDepth)
		}
		children, err := v.fs.ReadDir(e.Path)
		if err != nil {
			return err
		}
		for _, child := range children {
			if err := walk(child, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(root, 0)
}
