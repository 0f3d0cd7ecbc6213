package report

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Diff returns what differs between a and b, the older and the newer system. It fails only where the contents of a file of
// accounts cannot be read.
func Diff(a, b Snapshot) (*Difference, error) {
	d := &Difference{
		Schema: DifferenceSchema, A: a.side(), B: b.side(), Notes: []string{},
		Packages: []PackageChange{}, Kernels: []KernelChange{}, Privileges: []PrivilegeChange{}, Services: []ServiceChange{},
		Accounts: []AccountChange{}, Files: []FileChange{}, Outputs: []OutputChange{},
	}
	for _, s := range []Snapshot{a, b} {
		for _, note := range s.Notes {
			d.Notes = append(d.Notes, s.Name+": "+note)
		}
	}
	var users [2]accounts
	for i, s := range []Snapshot{a, b} {
		var err error
		if users[i], err = readAccounts(s.Store, s.Tree); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	if d.both("Packages", a, b, func(s Snapshot) bool { return s.Packages != nil }) {
		d.Packages = diffPackages(a, b)
	}
	if d.both("Kernels", a, b, func(s Snapshot) bool { return s.Kernels != nil }) {
		for _, k := range sortedKeys(set(a.Kernels), set(b.Kernels)) {
			if inA, inB := slices.Contains(a.Kernels, k), slices.Contains(b.Kernels, k); inA != inB {
				d.Kernels = append(d.Kernels, KernelChange{Release: k, Change: presence(inA, inB)})
			}
		}
	}
	if d.both("Services", a, b, func(s Snapshot) bool { return s.Services != nil }) {
		d.Services = diffServices(a.Services, b.Services)
	}
	if d.both("Files", a, b, func(s Snapshot) bool { return s.Tree != nil }) {
		if users[0].known && users[1].known {
			d.Accounts = diffAccounts(users[0], users[1])
		} else {
			d.Notes = append(d.Notes, "Users and groups are not compared: the contents of /etc/passwd are not known of both.")
		}
		d.diffFiles(a, b, users)
	}
	if a.Outputs != nil && b.Outputs != nil {
		d.Outputs = diffOutputs(a.Outputs, b.Outputs)
	}
	d.Equal = len(d.Packages)+len(d.Kernels)+len(d.Services)+len(d.Accounts)+len(d.Files)+len(d.Outputs) == 0
	return d, nil
}

// both reports whether both systems know something, and notes it when not.
func (d *Difference) both(what string, a, b Snapshot, known func(Snapshot) bool) bool {
	switch {
	case known(a) && known(b):
		return true
	case known(a):
		d.Notes = append(d.Notes, fmt.Sprintf("%s are not compared: %s does not tell them.", what, b.Name))
	case known(b):
		d.Notes = append(d.Notes, fmt.Sprintf("%s are not compared: %s does not tell them.", what, a.Name))
	default:
		d.Notes = append(d.Notes, what+" are not compared: neither tells them.")
	}
	return false
}

func (s Snapshot) side() Side {
	side := Side{Name: s.Name, Version: s.Version, Arch: s.Arch, Kernels: s.Kernels}
	if s.Packages != nil {
		n := len(s.Packages)
		side.Packages = &n
	}
	if s.Services != nil {
		n := len(s.Services)
		side.Services = &n
	}
	if s.Tree != nil {
		files, bytes := 0, s.Tree.Bytes()
		for _, e := range s.Tree.Entries() {
			if e.Type != tree.Directory {
				files++
			}
		}
		side.Files, side.Bytes = &files, &bytes
	}
	return side
}

// presence says what became of something that is in one of the systems at least.
func presence(before, after bool) Change {
	switch {
	case !before:
		return Added
	case !after:
		return Removed
	}
	return Changed
}

// sortedKeys returns the keys of two maps, sorted.
func sortedKeys[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func set(names []string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// diffPackages compares packages by name. Of a name with several packages in one of the systems, such as kernels beside one
// another or libraries of two architectures, those with the same architecture and version are the same; what is left is
// paired by architecture, and what is then left was added or removed.
func diffPackages(a, b Snapshot) []PackageChange {
	before, after := byName(a.Packages), byName(b.Packages)
	changes := []PackageChange{}
	family := cmp.Or(b.Family, a.Family)
	for _, name := range sortedKeys(before, after) {
		old, now := slices.Clone(before[name]), slices.Clone(after[name])
		pair := func(match func(p, q Package) bool) {
			old = slices.DeleteFunc(old, func(p Package) bool {
				i := slices.IndexFunc(now, func(q Package) bool { return match(p, q) })
				if i < 0 {
					return false
				}
				q := now[i]
				now = slices.Delete(now, i, i+1)
				if change := compare(p, q, family); change != "" {
					changes = append(changes, PackageChange{Name: name, Change: change, Before: p.state(), After: q.state()})
				}
				return true
			})
		}
		pair(func(p, q Package) bool { return p.Arch == q.Arch && p.Version == q.Version })
		// With several versions side by side one is not the successor of another.
		if len(before[name]) <= 1 && len(after[name]) <= 1 {
			pair(func(p, q Package) bool { return true })
		} else {
			pair(func(p, q Package) bool {
				same := func(x Package) bool { return x.Arch == p.Arch }
				return p.Arch == q.Arch && count(before[name], same) == 1 && count(after[name], same) == 1
			})
		}
		for _, p := range old {
			changes = append(changes, PackageChange{Name: name, Change: Removed, Before: p.state()})
		}
		for _, q := range now {
			changes = append(changes, PackageChange{Name: name, Change: Added, After: q.state()})
		}
	}
	return changes
}

func byName(packages []Package) map[string][]Package {
	m := map[string][]Package{}
	for _, p := range packages {
		m[p.Name] = append(m[p.Name], p)
	}
	for _, list := range m {
		slices.SortFunc(list, func(a, b Package) int { return cmp.Or(cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version)) })
	}
	return m
}

func count(list []Package, is func(Package) bool) int {
	n := 0
	for _, p := range list {
		if is(p) {
			n++
		}
	}
	return n
}

// compare says what became of a package, or nothing.
func compare(a, b Package, family string) Change {
	if a.Version == b.Version {
		switch {
		case a.Arch != b.Arch:
			return Changed
		case a.SHA256 != b.SHA256 && a.SHA256 != "" && b.SHA256 != "":
			return Rebuilt
		}
		return ""
	}
	order := 0
	switch family {
	case "deb":
		order = deb.CompareVersions(a.Version, b.Version)
	case "rpm":
		p, errA := rpm.ParseEVR(a.Version)
		q, errB := rpm.ParseEVR(b.Version)
		if errA == nil && errB == nil {
			order = rpm.CompareEVR(p, q)
		}
	}
	switch {
	case order < 0:
		return Upgraded
	case order > 0:
		return Downgraded
	}
	return Changed // equal by the family's rules, or no family
}

func (p Package) state() *PackageState {
	return &PackageState{Version: p.Version, Arch: p.Arch, Size: p.Size}
}

func diffServices(a, b []Service) []ServiceChange {
	states := func(list []Service) map[string]string {
		m := map[string]string{}
		for _, s := range list {
			m[s.Name] = s.State
		}
		return m
	}
	before, after := states(a), states(b)
	changes := []ServiceChange{}
	for _, name := range sortedKeys(before, after) {
		old, inA := before[name]
		now, inB := after[name]
		if inA != inB || old != now {
			changes = append(changes, ServiceChange{Name: name, Change: presence(inA, inB), Before: old, After: now})
		}
	}
	return changes
}

func diffOutputs(a, b []Output) []OutputChange {
	group := func(list []Output) map[string]*Output {
		m := map[string]*Output{}
		n := map[string]int{}
		for _, o := range slices.SortedFunc(slices.Values(list), func(a, b Output) int { return cmp.Compare(a.File, b.File) }) {
			n[o.Format]++
			key := o.Format
			if n[o.Format] > 1 {
				key = fmt.Sprintf("%s %d", o.Format, n[o.Format])
			}
			m[key] = &o
		}
		return m
	}
	before, after := group(a), group(b)
	changes := []OutputChange{}
	for _, key := range sortedKeys(before, after) {
		old, now := before[key], after[key]
		if old != nil && now != nil && old.Size == now.Size && old.VirtualSize == now.VirtualSize {
			continue
		}
		changes = append(changes, OutputChange{Format: key, Change: presence(old != nil, now != nil), Before: old, After: now})
	}
	return changes
}

// diffFiles compares the trees.
func (d *Difference) diffFiles(a, b Snapshot, users [2]accounts) {
	packages := map[string]int{} // index in d.Packages of those that differ, by name
	for i, c := range d.Packages {
		packages[c.Name] = i
	}
	owners := [2]map[string]string{owners(a.Packages), owners(b.Packages)}
	links := [2]map[string]string{linkedTo(a.Tree, b.Tree), linkedTo(b.Tree, a.Tree)}
	state := func(side int, e *tree.Entry) *FileState {
		if e == nil {
			return nil
		}
		return newFileState(e, users[side], links[side][e.Path])
	}
	changes := tree.Diff(a.Tree, b.Tree)
	// Files that were linked otherwise need not have become different entries, as groups are but numbered.
	listed := map[string]bool{}
	for _, c := range changes {
		listed[c.Path] = true
	}
	for _, p := range sortedKeys(links[0], links[1]) {
		if before, ok := a.Tree.Lookup(p); ok && !listed[p] && links[0][p] != links[1][p] {
			after, _ := b.Tree.Lookup(p)
			changes = append(changes, tree.Change{Path: p, Before: &before, After: &after})
		}
	}
	slices.SortFunc(changes, func(a, b tree.Change) int { return tree.Compare(a.Path, b.Path) })
	for _, c := range changes {
		f := FileChange{Path: absolute(c.Path), Change: presence(c.Before != nil, c.After != nil), Before: state(0, c.Before), After: state(1, c.After)}
		if f.Change == Changed {
			if f.Attributes = f.Before.differences(f.After); len(f.Attributes) == 0 {
				continue // its time, or the number of its links
			}
		}
		f.Package = owners[1][f.Path]
		if f.Package == "" || f.Change == Removed && owners[0][f.Path] != "" {
			f.Package = cmp.Or(owners[0][f.Path], f.Package)
		}
		if f.Package == "" {
			f.Package = recordOf(f.Path)
		}
		if i, ok := packages[f.Package]; ok {
			f.Explained = true
			d.Packages[i].Files.add(f.Change)
		} else if len(d.Packages) > 0 && slices.Contains(databases, f.Path) {
			f.Explained = true
		}
		d.Files = append(d.Files, f)
		if before, after := f.Before.privileges(), f.After.privileges(); !slices.Equal(before, after) {
			d.Privileges = append(d.Privileges, PrivilegeChange{Path: f.Path, Before: before, After: after, Package: f.Package})
		}
	}
}

// databases are the files which change whenever a package does.
var databases = []string{
	"/var/lib/dpkg/status", "/var/lib/dpkg/status-old",
	"/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/share/rpm/rpmdb.sqlite",
	"/var/lib/rpm/Packages.db", "/usr/lib/sysimage/rpm/Packages.db", "/usr/share/rpm/Packages.db",
}

// recordOf returns the name of the package that a file of dpkg's is about: /var/lib/dpkg/info/NAME[:ARCH].KIND.
func recordOf(path string) string {
	name, ok := strings.CutPrefix(path, "/var/lib/dpkg/info/")
	if !ok {
		return ""
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return ""
	}
	name, _, _ = strings.Cut(name[:dot], ":")
	return name
}

// owners returns the names of the packages that paths belong to. Of several, which only directories have, none: they change
// with whoever comes first.
func owners(packages []Package) map[string]string {
	m := map[string]string{}
	for _, p := range packages {
		for _, f := range p.Files {
			if other, ok := m[f]; ok && other != p.Name {
				m[f] = ""
				continue
			}
			m[f] = p.Name
		}
	}
	return m
}

// linkedTo returns, for the paths of t which are the same file as others, the first of those others that both trees have:
// what became of a link is told at its own path.
func linkedTo(t, other *tree.Tree) map[string]string {
	groups := map[uint32][]string{}
	for _, e := range t.Entries() {
		if e.Link != 0 {
			if o, ok := other.Lookup(e.Path); ok && o.Type != tree.Directory {
				groups[e.Link] = append(groups[e.Link], e.Path)
			}
		}
	}
	m := map[string]string{}
	for _, paths := range groups {
		if len(paths) < 2 {
			continue
		}
		m[paths[0]] = absolute(paths[1])
		for _, p := range paths[1:] {
			m[p] = absolute(paths[0])
		}
	}
	return m
}

func newFileState(e *tree.Entry, users accounts, linked string) *FileState {
	s := &FileState{
		Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode), UID: e.UID, GID: e.GID, Owner: users.owner(e.UID, e.GID),
		Size: e.Size, Target: e.Target, LinkedTo: linked,
	}
	switch e.Type {
	case tree.Regular:
		s.SHA256 = e.Digest.Hex()
	case tree.CharDevice, tree.BlockDevice:
		s.Device = fmt.Sprintf("%d:%d", e.Major, e.Minor)
	}
	for _, x := range e.Xattrs {
		switch x.Name {
		case "security.capability":
			s.Capabilities = capabilitiesText(x.Value)
		case "security.selinux":
			s.Label = strings.TrimRight(string(x.Value), "\x00")
		case "system.posix_acl_access":
			s.ACL = joinACL(s.ACL, aclText(x.Value))
		case "system.posix_acl_default":
			s.ACL = joinACL(s.ACL, "default:"+strings.ReplaceAll(aclText(x.Value), ",", ",default:"))
		default:
			if s.Xattrs == nil {
				s.Xattrs = map[string]string{}
			}
			s.Xattrs[x.Name] = hex.EncodeToString(x.Value)
		}
	}
	return s
}

func joinACL(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

// differences names the attributes in which two states of a path differ. When the type differs, what only one type has
// does not count.
func (a *FileState) differences(b *FileState) []string {
	same := a.Type == b.Type
	var names []string
	for _, attribute := range []struct {
		name   string
		differ bool
	}{
		{"type", !same},
		{"contents", same && a.SHA256 != b.SHA256},
		{"mode", a.Mode != b.Mode && (same || a.Type != "symlink" && b.Type != "symlink")},
		{"owner", a.UID != b.UID || a.GID != b.GID},
		{"target", same && a.Target != b.Target},
		{"device", same && a.Device != b.Device},
		{"capabilities", a.Capabilities != b.Capabilities},
		{"acl", a.ACL != b.ACL},
		{"label", a.Label != b.Label},
		{"xattrs", !maps.Equal(a.Xattrs, b.Xattrs)},
		{"links", same && a.LinkedTo != b.LinkedTo},
	} {
		if attribute.differ {
			names = append(names, attribute.name)
		}
	}
	return names
}

// privileges lists the rights that executing a file gives.
func (s *FileState) privileges() []string {
	list := []string{}
	if s == nil || s.Type != tree.Regular.String() {
		return list
	}
	mode, err := strconv.ParseUint(s.Mode, 8, 32)
	if err != nil {
		return list // cannot be: newFileState wrote it
	}
	user, group, _ := strings.Cut(s.Owner, ":")
	if mode&0o4000 != 0 {
		list = append(list, "setuid "+user)
	}
	if mode&0o2000 != 0 {
		list = append(list, "setgid "+group)
	}
	if s.Capabilities != "" {
		list = append(list, "capabilities "+s.Capabilities)
	}
	return list
}
