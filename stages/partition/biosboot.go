package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// bootCodeSize is the part of the first sector that is boot code: the disk signature and the table of the MBR follow.
const bootCodeSize = 0x1b8

// Fields of GRUB's boot.img (include/grub/i386/pc/boot.h) and of the block list at the end of the first sector of core.img
// (struct grub_pc_bios_boot_blocklist). All are little endian.
const (
	bootKernelSector  = 0x5c  // u64: LBA of core.img
	bootDrive         = 0x64  // u8: BIOS drive; 0xff means the one that was booted from
	bootDriveCheck    = 0x66  // u16: a jump over the check for a bad drive number, disabled for hard disks
	coreListStart     = 0x1f4 // u64: LBA of the second sector of core.img
	coreListLength    = 0x1fc // u16: sectors from there on
	coreListSegment   = 0x1fe // u16: real mode segment they are loaded at
	coreSecondSegment = 0x820
)

// maxCoreSectors bounds core.img by what real mode can hold (GRUB_MEMORY_MACHINE_UPPER_START).
const maxCoreSectors = 0x68000 / SectorSize

// BIOSBoot returns GRUB as a BIOS boots it from a disk whose BIOS boot partition starts at sector lba: boot code for the
// first sector of the disk, and the contents of that partition. It does what grub-bios-setup does, without needing the
// disk; the Reed-Solomon redundancy, which protects core.img outside of partitions, is left out.
func BIOSBoot(bootImage, coreImage []byte, lba int64) (bootCode, core []byte, err error) {
	if len(bootImage) != SectorSize || bootImage[510] != 0x55 || bootImage[511] != 0xaa {
		return nil, nil, fmt.Errorf("boot.img is not GRUB's boot sector: it must be %d bytes ending in 55 aa", SectorSize)
	}
	sectors := (len(coreImage) + SectorSize - 1) / SectorSize
	if sectors < 2 || sectors > maxCoreSectors {
		return nil, nil, fmt.Errorf("core.img has %d bytes, which is no i386-pc image of grub-mkimage", len(coreImage))
	}
	if lba < 1 {
		return nil, nil, fmt.Errorf("a BIOS boot partition cannot start at sector %d", lba)
	}
	bootCode = bytes.Clone(bootImage[:bootCodeSize])
	binary.LittleEndian.PutUint64(bootCode[bootKernelSector:], uint64(lba))
	bootCode[bootDrive] = 0xff
	bootCode[bootDriveCheck], bootCode[bootDriveCheck+1] = 0x90, 0x90

	core = make([]byte, sectors*SectorSize)
	copy(core, coreImage)
	binary.LittleEndian.PutUint64(core[coreListStart:], uint64(lba)+1)
	binary.LittleEndian.PutUint16(core[coreListLength:], uint16(sectors-1))
	binary.LittleEndian.PutUint16(core[coreListSegment:], coreSecondSegment)
	return bootCode, core, nil
}
