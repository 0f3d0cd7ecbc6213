package ext4

import "encoding/binary"

const (
	journalMagic        = 0xc03b3998
	journalSuperblockV2 = 4 // block type
	minJournalBlocks    = 1024
	maxJournalBlocks    = 10240000
)

// journalBlocks is the size of the journal in blocks: the one asked for, else that
// of mke2fs (ext2fs_default_journal_size), but never none.
func (c *config) journalBlocks(fsBlocks uint64) uint64 {
	if c.JournalSize > 0 {
		return uint64(c.JournalSize) / uint64(c.BlockSize)
	}
	for _, step := range [...]struct{ below, blocks uint64 }{
		{32 << 10, 1 << 10},
		{256 << 10, 4 << 10},
		{512 << 10, 8 << 10},
		{4 << 20, 16 << 10},
		{8 << 20, 32 << 10},
		{16 << 20, 64 << 10},
		{32 << 20, 128 << 10},
	} {
		if fsBlocks < step.below {
			return step.blocks
		}
	}
	return 256 << 10
}

// newJournal returns the inode of an empty journal.
func newJournal(c *config, fsBlocks uint64) *inode {
	blocks := c.journalBlocks(fsBlocks)
	return &inode{
		number: journalInode,
		path:   "<journal>",
		mode:   modeRegular | 0o600,
		links:  1,
		size:   int64(blocks) * int64(c.BlockSize),
		flags:  flagExtents,
		mtime:  c.Time,
		atime:  c.Time,
		data:   journalSuperblock(c, blocks),
		runs:   []span{{0, blocks}},
	}
}

// journalSuperblock is the first block of a journal in which nothing is to be
// replayed (Documentation/filesystems/ext4, "Journal"). Unlike the rest of the file
// system it is big endian.
func journalSuperblock(c *config, blocks uint64) []byte {
	p := make([]byte, c.BlockSize)
	be := binary.BigEndian
	be.PutUint32(p[0x00:], journalMagic)
	be.PutUint32(p[0x04:], journalSuperblockV2)
	be.PutUint32(p[0x0c:], uint32(c.BlockSize))
	be.PutUint32(p[0x10:], uint32(blocks))
	be.PutUint32(p[0x14:], 1) // first block of the log
	be.PutUint32(p[0x18:], 1) // sequence number of the first transaction
	copy(p[0x30:], c.UUID[:])
	be.PutUint32(p[0x40:], 1) // number of users
	return p
}
