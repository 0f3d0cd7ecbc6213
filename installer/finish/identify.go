package finish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/imagefactory/imagefactory/stages/partition"
)

// Filesystem is what a superblock says.
type Filesystem struct {
	// Type is "ext2", "ext3", "ext4", "xfs" or "vfat"; empty when it is none of these.
	Type string `json:"type,omitempty"`
	// UUID is as fstab and blkid write it.
	UUID string `json:"uuid,omitempty"`
	// Size is what the file system uses of its partition, in bytes.
	Size int64 `json:"size,omitempty"`

	blockSize     int64
	blocksPerUnit int64 // of a block group or allocation group
	inodePercent  uint8 // of xfs
}

// String names the type.
func (f Filesystem) String() string {
	if f.Type == "" {
		return "nothing that is known here"
	}
	return f.Type
}

// Offsets of superblocks.
const (
	extSuper   = 1024
	superBytes = 2048 // enough for all
)

// Identify reads the superblock at the start of a partition. One that has none known here gives the zero value.
func Identify(r io.ReaderAt) (Filesystem, error) {
	p := make([]byte, superBytes)
	if n, err := r.ReadAt(p, 0); n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			return Filesystem{}, nil
		}
		return Filesystem{}, fmt.Errorf("read its first bytes: %w", err)
	}
	for _, identify := range []func([]byte) Filesystem{identifyXFS, identifyExt, identifyFAT} {
		if f := identify(p); f.Type != "" {
			return f, nil
		}
	}
	return Filesystem{}, nil
}

// identifyExt reads what Linux' Documentation/filesystems/ext4/super.rst describes.
func identifyExt(p []byte) Filesystem {
	const (
		hasJournal      = 1 << 2           // compatible
		bits64          = 1 << 7           // incompatible
		oldIncompatible = 0x2 | 0x4 | 0x10 // what ext3 knows: file types, recovery, meta block groups
		oldReadOnly     = 0x1 | 0x2 | 0x4  // sparse superblocks, large files, b-tree directories
	)
	sb, le := p[extSuper:], binary.LittleEndian
	logSize := le.Uint32(sb[24:])
	if le.Uint16(sb[56:]) != 0xef53 || logSize > 6 {
		return Filesystem{}
	}
	f := Filesystem{Type: "ext2", UUID: partition.GUID(sb[104:120]).String(), blockSize: 1024 << logSize, blocksPerUnit: int64(le.Uint32(sb[32:]))}
	compatible, incompatible, readOnly := le.Uint32(sb[92:]), le.Uint32(sb[96:]), le.Uint32(sb[100:])
	if compatible&hasJournal != 0 {
		f.Type = "ext3"
	}
	if incompatible&^oldIncompatible != 0 || readOnly&^oldReadOnly != 0 {
		f.Type = "ext4"
	}
	blocks := uint64(le.Uint32(sb[4:]))
	if incompatible&bits64 != 0 {
		blocks |= uint64(le.Uint32(sb[336:])) << 32
	}
	return f.sized(blocks)
}

// identifyXFS reads struct xfs_dsb of Linux' fs/xfs/libxfs/xfs_format.h.
func identifyXFS(p []byte) Filesystem {
	be := binary.BigEndian
	f := Filesystem{Type: "xfs", UUID: partition.GUID(p[32:48]).String(), blockSize: int64(be.Uint32(p[4:])), blocksPerUnit: int64(be.Uint32(p[84:])), inodePercent: p[127]}
	if string(p[:4]) != "XFSB" || f.blockSize < 512 || f.blockSize > 64<<10 || f.blockSize&(f.blockSize-1) != 0 {
		return Filesystem{}
	}
	return f.sized(be.Uint64(p[8:]))
}

// identifyFAT reads the BIOS parameter block of Microsoft's FAT specification, version 1.03.
func identifyFAT(p []byte) Filesystem {
	le := binary.LittleEndian
	sector := int64(le.Uint16(p[11:]))
	if p[510] != 0x55 || p[511] != 0xaa || sector < 512 || sector > 4096 || sector&(sector-1) != 0 {
		return Filesystem{}
	}
	serial := 0
	switch {
	case string(p[82:90]) == "FAT32   ":
		serial = 67
	case string(p[54:62]) == "FAT16   " || string(p[54:62]) == "FAT12   ":
		serial = 39
	default:
		return Filesystem{}
	}
	count := uint64(le.Uint16(p[19:]))
	if count == 0 {
		count = uint64(le.Uint32(p[32:]))
	}
	f := Filesystem{Type: "vfat", UUID: fmt.Sprintf("%04X-%04X", le.Uint16(p[serial+2:]), le.Uint16(p[serial:])), blockSize: sector}
	return f.sized(count)
}

// sized sets the size, or refuses one that no disk has.
func (f Filesystem) sized(blocks uint64) Filesystem {
	const most = 1 << 62
	if blocks == 0 || blocks > most/uint64(f.blockSize) {
		return Filesystem{}
	}
	f.Size = int64(blocks) * f.blockSize
	return f
}
