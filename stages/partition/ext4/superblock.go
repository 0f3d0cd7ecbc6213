package ext4

import "encoding/binary"

const (
	superblockOffset = 1024 // from the start of the file system
	superblockSize   = 1024
	superblockMagic  = 0xef53

	stateClean     = 1
	errorsContinue = 1
	dynamicRev     = 1

	mountOptXattr = 0x4
	mountOptACL   = 0x8

	flagSignedHash = 0x1 // directory hashes take the bytes of names as signed, as mke2fs does on x86

	hashHalfMD4 = 1

	checksumCRC32C = 1

	journalBackupBlocks = 1 // s_jnl_backup_type: s_jnl_blocks is valid
)

// superblock is the on-disk superblock, little endian, field by field
// (Documentation/filesystems/ext4, "Super Block").
type superblock struct {
	InodesCount        uint32
	BlocksCountLo      uint32
	ReservedBlocksLo   uint32
	FreeBlocksLo       uint32
	FreeInodes         uint32
	FirstDataBlock     uint32
	LogBlockSize       uint32
	LogClusterSize     uint32
	BlocksPerGroup     uint32
	ClustersPerGroup   uint32
	InodesPerGroup     uint32
	MountTime          uint32
	WriteTime          uint32
	MountCount         uint16
	MaxMountCount      uint16
	Magic              uint16
	State              uint16
	Errors             uint16
	MinorRev           uint16
	LastCheck          uint32
	CheckInterval      uint32
	CreatorOS          uint32
	Rev                uint32
	ReservedUID        uint16
	ReservedGID        uint16
	FirstInode         uint32
	InodeSize          uint16
	BlockGroup         uint16 // the group this copy lies in
	Compat             uint32
	Incompat           uint32
	ROCompat           uint32
	UUID               [16]byte
	VolumeName         [16]byte
	LastMounted        [64]byte
	AlgorithmBitmap    uint32
	PreallocBlocks     uint8
	PreallocDirBlocks  uint8
	ReservedGDTBlocks  uint16
	JournalUUID        [16]byte
	JournalInode       uint32
	JournalDevice      uint32
	LastOrphan         uint32
	HashSeed           [16]byte
	DefaultHashVersion uint8
	JournalBackupType  uint8
	DescSize           uint16
	DefaultMountOpts   uint32
	FirstMetaBG        uint32
	MakeTime           uint32
	JournalBlocks      [17]uint32 // i_block of the journal inode, its size's high and low half
	BlocksCountHi      uint32
	ReservedBlocksHi   uint32
	FreeBlocksHi       uint32
	MinExtraIsize      uint16
	WantExtraIsize     uint16
	Flags              uint32
	RAIDStride         uint16
	MMPInterval        uint16
	MMPBlock           uint64
	RAIDStripeWidth    uint32
	LogGroupsPerFlex   uint8
	ChecksumType       uint8
	_                  uint16
	KBytesWritten      uint64
	SnapshotInode      uint32
	SnapshotID         uint32
	SnapshotReserved   uint64
	SnapshotList       uint32
	ErrorCount         uint32
	FirstErrorTime     uint32
	FirstErrorInode    uint32
	FirstErrorBlock    uint64
	FirstErrorFunc     [32]byte
	FirstErrorLine     uint32
	LastErrorTime      uint32
	LastErrorInode     uint32
	LastErrorLine      uint32
	LastErrorBlock     uint64
	LastErrorFunc      [32]byte
	MountOpts          [64]byte
	UserQuotaInode     uint32
	GroupQuotaInode    uint32
	OverheadClusters   uint32
	BackupGroups       [2]uint32
	EncryptAlgorithms  [4]uint8
	EncryptSalt        [16]byte
	LostFoundInode     uint32
	ProjectQuotaInode  uint32
	ChecksumSeed       uint32
	WriteTimeHi        uint8
	MountTimeHi        uint8
	MakeTimeHi         uint8
	LastCheckHi        uint8
	FirstErrorTimeHi   uint8
	LastErrorTimeHi    uint8
	FirstErrorCode     uint8
	LastErrorCode      uint8
	Encoding           uint16
	EncodingFlags      uint16
	OrphanFileInode    uint32
	_                  [94]uint32
	Checksum           uint32
}

// newSuperblock returns the primary superblock of a planned file system.
func newSuperblock(p *plan) *superblock {
	c, g := p.config, p.geometry
	sb := &superblock{
		InodesCount:        uint32(g.inodes()),
		FreeInodes:         uint32(g.inodes() - uint64(p.contents.lastInode)),
		FirstDataBlock:     uint32(c.firstDataBlock),
		LogBlockSize:       c.logBlockSize,
		LogClusterSize:     c.logBlockSize,
		BlocksPerGroup:     uint32(c.blocksPerGroup),
		ClustersPerGroup:   uint32(c.blocksPerGroup),
		InodesPerGroup:     uint32(g.inodesPerGroup),
		MaxMountCount:      0xffff, // no check by count of mounts
		Magic:              superblockMagic,
		State:              stateClean,
		Errors:             errorsContinue,
		Rev:                dynamicRev,
		FirstInode:         firstInode,
		InodeSize:          inodeSize,
		Compat:             g.features.compat,
		Incompat:           g.features.incompat,
		ROCompat:           g.features.roCompat,
		UUID:               c.UUID,
		ReservedGDTBlocks:  uint16(g.reservedDescBlocks),
		HashSeed:           c.HashSeed,
		DefaultHashVersion: hashHalfMD4,
		DefaultMountOpts:   mountOptXattr | mountOptACL,
		Flags:              flagSignedHash,
	}
	copy(sb.VolumeName[:], c.Label)
	copy(sb.LastMounted[:], c.LastMounted)
	sb.BlocksCountLo, sb.BlocksCountHi = split32(g.blocks)
	sb.ReservedBlocksLo, sb.ReservedBlocksHi = split32(uint64(float64(g.blocks) * c.ReservedPercent / 100))
	sb.FreeBlocksLo, sb.FreeBlocksHi = split32(p.freeBlocks)
	low, high := split32(uint64(c.Time.Sec))
	sb.WriteTime, sb.WriteTimeHi = low, uint8(high)
	sb.MakeTime, sb.MakeTimeHi = low, uint8(high)
	sb.LastCheck, sb.LastCheckHi = low, uint8(high)
	if g.features.has(incompat, incompat64Bit) {
		sb.DescSize = uint16(g.descSize)
	}
	if g.features.has(incompat, incompatFlexBG) {
		sb.LogGroupsPerFlex = logGroupsPerFlex
	}
	if g.features.has(roCompat, roExtraIsize) {
		sb.MinExtraIsize, sb.WantExtraIsize = extraIsize, extraIsize
	}
	if g.features.metadataChecksums() {
		sb.ChecksumType = checksumCRC32C
	}
	if g.features.has(incompat, incompatCsumSeed) {
		sb.ChecksumSeed = c.checksumSeed
	}
	if p.journal != nil {
		sb.JournalInode = journalInode
		sb.JournalBackupType = journalBackupBlocks
		for i := range 15 {
			sb.JournalBlocks[i] = binary.LittleEndian.Uint32(p.journal.block[4*i:])
		}
		sb.JournalBlocks[16], sb.JournalBlocks[15] = split32(uint64(p.journal.size))
	}
	return sb
}

// encode returns the bytes of the copy for a block group: the primary one for
// group 0. Copies are marked as not clean, as those of mke2fs are, so that a
// file system restored from one is checked.
func (sb superblock) encode(group uint64, features featureSet) []byte {
	sb.BlockGroup = uint16(group)
	if group != 0 {
		sb.State = 0
	}
	p, err := binary.Append(make([]byte, 0, superblockSize), binary.LittleEndian, &sb)
	if err != nil {
		panic(err) // the type has a fixed size
	}
	if features.metadataChecksums() {
		binary.LittleEndian.PutUint32(p[superblockSize-4:], crc32c(^uint32(0), p[:superblockSize-4]))
	}
	return p
}

// decodeSuperblock reads the superblock from its superblockSize bytes.
func decodeSuperblock(p []byte) (*superblock, error) {
	sb := new(superblock)
	if _, err := binary.Decode(p, binary.LittleEndian, sb); err != nil {
		return nil, corrupt("superblock", "%v", err)
	}
	if sb.Magic != superblockMagic {
		return nil, corrupt("superblock", "its magic number is %#x instead of %#x: this is no ext4 file system", sb.Magic, superblockMagic)
	}
	if sb.ROCompat&roMetadataCsum != 0 {
		if sb.ChecksumType != checksumCRC32C {
			return nil, corrupt("superblock", "the checksum type %d is unknown", sb.ChecksumType)
		}
		if sum := crc32c(^uint32(0), p[:superblockSize-4]); sum != sb.Checksum {
			return nil, corrupt("superblock", "its checksum is %#x instead of %#x", sb.Checksum, sum)
		}
	}
	return sb, nil
}

func (sb *superblock) featureSet() featureSet {
	return featureSet{compat: sb.Compat, incompat: sb.Incompat, roCompat: sb.ROCompat}
}

func split32(v uint64) (low, high uint32) { return uint32(v), uint32(v >> 32) }

func join32(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }
