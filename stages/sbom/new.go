package sbom

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this package's code; see stages.Stage.
const Version = 1

// Input is what a document is made from.
type Input struct {
	Name, Version, Arch string // of the image
	Key                 store.Digest
	Epoch               int64 // in seconds since 1970
	Tool                Tool
	Recipe              Recipe

	Root   store.Digest // tree of the finished root
	Mounts []Mount      // other file systems of the image
	// Attribution is of all these trees: that of the root, with those of the mounts joined to it.
	Attribution *provenance.Attribution

	// Installed are the packages of the root. Where the root has no database of packages any
	// more it is what it had, without packages that were removed whole. nil: there never was
	// one, and packages are those that the attribution names.
	Installed *installed.Database
	// Before are the packages of the root before any were removed from it: what there is to say of
	// packages of which only files are left. nil: none were removed.
	Before   *installed.Database
	Licenses map[string]License // by the ID of packages of Before, or of Installed where that is nil; see Licenses
	Archives []Archive          // files of packages, as the lock pins them; those of others do no harm
	// Containers are the container images in the root.
	Containers []Container
	// System is what is in the image, for roots without os-release. What the root says wins.
	System System
}

// Mount is a file system of the image besides the root's.
type Mount struct {
	// At is the absolute path where it is mounted. One that the image does not mount has the label
	// of its partition in brackets there, "/[ESP]". The attribution is joined at the same path.
	At   string
	Tree store.Digest // its tree
}

// Archive is the file of a package.
type Archive struct {
	Name, Version, Arch string
	SHA256              string // hexadecimal
	FileName            string // without directories
}

// New makes the document of a build. It computes what is not in the cache yet, and depends on
// nothing but its input. The error names what is missing: a path without an origin, contents that
// are not in the store.
func New(ctx context.Context, cache *stages.Cache, in Input) (*Document, error) {
	root, err := tree.Load(cache.Store, in.Root)
	if err != nil {
		return nil, err
	}
	d := &Document{
		Name: in.Name, Version: in.Version, Arch: in.Arch, Key: in.Key, Epoch: in.Epoch, Tool: in.Tool, Recipe: in.Recipe,
		Containers: slices.Clone(in.Containers),
	}
	if d.System, err = ReadSystem(cache.Store, root); errors.Is(err, ErrNoSystem) && in.System.ID != "" {
		d.System = in.System
	} else if err != nil {
		return nil, err
	}
	if in.Attribution == nil {
		return nil, errors.New("a bill of materials needs to know where the files come from")
	}
	b := builder{Document: d, in: in, packages: map[packageKey]int{}, origins: make([]int, len(in.Attribution.Origins))}
	b.addPackages()
	if err := b.addFiles(root, ""); err != nil {
		return nil, err
	}
	for _, m := range in.Mounts {
		t, err := tree.Load(cache.Store, m.Tree)
		if err != nil {
			return nil, fmt.Errorf("file system %s: %w", m.At, err)
		}
		if err := b.addFiles(t, "/"+strings.Trim(m.At, "/")); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(d.Files, func(a, b File) int { return tree.Compare(a.Path[1:], b.Path[1:]) })
	if err := b.sum(ctx, cache); err != nil {
		return nil, err
	}
	return d, d.check()
}

// builder fills a document.
type builder struct {
	*Document
	in       Input
	packages map[packageKey]int // index of Document.Packages
	origins  []int              // of the attribution's origins: index of Document.Packages or -1
	former   map[packageKey]*installed.Package
}

// packageKey is what tells packages apart.
type packageKey struct{ name, version, arch string }

// addPackages adds the packages that are installed, and those which files come from.
func (b *builder) addPackages() {
	family := installed.Deb
	if db := b.in.Installed; db != nil {
		family = db.Family
		for i := range db.Packages {
			b.Packages = append(b.Packages, b.known(family, &db.Packages[i]))
		}
	} else if slices.ContainsFunc(b.in.Archives, func(a Archive) bool { return strings.HasSuffix(a.FileName, ".rpm") }) {
		family = installed.RPM
	}
	before := b.before()
	known := map[packageKey]bool{}
	for _, p := range b.Packages {
		known[p.key()] = true
	}
	for _, o := range b.in.Attribution.Origins {
		if o.Kind != provenance.Package || known[packageKey{o.Name, o.Version, o.Arch}] {
			continue
		}
		p := Package{Family: family, Name: o.Name, Version: o.Version, Arch: o.Arch}
		if was := before[p.key()]; was != nil {
			p = b.known(family, was)
		}
		if b.in.Installed != nil {
			p.Comment = "Not installed: only files of it are in the image."
		}
		known[p.key()] = true
		b.Packages = append(b.Packages, p)
	}
	slices.SortFunc(b.Packages, func(x, y Package) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Arch, y.Arch), cmp.Compare(x.Version, y.Version))
	})
	archives := map[packageKey]Archive{}
	for _, a := range b.in.Archives {
		archives[packageKey{a.Name, a.Version, a.Arch}] = a
	}
	for i := range b.Packages {
		p := &b.Packages[i]
		b.packages[p.key()] = i
		p.PURL = packageURL(p.Family, p.Name, p.Version, p.Arch, b.System)
		if p.Source.Name != "" {
			p.Source.PURL = packageURL(p.Family, p.Source.Name, p.Source.Version, sourceArch(p.Family), b.System)
		}
		a := archives[p.key()]
		p.SHA256, p.FileName = a.SHA256, a.FileName
	}
	b.addNeeds()
	for i, o := range b.in.Attribution.Origins {
		b.origins[i] = -1
		if k, ok := b.packages[packageKey{o.Name, o.Version, o.Arch}]; ok && o.Kind == provenance.Package {
			b.origins[i] = k
		}
	}
}

// key returns what tells p from others.
func (p *Package) key() packageKey { return packageKey{p.Name, p.Version, p.Arch} }

// sourceArch is the architecture in the package URL of a source package.
func sourceArch(family string) string {
	if family == installed.RPM {
		return "src"
	}
	return "source"
}

// known returns a package that a database knows.
func (b *builder) known(family string, p *installed.Package) Package {
	out := Package{
		Family: family, Name: p.Name, Version: p.Version, Arch: p.Arch,
		Source: sourceOf(family, p), Summary: p.Summary, Supplier: p.Vendor, Homepage: p.Homepage, License: b.in.Licenses[p.ID],
	}
	if was := b.before()[out.key()]; was != nil {
		out.License = b.in.Licenses[was.ID] // IDs change when the other package of a name goes
	}
	return out
}

// before returns the packages that were there before any were removed.
func (b *builder) before() map[packageKey]*installed.Package {
	if b.former == nil {
		b.former = map[packageKey]*installed.Package{}
		if db := b.in.Before; db != nil {
			for i := range db.Packages {
				p := &db.Packages[i]
				b.former[packageKey{p.Name, p.Version, p.Arch}] = p
			}
		}
	}
	return b.former
}

// sourceOf returns the source package of p.
func sourceOf(family string, p *installed.Package) Source {
	if p.Source == "" {
		return Source{}
	}
	if family == installed.Deb {
		return Source{Name: p.Source, Version: cmp.Or(p.SourceVersion, p.Version)}
	}
	// NAME-VERSION-RELEASE.src.rpm, without an epoch.
	stem := strings.TrimSuffix(p.Source, ".rpm")
	stem = stem[:max(strings.LastIndexByte(stem, '.'), 0)]
	release := strings.LastIndexByte(stem, '-')
	if release < 0 {
		return Source{Name: p.Source}
	}
	version := strings.LastIndexByte(stem[:release], '-')
	if version < 0 {
		return Source{Name: p.Source}
	}
	return Source{Name: stem[:version], Version: stem[version+1:]}
}

// addNeeds records which packages need which. Of several that would do, the first that is there
// counts.
func (b *builder) addNeeds() {
	db := b.in.Installed
	if db == nil {
		return
	}
	byID := func(id string) int {
		p := db.Package(id)
		if p == nil {
			return -1
		}
		return b.packages[packageKey{p.Name, p.Version, p.Arch}]
	}
	for i := range db.Packages {
		from := byID(db.Packages[i].ID)
		p := &b.Packages[from]
		for _, n := range db.Packages[i].Needs {
			there := func(id string) bool { return byID(id) >= 0 }
			if n.Kind != installed.Requires || len(n.When) > 0 && !slices.ContainsFunc(n.When, there) {
				continue
			}
			if k := slices.IndexFunc(n.Providers, there); k >= 0 && byID(n.Providers[k]) != from {
				p.Needs = append(p.Needs, byID(n.Providers[k]))
			}
		}
		slices.Sort(p.Needs)
		p.Needs = slices.Compact(p.Needs)
	}
}

// addFiles adds the files of a tree that is mounted at a path, "" for the root.
func (b *builder) addFiles(t *tree.Tree, at string) error {
	for i := range t.Entries() {
		e := &t.Entries()[i]
		p := at + "/" + e.Path
		if e.Path == tree.Root {
			p = cmp.Or(at, "/")
		}
		where, ok := b.in.Attribution.Lookup(p)
		if !ok {
			return fmt.Errorf("nobody knows where %s comes from: the attribution is not of this image", p)
		}
		if e.Type == tree.Directory {
			continue
		}
		f := File{Path: p, Type: e.Type, Size: e.Size, SHA256: e.Digest, Target: e.Target, Package: b.origins[where.Origin], Origin: b.in.Attribution.Origins[where.Origin]}
		for _, o := range where.Shared {
			f.Shared = append(f.Shared, b.origins[o])
		}
		f.Note = b.note(&where)
		b.Files = append(b.Files, f)
	}
	return nil
}

// note says what there is to know of a path besides its origin.
func (b *builder) note(p *provenance.Path) string {
	var notes []string
	say := func(what string, o int) { notes = append(notes, what+" "+b.in.Attribution.Origins[o].String()) }
	for _, o := range p.Earlier {
		say("replaces what came from", o)
	}
	for _, c := range p.Changes {
		say(c.What+" changed by", c.Origin)
	}
	if p.From != "" {
		notes = append(notes, "the same as "+p.From)
	}
	if p.Evidence != "" {
		notes = append(notes, "told by: "+p.Evidence)
	}
	return strings.Join(notes, "; ")
}

// sum gives the files their digests.
func (b *builder) sum(ctx context.Context, cache *stages.Cache) error {
	var digests []store.Digest
	for i := range b.Files {
		if b.Files[i].Type == tree.Regular {
			digests = append(digests, b.Files[i].SHA256)
		}
	}
	sums, err := Sums(ctx, cache, digests)
	if err != nil {
		return err
	}
	for i := range b.Files {
		f := &b.Files[i]
		if f.Type == tree.Regular {
			f.SHA1 = sums[f.SHA256]
			continue
		}
		f.SHA1, f.SHA256 = sha1.Sum([]byte(f.Target)), store.Sum([]byte(f.Target))
		f.Size = int64(len(f.Target))
	}
	return nil
}
