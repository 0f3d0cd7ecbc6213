package signature

import (
	"fmt"
	"strings"
)

// Usages: what a signature's data is for ([Found.Usage]).
const (
	PartitionTable = "partition-table"
	Filesystem     = "filesystem"
	Swap           = "swap"
	RAID           = "raid"
	VolumeManager  = "volume-manager"
	Crypto         = "crypto"
	Other          = "other" // caches, journals, object stores
)

// Found is one signature.
type Found struct {
	// Kind is libblkid's name of the type ("ext4", "LVM2_member", "linux_raid_member") or of the partition table ("gpt",
	// "dos").
	Kind string `json:"kind"`
	// Usage is one of the constants of this package.
	Usage string `json:"usage"`
	// Label and UUID are as blkid prints them; either may be empty.
	Label string `json:"label,omitempty"`
	UUID  string `json:"uuid,omitempty"`
	// Offset is where the signature begins, in bytes from the start of the disk.
	Offset int64 `json:"offset"`
	// Partition is the number of the partition that holds the signature, 0 for the disk itself.
	Partition int `json:"partition,omitempty"`
	// Backup says that only the copy was found, and not the original.
	Backup bool `json:"backup,omitempty"`
}

// String describes the signature in a few words: `xfs "PERSIST" on partition 4`.
func (f Found) String() string {
	var s strings.Builder
	s.WriteString(f.Kind)
	if f.Usage == PartitionTable {
		s.WriteString(" partition table")
	}
	if f.Backup {
		s.WriteString(" (backup only)")
	}
	if f.Label != "" {
		fmt.Fprintf(&s, " %q", f.Label)
	}
	if f.Partition != 0 {
		fmt.Fprintf(&s, " on partition %d", f.Partition)
	}
	return s.String()
}

// Partition is an entry of the disk's partition table.
type Partition struct {
	// Number counts from 1; logical partitions of a DOS table from 5.
	Number int `json:"number"`
	// Label is the name in a GPT; DOS tables have none.
	Label string `json:"label,omitempty"`
	// Type is the type GUID, or the type of a DOS partition as "0x83". GUID is the partition's own identifier.
	Type string `json:"type"`
	GUID string `json:"guid,omitempty"`
	// Start and Size are bytes.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
}

// Contents is what a disk holds.
type Contents struct {
	// Found are the signatures: those of the disk first, then of each partition, each by offset.
	Found []Found `json:"found,omitempty"`
	// Partitions are the entries of the partition table by number.
	Partitions []Partition `json:"partitions,omitempty"`
	// Unknown says that no signature was found, but the first or the last MiB of the disk is neither all zeros nor all 0xff,
	// as erased flash is: data of a kind this package does not know.
	Unknown bool `json:"unknown,omitempty"`
}

// Empty says that there is nothing to lose: no signature, and nothing at both ends.
func (c Contents) Empty() bool { return len(c.Found) == 0 && !c.Unknown }

// String describes the contents in a line: "gpt partition table; vfat \"BOOT\" on partition 1". It is "empty" when there
// is nothing.
func (c Contents) String() string {
	if c.Unknown {
		return "data of an unknown kind"
	}
	if len(c.Found) == 0 {
		return "empty"
	}
	parts := make([]string, len(c.Found))
	for i, f := range c.Found {
		parts[i] = f.String()
	}
	return strings.Join(parts, "; ")
}
