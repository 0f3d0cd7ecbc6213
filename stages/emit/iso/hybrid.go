package iso

import (
	"encoding/binary"
	"io"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

const (
	hybridMBRSize = partition.SectorSize

	// Of boot_hybrid.img (grub-core/boot/i386/pc/boot.S).
	hybridCode   = 0x1b8 // bytes of code and data; signature and table follow
	hybridKernel = 0x1b0 // u64: sector of diskboot.img

	mbrSecondEntry = 446 + 16
)

// attributeReadOnly is a type-specific attribute of Linux' and Microsoft's partition types.
const attributeReadOnly = 1 << 60

// writeSystemArea adds what makes a disk of the medium: boot code and the partition tables around the rest.
func (m *medium) writeSystemArea(st *store.Store, b *disk.Builder) error {
	layout := m.partitions()
	var code []byte
	if m.BIOS != nil && m.BIOS.HybridMBR != nil {
		code = append(code, m.BIOS.HybridMBR[:hybridCode]...)
		binary.LittleEndian.PutUint64(code[hybridKernel:], uint64(m.bios.block)*perBlock+diskBootSectors)
	}
	tables, err := partition.Compose(st, layout, partition.Contents{BootCode: code})
	if err != nil {
		return err
	}
	r, err := tables.Open(st)
	if err != nil {
		return err
	}
	defer r.Close()
	for off, n := range r.Data() {
		p := make([]byte, n)
		if _, err := r.ReadAt(p, off); err != nil && err != io.EOF {
			return err
		}
		if off == 0 && code != nil {
			copy(p[mbrSecondEntry:], activeEntry[:])
		}
		if err := b.WriteAt(p, off); err != nil {
			return err
		}
	}
	return nil
}

// activeEntry is an entry of the partition table in the first sector that is of no type and covers only that sector, but
// is marked as the one to boot: there are BIOSes that start no disk without such a mark. UEFI 2.10 section 5.2.3 forbids
// it on the protective entry.
var activeEntry = [16]byte{0: 0x80, 2: 1, 6: 1, 12: 1}

// partitions is the table: the blocks of ISO 9660, so that nobody takes them for free space, and the EFI system
// partition.
func (m *medium) partitions() partition.Layout {
	data := partition.Placed{
		Number: 1, Label: "ISO9660", Type: partition.TypeLinux, GUID: partition.UUID(m.Seed, "iso/partition/ISO9660"),
		Start: systemArea * blockSize, Attributes: partition.AttributeRequired | attributeReadOnly,
	}
	l := partition.Layout{Size: m.size, GUID: partition.UUID(m.Seed, "iso/disk")}
	if m.efi == nil {
		data.Size = m.end - data.Start
		l.Partitions = []partition.Placed{data}
		return l
	}
	esp := partition.Placed{
		Number: 2, Label: "EFI", Type: partition.TypeESP, GUID: partition.UUID(m.Seed, "iso/partition/EFI"),
		Start: int64(m.efi.block) * blockSize, Size: blocks(m.efi.size) * blockSize,
	}
	data.Size = esp.Start - data.Start
	l.Partitions = []partition.Placed{data, esp}
	return l
}
