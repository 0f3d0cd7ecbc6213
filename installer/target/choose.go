package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/signature"
)

// Options are what the policy is applied to, apart from the disks.
type Options struct {
	// Contents says what each disk holds, by [disks.Disk.Name]. A disk that is not in it is not taken.
	Contents map[string]Inspection
	// ImageSize is the length of the disk image in bytes.
	ImageSize int64
	// SectorSize is the logical sector the image's partition table is made for, in bytes; 0 means 512.
	SectorSize int
	// Layout reports why a disk's partitions are not where the image has them; nil when they are. It is asked only about
	// disks that hold something, and is required when the policy preserves anything.
	Layout func(disk disks.Disk, labels []string) error
	// FailedDrivers are drivers of disks, or of the buses they are on, that do not work on this machine. Only a policy that names
	// one disk for certain can be applied without the disks behind them.
	FailedDrivers []string
	// Skipped are block devices that are no disks; they are named below the table when no disk is found.
	Skipped []disks.Skipped
}

// Inspection is what [signature.Scan] said about a disk.
type Inspection struct {
	Contents signature.Contents
	// Err says that the disk could not be read.
	Err error
}

// Decision is the answer, and what will happen to the disk.
type Decision struct {
	// Disk is what is installed on.
	Disk disks.Disk `json:"disk"`
	// Contents is what it holds now.
	Contents signature.Contents `json:"contents"`
	// Preserve are the labels of the partitions that are kept; none when the disk has them not, and is empty or wiped.
	Preserve []string `json:"preserve,omitempty"`
	// Wiped are the signatures that will be gone, Kept those in preserved partitions.
	Wiped []signature.Found `json:"wiped"`
	Kept  []signature.Found `json:"kept"`
	// Candidates is every disk, and why it was not taken.
	Candidates []Candidate `json:"candidates"`
}

// Candidate is a disk and the answer for it.
type Candidate struct {
	Disk disks.Disk `json:"disk"`
	// Contents is what the disk holds, in a line.
	Contents string `json:"contents"`
	// Taken says that this is the disk. Otherwise there is at least one reason.
	Taken bool `json:"taken"`
	// Reasons say why the disk was not taken, each continuing "the disk …".
	Reasons []string `json:"reasons,omitempty"`

	// preserved says that the disk has the partitions to preserve.
	preserved bool
}

func (c *Candidate) refuse(format string, args ...any) {
	c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...))
}

// Choose takes a disk by the policy. medium is what the installer runs from: the path or name of a disk or of one of its
// partitions, or empty when it came over the network. The error is a [*NoDisk] when there is no unique answer.
func Choose(all []disks.Disk, medium string, policy config.Target, options Options) (Decision, error) {
	c := chooser{all, medium, policy, options}
	candidates := make([]Candidate, len(all))
	for i, disk := range all {
		candidates[i] = c.examine(disk)
	}
	var left []*Candidate
	for i := range candidates {
		if len(candidates[i].Reasons) == 0 {
			left = append(left, &candidates[i])
		}
	}
	taken, problem := c.narrow(left)
	if taken == nil {
		return Decision{}, &NoDisk{Problem: problem, Candidates: candidates, Skipped: options.Skipped}
	}
	taken.Taken = true
	d := Decision{
		Disk:       taken.Disk,
		Contents:   options.Contents[taken.Disk.Name].Contents,
		Wiped:      []signature.Found{},
		Kept:       []signature.Found{},
		Candidates: candidates,
	}
	if taken.preserved {
		d.Preserve = slices.Clone(policy.Preserve)
	}
	for _, found := range d.Contents.Found {
		if d.keeps(found.Partition) {
			d.Kept = append(d.Kept, found)
		} else {
			d.Wiped = append(d.Wiped, found)
		}
	}
	return d, nil
}

// keeps says whether a partition of the disk is preserved.
func (d Decision) keeps(partition int) bool {
	return slices.ContainsFunc(d.Contents.Partitions, func(p signature.Partition) bool {
		return p.Number == partition && slices.Contains(d.Preserve, p.Label)
	})
}

// Table shows every disk, and why it was not taken.
func (d Decision) Table() string { return table(d.Candidates) }

type chooser struct {
	all     []disks.Disk
	medium  string
	policy  config.Target
	options Options
}

// examine applies everything that can be said of a disk without looking at the others.
func (c chooser) examine(disk disks.Disk) Candidate {
	inspection, inspected := c.options.Contents[disk.Name]
	candidate := Candidate{Disk: disk, Contents: inspection.Contents.String()}
	if !inspected || inspection.Err != nil {
		candidate.Contents = "unreadable"
	}
	if c.isMedium(disk) {
		// Everything else that may be said of it only distracts.
		candidate.refuse("is the medium the installer runs from")
		return candidate
	}
	c.unfit(&candidate)
	c.conditions(&candidate)
	switch {
	case disk.Size == 0:
	case !inspected:
		candidate.refuse("was not looked at, so nobody knows what it holds")
	case inspection.Err != nil:
		candidate.refuse("cannot be read: %v", inspection.Err)
	case !inspection.Contents.Empty():
		c.occupied(&candidate, inspection.Contents)
	}
	return candidate
}

// isMedium says whether a disk is the medium, or another path to it.
func (c chooser) isMedium(disk disks.Disk) bool {
	if c.medium == "" {
		return false
	}
	is := func(d disks.Disk) bool { return leadsTo(c.medium, d.Name) || leadsTo(c.medium, d.Path) }
	return is(disk) || disk.WWN != "" && slices.ContainsFunc(c.all, func(other disks.Disk) bool {
		return other.WWN == disk.WWN && is(other)
	})
}

// leadsTo says whether a name is a disk's, or that of one of its partitions, whether or not the kernel lists it: sda1 of sda,
// nvme0n1p1 of nvme0n1.
func leadsTo(name, disk string) bool {
	number, ok := strings.CutPrefix(name, disk)
	if !ok || disk == "" || number == "" {
		return ok && disk != ""
	}
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		if number, ok = strings.CutPrefix(number, "p"); !ok {
			return false
		}
	}
	return number != "" && strings.Trim(number, "0123456789") == ""
}

// unfit refuses disks that no policy can make fit.
func (c chooser) unfit(candidate *Candidate) {
	disk := candidate.Disk
	switch {
	case disk.Size == 0:
		candidate.refuse("has no medium in it")
	case disk.Size < c.options.ImageSize:
		candidate.refuse("is too small: it has %s and the image needs %s", exactly(disk.Size), exactly(c.options.ImageSize))
	}
	if want := cmp.Or(c.options.SectorSize, 512); disk.LogicalSector != want {
		candidate.refuse("has sectors of %d bytes, and the image's partition table is made for %d: format it to that size (nvme format, sg_format), or take another", disk.LogicalSector, want)
	}
	if disk.ReadOnly {
		candidate.refuse("is read-only")
	}
	if disk.HostManagedZones {
		candidate.refuse("can only be written in zones, which no image can")
	}
	if len(disk.Holders) > 0 {
		candidate.refuse("is in use by %s", strings.Join(disk.Holders, ", "))
	}
}

// occupied decides about a disk that holds something.
func (c chooser) occupied(candidate *Candidate, contents signature.Contents) {
	var mismatch error
	if len(c.policy.Preserve) > 0 && c.options.Layout != nil {
		if mismatch = c.options.Layout(candidate.Disk, c.policy.Preserve); mismatch == nil {
			candidate.preserved = true
			return
		}
	}
	if c.policy.Wipe {
		return
	}
	candidate.refuse("holds %s: only wipe = true, or imagefactory.wipe on the kernel command line, allows to overwrite it", brief(contents))
	if mismatch != nil {
		candidate.refuse("does not have the partitions to preserve: %v", mismatch)
	}
}

// narrow takes one of the disks left. It notes why on those it does not take, and says what is wrong when it takes none.
func (c chooser) narrow(left []*Candidate) (taken *Candidate, problem string) {
	// A disk with the partitions to preserve is what the policy speaks of. Installing beside it would leave two systems
	// with the same labels.
	if slices.ContainsFunc(left, func(c *Candidate) bool { return c.preserved }) {
		left = slices.DeleteFunc(left, func(c *Candidate) bool {
			if !c.preserved {
				c.refuse("does not hold the partitions to preserve, and another disk does")
			}
			return !c.preserved
		})
	}
	failed := c.options.FailedDrivers
	switch {
	case len(failed) > 0 && !c.exact():
		for _, candidate := range left {
			candidate.refuse("fits, but a driver failed, and a disk behind it may be the one that is meant")
		}
		return nil, fmt.Sprintf("disks may be missing here, and the policy cannot decide without them: a driver failed, %s; name the disk by its whole serial number, WWN or name in /dev/disk/by-id or by-path, as in imagefactory.target=serial:NUMBER on the kernel command line, to install without the others",
			strings.Join(failed, ", "))
	case len(c.all) == 0:
		problem := "this machine has no disk that the installer can see; a driver for its controller may be missing"
		if len(failed) > 0 {
			problem += ", and this one failed: " + strings.Join(failed, ", ")
		}
		return nil, problem
	case len(left) == 0:
		return nil, "no disk of this machine may be installed on"
	}
	var order string
	switch c.policy.Match {
	case config.MatchSmallestEmpty:
		order = "smallest"
		left = extreme(left, -1)
	case config.MatchLargestEmpty:
		order = "largest"
		left = extreme(left, +1)
	}
	if len(left) == 1 {
		return left[0], ""
	}
	var names []string
	for _, candidate := range left {
		names = append(names, candidate.Disk.Name)
		candidate.refuse("fits, and so do others: name one by its serial number, WWN or path")
	}
	list := strings.Join(names, ", ")
	if order != "" {
		return nil, fmt.Sprintf("%d disks are equally the %s: %s have %s each", len(left), order, list, exactly(left[0].Disk.Size))
	}
	return nil, fmt.Sprintf("%d disks fit, and the policy does not say which: %s", len(left), list)
}

// extreme returns the smallest or the largest disks, all of one size, and refuses the others.
func extreme(left []*Candidate, sign int) []*Candidate {
	best := slices.MaxFunc(left, func(a, b *Candidate) int { return sign * cmp.Compare(a.Disk.Size, b.Disk.Size) })
	return slices.DeleteFunc(left, func(c *Candidate) bool {
		if c.Disk.Size == best.Disk.Size {
			return false
		}
		word := "larger"
		if sign > 0 {
			word = "smaller"
		}
		c.refuse("is %s than %s", word, best.Disk.Name)
		return true
	})
}
