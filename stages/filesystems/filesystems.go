// Package filesystems is the stage that writes the image of every partition from the
// trees that belong on it.
package filesystems

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 1

// Partition is a partition to fill.
type Partition struct {
	Label      string         `json:"label"`
	Filesystem string         `json:"filesystem"` // "ext4", "vfat"
	UUID       partition.GUID `json:"uuid"`       // of the file system; FAT takes its first 4 bytes
	Size       int64          `json:"size"`       // bytes; 0: what the contents need and some more
	Mount      string         `json:"mount"`      // absolute; "" when the contents come from ESP or are empty
	ESP        bool           `json:"esp"`        // holds the boot programs
	Features   []string       `json:"features"`   // of ext4, as in mke2fs -O
}

// Options is what the stage needs besides the trees.
type Options struct {
	Partitions []Partition `json:"partitions"`
	Epoch      int64       `json:"epoch"` // seconds since 1970
}

// Image is a file system that was written.
type Image struct {
	Label string       `json:"label"`
	Image store.Digest `json:"image"` // a disk.Image
	Size  int64        `json:"size"`  // bytes
}

// Output is what the stage gives, in the order of the partitions.
type Output struct {
	Images []Image `json:"images"`
}

// SizeError says that a partition is too small for what belongs on it. It is a
// mistake in the recipe: exit status 2.
type SizeError struct {
	Label      string
	Need, Have int64 // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("partition %s is too small: its contents need %d MiB, it has %d MiB, %d MiB are missing; enlarge the partition or the disk, or install less",
		e.Label, mib(e.Need), e.Have>>20, mib(e.Need-e.Have))
}

// ExitStatus is 2: the recipe is wrong.
func (e *SizeError) ExitStatus() int { return 2 }

// mib returns n bytes in MiB, rounded up.
func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// FATSerial returns the volume id of a FAT file system whose identifier is uuid.
func FATSerial(uuid partition.GUID) uint32 { return binary.BigEndian.Uint32(uuid[:4]) }

// UUIDText returns the identifier of a file system as blkid prints it and as UUID=
// in fstab takes it.
func UUIDText(filesystem string, uuid partition.GUID) string {
	if filesystem == "vfat" {
		serial := FATSerial(uuid)
		return fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff)
	}
	return strings.ToLower(uuid.String())
}

// Run writes the images. root is the whole root file system; what lies below the
// mount point of another partition goes onto that one. esp holds the boot programs.
func Run(ctx context.Context, run *stages.Run, root, esp *tree.Tree, o Options) (Output, error) {
	out := Output{Images: make([]Image, len(o.Partitions))}
	var mounts []string
	for _, p := range o.Partitions {
		if p.Mount != "" {
			mounts = append(mounts, p.Mount)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range o.Partitions {
		group.Go(func() error {
			contents, err := contents(p, root, esp, mounts, o.Epoch)
			if err != nil {
				return fmt.Errorf("partition %s: %w", p.Label, err)
			}
			image, err := write(ctx, run.Cache.Store, p, contents, o.Epoch)
			var size *SizeError
			if errors.As(err, &size) {
				return size // it names the partition itself
			}
			if err != nil {
				return fmt.Errorf("partition %s: %w", p.Label, err)
			}
			digest, err := disk.Save(run.Cache.Store, image)
			if err != nil {
				return err
			}
			out.Images[i] = Image{Label: p.Label, Image: digest, Size: image.Size}
			return nil
		})
	}
	return out, group.Wait()
}

// contents returns the tree that belongs on p.
func contents(p Partition, root, esp *tree.Tree, mounts []string, epoch int64) (*tree.Tree, error) {
	t := tree.Empty(tree.Time{Sec: epoch})
	if p.Mount != "" {
		var err error
		if t, err = below(root, p.Mount, mounts); err != nil {
			return nil, err
		}
	}
	if !p.ESP || esp == nil {
		return t, nil
	}
	// What the recipe put below the mount point stays; the boot programs join it.
	edit := t.Edit()
	for _, e := range esp.Entries() {
		if e.Path != tree.Root {
			edit.Put(e)
		}
	}
	return edit.Tree()
}

// below returns what lies at and below the absolute path mount in root, without what
// lies below mount points further down.
func below(root *tree.Tree, mount string, mounts []string) (*tree.Tree, error) {
	base := strings.TrimPrefix(path.Clean(mount), "/")
	if base == "" {
		base = tree.Root
	}
	edit := root.Edit()
	for _, m := range mounts {
		inner := strings.TrimPrefix(path.Clean(m), "/")
		if inner == "" || inner == base || base != tree.Root && !strings.HasPrefix(inner, base+"/") {
			continue
		}
		for _, e := range root.Children(inner) {
			edit.Remove(e.Path)
		}
	}
	pruned, err := edit.Tree()
	if err != nil || base == tree.Root {
		return pruned, err
	}
	switch e, ok := pruned.Lookup(base); {
	case !ok:
		return nil, fmt.Errorf("there is no directory %s in the image", mount)
	case e.Type != tree.Directory:
		return nil, fmt.Errorf("%s is a %s in the image, and no directory", mount, e.Type)
	}
	var entries []tree.Entry
	for _, e := range pruned.Subtree(base) {
		if e.Path == base {
			e.Path = tree.Root
		} else {
			e.Path = strings.TrimPrefix(e.Path, base+"/")
		}
		entries = append(entries, e)
	}
	return tree.New(entries)
}

// headroom is what a file system without a given size gets beyond its contents:
// part of it, and at least so many bytes, so that the system can write its logs
// before it grows.
const (
	headroomShare = 8 // an eighth
	headroomLeast = 64 << 20
)

// withHeadroom returns the size of a file system whose contents need least.
func withHeadroom(least int64) int64 {
	size := least + max(least/headroomShare, headroomLeast)
	return (size + partition.Alignment - 1) &^ (partition.Alignment - 1)
}

// write writes the file system of p.
func write(ctx context.Context, st *store.Store, p Partition, t *tree.Tree, epoch int64) (disk.Image, error) {
	now := tree.Time{Sec: epoch}
	switch p.Filesystem {
	case "ext4":
		o := ext4.Options{
			Size: p.Size, Label: p.Label, UUID: p.UUID, Features: p.Features, Time: now, LastMounted: p.Mount,
			ReservedPercent: 1,
		}
		if o.Size == 0 {
			least, err := ext4.MinSize(t, o)
			if err != nil {
				return disk.Image{}, err
			}
			o.Size = withHeadroom(least)
		}
		image, err := ext4.Write(ctx, st, t, o)
		var space *ext4.NoSpaceError
		if errors.As(err, &space) {
			if least, minErr := ext4.MinSize(t, o); minErr == nil {
				return disk.Image{}, &SizeError{Label: p.Label, Need: least, Have: o.Size}
			}
		}
		return image, err
	case "vfat":
		o := fat.Options{Size: p.Size, Label: p.Label, VolumeID: FATSerial(p.UUID), Time: now}
		if o.Size == 0 {
			least, err := fat.MinSize(t)
			if err != nil {
				return disk.Image{}, err
			}
			o.Size = withHeadroom(least)
		}
		image, err := fat.Write(ctx, st, t, o)
		var space *fat.NoSpaceError
		if errors.As(err, &space) {
			return disk.Image{}, &SizeError{Label: p.Label, Need: space.Need, Have: o.Size}
		}
		return image, err
	default:
		return disk.Image{}, fmt.Errorf("the file system %q cannot be written by this version", p.Filesystem)
	}
}
