package inspect

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// Image is an open disk image.
type Image struct {
	disk    io.ReaderAt // the disk's bytes, whatever the file's format; safe for several goroutines
	file    io.Closer
	summary Summary
	volumes map[int]volume // by partition number
}

// Summary describes a disk.
type Summary struct {
	Format     string         `json:"format"`        // of the file: "raw" or "qcow2"
	Size       int64          `json:"size"`          // of the disk, in bytes
	GUID       partition.GUID `json:"guid,omitzero"` // of the disk; none without a partition table
	Partitions []Partition    `json:"partitions"`    // in the order of their numbers
	Table      string         `json:"table"`         // "gpt", or "none": the whole disk is one file system, as partition 0
}

// Partition is one partition of a disk.
type Partition struct {
	Number     int            `json:"number"`
	Label      string         `json:"label"`
	Type       partition.GUID `json:"type,omitzero"`
	TypeName   string         `json:"type_name,omitempty"` // for people; empty for types this package does not know
	GUID       partition.GUID `json:"guid,omitzero"`
	Start      int64          `json:"start"` // in bytes
	Size       int64          `json:"size"`  // in bytes
	FileSystem *FileSystem    `json:"filesystem,omitempty"`
}

// FileSystem describes a file system.
type FileSystem struct {
	Type     string   `json:"type"` // "ext4", "fat12", "fat16" or "fat32"
	Label    string   `json:"label,omitempty"`
	UUID     string   `json:"uuid,omitempty"` // as blkid writes it
	Size     int64    `json:"size"`           // in bytes
	Free     *int64   `json:"free,omitempty"` // in bytes; not known for FAT
	Features []string `json:"features,omitempty"`
}

// typeNames name the partition types that images have.
var typeNames = map[partition.GUID]string{
	partition.TypeESP:             "EFI system",
	partition.TypeBIOSBoot:        "BIOS boot",
	partition.TypeLinux:           "Linux",
	partition.TypeLinuxBoot:       "Linux boot",
	partition.TypeLinuxHome:       "Linux home",
	partition.TypeLinuxRootX86_64: "Linux root (x86-64)",
	partition.TypeLinuxRootARM64:  "Linux root (ARM64)",
	partition.TypeLinuxSwap:       "Linux swap",
	partition.TypeLinuxVar:        "Linux var",
}

// Open opens a raw or qcow2 image.
func Open(path string) (*Image, error) {
	file, err := emit.OpenImage(path)
	if err != nil {
		return nil, err
	}
	im, err := openDisk(file, file.Size(), file.Format)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	im.file = file
	return im, nil
}

// openDisk opens the disk of size bytes in r.
func openDisk(r io.ReaderAt, size int64, format string) (*Image, error) {
	im := &Image{disk: r, volumes: map[int]volume{}, summary: Summary{Format: format, Size: size}}
	return im, im.read()
}

// Close closes the image.
func (im *Image) Close() error { return im.file.Close() }

// Summary describes the disk.
func (im *Image) Summary() Summary { return im.summary }

// read finds the partitions and their file systems.
func (im *Image) read() error {
	im.summary.Table = "gpt"
	layout, err := partition.ReadTable(im.disk, im.summary.Size)
	switch {
	case errors.Is(err, partition.ErrNoTable):
		im.summary.Table = "none"
		layout.Partitions = []partition.Placed{{Size: im.summary.Size}}
	case err != nil:
		return err
	}
	im.summary.GUID = layout.GUID
	for _, p := range layout.Partitions {
		part := Partition{
			Number: p.Number, Label: p.Label, Type: p.Type, TypeName: typeNames[p.Type], GUID: p.GUID,
			Start: p.Start, Size: p.Size,
		}
		v, err := openVolume(io.NewSectionReader(im.disk, p.Start, p.Size))
		if err != nil {
			return fmt.Errorf("partition %d: %w", p.Number, err)
		}
		if v != nil {
			info := v.describe()
			part.FileSystem = &info
			im.volumes[p.Number] = v
		}
		im.summary.Partitions = append(im.summary.Partitions, part)
	}
	if im.summary.Table == "none" && len(im.volumes) == 0 {
		return errors.New("it holds neither a GUID partition table nor a file system that can be read (ext4, FAT)")
	}
	return nil
}

// volume returns the file system of the partition with a name: its number or
// its label. The empty name is the root file system's.
func (im *Image) volume(name string) (volume, error) {
	var p Partition
	if name == "" {
		var err error
		if p, err = im.root(); err != nil {
			return nil, err
		}
	} else {
		i := slices.IndexFunc(im.summary.Partitions, func(p Partition) bool { return name == strconv.Itoa(p.Number) || name == p.Label })
		if i < 0 {
			return nil, fmt.Errorf("there is no partition %q", name)
		}
		p = im.summary.Partitions[i]
	}
	if v := im.volumes[p.Number]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("partition %d holds no file system that can be read", p.Number)
}

// errNoRoot says that no partition holds a root file system.
var errNoRoot = errors.New("there is no root file system: name a partition, as in ESP:/EFI")

// root returns the partition with the root file system: the first whose type says so, such as the A slot of two; without
// any, the first with an ext4 file system.
func (im *Image) root() (Partition, error) {
	for _, is := range []func(Partition) bool{
		Partition.isRoot,
		func(p Partition) bool { return p.FileSystem != nil && p.FileSystem.Type == "ext4" },
	} {
		if i := slices.IndexFunc(im.summary.Partitions, is); i >= 0 {
			return im.summary.Partitions[i], nil
		}
	}
	return Partition{}, errNoRoot
}

func (p Partition) isRoot() bool {
	return p.Type == partition.TypeLinuxRootX86_64 || p.Type == partition.TypeLinuxRootARM64
}
