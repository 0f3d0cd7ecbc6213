// Package initramfs is the stage that generates the initial RAM file system of every
// kernel in the root, with the distribution's own generator, once, at the end.
package initramfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 2

// Options says how the distribution generates one.
type Options struct {
	Kernel  string            `json:"kernel"`  // path pattern of kernels, with {version}
	Source  string            `json:"source"`  // where packages put a kernel that is not at Kernel, with {version}; empty: nowhere else
	Image   string            `json:"image"`   // path pattern of the result, with {version}
	Command []string          `json:"command"` // with {version} and {image}
	Env     map[string]string `json:"env,omitempty"`
}

const versionMark = "{version}"

// ErrNoKernel says that there is no kernel to boot.
var ErrNoKernel = errors.New("the image has no kernel")

// Kernels returns the releases of the kernels in t, newest first. pattern is the
// absolute path of a kernel with {version} in place of its release.
func Kernels(t *tree.Tree, pattern string) ([]string, error) {
	before, after, ok := strings.Cut(strings.TrimPrefix(pattern, "/"), versionMark)
	if !ok {
		return nil, fmt.Errorf("the kernel pattern %s has no %s", pattern, versionMark)
	}
	// The release is in the name of the kernel, or of a directory that holds it:
	// /usr/lib/modules/{version}/vmlinuz.
	suffix, below := after, ""
	if i := strings.IndexByte(after, '/'); i >= 0 {
		suffix, below = after[:i], after[i:]
	}
	var versions []string
	for _, e := range t.Children(tree.Parent(before)) {
		rest, ok := strings.CutPrefix(e.Path, before)
		version, ok2 := strings.CutSuffix(rest, suffix)
		if kernel, _ := t.Lookup(e.Path + below); ok && ok2 && version != "" && kernel.Type == tree.Regular {
			versions = append(versions, version)
		}
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("%w: there is no file %s; add a kernel package to rootfs.packages", ErrNoKernel, pattern)
	}
	// Kernel releases order like package versions.
	slices.SortFunc(versions, func(a, b string) int { return deb.CompareVersions(b, a) })
	return versions, nil
}

// placeKernels copies kernels from where packages have them to where they boot from:
// what kernel-install(8) does on a running system.
func placeKernels(t *tree.Tree, o Options) (*tree.Tree, error) {
	versions, err := Kernels(t, o.Source)
	if errors.Is(err, ErrNoKernel) {
		return t, nil // Kernels of o.Kernel says so if there is none at all
	}
	if err != nil {
		return nil, err
	}
	edit := t.Edit()
	for _, version := range versions {
		at := At(o.Kernel, version)
		if _, ok := t.Lookup(at); ok {
			continue
		}
		kernel, _ := t.Lookup(At(o.Source, version))
		kernel.Path, kernel.Link = at, 0
		if err := edit.MkdirAll(tree.Parent(at), tree.Entry{Mode: 0o755, MTime: kernel.MTime}); err != nil {
			return nil, err
		}
		edit.Put(kernel)
	}
	return edit.Tree()
}

// At returns the path that pattern has for a kernel release, without the leading
// slash.
func At(pattern, version string) string {
	return strings.TrimPrefix(strings.ReplaceAll(pattern, versionMark, version), "/")
}

// Run generates the initial RAM file systems.
func Run(ctx context.Context, run *stages.Run, pool *sandbox.Pool, root rootfs.Root, o Options, so session.Options) (rootfs.Root, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	if o.Source != "" {
		if t, err = placeKernels(t, o); err != nil {
			return rootfs.Root{}, err
		}
	}
	versions, err := Kernels(t, o.Kernel)
	if err != nil {
		return rootfs.Root{}, err
	}
	after, err := session.Run(ctx, run, pool, t, so, func(ctx context.Context, s *session.Session) error {
		for _, version := range versions {
			args := make([]string, len(o.Command))
			for i, arg := range o.Command {
				args[i] = strings.NewReplacer(versionMark, version, "{image}", "/"+At(o.Image, version)).Replace(arg)
			}
			if err := s.Run(ctx, session.Command{Name: "initramfs for " + version, Args: args, Env: o.Env}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rootfs.Root{}, err
	}
	for _, version := range versions {
		if e, ok := after.Lookup(At(o.Image, version)); !ok || e.Type != tree.Regular || e.Size == 0 {
			return rootfs.Root{}, fmt.Errorf("%s ended without an error but made no /%s", o.Command[0], At(o.Image, version))
		}
	}
	return rootfs.Save(st, after)
}
