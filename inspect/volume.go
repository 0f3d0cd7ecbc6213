package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
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
	// The jump at the start and the signature at the end of a boot sector, and
	// the type that every formatter writes, for people, into FAT boot sectors.
	if has(r, 510, "\x55\xaa") && (has(r, 54, "FAT1") || has(r, 82, "FAT32")) {
		return openFAT(r)
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

// fatVolume adapts go-diskfs.
type fatVolume struct {
	fs   filesystem.FileSystem
	info FileSystem
}

func openFAT(r *io.SectionReader) (v volume, err error) {
	defer guard(&err)
	storage := readOnly{r}
	info := FileSystem{Size: r.Size()}
	serial := int64(39) // of the volume in the boot sector
	var opened filesystem.FileSystem
	switch {
	case has(r, 82, "FAT32"):
		info.Type, serial = "fat32", 67
		opened, err = fat32.Read(storage, r.Size(), 0, 0)
	case has(r, 54, "FAT16"):
		info.Type = "fat16"
		opened, err = fat16.Read(storage, r.Size(), 0, 0)
	default:
		info.Type = "fat12"
		opened, err = fat12.Read(storage, r.Size(), 0, 0)
	}
	if err != nil {
		return nil, err
	}
	id := make([]byte, 4)
	if _, err := r.ReadAt(id, serial); err != nil {
		return nil, err
	}
	number := binary.LittleEndian.Uint32(id)
	info.UUID = fmt.Sprintf("%04X-%04X", number>>16, number&0xffff)
	info.Label = strings.TrimSpace(opened.Label())
	return fatVolume{opened, info}, nil
}

// guard turns a panic into an error: go-diskfs indexes with what a FAT says
// without asking whether it can be.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the FAT file system is damaged: %v", r)
	}
}

func (v fatVolume) describe() FileSystem { return v.info }

func (v fatVolume) stat(path string) (tree.Entry, error) {
	if path == tree.Root {
		return tree.Entry{Path: tree.Root, Type: tree.Directory, Mode: 0o755}, nil
	}
	entries, err := v.readDir(tree.Parent(path))
	if err != nil {
		return tree.Entry{}, err
	}
	for _, e := range entries {
		if strings.EqualFold(e.Path, path) { // FAT knows no case
			return e, nil
		}
	}
	return tree.Entry{}, fs.ErrNotExist
}

func (v fatVolume) readDir(path string) (entries []tree.Entry, err error) {
	defer guard(&err)
	listed, err := v.fs.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, d := range listed {
		info, err := d.Info()
		if err != nil {
			return nil, err
		}
		e := tree.Entry{Path: tree.Join(path, d.Name()), MTime: tree.Time{Sec: info.ModTime().Unix()}}
		if d.IsDir() {
			e.Type, e.Mode = tree.Directory, 0o755
		} else {
			e.Type, e.Mode, e.Size = tree.Regular, 0o644, info.Size()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (v fatVolume) open(path string) (r io.Reader, err error) {
	defer guard(&err)
	data, err := v.fs.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(data), nil
}

// readOnly is a part of an image as go-diskfs wants to see storage.
type readOnly struct{ *io.SectionReader }

func (r readOnly) Close() error               { return nil }
func (r readOnly) Path() string               { return "" }
func (r readOnly) Sys() (*os.File, error)     { return nil, backend.ErrNotSuitable }
func (r readOnly) Stat() (fs.FileInfo, error) { return storageInfo(r.Size()), nil }
func (r readOnly) Writable() (backend.WritableFile, error) {
	return nil, backend.ErrIncorrectOpenMode
}

// storageInfo is the size of a storage.
type storageInfo int64

func (i storageInfo) Name() string       { return "image" }
func (i storageInfo) Size() int64        { return int64(i) }
func (i storageInfo) Mode() fs.FileMode  { return 0o444 }
func (i storageInfo) ModTime() time.Time { return time.Time{} }
func (i storageInfo) IsDir() bool        { return false }
func (i storageInfo) Sys() any           { return nil }
