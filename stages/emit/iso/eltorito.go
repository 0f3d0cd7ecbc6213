package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

// El Torito, "Bootable CD-ROM Format Specification" 1.0; for UEFI its extension in UEFI 2.10 section 13.3.2.1.
const (
	platformX86 = 0x00
	platformEFI = 0xef

	entryBootable = 0x88
	lastSection   = 0x91

	// biosLoadSize is how many sectors of 512 bytes a BIOS loads. They are cdboot.img, which loads the rest.
	biosLoadSize = 4
)

// Places within the image of grub-mkimage -O i386-pc-eltorito: cdboot.img, which is one block, and core.img, which begins
// with diskboot.img.
const (
	bootInfo        = 8                           // the boot info table of mkisofs, 56 bytes
	bootInfoEnd     = 64                          // where the bytes begin that its checksum covers
	diskBoot        = blockSize                   // diskboot.img, one sector
	diskBootList    = diskBoot + 0x1f4            // u64: sector of what follows diskboot.img
	diskBootSectors = diskBoot / sectorSize       // sectors of the image before diskboot.img
	minBIOSImage    = diskBoot + 2*sectorSize     // at least one sector of core.img follows
	maxBIOSImage    = 4 << 20                     // far more than real mode can load
	sectorSize      = partition.SectorSize        // of disks, and of sizes in the boot catalog
	perBlock        = blockSize / sectorSize      // sectors of a disk in a block
	maxLoadSize     = math.MaxUint16 * sectorSize // bytes that the boot catalog can express
)

// findBootImages looks up the files that firmware starts.
func (m *medium) findBootImages(st *store.Store) error {
	var err error
	if m.EFI != "" {
		if m.efi, err = m.bootImage("UEFI", m.EFI); err != nil {
			return err
		}
		if m.efi.size%sectorSize != 0 {
			return fmt.Errorf("/%s has %d bytes, which is no multiple of %d: it is no FAT image", m.EFI, m.efi.size, sectorSize)
		}
	}
	if m.BIOS == nil {
		return nil
	}
	if m.bios, err = m.bootImage("BIOS", m.BIOS.Image); err != nil {
		return err
	}
	if m.bios.size < minBIOSImage || m.bios.size > maxBIOSImage {
		return fmt.Errorf("/%s has %d bytes, which is no i386-pc-eltorito image of grub-mkimage", m.BIOS.Image, m.bios.size)
	}
	m.biosImage, err = m.bios.contents(st)
	return err
}

func (m *medium) bootImage(firmware, path string) (*node, error) {
	for n := range m.root.files() {
		switch {
		case n.path != path || n.mode&typeMask != typeRegular:
		case n.size == 0:
			return nil, fmt.Errorf("%s shall boot /%s, but that is empty", firmware, path)
		default:
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s shall boot /%s, but that is not among the files", firmware, path)
}

// contents reads a small file.
func (n *node) contents(st *store.Store) ([]byte, error) {
	if n.image == nil {
		return st.ReadAll(n.digest)
	}
	r, err := n.image.Open(st)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", n.path, err)
	}
	defer r.Close()
	p := make([]byte, n.size)
	if _, err := r.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("/%s: %w", n.path, err)
	}
	return p, nil
}

// patchBIOSImage tells the image where it lies: cdboot.img in blocks of the CD, diskboot.img in sectors of the disk.
func (m *medium) patchBIOSImage() {
	if m.bios == nil {
		return
	}
	p := m.biosImage
	if m.BIOS.HybridMBR != nil {
		next := uint64(m.bios.block)*perBlock + diskBootSectors + 1
		binary.LittleEndian.PutUint64(p[diskBootList:], next)
	}
	// The table of mkisofs' -boot-info-table: where the primary volume descriptor and the image are, how long that is, and
	// the sum of its 32-bit words behind the table. 40 bytes are reserved.
	var sum uint32
	for i := bootInfoEnd; i < len(p); i += 4 {
		var word [4]byte
		copy(word[:], p[i:])
		sum += binary.LittleEndian.Uint32(word[:])
	}
	table := p[bootInfo:bootInfoEnd]
	clear(table)
	for i, v := range []uint32{primaryBlock, m.bios.block, uint32(len(p)), sum} {
		binary.LittleEndian.PutUint32(table[4*i:], v)
	}
}

// bootRecord returns the boot record volume descriptor (El Torito section 2.0).
func (m *medium) bootRecord() []byte {
	b := append(descriptorHeader(0), "EL TORITO SPECIFICATION"...)
	b = append(b, make([]byte, 71-len(b))...) // both identifiers are filled up with zeros
	return padToBlock(binary.LittleEndian.AppendUint32(b, m.catalog))
}

// bootCatalog returns the boot catalog (El Torito section 2.1): the validation entry, the initial entry, and when there
// are both kinds of firmware, a section with one more entry.
func (m *medium) bootCatalog() []byte {
	platform := byte(platformEFI)
	if m.bios != nil {
		platform = platformX86
	}
	b := validationEntry(platform)
	if m.bios != nil {
		b = append(b, bootEntry(m.bios.block, biosLoadSize)...)
	}
	if m.efi != nil {
		if m.bios != nil {
			section := make([]byte, 32)
			section[0], section[1], section[2] = lastSection, platformEFI, 1
			b = append(b, section...)
		}
		// 0 means up to the end of the medium, where the image lies.
		sectors := uint16(0)
		if m.efi.size <= maxLoadSize {
			sectors = uint16(m.efi.size / sectorSize)
		}
		b = append(b, bootEntry(m.efi.block, sectors)...)
	}
	return padToBlock(b)
}

// validationEntry begins a catalog; the sum of its 16-bit words is 0.
func validationEntry(platform byte) []byte {
	b := make([]byte, 32)
	b[0], b[1] = 1, platform
	b[30], b[31] = 0x55, 0xaa
	var sum uint16
	for i := 0; i < len(b); i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	return b
}

// bootEntry is an initial or section entry without emulation of a disk.
func bootEntry(block uint32, sectors uint16) []byte {
	b := make([]byte, 32)
	b[0] = entryBootable
	binary.LittleEndian.PutUint16(b[6:], sectors)
	binary.LittleEndian.PutUint32(b[8:], block)
	return b
}
