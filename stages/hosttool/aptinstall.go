package hosttool

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// debLeavings are what apt and dpkg leave in a root that belongs to the build.
var debLeavings = []string{
	"/run/**", "/tmp/**", "/var/tmp/**",
	"/var/cache/apt/*.bin", "/var/cache/apt/archives/lock", "/var/lib/apt/lists/lock",
	"/var/lib/dpkg/available-old", "/var/lib/dpkg/diversions-old", "/var/lib/dpkg/status-old", "/var/lib/dpkg/lock*", "/var/lib/dpkg/triggers/Lock",
	"/var/log/apt/*", "/var/log/alternatives.log", "/var/log/dpkg.log",
}

// packagesInTarget is where the target's dpkg finds the packages.
const packagesInTarget = "/imagefactory-packages"

// RunDeb has the host's apt install exactly sources into an empty root: the essential
// packages with what they need by the target's own dpkg at first, the others in apt's
// order.
func RunDeb(ctx context.Context, run *stages.Run, pool *sandbox.Pool, client *fetch.Client, sources []Source, o DebOptions) (rootfs.Root, error) {
	programs, err := find(Apt)
	if err != nil {
		return rootfs.Root{}, err
	}
	paths, err := fetchAll(ctx, run, client, sources)
	if err != nil {
		return rootfs.Root{}, err
	}
	st := run.Cache.Store
	files := map[string]string{}
	pkgs := make([]*bootstrapPackage, len(sources))
	for i, s := range sources {
		name := fmt.Sprintf("%s_%s_%s.deb", s.Name, strings.ReplaceAll(s.Version, ":", "%3a"), s.Arch)
		files[name] = paths[i]
		if pkgs[i], err = unpackDeb(ctx, st, paths[i]); err != nil {
			return rootfs.Root{}, fmt.Errorf("package %s: %w", &s, err)
		}
		pkgs[i].file = path.Join(packagesInTarget, name)
	}
	first, err := bootstrap(pkgs)
	if err != nil {
		return rootfs.Root{}, err
	}
	target, err := extract(st, first, o)
	if err != nil {
		return rootfs.Root{}, err
	}
	if target, err = divert(st, target, o.Session); err != nil {
		return rootfs.Root{}, err
	}
	dir, err := stage(run, files)
	if err != nil {
		return rootfs.Root{}, err
	}
	defer os.RemoveAll(dir)
	h := &host{run: run, pool: pool, tool: Apt, dirs: aptDirs, files: o.config("/"+targetDir, false)}
	h.binds = []sandbox.Bind{{Source: dir, Target: path.Join("/", targetDir, packagesInTarget)}}
	inside := o.Session
	inside.Files = nil // they are diversions
	inside.Clean.Remove = slices.Concat(inside.Clean.Remove, debLeavings)
	after, err := h.do(ctx, target, inside, func(ctx context.Context, t *tools) error {
		chroot, err := lookPath("chroot")
		if err != nil {
			return &sandbox.HostError{Problem: "the host has no program chroot", Remedy: "install the package coreutils"}
		}
		// Pre-Depends are of no use to dpkg here: everything is there.
		args := []string{chroot, "/" + targetDir, "dpkg", "--force-depends", "--force-confdef", "--force-confold", "--install"}
		for _, p := range first {
			args = append(args, p.file)
		}
		if err := t.run(ctx, session.Command{Name: "dpkg", Args: args}); err != nil {
			return fmt.Errorf("install the essential packages: %w", err)
		}
		args = []string{programs[0], "--quiet=2", "install", "--"}
		for _, p := range pkgs {
			if !slices.Contains(first, p) {
				args = append(args, path.Join("/", targetDir, p.file))
			}
		}
		if len(first) < len(pkgs) {
			if err := t.run(ctx, session.Command{Name: "apt-get", Args: args}); err != nil {
				return err
			}
		}
		for _, f := range o.Session.Files {
			if err := undivert(ctx, t, chroot, f.Path); err != nil {
				return fmt.Errorf("put the packages' %s back: %w", f.Path, err)
			}
		}
		if err := markAutoDebs(ctx, t, sources); err != nil {
			return err
		}
		return compareDebs(ctx, t, sources)
	})
	if err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, after)
}

// bootstrapPackage is an unpacked package with what decides whether it comes first.
type bootstrapPackage struct {
	*deb.Installed
	stanza deb.Stanza
	file   string // path in the target
}

func unpackDeb(ctx context.Context, st *store.Store, file string) (*bootstrapPackage, error) {
	u, err := deb.Unpack(ctx, st, file)
	if err != nil {
		return nil, err
	}
	p := &bootstrapPackage{Installed: &deb.Installed{Control: u.Control}}
	if p.Tree, err = tree.Load(st, u.Tree); err != nil {
		return nil, err
	}
	if err := p.Parse(); err != nil {
		return nil, err
	}
	err = deb.ParseStanzas(strings.NewReader(string(u.Control["control"])), func(s deb.Stanza) error {
		p.stanza = s
		return nil
	})
	return p, err
}

// bootstrap returns the essential packages of pkgs and all that they depend on. Of
// alternatives it takes all: one too many does no harm.
func bootstrap(pkgs []*bootstrapPackage) ([]*bootstrapPackage, error) {
	providers := map[string][]*bootstrapPackage{}
	for _, p := range pkgs {
		providers[p.Name()] = append(providers[p.Name()], p)
		provides, err := deb.ParseRelations(p.stanza.Get("Provides"))
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name(), err)
		}
		for _, r := range provides {
			providers[r.Name] = append(providers[r.Name], p)
		}
	}
	taken := map[*bootstrapPackage]bool{}
	var take func(p *bootstrapPackage) error
	take = func(p *bootstrapPackage) error {
		if taken[p] {
			return nil
		}
		taken[p] = true
		for _, field := range []string{"Pre-Depends", "Depends"} {
			dependencies, err := deb.ParseDependencies(p.stanza.Get(field))
			if err != nil {
				return fmt.Errorf("package %s: %s: %w", p.Name(), field, err)
			}
			for _, alternatives := range dependencies {
				for _, r := range alternatives {
					for _, provider := range providers[r.Name] {
						if err := take(provider); err != nil {
							return err
						}
					}
				}
			}
		}
		return nil
	}
	for _, p := range pkgs {
		if p.stanza.Get("Essential") == "yes" {
			if err := take(p); err != nil {
				return nil, err
			}
		}
	}
	var first []*bootstrapPackage
	for _, p := range pkgs {
		if taken[p] {
			first = append(first, p)
		}
	}
	if len(first) == 0 {
		return nil, fmt.Errorf("none of the %d packages is essential: there is no dpkg to install them with", len(pkgs))
	}
	return first, nil
}

// extract returns a root with the files of pkgs, and with an empty package database.
func extract(st *store.Store, pkgs []*bootstrapPackage, o DebOptions) (*tree.Tree, error) {
	now := tree.Time{Sec: o.Session.Epoch}
	members := make([]rootfs.Member, len(pkgs))
	for i, p := range pkgs {
		members[i] = rootfs.Member{Name: p.Name() + ":" + p.Arch(), Tree: p.Tree}
	}
	var relationErr error
	merged, err := rootfs.Merge(members, rootfs.MergeOptions{Links: o.Links, Time: now, TakesOver: func(by, of int) bool {
		ok, err := pkgs[by].Replaces(pkgs[of].Installed)
		if err != nil {
			relationErr = err
		}
		return ok
	}})
	if relationErr != nil {
		return nil, relationErr
	}
	if err != nil {
		return nil, err
	}
	edit := merged.Tree.Edit()
	template := tree.Entry{Mode: 0o755, MTime: now}
	for _, dir := range slices.Concat(deb.DatabaseDirs(), []string{"/dev", "/proc", "/sys"}) {
		if err := edit.MkdirAll(strings.TrimPrefix(dir, "/"), template); err != nil {
			return nil, err
		}
	}
	none, err := st.Put(nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"status", "available"} {
		edit.Put(tree.Entry{Path: tree.Join("var/lib/dpkg", name), Type: tree.Regular, Mode: 0o644, MTime: now, Digest: none})
	}
	return edit.Tree()
}

// diverted is what dpkg adds to the names of packages' files in whose place the
// session's are.
const diverted = ".imagefactory"

// divert puts the session's files in place and tells dpkg, as dpkg-divert does, to put
// the packages' elsewhere until the end (dpkg-divert(1); in the file "diversions" of its
// database each has three lines: the path, the other path, and the package it is for,
// which is ":" when there is none).
func divert(st *store.Store, t *tree.Tree, o session.Options) (*tree.Tree, error) {
	edit := t.Edit()
	now := tree.Time{Sec: o.Epoch}
	var diversions strings.Builder
	for _, f := range o.Files {
		dir := tree.Parent(strings.TrimPrefix(f.Path, "/"))
		if err := edit.MkdirAll(dir, tree.Entry{Mode: 0o755, MTime: now}); err != nil {
			return nil, fmt.Errorf("the directory of %s: %w", f.Path, err)
		}
		at := tree.Join(dir, path.Base(f.Path))
		if e, ok := edit.Get(at); ok {
			e.Path += diverted
			edit.Put(e)
		}
		digest, err := st.Put([]byte(f.Content))
		if err != nil {
			return nil, err
		}
		edit.Put(tree.Entry{Path: at, Type: tree.Regular, Mode: f.Mode, MTime: now, Digest: digest, Size: int64(len(f.Content))})
		fmt.Fprintf(&diversions, "%[1]s\n%[1]s%[2]s\n:\n", f.Path, diverted)
	}
	if diversions.Len() == 0 {
		return t, nil
	}
	digest, err := st.Put([]byte(diversions.String()))
	if err != nil {
		return nil, err
	}
	edit.Put(tree.Entry{Path: "var/lib/dpkg/diversions", Type: tree.Regular, Mode: 0o644, MTime: now, Digest: digest, Size: int64(diversions.Len())})
	return edit.Tree()
}

// undivert puts the file of a package, if there is one, in the place of the session's.
func undivert(ctx context.Context, t *tools, chroot, file string) error {
	for _, args := range [][]string{{"rm", "-f", file}, {"dpkg-divert", "--quiet", "--local", "--rename", "--remove", file}} {
		if err := t.run(ctx, session.Command{Name: args[0], Args: append([]string{chroot, "/" + targetDir}, args...)}); err != nil {
			return err
		}
	}
	return nil
}

// markAutoDebs tells apt which packages nobody asked for: it was given all of them.
func markAutoDebs(ctx context.Context, t *tools, sources []Source) error {
	var auto []string
	for _, s := range sources {
		if s.Auto {
			auto = append(auto, s.Name)
		}
	}
	if len(auto) == 0 {
		return nil
	}
	mark, err := lookPath("apt-mark")
	if err != nil {
		return &sandbox.HostError{Problem: "the host's apt has no apt-mark", Remedy: "reinstall the package apt"}
	}
	return t.run(ctx, session.Command{Name: "apt-mark", Args: append([]string{mark, "--quiet=2", "auto"}, auto...), Stdout: &limited{}})
}

// compareDebs compares the target's database with the lock.
func compareDebs(ctx context.Context, t *tools, sources []Source) error {
	query, err := lookPath("dpkg-query")
	if err != nil {
		return &sandbox.HostError{Problem: "the host's dpkg has no dpkg-query", Remedy: "reinstall the package dpkg"}
	}
	var out limited
	const format = `${Package}-${Version}.${Architecture} ${db:Status-Abbrev}\n`
	args := []string{query, "--admindir=/" + path.Join(targetDir, "var/lib/dpkg"), "--show", "--showformat=" + format}
	if err := t.run(ctx, session.Command{Name: "dpkg-query", Args: args, Stdout: &out}); err != nil {
		return fmt.Errorf("ask for the installed packages: %w", err)
	}
	installed, want := map[string]int{}, map[string]int{}
	for line := range strings.Lines(out.String()) {
		name, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(status, "ii") {
			installed[name]++
		}
	}
	for _, s := range sources {
		want[s.String()]++
	}
	return compare(installed, want)
}
