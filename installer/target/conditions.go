package target

import (
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/installer/disks"
)

// conditions refuses disks that the policy does not mean, with every reason.
func (c chooser) conditions(candidate *Candidate) {
	disk, policy := candidate.Disk, c.policy
	if policy.Path != "" && !hasPath(disk, policy.Path) {
		candidate.refuse("is not %s", policy.Path)
	}
	for _, condition := range []struct {
		name, glob, prefix string
		values             []string
	}{
		{"name in /dev/disk/by-id", policy.ByID, "/dev/disk/by-id/", disk.ByID},
		{"name in /dev/disk/by-path", policy.ByPath, "/dev/disk/by-path/", disk.ByPath},
		{"serial number", policy.Serial, "", []string{disk.Serial}},
		{"WWN", strings.ToLower(policy.WWN), "", wwnForms(disk.WWN)},
		{"model", policy.Model, "", []string{disk.Model, strings.Join(strings.Fields(disk.Model), "_")}},
	} {
		if condition.glob == "" {
			continue
		}
		glob := strings.TrimPrefix(condition.glob, condition.prefix)
		switch {
		case slices.ContainsFunc(condition.values, func(value string) bool { return matches(glob, value) }):
		case len(condition.values) == 0 || condition.values[0] == "":
			candidate.refuse("has no %s, and %q is wanted", condition.name, condition.glob)
		default:
			candidate.refuse("has the %s %q, and %q is wanted", condition.name, condition.values[0], condition.glob)
		}
	}
	if disk.Size > 0 && disk.Size < policy.MinSize {
		candidate.refuse("has %s, less than the %s that are wanted", exactly(disk.Size), exactly(policy.MinSize))
	}
	if policy.MaxSize > 0 && disk.Size > policy.MaxSize {
		candidate.refuse("has %s, more than the %s that are wanted", exactly(disk.Size), exactly(policy.MaxSize))
	}
	if policy.Rotational != nil && disk.Rotational != *policy.Rotational {
		kinds := map[bool]string{true: "turns, and one that does not is wanted", false: "does not turn, and one that does is wanted"}
		candidate.refuse("%s", kinds[disk.Rotational])
	}
	if policy.Transport != "" && !isTransport(disk.Transport, policy.Transport) {
		candidate.refuse("is connected by %s, and %s is wanted", transportName(disk), policy.Transport)
	}
	if !c.named() {
		switch {
		case disk.Transport == disks.USB:
			candidate.refuse("is connected by USB, and nothing in the policy names it: transport, by_id, by_path, serial, wwn or model do")
		case disk.Removable:
			candidate.refuse("is removable, and nothing in the policy names it: transport, by_id, by_path, serial, wwn or model do")
		}
	}
}

// named says whether the policy speaks of particular disks, and not of any that happens to be there.
func (c chooser) named() bool {
	p := c.policy
	return slices.ContainsFunc([]string{p.Path, p.ByID, p.ByPath, p.Serial, p.WWN, p.Model, p.Transport}, func(s string) bool { return s != "" })
}

// exact says whether the policy names one disk in a way that is the same whatever other disks there are. The kernel's names are not:
// they follow the order in which disks are found.
func (c chooser) exact() bool {
	p := c.policy
	return strings.HasPrefix(p.Path, "/dev/disk/") || slices.ContainsFunc([]string{p.ByID, p.ByPath, p.Serial, p.WWN}, func(glob string) bool {
		return glob != "" && !strings.ContainsAny(glob, `*?[\`)
	})
}

// hasPath says whether a path leads to the disk, by the kernel's name or by one that udev would give it.
func hasPath(disk disks.Disk, name string) bool {
	if id, ok := strings.CutPrefix(name, "/dev/disk/by-id/"); ok {
		return slices.Contains(disk.ByID, id)
	}
	if place, ok := strings.CutPrefix(name, "/dev/disk/by-path/"); ok {
		return slices.Contains(disk.ByPath, place)
	}
	return name == disk.Path
}

// matches applies a glob to a whole value. Slashes are ordinary characters of serial numbers and models, so they must not
// stop an asterisk, as they do in paths.
func matches(glob, value string) bool {
	if value == "" {
		return false
	}
	plain := strings.NewReplacer("/", "\x00")
	ok, err := path.Match(plain.Replace(glob), plain.Replace(value))
	return err == nil && ok
}

// wwnForms returns the ways people write a world wide name: as in /dev/disk/by-id, as in sysfs, and bare.
func wwnForms(wwn string) []string {
	wwn = strings.ToLower(wwn)
	if wwn == "" {
		return nil
	}
	if digits, ok := strings.CutPrefix(wwn, "0x"); ok {
		return []string{wwn, digits, "naa." + digits, "wwn-" + wwn}
	}
	_, digits, _ := strings.Cut(wwn, ".")
	return []string{wwn, digits}
}

// isTransport says whether a disk is connected as wanted. Serial ATA is a kind of ATA.
func isTransport(has, wanted string) bool {
	return has == wanted || wanted == disks.ATA && has == disks.SATA
}

func transportName(disk disks.Disk) string {
	if disk.Transport == "" {
		return "an unknown bus"
	}
	return disk.Transport
}
