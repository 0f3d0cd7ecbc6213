package iso

import (
	"fmt"
	"maps"
	"slices"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
)

// File is one name on the medium. It is a regular file, a directory or a symbolic link: exactly one of Digest, Image,
// Directory and Target is set.
type File struct {
	Path string // relative and slash separated, as in a tree: "boot/grub/grub.cfg"
	Mode uint32 // permission bits, 07777

	Digest    store.Digest // contents: an object of the store
	Image     *disk.Image  // contents: an image, which is referred to like an object
	Directory bool         // only needed for directories that are empty or have a mode other than 0755
	Target    string       // of a symbolic link
}

// Options says what a medium is.
type Options struct {
	VolumeID      string // the label, LABEL= of blkid: 1 to 32 of A-Z, 0-9 and _
	VolumeSetID   string // at most 128 printable ASCII characters, kept as they are
	ApplicationID string // at most 128 printable ASCII characters
	PreparerID    string // at most 128 printable ASCII characters
	Epoch         int64  // seconds since 1970-01-01 UTC, up to the year 2155: the time of everything on the medium

	// Seed is what the GUIDs of the partition table derive from, with partition.UUID: the key of the build.
	Seed store.Digest

	BIOS *BIOS  // how a BIOS boots the medium; nil: not at all
	EFI  string // path of the FAT image that UEFI boots as the EFI system partition; empty: not at all
}

// BIOS is GRUB for BIOS.
type BIOS struct {
	// Image is the path of the file that grub-mkimage -O i386-pc-eltorito made. What is on the medium is a copy that
	// knows its own place.
	Image string
	// HybridMBR is GRUB's boot_hybrid.img, which boots the same file where the medium is a disk. Nil: only CDs boot.
	HybridMBR []byte
}

// Compose returns the image of a medium that holds files, in any order. Directories that are missing above them are
// added. The image refers to the files' contents where they are in st; only the description of the tree is new. Errors
// name the file or the option that is wrong.
func Compose(st *store.Store, files []File, o Options) (disk.Image, error) {
	im, err := compose(st, files, o)
	if err != nil {
		return disk.Image{}, fmt.Errorf("compose the ISO image: %w", err)
	}
	return im, nil
}

func compose(st *store.Store, files []File, o Options) (disk.Image, error) {
	if err := o.check(); err != nil {
		return disk.Image{}, err
	}
	root, err := plant(st, files)
	if err != nil {
		return disk.Image{}, err
	}
	m := &medium{Options: o, root: root, stamp: recordTime(o.Epoch)}
	if err := m.findBootImages(st); err != nil {
		return disk.Image{}, err
	}
	if err := m.place(); err != nil {
		return disk.Image{}, err
	}
	m.patchBIOSImage()
	b := disk.NewBuilder(st, m.size)
	if err := m.write(st, b); err != nil {
		return disk.Image{}, err
	}
	return b.Image()
}

// medium is an image on its way to its bytes.
type medium struct {
	Options
	stamp [7]byte // Epoch in directory records
	root  *node
	dirs  []*node // in the order of the path tables; number n of the tables is dirs[n-1]

	bios, efi *node  // the boot images; nil for none
	biosImage []byte // contents of bios, to be patched

	pathTableL, pathTableM uint32 // blocks
	pathTableSize          int    // bytes of each
	catalog                uint32 // block of the boot catalog; 0: none
	end                    int64  // bytes up to the end of the last file
	size                   int64  // bytes of the image
}

// hybrid reports whether the medium is a disk, too.
func (m *medium) hybrid() bool { return m.efi != nil || m.BIOS != nil && m.BIOS.HybridMBR != nil }

// write adds everything to b at its place.
func (m *medium) write(st *store.Store, b *disk.Builder) error {
	if m.hybrid() {
		if err := m.writeSystemArea(st, b); err != nil {
			return err
		}
	}
	blocks := m.volumeDescriptors()
	blocks[m.pathTableL] = m.pathTable(littleEndian)
	blocks[m.pathTableM] = m.pathTable(bigEndian)
	for _, d := range m.dirs {
		blocks[d.block] = m.directory(d)
	}
	if m.catalog != 0 {
		blocks[m.catalog] = m.bootCatalog()
	}
	if m.bios != nil {
		blocks[m.bios.block] = m.biosImage
	}
	// In order, as what the builder makes of neighbours depends on it.
	for _, block := range slices.Sorted(maps.Keys(blocks)) {
		if err := b.WriteAt(blocks[block], int64(block)*blockSize); err != nil {
			return err
		}
	}
	for n := range m.root.files() {
		if n.size == 0 || n.shared || n == m.bios {
			continue
		}
		var err error
		if off := int64(n.block) * blockSize; n.image != nil {
			err = b.AddImage(off, *n.image)
		} else {
			err = b.AddObject(off, n.digest, 0, n.size)
		}
		if err != nil {
			return fmt.Errorf("/%s: %w", n.path, err)
		}
	}
	return nil
}
