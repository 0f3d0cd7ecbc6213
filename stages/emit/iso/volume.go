package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Limits of texts in the primary volume descriptor, in bytes.
const (
	maxVolumeID = 32
	maxText     = 128
)

// check refuses options that the volume descriptors cannot express.
func (o *Options) check() error {
	if o.VolumeID == "" || len(o.VolumeID) > maxVolumeID || strings.ContainsFunc(o.VolumeID, func(r rune) bool { return !isDCharacter(r) }) {
		return fmt.Errorf("the volume label %q must be 1 to %d of A-Z, 0-9 and _", o.VolumeID, maxVolumeID)
	}
	for _, text := range []struct{ what, value string }{
		{"volume set identifier", o.VolumeSetID}, {"application identifier", o.ApplicationID}, {"preparer", o.PreparerID},
	} {
		if len(text.value) > maxText || strings.ContainsFunc(text.value, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("the %s %q must be at most %d printable ASCII characters", text.what, text.value, maxText)
		}
	}
	if o.Epoch < 0 || o.Epoch > maxEpoch {
		return fmt.Errorf("the time %d is not between 1970 and 2155, which is what ISO 9660 and its readers can express", o.Epoch)
	}
	if o.BIOS != nil && o.BIOS.HybridMBR != nil {
		if mbr := o.BIOS.HybridMBR; len(mbr) != hybridMBRSize || mbr[510] != 0x55 || mbr[511] != 0xaa {
			return fmt.Errorf("boot_hybrid.img is not GRUB's boot sector: it must be %d bytes ending in 55 aa", hybridMBRSize)
		}
	}
	if o.BIOS != nil && o.BIOS.Image == o.EFI {
		return errors.New("BIOS and UEFI cannot boot the same image")
	}
	return nil
}

// volumeDescriptors returns the volume descriptor set (ECMA-119 8), by block.
func (m *medium) volumeDescriptors() map[uint32][]byte {
	set := map[uint32][]byte{primaryBlock: m.primaryDescriptor()}
	terminator := uint32(primaryBlock + 1)
	if m.catalog != 0 {
		set[bootRecordBlock] = m.bootRecord()
		terminator++
	}
	set[terminator] = padToBlock(descriptorHeader(255))
	return set
}

// descriptorHeader begins a volume descriptor of a type (ECMA-119 8.1).
func descriptorHeader(kind byte) []byte { return append([]byte{kind}, "CD001\x01"...) }

// primaryDescriptor returns the primary volume descriptor (ECMA-119 8.4).
func (m *medium) primaryDescriptor() []byte {
	b := append(descriptorHeader(1), 0)
	b = appendText(b, "", 32) // system identifier: the system area is for no system in particular
	b = appendText(b, m.VolumeID, maxVolumeID)
	b = append(b, make([]byte, 8)...)
	b = appendBoth32(b, uint32(m.size/blockSize))
	b = append(b, make([]byte, 32)...)
	b = appendBoth16(b, 1) // volumes of the set
	b = appendBoth16(b, 1) // number of this one
	b = appendBoth16(b, blockSize)
	b = appendBoth32(b, uint32(m.pathTableSize))
	b = littleEndian.AppendUint32(b, m.pathTableL)
	b = littleEndian.AppendUint32(b, 0) // no second copy
	b = bigEndian.AppendUint32(b, m.pathTableM)
	b = bigEndian.AppendUint32(b, 0)
	b = appendRecordHeader(b, idSelf, m.root.block, uint32(m.root.records), flagDirectory, m.stamp)
	b = appendText(b, m.VolumeSetID, maxText)
	b = appendText(b, "", maxText) // publisher
	b = appendText(b, m.PreparerID, maxText)
	b = appendText(b, m.ApplicationID, maxText)
	b = appendText(b, "", 3*37)           // files with copyright, abstract and bibliography
	b = append(b, volumeTime(m.Epoch)...) // created
	b = append(b, volumeTime(m.Epoch)...) // modified
	b = append(b, noTime...)              // never expires
	b = append(b, noTime...)              // in effect since ever
	b = append(b, 1)                      // version of the file structure
	return padToBlock(b)
}

// pathTable returns the path table (ECMA-119 9.4) in one of its two byte orders.
func (m *medium) pathTable(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range m.dirs {
		id := idSelf
		if d != m.root {
			id = d.id.String()
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, d.block)
		b = order.AppendUint16(b, uint16(d.parent.number))
		b = append(b, id...)
		if len(id)%2 != 0 {
			b = append(b, 0)
		}
	}
	return b
}
