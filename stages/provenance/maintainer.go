package provenance

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// scriptText is what a package's scripts say.
type scriptText struct {
	name string
	text []byte
}

// rpmScripts are the tags of scripts that run when a package is installed.
var rpmScripts = []header.Tag{header.TagPreIn, header.TagPostIn, header.TagPreTrans, header.TagPostTrans}

// debScripts are the files of a package's metadata that are such scripts.
var debScripts = []string{"preinst", "postinst"}

// readScripts returns the text of a package's scripts.
func readScripts(st *store.Store, p *packages.Package) (scriptText, error) {
	s := scriptText{name: p.Name}
	if p.Control.IsZero() {
		return s, nil
	}
	control, err := p.LoadControl(st)
	if err != nil {
		return s, err
	}
	var text bytes.Buffer
	for _, name := range debScripts {
		text.Write(control[name])
		text.WriteByte('\n')
	}
	if _, ok := control["control"]; !ok {
		h, err := p.LoadHeader(st)
		if err != nil {
			return s, err
		}
		for _, tag := range rpmScripts {
			text.WriteString(h.String(tag))
			text.WriteByte('\n')
		}
	}
	s.text = text.Bytes()
	return s, nil
}

// generators are programs that scripts run, and what these make: patterns of paths as in
// claims, in the tree. The first program that a package ships counts.
var generators = []struct {
	patterns []string
	programs []string
}{
	{[]string{"etc/ld.so.cache", "var/cache/ldconfig/**"}, []string{"usr/sbin/ldconfig", "sbin/ldconfig", "usr/bin/ldconfig"}},
	{[]string{"etc/udev/hwdb.bin", "usr/lib/udev/hwdb.bin"}, []string{"usr/bin/systemd-hwdb"}},
	{[]string{"usr/lib/systemd/catalog/database", "var/lib/systemd/catalog/**"}, []string{"usr/bin/journalctl"}},
	{[]string{"usr/lib/modules/*/modules.*", "lib/modules/*/modules.*"}, []string{"usr/sbin/depmod", "sbin/depmod"}},
	{[]string{"boot/initrd*", "boot/initramfs*", "var/lib/initramfs-tools/**"}, []string{"usr/sbin/update-initramfs", "usr/bin/dracut", "usr/sbin/dracut"}},
	{[]string{"etc/ssl/certs/**"}, []string{"usr/sbin/update-ca-certificates"}},
	{[]string{"etc/pki/ca-trust/extracted/**"}, []string{"usr/bin/update-ca-trust"}},
	{[]string{"usr/lib/locale/locale-archive", "usr/lib/locale/*/**"}, []string{"usr/bin/localedef"}},
	{[]string{"usr/lib/gconv/gconv-modules.cache", "usr/lib/*/gconv/gconv-modules.cache", "usr/lib64/gconv/gconv-modules.cache"}, []string{"usr/sbin/iconvconfig"}},
	{[]string{"var/cache/debconf/**"}, []string{"usr/share/debconf/frontend", "usr/sbin/dpkg-preconfigure"}},
	{[]string{"usr/share/info/dir", "usr/share/info/dir.old"}, []string{"usr/bin/install-info", "usr/sbin/install-info"}},
	{[]string{"usr/share/mime/**"}, []string{"usr/bin/update-mime-database"}},
	{[]string{"usr/share/glib-2.0/schemas/gschemas.compiled"}, []string{"usr/bin/glib-compile-schemas", "usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas", "usr/lib/aarch64-linux-gnu/glib-2.0/glib-compile-schemas"}},
	{[]string{"usr/share/applications/mimeinfo.cache"}, []string{"usr/bin/update-desktop-database"}},
	{[]string{"var/lib/selinux/**", "etc/selinux/*/policy/*", "etc/selinux/*/contexts/files/*"}, []string{"usr/sbin/semodule"}},
	{[]string{"var/cache/man/**"}, []string{"usr/bin/mandb"}},
	{[]string{"etc/machine-id"}, []string{"usr/bin/systemd-machine-id-setup"}},
	{[]string{"var/lib/ucf/**"}, []string{"usr/bin/ucf"}},
	{[]string{"etc/shells", "var/lib/shells.state"}, []string{"usr/sbin/update-shells", "usr/sbin/add-shell"}},
	{[]string{"var/lib/pam/**", "etc/pam.d/common-*"}, []string{"usr/sbin/pam-auth-update"}},
	{[]string{"etc/pam.d/**", "etc/authselect/**", "var/lib/authselect/**"}, []string{"usr/bin/authselect"}},
	{[]string{"etc/crypto-policies/**"}, []string{"usr/bin/update-crypto-policies"}},
	{[]string{"boot/loader/**"}, []string{"usr/bin/kernel-install", "usr/sbin/kernel-install"}},
}

// blamer tells whose maintainer script made something.
type blamer struct {
	w        *walk
	packages map[string]Origin // by name
	names    []string          // sorted
	patterns []pattern         // of generators; claim is the index
	units    map[string]string // unit to package
	mentions map[string]string // absolute path to the only package whose scripts name it; "": several do
}

func newBlamer(w *walk) *blamer {
	b := &blamer{w: w, packages: map[string]Origin{}, units: map[string]string{}, mentions: map[string]string{}}
	for _, s := range w.scripts {
		b.read(s)
	}
	for _, o := range w.in.list {
		if o.Kind == Package {
			b.packages[o.Name] = o
			b.names = append(b.names, o.Name)
		}
	}
	slices.Sort(b.names)
	b.names = slices.Compact(b.names)
	for i, g := range generators {
		for _, text := range g.patterns {
			rest, below := strings.CutSuffix(text, "/**")
			b.patterns = append(b.patterns, pattern{strings.Split(rest, "/"), below, i})
		}
	}
	for _, dir := range []string{"usr/lib/systemd/system", "lib/systemd/system", "usr/lib/systemd/user"} {
		for _, e := range w.after.Children(dir) {
			if owner := b.owner(e.Path); owner != "" && e.Type != tree.Directory && b.units[e.Name()] == "" {
				b.units[e.Name()] = owner
			}
		}
	}
	return b
}

// origin returns that of the scripts of a package.
func (b *blamer) origin(name string) Origin {
	o := b.packages[name]
	return Origin{Kind: MaintainerScript, Name: name, Version: o.Version, Arch: o.Arch, Stage: b.w.step.Stage}
}

// owner returns the package that path comes from, as far as that has been decided.
func (b *blamer) owner(path string) string {
	i, ok := index(b.w.after, path)
	if ok && b.w.next[i] != undecided {
		if o := b.w.in.list[b.w.records[b.w.next[i]].origin]; o.Kind == Package {
			return o.Name
		}
	}
	return ""
}

// tell returns whose script made e, and how that is known. old is what was there before.
func (b *blamer) tell(e *tree.Entry, old record, was bool) (name, evidence string) {
	if was && old.origin != nobody {
		if o := b.w.in.list[old.origin]; o.Kind == Package {
			return o.Name, "it ships the path"
		}
	}
	for _, how := range []func(*tree.Entry) (string, string){b.byLink, b.byBytecode, b.byGenerator, b.byUnit, b.byMention, b.byDirectory} {
		if name, evidence = how(e); name != "" {
			return name, evidence
		}
	}
	return "", ""
}

// byLink follows a link, or the one that an alternative's record is about.
func (b *blamer) byLink(e *tree.Entry) (string, string) {
	p := e.Path
	if group, ok := strings.CutPrefix(p, "var/lib/dpkg/alternatives/"); ok {
		p = "etc/alternatives/" + group
	} else if group, ok := strings.CutPrefix(p, "var/lib/alternatives/"); ok {
		p = "etc/alternatives/" + group
	} else if e.Type != tree.Symlink {
		return "", ""
	}
	target, err := b.w.after.Resolve(p)
	if err != nil {
		return "", ""
	}
	if owner := b.owner(target); owner != "" {
		if at, ok := b.w.after.Lookup(target); ok && at.Type != tree.Directory {
			return owner, "it leads to " + absolute(target)
		}
	}
	return "", ""
}

// byBytecode finds the source of compiled Python (PEP 3147).
func (b *blamer) byBytecode(e *tree.Entry) (string, string) {
	dir := tree.Parent(e.Path)
	if e.Type == tree.Directory && e.Name() == "__pycache__" {
		for _, c := range b.w.after.Children(e.Path) {
			if name, evidence := b.byBytecode(&c); name != "" {
				return name, evidence
			}
		}
		return "", ""
	}
	if path.Base(dir) != "__pycache__" || !strings.HasSuffix(e.Path, ".pyc") {
		return "", ""
	}
	stem, _, _ := strings.Cut(e.Name(), ".cpython-")
	source := tree.Join(tree.Parent(dir), stem+".py")
	return b.owner(source), "it is compiled from " + absolute(source)
}

// byGenerator knows what some programs make.
func (b *blamer) byGenerator(e *tree.Entry) (string, string) {
	elements := strings.Split(e.Path, "/")
	for _, p := range b.patterns {
		if !p.matches(elements) {
			continue
		}
		for _, program := range generators[p.claim].programs {
			real, err := b.w.after.Resolve(program)
			if err != nil {
				continue
			}
			if owner := b.owner(real); owner != "" {
				return owner, "its " + absolute(program) + " makes it"
			}
		}
	}
	return "", ""
}

// byUnit reads the records of deb-systemd-helper(1p), which are named after units.
func (b *blamer) byUnit(e *tree.Entry) (string, string) {
	if !strings.HasPrefix(e.Path, "var/lib/systemd/deb-systemd-") && !strings.HasPrefix(e.Path, "etc/systemd/") {
		return "", ""
	}
	unit := strings.TrimSuffix(e.Name(), ".dsh-also")
	return b.units[unit], "it is about its " + unit
}

// byMention finds the only package whose scripts name the path, or a directory above it.
func (b *blamer) byMention(e *tree.Entry) (string, string) {
	for p := e.Path; strings.Count(p, "/") >= 2 || p == e.Path; p = tree.Parent(p) {
		if p == tree.Root {
			break
		}
		if p != e.Path && len(b.shippers(p)) > 0 {
			break // a directory of packages: others may put things there
		}
		if name := b.mentions[absolute(p)]; name != "" {
			return name, "its scripts name " + absolute(p)
		}
	}
	return "", ""
}

// read notes which absolute paths a package's scripts name, and the directories above them.
func (b *blamer) read(s scriptText) {
	note := func(p string) {
		if other, ok := b.mentions[p]; ok && other != s.name {
			b.mentions[p] = ""
		} else {
			b.mentions[p] = s.name
		}
	}
	for text := s.text; ; {
		i := bytes.IndexByte(text, '/')
		if i < 0 {
			return
		}
		text = text[i:]
		end := slices.IndexFunc(text, func(c byte) bool { return c != '/' && !isName(c) })
		if end < 0 {
			end = len(text)
		}
		p := string(text[:end])
		for i := 1; i < len(p); i++ {
			if p[i] == '/' {
				note(p[:i])
			}
		}
		note(p)
		text = text[end:]
	}
}

// isName reports whether c goes on a path's element.
func isName(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("_-+.@$*", c) >= 0
}

// shippers returns the packages that ship the directory at p, as indexes of origins.
func (b *blamer) shippers(p string) []int {
	i, ok := index(b.w.after, p)
	if !ok || b.w.next[i] == undecided {
		return nil
	}
	r := b.w.records[b.w.next[i]]
	if b.w.in.list[r.origin].Kind != Package {
		return nil
	}
	return append([]int{r.origin}, r.shared...)
}

// states are the directories below which packages have directories of their own.
var states = []string{"var/lib/", "var/cache/", "var/log/", "var/spool/", "etc/", "usr/share/", "usr/lib/"}

// byDirectory finds the package that has a directory for itself.
func (b *blamer) byDirectory(e *tree.Entry) (string, string) {
	if !slices.ContainsFunc(states, func(s string) bool { return strings.HasPrefix(e.Path, s) && len(e.Path) > len(s) }) {
		return "", ""
	}
	start := tree.Parent(e.Path)
	if e.Type == tree.Directory {
		start = e.Path
	}
	for p := start; strings.Count(p, "/") >= 1 && !slices.Contains(states, p+"/"); p = tree.Parent(p) {
		if who := b.shippers(p); len(who) == 1 {
			return b.w.in.list[who[0]].Name, "its directory " + absolute(p)
		} else if len(who) > 1 {
			break
		}
	}
	for p := start; strings.Count(p, "/") >= 1 && !slices.Contains(states, p+"/"); p = tree.Parent(p) {
		if _, ok := slices.BinarySearch(b.names, path.Base(p)); ok {
			return path.Base(p), "named after it: " + absolute(p)
		}
	}
	return "", ""
}
