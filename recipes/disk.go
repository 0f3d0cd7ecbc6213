package recipes

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

const (
	mib = 1 << 20

	// Partitions start and end at multiples of this.
	partitionAlignment = 1 * mib
	// Space the partition tables take: the first MiB, and the last one.
	tableSpace = 2 * mib
	// maxPartitions is the number of entries of a GPT.
	maxPartitions = 128

	defaultBIOSSize = 1 * mib
	defaultESPSize  = 100 * mib
	// Signed shim, MokManager and GRUB take about 7 MiB, and FAT16 is sound from 16 MiB on.
	minESPSize = 16 * mib
	minFATSize = 2 * mib
	// Below this there is no room for ext4's journal (mke2fs(8): at least 1024 blocks of 4 KiB, and then some).
	minExt4Size = 8 * mib
)

// FAT volume labels (fatlabel(8)) and ext4 volume names (superblock field of 16 bytes).
const (
	maxFATLabel  = 11
	maxExt4Label = 16
	maxGPTLabel  = 36 // UTF-16 units
)

var labelPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

var guidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// preset returns the partitions a layout starts from. An unknown one was reported and counts as the usual one.
func preset(layout string, boot Boot) []Partition {
	if layout == "" {
		return nil
	}
	var out []Partition
	if boot.Has("bios") {
		out = append(out, Partition{Label: "BIOS", Role: RoleBIOS, Size: defaultBIOSSize})
	}
	if boot.Has("uefi") {
		out = append(out, Partition{Label: "ESP", Role: RoleESP, Size: defaultESPSize, Filesystem: "vfat"})
	}
	return append(out, Partition{Label: "ROOT", Role: RoleRoot, Rest: true, Filesystem: "ext4", Mount: "/"})
}

func (l *loader) disk(b *decode.Body, boot Boot) Disk {
	blk := b.Single("disk")
	if blk == nil {
		l.errorf(b.Header(), "Missing disk", "The recipe does not describe the disk. Write: disk { layout = \"single\"  size = \"2GiB\" }")
		return Disk{}
	}
	s := decode.New("the disk block", &l.diags, blk.Parts...)
	var d Disk
	if t := s.Text("layout"); t.Range.Filename != "" {
		d.Layout = t.Value
		switch t.Value {
		case "single":
		case "ab":
			l.errorf(t.Range, "Not supported by this version", "The layout \"ab\" is not supported by this version of imagefactory. Supported: \"single\", or no layout and partition blocks.")
		default:
			l.errorf(t.Range, "Unknown layout", "There is no layout %q. Supported: \"single\", or no layout and partition blocks.", t.Value)
		}
	}
	d.Size = l.size(s, "size")
	d.Partitions = l.partitions(s, blk.Range, preset(d.Layout, boot))
	l.checkPartitions(s, &d, boot)
	l.setGrow(s, &d)
	s.Close()
	return d
}

// size reads a size of something on the disk in bytes, 0 when it is not written.
func (l *loader) size(s *decode.Body, name string) int64 {
	n := l.bytes(s, name)
	if n%partitionAlignment != 0 {
		l.errorf(s.Range(name), "Invalid size", "Sizes on a disk are multiples of 1MiB, so that partitions are aligned. Write: %s = %q", name, FormatSize(alignUp(n)))
	}
	return n
}

// bytes reads any size in bytes, 0 when it is not written.
func (l *loader) bytes(s *decode.Body, name string) int64 {
	v, at, ok := s.Value(name)
	if !ok {
		return 0
	}
	if v.Type() != cty.String {
		l.errorf(at, "Invalid size", "A size is a string with an IEC unit. Write for example: %s = \"512MiB\"", name)
		return 0
	}
	n, err := ParseSize(v.AsString())
	if err != nil {
		l.errorf(at, "Invalid size", "%s.", capital(err.Error()))
		return 0
	}
	if n == 0 {
		l.errorf(at, "Invalid size", "The size cannot be zero.")
	}
	return n
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func alignUp(n int64) int64 {
	return (n + partitionAlignment - 1) / partitionAlignment * partitionAlignment
}

// partitions reads the partition blocks over the preset: a block with the label of a preset partition changes what it
// says and keeps the rest. Others follow in order of definition, before the one that takes the rest.
func (l *loader) partitions(s *decode.Body, at hcl.Range, preset []Partition) []Partition {
	out := preset
	for i := range out {
		out[i].Range = at
	}
	for _, blk := range s.Labelled("partition", "label", false) {
		i := slices.IndexFunc(out, func(p Partition) bool { return p.Label == blk.Label() })
		if i < 0 {
			i = len(out)
			out = append(out, Partition{Label: blk.Label()})
		}
		out[i] = l.partition(out[i], blk)
	}
	if len(preset) > 0 {
		slices.SortStableFunc(out, func(a, b Partition) int {
			switch {
			case a.Rest == b.Rest:
				return 0
			case a.Rest:
				return 1
			}
			return -1
		})
	}
	for i := range out {
		p := &out[i]
		if p.Mount != "" && p.MountOptions == "" {
			p.MountOptions = "defaults"
		}
	}
	return out
}

// File systems and mount points of roles, where a partition block says nothing.
var roleDefaults = map[string]Partition{
	RoleESP:  {Filesystem: "vfat"},
	RoleBIOS: {},
	RoleRoot: {Filesystem: "ext4", Mount: "/"},
	RoleBoot: {Filesystem: "ext4", Mount: "/boot"},
	RoleData: {Filesystem: "ext4"},
}

// partition reads one block over the values p has from the preset.
func (l *loader) partition(p Partition, blk *decode.Block) Partition {
	s := decode.New(fmt.Sprintf("partition %q", blk.Label()), &l.diags, blk.Parts...)
	fromPreset := p.Role != ""
	p.Range = blk.Range
	if t := s.Text("role"); t.Range.Filename != "" {
		switch {
		case t.Value == "swap" || t.Value == "persist":
			l.errorf(t.Range, "Not supported by this version", "Partitions of role %q are not supported by this version of imagefactory. Supported: %s.", t.Value, decode.List(Roles))
		case !slices.Contains(Roles, t.Value):
			l.errorf(t.Range, "Unknown role", "There is no role %q. %s", t.Value, decode.DidYouMean(t.Value, Roles))
		case fromPreset && t.Value != p.Role:
			l.errorf(t.Range, "Role of a preset", "Partition %q has the role %q in this layout. Use another label for a partition of role %q.", p.Label, p.Role, t.Value)
		}
		p.Role = t.Value
	} else if !fromPreset && !s.Has("role") {
		l.errorf(blk.Range, "Missing role", "Partition %q has no role. Write one of %s, for example: role = \"data\"", p.Label, decode.Or(Roles))
	}
	if !fromPreset {
		p.Filesystem, p.Mount = roleDefaults[p.Role].Filesystem, roleDefaults[p.Role].Mount
	}
	l.partitionSize(s, &p, fromPreset)
	l.filesystem(s, &p)
	if t := s.Text("mount"); t.Range.Filename != "" {
		p.Mount = t.Value
		l.checkMount(t, p)
	}
	if t := s.Text("mount_options"); t.Range.Filename != "" {
		p.MountOptions = t.Value
		switch {
		case p.Mount == "":
			l.errorf(t.Range, "Options without mount", "Partition %q is not mounted. Write mount = \"/…\" too, or remove mount_options.", p.Label)
		case t.Value == "" || strings.ContainsAny(t.Value, " \t\n"):
			l.errorf(t.Range, "Invalid mount options", "Options are separated by commas, without spaces. Write for example: mount_options = \"noatime,nodev\"")
		}
	}
	if t := s.Text("type"); t.Range.Filename != "" {
		p.TypeGUID = strings.ToLower(t.Value)
		if !guidPattern.MatchString(t.Value) {
			l.errorf(t.Range, "Invalid partition type", "%q is not a GUID, which looks like \"0fc63daf-8483-4772-8e79-3d69d8477de4\". Without type the partition has that of its role.", t.Value)
		}
	}
	l.checkLabel(p)
	s.Close()
	return p
}

func (l *loader) partitionSize(s *decode.Body, p *Partition, fromPreset bool) {
	v, at, ok := s.Value("size")
	switch {
	case ok && v.Type() == cty.String && v.AsString() == "rest":
		p.Rest, p.Size = true, 0
		if p.Role == RoleBIOS {
			l.errorf(at, "Invalid size", "A BIOS boot partition holds nothing but GRUB. Write: size = \"1MiB\"")
		}
	case ok:
		p.Rest, p.Size = false, l.size(s, "size")
		l.checkMinimum(*p, at)
	case !s.Has("size") && !fromPreset:
		l.errorf(p.Range, "Missing size", "Partition %q has no size. Write for example size = \"1GiB\", or size = \"rest\" for what is left of the disk.", p.Label)
	}
}

func (l *loader) checkMinimum(p Partition, at hcl.Range) {
	least := int64(0)
	switch {
	case p.Role == RoleESP:
		least = minESPSize
	case p.Filesystem == "vfat":
		least = minFATSize
	case p.Filesystem == "ext4":
		least = minExt4Size
	}
	if p.Size > 0 && p.Size < least {
		l.errorf(at, "Partition too small", "Partition %q needs at least %s.", p.Label, FormatSize(least))
	}
}

func (l *loader) filesystem(s *decode.Body, p *Partition) {
	t := s.Text("filesystem")
	if t.Range.Filename == "" {
		return
	}
	switch {
	case t.Value == "xfs" || t.Value == "btrfs" || t.Value == "squashfs":
		l.errorf(t.Range, "Not supported by this version", "The file system %q is not supported by this version of imagefactory. Supported: %s.", t.Value, decode.List(Filesystems))
	case !slices.Contains(Filesystems, t.Value):
		hint := decode.DidYouMean(t.Value, Filesystems)
		if strings.HasPrefix(t.Value, "fat") || t.Value == "msdos" {
			hint = `Did you mean "vfat"?`
		}
		l.errorf(t.Range, "Unknown file system", "There is no file system %q. %s", t.Value, hint)
	case p.Role == RoleESP && t.Value != "vfat":
		l.errorf(t.Range, "ESP without FAT", "Firmware reads nothing but FAT from an EFI system partition. Write: filesystem = \"vfat\"")
	case p.Role == RoleBIOS:
		l.errorf(t.Range, "File system on a BIOS boot partition", "A BIOS boot partition holds GRUB itself, not a file system. Remove this attribute.")
	case (p.Role == RoleRoot || p.Role == RoleBoot) && t.Value == "vfat":
		l.errorf(t.Range, "FAT cannot hold this", "FAT has no owners, modes and links. Write: filesystem = \"ext4\"")
	}
	p.Filesystem = t.Value
}

func (l *loader) checkMount(t decode.Text, p Partition) {
	switch {
	case !l.imagePath(t.Value, t.Range, "A mount point"):
	case strings.ContainsAny(t.Value, " \t\n\\#"):
		l.errorf(t.Range, "Invalid mount point", "A mount point cannot have spaces, \"\\\" or \"#\" in it.")
	case p.Role == RoleRoot && t.Value != "/":
		l.errorf(t.Range, "Root mounted elsewhere", "The root is mounted at \"/\". Use role = \"data\" for a partition at %q.", t.Value)
	case p.Role != RoleRoot && t.Value == "/":
		l.errorf(t.Range, "Not a root", "Only a partition of role \"root\" can be mounted at \"/\".")
	case p.Filesystem == "":
		l.errorf(t.Range, "Nothing to mount", "Partition %q has no file system.", p.Label)
	case slices.Contains(volatile, t.Value) && t.Value != "/tmp":
		l.errorf(t.Range, "Invalid mount point", "%q belongs to the running system.", t.Value)
	}
}

func (l *loader) checkLabel(p Partition) {
	longest := maxGPTLabel
	switch p.Filesystem {
	case "vfat":
		longest = maxFATLabel
	case "ext4":
		longest = maxExt4Label
	}
	switch {
	case !labelPattern.MatchString(p.Label):
		l.errorf(p.Range, "Invalid label", "%q cannot be a partition's label. Use letters, digits, \".\", \"_\" and \"-\", starting with a letter or digit.", p.Label)
	case len(p.Label) > longest:
		l.errorf(p.Range, "Label too long", "The label %q has %d characters; with this file system it can have %d.", p.Label, len(p.Label), longest)
	}
}

// checkPartitions looks at all partitions together.
func (l *loader) checkPartitions(s *decode.Body, d *Disk, boot Boot) {
	if len(d.Partitions) == 0 {
		l.errorf(s.Header(), "Missing partitions", "The disk has no partitions. Write layout = \"single\", or partition blocks.")
		return
	}
	if len(d.Partitions) > maxPartitions {
		l.errorf(s.Header(), "Too many partitions", "A partition table has %d entries, the recipe has %d partitions.", maxPartitions, len(d.Partitions))
	}
	used := int64(tableSpace)
	var rest *Partition
	first := map[string]Partition{} // by role, and by "mount "+mount point
	for i := range d.Partitions {
		p := &d.Partitions[i]
		used += alignUp(p.Size)
		if p.Rest && rest != nil {
			l.errorf(p.Range, "Two partitions take the rest", "Partitions %q and %q both have size = \"rest\". Give one of them a size.", rest.Label, p.Label)
		} else if p.Rest {
			rest = p
			if last := d.Partitions[len(d.Partitions)-1]; i != len(d.Partitions)-1 && !last.Rest {
				l.errorf(p.Range, "Rest is not last", "Partition %q takes the rest of the disk, so it must be the last, to grow with the disk. Move it behind %q.", p.Label, last.Label)
			}
		}
		if other, taken := first[p.Role]; taken && p.Role != RoleData && p.Role != "" {
			l.errorf(p.Range, "Duplicate role", "Partitions %q and %q both have the role %q, which only one can have.", other.Label, p.Label, p.Role)
		} else {
			first[p.Role] = *p
		}
		if other, taken := first["mount "+p.Mount]; taken && p.Mount != "" && p.Mount != "/" {
			l.errorf(p.Range, "Duplicate mount point", "Partitions %q and %q would both be mounted at %s.", other.Label, p.Label, p.Mount)
		}
		first["mount "+p.Mount] = *p
	}
	l.checkFits(s, d, used, rest)
	if _, ok := first[RoleRoot]; !ok {
		l.errorf(s.Header(), "Missing root", "No partition has the role \"root\". Write: partition \"ROOT\" { role = \"root\"  size = \"rest\" }")
	}
	if _, ok := first[RoleESP]; !ok && boot.Has("uefi") {
		l.errorf(s.Header(), "Missing EFI system partition", "UEFI starts from an EFI system partition. Write: partition \"ESP\" { role = \"esp\"  size = \"100MiB\" }, or leave \"uefi\" out of boot's firmware.")
	}
	if _, ok := first[RoleBIOS]; !ok && boot.Has("bios") {
		l.errorf(s.Header(), "Missing BIOS boot partition", "A BIOS needs a partition for GRUB. Write: partition \"BIOS\" { role = \"bios\"  size = \"1MiB\" }, or leave \"bios\" out of boot's firmware.")
	}
}

func (l *loader) checkFits(s *decode.Body, d *Disk, used int64, rest *Partition) {
	switch {
	case d.Size == 0 && rest != nil && !s.Has("size"):
		l.errorf(s.Header(), "Missing size", "Partition %q takes the rest of the disk, but the disk has no size. Write for example: size = \"2GiB\"", rest.Label)
	case d.Size == 0:
	case rest == nil && used > d.Size:
		l.errorf(s.Range("size"), "Partitions do not fit", "The partitions and the partition tables need %s, the disk has %s. Write at least: size = %q", FormatSize(used), FormatSize(d.Size), FormatSize(used))
	case rest != nil && used+minExt4Size > d.Size:
		l.errorf(s.Range("size"), "Partitions do not fit", "The other partitions and the partition tables need %s, so of %s nothing useful is left for %q. Write a larger size.", FormatSize(used), FormatSize(d.Size), rest.Label)
	}
}

// setGrow decides whether the root grows on first boot: only the last partition can.
func (l *loader) setGrow(s *decode.Body, d *Disk) {
	last := len(d.Partitions) > 0 && d.Partitions[len(d.Partitions)-1].Role == RoleRoot
	d.Grow = s.Bool("grow", last)
	if d.Grow && !last && len(d.Partitions) > 0 {
		l.errorf(s.Range("grow"), "Root cannot grow", "Only the last partition can grow, and that is %q. Move the root to the end, or write: grow = false", d.Partitions[len(d.Partitions)-1].Label)
	}
}

// Root is the partition of the root file system.
func (d Disk) Root() Partition {
	for _, p := range d.Partitions {
		if p.Role == RoleRoot {
			return p
		}
	}
	return Partition{}
}

// MountOrder returns the partitions which are mounted, parents before what is mounted below them.
func (d Disk) MountOrder() []Partition {
	var out []Partition
	for _, p := range d.Partitions {
		if p.Mount != "" {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b Partition) int {
		return strings.Compare(path.Clean(a.Mount), path.Clean(b.Mount))
	})
	return out
}
