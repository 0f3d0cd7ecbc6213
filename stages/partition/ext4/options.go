package ext4

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Options says what file system to write. Only Size and UUID have no default.
type Options struct {
	// Size is the size of the image in bytes. The file system takes all whole
	// blocks of it, but for a last block group too short to be of use.
	Size int64

	// BlockSize is 1024, 2048 or 4096 bytes; 0 means 4096.
	BlockSize int

	// Label is the volume name, at most 16 bytes without NUL.
	Label string

	// LastMounted is the directory shown as the last mount point, at most 63 bytes.
	LastMounted string

	// UUID identifies the file system and seeds its checksums.
	UUID [16]byte

	// HashSeed is the seed of directory hashes. Zero means one derived from UUID.
	HashSeed [16]byte

	// Features is the complete set of features, by their mke2fs names. Nil means
	// DefaultFeatures, without resize_inode beyond 16 TiB, where it cannot be.
	Features []string

	// Inodes is the number of inodes, rounded up to whole inode table blocks. 0
	// means as many as InodeRatio gives.
	Inodes int64

	// InodeRatio is the number of bytes per inode. 0 means mke2fs' choice (16 KiB;
	// 32 KiB from 4 TiB, 64 KiB from 16 TiB on), but always an eighth more
	// inodes than the tree needs.
	InodeRatio int64

	// ReservedPercent is the share of blocks only root may use, 0 to 50. mke2fs
	// reserves 5.
	ReservedPercent float64

	// JournalSize is the size of the journal in bytes: at least 1024 blocks. 0
	// means mke2fs' choice by size of the file system.
	JournalSize int64

	// MaxGrowth is the size in bytes up to which resize_inode lets the file system
	// be grown while mounted. 0 means mke2fs' choice, 1024 times Size.
	MaxGrowth int64

	// Time is the time of creation and last write of the file system, the change
	// and creation time of all inodes, and all times of lost+found. It is
	// not before 1970.
	Time tree.Time

	// SparseMin is the size in bytes from which on files are searched for zeros
	// that need no blocks. 0 means 4 MiB, a negative value that no file is.
	SparseMin int64
}

// defaultSparseMin bounds the files that Write reads: smaller ones hardly ever
// hold runs of zeros worth a hole.
const defaultSparseMin = 4 << 20

// config is Options with every default filled in and checked.
type config struct {
	Options
	features         featureSet
	featuresDefault  bool
	checksumSeed     uint32 // of all metadata checksums
	logBlockSize     uint32 // as in s_log_block_size
	firstDataBlock   uint64
	blocksPerGroup   uint64
	extentsPerBlock  int
	directoryTail    int // bytes at the end of a directory block
	inodesPerBlock   uint64
	directoryIndexes bool
}

func newConfig(o Options) (*config, error) {
	c := &config{Options: o}
	switch o.BlockSize {
	case 0:
		c.BlockSize = 4096
	case 1024, 2048, 4096:
	default:
		return nil, fmt.Errorf("ext4 block size %d: it must be 1024, 2048 or 4096", o.BlockSize)
	}
	for size := c.BlockSize; size > 1024; size >>= 1 {
		c.logBlockSize++
	}
	if o.Size < 0 || o.MaxGrowth < 0 {
		return nil, fmt.Errorf("ext4: a size of %d bytes, growing to %d, is negative", o.Size, o.MaxGrowth)
	}
	if len(o.Label) > 16 || strings.IndexByte(o.Label, 0) >= 0 {
		return nil, fmt.Errorf("ext4 label %q: it must have at most 16 bytes and no NUL", o.Label)
	}
	if len(o.LastMounted) > 63 || strings.IndexByte(o.LastMounted, 0) >= 0 {
		return nil, fmt.Errorf("ext4 last mount point %q: it must have at most 63 bytes and no NUL", o.LastMounted)
	}
	if o.UUID == [16]byte{} {
		return nil, errors.New("ext4: the file system has no UUID")
	}
	if o.HashSeed == [16]byte{} {
		sum := sha256.Sum256(append([]byte("imagefactory ext4 hash seed\x00"), o.UUID[:]...))
		copy(c.HashSeed[:], sum[:])
	}
	if o.Inodes < 0 || o.InodeRatio < 0 || o.Inodes > 0 && o.InodeRatio > 0 {
		return nil, fmt.Errorf("ext4: %d inodes with %d bytes per inode: give one of them, and not a negative one", o.Inodes, o.InodeRatio)
	}
	if o.InodeRatio > 0 && o.InodeRatio < 1024 {
		return nil, fmt.Errorf("ext4: %d bytes per inode are too few; 1024 is the least", o.InodeRatio)
	}
	if !(o.ReservedPercent >= 0 && o.ReservedPercent <= 50) {
		return nil, fmt.Errorf("ext4: %v percent of reserved blocks: it must be 0 to 50", o.ReservedPercent)
	}
	if o.Time.Sec < 0 || o.Time.Sec >= 1<<40 {
		return nil, fmt.Errorf("ext4: the time of creation %d is before 1970 or too late", o.Time.Sec)
	}
	if !inodeTimeFits(o.Time) {
		return nil, fmt.Errorf("ext4: the time of creation %d is after the year 2446", o.Time.Sec)
	}
	if o.SparseMin == 0 {
		c.SparseMin = defaultSparseMin
	}
	names := o.Features
	if names == nil {
		names, c.featuresDefault = DefaultFeatures(), true
	}
	var err error
	if c.features, err = parseFeatures(names); err != nil {
		return nil, err
	}
	if o.JournalSize != 0 {
		if !c.features.has(compat, compatHasJournal) {
			return nil, errors.New("ext4: a journal size without the feature \"has_journal\"")
		}
		if blocks := o.JournalSize / int64(c.BlockSize); blocks < minJournalBlocks || blocks > maxJournalBlocks {
			return nil, fmt.Errorf("ext4: a journal of %d bytes: it must have %d to %d blocks of %d bytes", o.JournalSize, minJournalBlocks, maxJournalBlocks, c.BlockSize)
		}
	}
	c.derive()
	return c, nil
}

// derive computes what follows from block size, features and UUID.
func (c *config) derive() {
	if c.BlockSize == 1024 {
		c.firstDataBlock = 1 // block 0 is for boot code, the superblock is block 1
	}
	c.blocksPerGroup = 8 * uint64(c.BlockSize) // as many as a one-block bitmap describes
	c.inodesPerBlock = uint64(c.BlockSize) / inodeSize
	c.extentsPerBlock = (c.BlockSize - extentHeaderSize) / extentSize
	c.directoryIndexes = c.features.has(compat, compatDirIndex)
	c.checksumSeed = crc32c(^uint32(0), c.UUID[:])
	if c.features.metadataChecksums() {
		c.directoryTail = directoryTailSize
	}
}
