package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Summary is what a build did.
type Summary struct {
	Outputs  []Output        `json:"outputs"`
	Bills    []string        `json:"sboms"`    // paths of the bills of materials
	Manifest string          `json:"manifest"` // its path
	Locked   bool            `json:"locked"`   // a lock file was used
	Stages   []stages.Record `json:"stages"`
	Packages int             `json:"packages"`
}

// Output is a file that a build made or found made.
type Output struct {
	Path        string       `json:"path"`
	Format      string       `json:"format"`
	Size        int64        `json:"size"`         // of the file, in bytes
	VirtualSize int64        `json:"virtual_size"` // of the disk in it, in bytes
	Digest      store.Digest `json:"digest"`
}

// prepared is a build before it runs.
type prepared struct {
	*graph
	lock    *recipes.Lock
	keys    keyrings
	found   bool          // the lock is a lock file's
	targets []stages.Node // the outputs that are wanted, and the bills of materials
	name    string        // under which the build is remembered
}

// prepare finds out what a build of the recipe consists of.
func (env *Environment) prepare(ctx context.Context, r *recipes.Recipe) (*prepared, error) {
	lock, found, err := env.Lock(ctx, r)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(env.Options.OutputDir)
	if err != nil {
		return nil, err
	}
	keys, err := env.keyrings(ctx, r)
	if err != nil {
		return nil, err
	}
	g, err := newGraph(env, r, lock, keys, dir)
	if err != nil {
		return nil, err
	}
	targets, err := env.targets(r, g)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Abs(r.Path)
	return &prepared{graph: g, lock: lock, keys: keys, found: found, targets: targets, name: name}, err
}

// targets returns the stages of the outputs that are wanted.
func (env *Environment) targets(r *recipes.Recipe, g *graph) ([]stages.Node, error) {
	var targets []stages.Node
	var names []string
	for i, o := range r.Outputs {
		names = append(names, o.Type)
		if len(env.Options.Only) == 0 || slices.Contains(env.Options.Only, o.Type) {
			targets = append(targets, g.outputs[i])
		}
	}
	for _, name := range env.Options.Only {
		if !slices.Contains(names, name) {
			return nil, &RecipeError{fmt.Errorf("--only %s: the recipe has no such output; it has %s", name, strings.Join(names, ", "))}
		}
	}
	return append(targets, g.bills), nil
}

// Build builds a recipe.
func (env *Environment) Build(ctx context.Context, r *recipes.Recipe) (*Summary, error) {
	p, err := env.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	g := p.graph
	records, err := g.Run(ctx, p.name, env.Options.Sink, p.targets...)
	if err != nil {
		return nil, err
	}
	summary := &Summary{
		Manifest: filepath.Join(env.Options.OutputDir, emit.ManifestName), Locked: p.found,
		Stages: records, Packages: len(p.lock.Packages),
	}
	for i, h := range g.outputs {
		if !slices.Contains(p.targets, stages.Node(g.outputs[i])) {
			continue
		}
		w := h.Result()
		digest, err := store.ParseHex(w.SHA256)
		if err != nil {
			return nil, err
		}
		summary.Outputs = append(summary.Outputs, Output{Path: w.Path, Format: w.Format, Size: w.Size, VirtualSize: w.VirtualSize, Digest: digest})
	}
	if summary.Bills, err = env.writeBills(r, g); err != nil {
		return nil, err
	}
	manifest, err := env.manifest(ctx, r, p.lock, g, summary)
	if err != nil {
		return nil, err
	}
	return summary, emit.WriteManifest(summary.Manifest, manifest)
}

// manifest returns the manifest of a build that has run.
func (env *Environment) manifest(ctx context.Context, r *recipes.Recipe, lock *recipes.Lock, g *graph, s *Summary) (emit.Manifest, error) {
	text, err := r.Digest()
	if err != nil {
		return emit.Manifest{}, err
	}
	recipe, err := store.ParseDigest(text)
	if err != nil {
		return emit.Manifest{}, err
	}
	encoded, err := json.Marshal(lock)
	if err != nil {
		return emit.Manifest{}, err
	}
	m := emit.Manifest{
		Tool: env.Options.Tool, Name: r.Name, Version: r.Version, Arch: r.Arch,
		Recipe: recipe, Lock: store.Sum(encoded), SourceDateEpoch: env.epoch(lock),
	}
	for _, record := range s.Stages {
		m.Stages = append(m.Stages, emit.ManifestStage{Name: record.Stage, Key: record.Key, Cached: record.Cached, Millis: record.Millis})
	}
	if m.Scripts, err = env.scripts(ctx, r, g); err != nil {
		return emit.Manifest{}, err
	}
	kept, err := env.kept(g, &m)
	if err != nil {
		return emit.Manifest{}, err
	}
	for _, p := range lock.Packages {
		if !kept(p) {
			continue
		}
		digest, err := store.ParseHex(p.SHA256)
		if err != nil {
			return emit.Manifest{}, err
		}
		m.Packages = append(m.Packages, emit.ManifestPackage{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: emit.SHA256(digest)})
	}
	m.Disk = manifestDisk(g)
	for _, c := range lock.Containers {
		m.Containers = append(m.Containers, emit.ManifestContainer{Reference: c.Reference, Digest: strings.TrimPrefix(c.Digest, "sha256:")})
	}
	for _, path := range s.Bills {
		digest, err := digestFile(path)
		if err != nil {
			return emit.Manifest{}, err
		}
		m.Bills = append(m.Bills, emit.ManifestBill{File: filepath.Base(path), SHA256: emit.SHA256(digest)})
	}
	for _, o := range s.Outputs {
		m.Outputs = append(m.Outputs, emit.ManifestOutput{
			File: filepath.Base(o.Path), Format: o.Format, Size: o.Size, VirtualSize: o.VirtualSize, SHA256: emit.SHA256(o.Digest),
		})
	}
	return m, nil
}

// manifestDisk describes the disk of a build that has run.
func manifestDisk(g *graph) *emit.ManifestDisk {
	layout := g.disk.Result().Layout
	d := &emit.ManifestDisk{Size: layout.Size, GUID: layout.GUID}
	systems := map[string]filesystems.Partition{}
	for _, p := range g.partitions {
		systems[p.Label] = p
	}
	for _, p := range layout.Partitions {
		entry := emit.ManifestPartition{Number: p.Number, Label: p.Label, Type: p.Type, GUID: p.GUID, Start: p.Start, Size: p.Size}
		if fs := systems[p.Label]; fs.Filesystem != "" {
			entry.FileSystem, entry.FSLabel = fs.Filesystem, fs.Label
			entry.FSUUID = filesystems.UUIDText(fs.Filesystem, partition.GUID(fs.UUID))
		}
		d.Partitions = append(d.Partitions, entry)
	}
	return d
}

// Plan says what Build would do.
func (env *Environment) Plan(ctx context.Context, r *recipes.Recipe) ([]stages.PlannedStage, error) {
	p, err := env.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	return p.Plan(p.name, p.targets...)
}
