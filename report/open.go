package report

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/inspect"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// OfTree returns what a root file system tells, whose files have their contents in st: those of the database of packages,
// of unit files and of accounts are looked at.
func OfTree(name string, st *store.Store, t *tree.Tree) (Snapshot, error) {
	s := Snapshot{Name: name, Tree: t, Store: st, Kernels: Kernels(t)}
	db, err := installed.Read(st, t)
	switch {
	case errors.Is(err, installed.ErrNoDatabase):
		s.Notes = append(s.Notes, noDatabase)
	case err != nil:
		return s, fmt.Errorf("%s: %w", name, err)
	default:
		s.Family, s.Packages = db.Family, PackagesOf(db)
	}
	units, err := services.List(st, t)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	s.Services = ServicesOf(units)
	return s, nil
}

// ServicesOf returns unit files as a snapshot has them; never nil.
func ServicesOf(units []services.UnitFile) []Service {
	list := make([]Service, 0, len(units))
	for _, u := range units {
		list = append(list, Service{Name: u.Name, State: u.State})
	}
	return list
}

// noDatabase is a note.
const noDatabase = "it has no database of packages, so its packages are not known"

// PackagesOf returns the packages of a database.
func PackagesOf(db *installed.Database) []Package {
	packages := make([]Package, 0, len(db.Packages))
	for _, p := range db.Packages {
		packages = append(packages, Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Size: p.Size, Files: p.Files})
	}
	return packages
}

// Open returns what is known of the system at a path: an image file as package inspect reads it, a directory that a build
// left, or its manifest.json. Of a directory, the first of its images that is there tells the files; the packages are the
// manifest's where the image has no database of them. st takes contents of files that have to be looked into, a few
// percent of an image.
func Open(ctx context.Context, st *store.Store, name string) (Snapshot, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Snapshot{}, err
	}
	switch {
	case info.IsDir():
		if _, err := os.Stat(filepath.Join(name, emit.ManifestName)); errors.Is(err, os.ErrNotExist) {
			return Snapshot{}, fmt.Errorf("%s has no %s: name a directory that a build left, or an image file", name, emit.ManifestName)
		}
		return openBuild(ctx, st, name, filepath.Join(name, emit.ManifestName))
	case strings.HasSuffix(name, ".json"):
		return openBuild(ctx, st, name, name)
	}
	return openImage(ctx, st, name)
}

// openImage reads an image file.
func openImage(ctx context.Context, st *store.Store, name string) (Snapshot, error) {
	image, err := inspect.Open(name)
	if err != nil {
		return Snapshot{}, err
	}
	defer image.Close()
	system, err := image.System(ctx, inspect.SystemOptions{Store: st, Contents: needed})
	if err != nil {
		return Snapshot{}, fmt.Errorf("%s: %w", name, err)
	}
	s, err := OfTree(name, st, system.Tree)
	s.Notes = append(s.Notes, system.Missing...)
	return s, err
}

// neededBelow are the directories that OfTree reads from.
var neededBelow = []string{
	"etc/", "var/lib/dpkg/", "var/lib/apt/", "var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/",
	"usr/lib/systemd/", "usr/local/lib/systemd/", "lib/systemd/",
}

// needed reports whether OfTree may look into a file.
func needed(e tree.Entry) bool {
	if slices.ContainsFunc(neededBelow, func(dir string) bool { return strings.HasPrefix(e.Path, dir) }) {
		return true
	}
	// Unit files can be linked from wherever they lie.
	switch path.Ext(e.Path) {
	case ".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice", ".scope":
		return true
	}
	return false
}

// imageFormats are the outputs that tell the files, the quickest to read first.
var imageFormats = []string{"raw", "qcow2", "iso"}

// openBuild reads a manifest and the image beside it.
func openBuild(ctx context.Context, st *store.Store, name, manifest string) (Snapshot, error) {
	m, err := emit.ReadManifest(manifest)
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{}
	found := false
	for _, format := range imageFormats {
		i := slices.IndexFunc(m.Outputs, func(o emit.ManifestOutput) bool { return o.Format == format })
		if i < 0 || found {
			continue
		}
		file := filepath.Join(filepath.Dir(manifest), filepath.Base(m.Outputs[i].File))
		info, err := os.Stat(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return Snapshot{}, err
		}
		if info.Size() != m.Outputs[i].Size {
			return Snapshot{}, fmt.Errorf("%s has %d bytes, its manifest says %d: it is of another build, or not whole", file, info.Size(), m.Outputs[i].Size)
		}
		if s, err = openImage(ctx, st, file); err != nil {
			return Snapshot{}, err
		}
		found = true
	}
	if !found {
		s.Notes = append(s.Notes, "none of its images is there, so its files, services and accounts are not known")
	}
	s.Name, s.Version, s.Arch = name, m.Version, m.Arch
	s.addManifest(m)
	return s, nil
}

// addManifest adds what a manifest tells.
func (s *Snapshot) addManifest(m emit.Manifest) {
	type key struct{ name, version, arch string }
	listed := map[key]string{} // digests
	packages := make([]Package, 0, len(m.Packages))
	for _, p := range m.Packages {
		digest := ""
		if d := store.Digest(p.SHA256); !d.IsZero() {
			digest = d.Hex()
		}
		listed[key{p.Name, p.Version, p.Arch}] = digest
		packages = append(packages, Package{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: digest})
	}
	if s.Packages == nil {
		s.Packages = packages
		s.Notes = slices.DeleteFunc(s.Notes, func(n string) bool { return n == noDatabase })
		s.Family = familyOf(packages)
	}
	for i := range s.Packages {
		p := &s.Packages[i]
		p.SHA256 = listed[key{p.Name, p.Version, p.Arch}]
	}
	s.Outputs = make([]Output, 0, len(m.Outputs))
	for _, o := range m.Outputs {
		s.Outputs = append(s.Outputs, Output{Format: o.Format, File: o.File, Size: o.Size, VirtualSize: o.VirtualSize})
	}
}

// familyOf tells the family of packages by the names that it has for architectures; empty when they do not tell.
func familyOf(packages []Package) string {
	for _, p := range packages {
		switch p.Arch {
		case "all", "amd64", "arm64":
			return installed.Deb
		case "noarch", "x86_64", "aarch64":
			return installed.RPM
		}
	}
	return ""
}
