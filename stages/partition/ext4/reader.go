package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// FS is an open file system. It is safe for use by several goroutines when the
// reader below is.
type FS struct {
	r              io.ReaderAt
	sb             *superblock
	features       featureSet
	blockSize      uint64
	blocks         uint64
	groups         uint64
	blocksPerGroup uint64
	inodesPerGroup uint64
	inodeSize      uint64
	descSize       uint64
	checksumSeed   uint32

	mu          sync.Mutex
	descriptors map[uint64]groupDescriptor
}

// Info describes a file system as a whole.
type Info struct {
	UUID           [16]byte
	Label          string
	LastMounted    string
	Features       []string // by their mke2fs names
	BlockSize      int
	Blocks         uint64
	FreeBlocks     uint64
	ReservedBlocks uint64 // that only root may use
	Inodes         uint32
	FreeInodes     uint32
	Created        tree.Time
	LastWritten    tree.Time
	Clean          bool // it was unmounted, and no error was found in it
	NeedsRecovery  bool // its journal is to be replayed: what is read may be older than what was written
}

// Open opens the file system in the first size bytes of r. It checks the superblock;
// everything else is checked when it is read. Bytes that cannot be are a
// *CorruptError, features this package does not know an error that names them.
//
// File systems of mke2fs and the kernel can be read too, ext2 and ext3 included; not
// those with inline_data, ea_inode, encrypt, casefold, bigalloc or compression.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	p := make([]byte, superblockSize)
	if size < superblockOffset+superblockSize {
		return nil, corrupt("superblock", "there are only %d bytes", size)
	}
	if err := readFull(r, p, superblockOffset); err != nil {
		return nil, fmt.Errorf("read the ext4 superblock: %w", err)
	}
	sb, err := decodeSuperblock(p)
	if err != nil {
		return nil, err
	}
	f := &FS{r: r, sb: sb, features: sb.featureSet(), descriptors: map[uint64]groupDescriptor{}}
	unknown := featureSet{incompat: sb.Incompat &^ incompatReadable, roCompat: sb.ROCompat & roBigalloc}
	if names := unknown.names(); len(names) > 0 {
		return nil, fmt.Errorf("the ext4 file system has features that cannot be read: %s", strings.Join(names, ", "))
	}
	return f, f.setGeometry(uint64(size))
}

// setGeometry takes over the superblock's numbers, after checking each.
func (f *FS) setGeometry(size uint64) error {
	sb := f.sb
	bad := func(format string, args ...any) error { return corrupt("superblock", format, args...) }
	if sb.LogBlockSize > 6 {
		return bad("the block size 2^%d is out of range", uint64(sb.LogBlockSize)+10)
	}
	f.blockSize = 1024 << sb.LogBlockSize
	f.blocks = uint64(sb.BlocksCountLo)
	f.descSize = 32
	if f.features.has(incompat, incompat64Bit) {
		f.blocks = join32(sb.BlocksCountLo, sb.BlocksCountHi)
		if f.descSize = uint64(sb.DescSize); f.descSize < 64 || f.descSize > f.blockSize || f.descSize&(f.descSize-1) != 0 {
			return bad("the group descriptor size %d is out of range", sb.DescSize)
		}
	}
	f.inodeSize = baseInodeSize
	if sb.Rev >= dynamicRev {
		f.inodeSize = uint64(sb.InodeSize)
	}
	f.blocksPerGroup, f.inodesPerGroup = uint64(sb.BlocksPerGroup), uint64(sb.InodesPerGroup)
	switch {
	case f.inodeSize < baseInodeSize || f.inodeSize > f.blockSize || f.inodeSize&(f.inodeSize-1) != 0:
		return bad("the inode size %d is out of range", f.inodeSize)
	case f.blocks > size/f.blockSize:
		return bad("it has %d blocks of %d bytes, but there are only %d bytes", f.blocks, f.blockSize, size)
	case uint64(sb.FirstDataBlock) >= f.blocks:
		return bad("the first data block %d lies beyond the end", sb.FirstDataBlock)
	case f.blocksPerGroup == 0 || f.blocksPerGroup > 8*f.blockSize || f.blocksPerGroup%8 != 0:
		return bad("%d blocks per group cannot be", f.blocksPerGroup)
	case f.inodesPerGroup == 0 || f.inodesPerGroup > 8*f.blockSize || f.inodesPerGroup%8 != 0:
		return bad("%d inodes per group cannot be", f.inodesPerGroup)
	}
	f.groups = (f.blocks - uint64(sb.FirstDataBlock) + f.blocksPerGroup - 1) / f.blocksPerGroup
	if uint64(sb.InodesCount) > f.groups*f.inodesPerGroup {
		return bad("%d inodes do not fit into %d groups of %d", sb.InodesCount, f.groups, f.inodesPerGroup)
	}
	f.checksumSeed = crc32c(^uint32(0), sb.UUID[:])
	if f.features.has(incompat, incompatCsumSeed) {
		f.checksumSeed = sb.ChecksumSeed
	}
	return nil
}

// Info describes the file system.
func (f *FS) Info() Info {
	sb := f.sb
	info := Info{
		UUID:           sb.UUID,
		Label:          cString(sb.VolumeName[:]),
		LastMounted:    cString(sb.LastMounted[:]),
		Features:       f.features.names(),
		BlockSize:      int(f.blockSize),
		Blocks:         f.blocks,
		FreeBlocks:     uint64(sb.FreeBlocksLo),
		ReservedBlocks: uint64(sb.ReservedBlocksLo),
		Inodes:         sb.InodesCount,
		FreeInodes:     sb.FreeInodes,
		Created:        tree.Time{Sec: int64(join32(sb.MakeTime, uint32(sb.MakeTimeHi)))},
		LastWritten:    tree.Time{Sec: int64(join32(sb.WriteTime, uint32(sb.WriteTimeHi)))},
		Clean:          sb.State == stateClean,
		NeedsRecovery:  f.features.has(incompat, incompatRecover),
	}
	if f.features.has(incompat, incompat64Bit) {
		info.FreeBlocks = join32(sb.FreeBlocksLo, sb.FreeBlocksHi)
		info.ReservedBlocks = join32(sb.ReservedBlocksLo, sb.ReservedBlocksHi)
	}
	return info
}

func cString(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return string(p)
}

// readFull reads all of p.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readBlock returns the bytes of a block that where refers to.
func (f *FS) readBlock(block uint64, where string) ([]byte, error) {
	if err := f.checkBlocks(block, 1, where); err != nil {
		return nil, err
	}
	p := make([]byte, f.blockSize)
	if err := readFull(f.r, p, int64(block*f.blockSize)); err != nil {
		return nil, fmt.Errorf("read %s at block %d: %w", where, block, err)
	}
	return p, nil
}

// checkBlocks refuses a reference outside the file system or to its superblock.
func (f *FS) checkBlocks(block, n uint64, where string) error {
	if block <= uint64(f.sb.FirstDataBlock) || block >= f.blocks || n > f.blocks-block {
		return corrupt(where, "it refers to %d blocks from %d on in a file system of %d", n, block, f.blocks)
	}
	return nil
}

// descriptor returns a group's descriptor.
func (f *FS) descriptor(group uint64) (groupDescriptor, error) {
	f.mu.Lock()
	d, ok := f.descriptors[group]
	f.mu.Unlock()
	if ok {
		return d, nil
	}
	where := fmt.Sprintf("descriptor of group %d", group)
	perBlock := f.blockSize / f.descSize
	block := uint64(f.sb.FirstDataBlock) + 1 + group/perBlock
	if f.features.has(incompat, incompatMetaBG) && group/perBlock >= uint64(f.sb.FirstMetaBG) {
		// Each block of descriptors lies in the first of its groups.
		first := group / perBlock * perBlock
		block = uint64(f.sb.FirstDataBlock) + first*f.blocksPerGroup
		if hasSuperblock(first, f.features) {
			block++
		}
	}
	p, err := f.readBlock(block, where)
	if err != nil {
		return d, err
	}
	p = p[group%perBlock*f.descSize:][:f.descSize]
	d = decodeGroupDescriptor(p)
	if f.features.groupChecksums() {
		if sum := groupChecksum(p, group, f.features, f.checksumSeed, f.sb.UUID); sum != d.checksum {
			return d, corrupt(where, "its checksum is %#x instead of %#x", d.checksum, sum)
		}
	}
	tableBlocks := (f.inodesPerGroup*f.inodeSize + f.blockSize - 1) / f.blockSize
	if err := f.checkBlocks(d.inodeTable, tableBlocks, where); err != nil {
		return d, err
	}
	f.mu.Lock()
	f.descriptors[group] = d
	f.mu.Unlock()
	return d, nil
}

// diskInode is an inode as read.
type diskInode struct {
	number     uint32
	generation uint32
	kind       tree.Type
	mode       uint16
	uid, gid   uint32
	links      uint32
	size       uint64
	sectors    uint64 // of 512 bytes
	flags      uint32
	block      []byte // i_block
	acl        uint64 // external attributes
	mtime      tree.Time
	atime      tree.Time
	ctime      tree.Time
	crtime     tree.Time
	xattrs     []byte // behind the extra fields
}

func (in *diskInode) where() string { return fmt.Sprintf("inode %d", in.number) }

// seed starts the checksums of the inode's blocks.
func (in *diskInode) seed(f *FS) uint32 {
	return inodeChecksumSeed(f.checksumSeed, in.number, in.generation)
}

// readInode reads an inode that is in use.
func (f *FS) readInode(number uint32) (*diskInode, error) {
	where := fmt.Sprintf("inode %d", number)
	if number == 0 || number > f.sb.InodesCount {
		return nil, corrupt(where, "there is no such inode")
	}
	group, index := uint64(number-1)/f.inodesPerGroup, uint64(number-1)%f.inodesPerGroup
	d, err := f.descriptor(group)
	if err != nil {
		return nil, err
	}
	if f.features.groupChecksums() && (d.flags&groupInodeUninit != 0 || index >= f.inodesPerGroup-min(f.inodesPerGroup, uint64(d.unusedInodes))) {
		return nil, corrupt(where, "it lies in the unused part of group %d", group)
	}
	p := make([]byte, f.inodeSize)
	if err := readFull(f.r, p, int64(d.inodeTable*f.blockSize+index*f.inodeSize)); err != nil {
		return nil, fmt.Errorf("read %s: %w", where, err)
	}
	return f.decodeInode(p, number)
}

// decodeInode reads the inode p of inodeSize bytes.
func (f *FS) decodeInode(p []byte, number uint32) (*diskInode, error) {
	le := binary.LittleEndian
	in := &diskInode{
		number:     number,
		mode:       le.Uint16(p[0x00:]),
		uid:        uint32(le.Uint16(p[0x02:])) | uint32(le.Uint16(p[0x78:]))<<16,
		gid:        uint32(le.Uint16(p[0x18:])) | uint32(le.Uint16(p[0x7a:]))<<16,
		links:      uint32(le.Uint16(p[0x1a:])),
		size:       uint64(le.Uint32(p[0x04:])),
		sectors:    uint64(le.Uint32(p[0x1c:])),
		flags:      le.Uint32(p[0x20:]),
		block:      p[0x28:0x64],
		generation: le.Uint32(p[0x64:]),
		acl:        uint64(le.Uint32(p[0x68:])),
	}
	where := in.where()
	extra := 0
	if f.inodeSize > baseInodeSize {
		extra = int(le.Uint16(p[0x80:]))
		if extra%4 != 0 || extra > len(p)-baseInodeSize {
			return nil, corrupt(where, "its %d bytes of extra fields cannot be", extra)
		}
	}
	if f.features.metadataChecksums() {
		have, want := uint32(le.Uint16(p[0x7c:])), inodeChecksum(p, in.seed(f))
		if hasChecksumHi(p) {
			have |= uint32(le.Uint16(p[0x82:])) << 16
		} else {
			want &= 0xffff
		}
		if have != want {
			return nil, corrupt(where, "its checksum is %#x instead of %#x", have, want)
		}
	}
	var ok bool
	if in.kind, ok = typeOfMode(in.mode); !ok {
		return nil, corrupt(where, "the file type of its mode %#o is unknown", in.mode)
	}
	if in.links == 0 {
		return nil, corrupt(where, "it has no links, but a name")
	}
	in.size |= uint64(le.Uint32(p[0x6c:])) << 32
	if in.size > math.MaxInt64 || in.size/f.blockSize > maxFileBlocks {
		return nil, corrupt(where, "its size of %d bytes cannot be", in.size)
	}
	if f.features.has(roCompat, roHugeFile) {
		in.sectors |= uint64(le.Uint16(p[0x74:])) << 32
		if in.flags&flagHugeFile != 0 {
			in.sectors *= f.blockSize / 512
		}
	}
	if f.features.has(incompat, incompat64Bit) {
		in.acl |= uint64(le.Uint16(p[0x76:])) << 32
	}
	// extraField reads a field behind the first 128 bytes, if the inode has it.
	extraField := func(offset int) uint32 {
		if offset+4 > baseInodeSize+extra {
			return 0
		}
		return le.Uint32(p[offset:])
	}
	in.ctime = decodeTime(le.Uint32(p[0x0c:]), extraField(0x84))
	in.mtime = decodeTime(le.Uint32(p[0x10:]), extraField(0x88))
	in.atime = decodeTime(le.Uint32(p[0x08:]), extraField(0x8c))
	in.crtime = decodeTime(extraField(0x90), extraField(0x94))
	for _, t := range []tree.Time{in.ctime, in.mtime, in.atime, in.crtime} {
		if t.Nsec >= 1e9 {
			return nil, corrupt(where, "%d nanoseconds are a second or more", t.Nsec)
		}
	}
	if extra > 0 {
		in.xattrs = p[baseInodeSize+extra:]
	}
	return in, nil
}
