package ext4

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Feature bits of the superblock (s_feature_compat, s_feature_incompat and
// s_feature_ro_compat; Documentation/filesystems/ext4, "Super Block").
const (
	compatHasJournal  = 0x4
	compatExtAttr     = 0x8
	compatResizeInode = 0x10
	compatDirIndex    = 0x20

	incompatFiletype = 0x2
	incompatRecover  = 0x4
	incompatMetaBG   = 0x10
	incompatExtent   = 0x40
	incompat64Bit    = 0x80
	incompatMMP      = 0x100
	incompatFlexBG   = 0x200
	incompatCsumSeed = 0x2000
	incompatLargeDir = 0x4000

	roSparseSuper  = 0x1
	roLargeFile    = 0x2
	roHugeFile     = 0x8
	roGroupCsum    = 0x10
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roBigalloc     = 0x200
	roMetadataCsum = 0x400

	// incompatReadable are the incompatible features that Open takes. It ignores the
	// journal to be replayed (recover) and the marks of multiple mounts (mmp).
	incompatReadable = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtent | incompat64Bit |
		incompatMMP | incompatFlexBG | incompatCsumSeed | incompatLargeDir
)

// featureClass is the superblock field that a feature's bit lies in.
type featureClass uint8

const (
	compat featureClass = iota
	incompat
	roCompat
)

// feature is one feature by its mke2fs name.
type feature struct {
	name     string
	class    featureClass
	bit      uint32
	writable bool // Write knows it
	required bool // Write cannot do without it
}

// knownFeatures lists every feature mke2fs(8) and ext4(5) name.
var knownFeatures = []feature{
	{name: "dir_prealloc", class: compat, bit: 0x1},
	{name: "imagic_inodes", class: compat, bit: 0x2},
	{name: "has_journal", class: compat, bit: compatHasJournal, writable: true},
	{name: "ext_attr", class: compat, bit: compatExtAttr, writable: true, required: true},
	{name: "resize_inode", class: compat, bit: compatResizeInode, writable: true},
	{name: "dir_index", class: compat, bit: compatDirIndex, writable: true},
	{name: "sparse_super2", class: compat, bit: 0x200},
	{name: "fast_commit", class: compat, bit: 0x400},
	{name: "stable_inodes", class: compat, bit: 0x800},
	{name: "orphan_file", class: compat, bit: 0x1000},
	{name: "compression", class: incompat, bit: 0x1},
	{name: "filetype", class: incompat, bit: incompatFiletype, writable: true, required: true},
	{name: "needs_recovery", class: incompat, bit: incompatRecover},
	{name: "journal_dev", class: incompat, bit: 0x8},
	{name: "meta_bg", class: incompat, bit: incompatMetaBG},
	{name: "extent", class: incompat, bit: incompatExtent, writable: true, required: true},
	{name: "64bit", class: incompat, bit: incompat64Bit, writable: true},
	{name: "mmp", class: incompat, bit: incompatMMP},
	{name: "flex_bg", class: incompat, bit: incompatFlexBG, writable: true},
	{name: "ea_inode", class: incompat, bit: 0x400},
	{name: "dirdata", class: incompat, bit: 0x1000},
	{name: "metadata_csum_seed", class: incompat, bit: incompatCsumSeed, writable: true},
	{name: "large_dir", class: incompat, bit: incompatLargeDir},
	{name: "inline_data", class: incompat, bit: 0x8000},
	{name: "encrypt", class: incompat, bit: 0x10000},
	{name: "casefold", class: incompat, bit: 0x20000},
	{name: "sparse_super", class: roCompat, bit: roSparseSuper, writable: true},
	{name: "large_file", class: roCompat, bit: roLargeFile, writable: true, required: true},
	{name: "huge_file", class: roCompat, bit: roHugeFile, writable: true},
	{name: "uninit_bg", class: roCompat, bit: roGroupCsum, writable: true},
	{name: "dir_nlink", class: roCompat, bit: roDirNlink, writable: true},
	{name: "extra_isize", class: roCompat, bit: roExtraIsize, writable: true},
	{name: "quota", class: roCompat, bit: 0x100},
	{name: "bigalloc", class: roCompat, bit: roBigalloc},
	{name: "metadata_csum", class: roCompat, bit: roMetadataCsum, writable: true},
	{name: "read-only", class: roCompat, bit: 0x1000},
	{name: "project", class: roCompat, bit: 0x2000},
	{name: "shared_blocks", class: roCompat, bit: 0x4000},
	{name: "verity", class: roCompat, bit: 0x8000},
	{name: "orphan_present", class: roCompat, bit: 0x10000},
}

// DefaultFeatures returns the features of a file system whose Options name none:
// those of mke2fs 1.47, which every kernel since 3.18 and GRUB 2.02 reads.
func DefaultFeatures() []string {
	return []string{"has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "extent", "64bit", "flex_bg",
		"sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum"}
}

// CheckFeatures says what is wrong with a list of features for Options, or nothing.
func CheckFeatures(names []string) error {
	_, err := parseFeatures(names)
	return err
}

// featureSet holds the three feature fields of a superblock.
type featureSet struct {
	compat, incompat, roCompat uint32
}

func (s *featureSet) field(c featureClass) *uint32 {
	switch c {
	case compat:
		return &s.compat
	case incompat:
		return &s.incompat
	default:
		return &s.roCompat
	}
}

func (s featureSet) has(c featureClass, bit uint32) bool { return *s.field(c)&bit != 0 }

// groupChecksums reports whether group descriptors have checksums, the condition
// for leaving bitmaps and inode tables uninitialized.
func (s featureSet) groupChecksums() bool { return s.roCompat&(roGroupCsum|roMetadataCsum) != 0 }

func (s featureSet) metadataChecksums() bool { return s.has(roCompat, roMetadataCsum) }

// names returns the names of the features in s; a bit without a name is called
// by its field and value.
func (s featureSet) names() []string {
	var names []string
	for _, f := range knownFeatures {
		if field := s.field(f.class); *field&f.bit != 0 {
			names = append(names, f.name)
			*field &^= f.bit
		}
	}
	for c, field := range []string{compat: "compat", incompat: "incompat", roCompat: "ro_compat"} {
		if bits := *s.field(featureClass(c)); bits != 0 {
			names = append(names, fmt.Sprintf("%s %#x", field, bits))
		}
	}
	return names
}

// parseFeatures turns mke2fs names into a set that Write can make.
func parseFeatures(names []string) (featureSet, error) {
	var set featureSet
	for _, name := range names {
		if strings.HasPrefix(name, "^") || name == "none" {
			return set, fmt.Errorf("ext4 feature %q: the list is the complete set of features; leave out what is not wanted instead of negating it", name)
		}
		i := slices.IndexFunc(knownFeatures, func(f feature) bool { return f.name == name })
		if i < 0 {
			return set, fmt.Errorf("ext4 feature %q is unknown; see ext4(5) for the names", name)
		}
		f := knownFeatures[i]
		if !f.writable {
			return set, fmt.Errorf("ext4 feature %q is not supported; supported are %s", name, strings.Join(writableFeatures(), ", "))
		}
		*set.field(f.class) |= f.bit
	}
	return set, set.check()
}

func writableFeatures() []string {
	var names []string
	for _, f := range knownFeatures {
		if f.writable {
			names = append(names, f.name)
		}
	}
	return names
}

// check refuses sets that are inconsistent or lack what Write needs.
func (s featureSet) check() error {
	for _, f := range knownFeatures {
		if f.required && !s.has(f.class, f.bit) {
			return fmt.Errorf("ext4 feature %q is missing: no file system is written without it", f.name)
		}
	}
	switch {
	case s.has(compat, compatResizeInode) && !s.has(roCompat, roSparseSuper):
		return errors.New("ext4 feature \"resize_inode\" needs \"sparse_super\"")
	case s.has(roCompat, roMetadataCsum) && s.has(roCompat, roGroupCsum):
		return errors.New("ext4 features \"metadata_csum\" and \"uninit_bg\" exclude each other; metadata_csum covers what uninit_bg does")
	case s.has(incompat, incompatCsumSeed) && !s.has(roCompat, roMetadataCsum):
		return errors.New("ext4 feature \"metadata_csum_seed\" needs \"metadata_csum\"")
	}
	return nil
}
