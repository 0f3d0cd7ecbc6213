package grub

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Mkimage is one image for grub-mkimage(1) to make.
type Mkimage struct {
	Program   string   `json:"program"`         // in the tools tree
	Platform  string   `json:"platform"`        // "i386-pc", "x86_64-efi"
	Directory string   `json:"directory"`       // of the modules in the tools tree
	Prefix    string   `json:"prefix"`          // where GRUB looks for its menu and modules
	Early     string   `json:"early,omitempty"` // configuration built in; empty: none
	Modules   []string `json:"modules"`         // built in
	Epoch     int64    `json:"epoch"`
}

// Run makes the image with the tools' grub-mkimage and stores it.
func (m Mkimage) Run(ctx context.Context, run *stages.Run, pool *sandbox.Pool, tools rootfs.Root) (store.Digest, error) {
	t, err := tools.Load(run.Cache.Store)
	if err != nil {
		return store.Digest{}, err
	}
	if t, err = runnable(t); err != nil {
		return store.Digest{}, err
	}
	return mkimage(ctx, run, pool, t, m)
}

func mkimage(ctx context.Context, run *stages.Run, pool *sandbox.Pool, tools *tree.Tree, m Mkimage) (store.Digest, error) {
	// The image is a file of the root like any other, not of a directory of the host
	// made visible in it: containers that may not mount can do that too.
	const earlyConfig, output = "/imagefactory-early.cfg", "/imagefactory-grub"
	options := session.Options{Epoch: m.Epoch}
	args := []string{m.Program, "-O", m.Platform, "-d", m.Directory, "-p", m.Prefix}
	if m.Early != "" {
		options.Files = []session.File{{Path: earlyConfig, Content: m.Early, Mode: 0o644}}
		args = append(args, "-c", earlyConfig)
	}
	command := session.Command{
		Name: path.Base(m.Program) + " " + m.Platform,
		Args: append(append(args, "-o", output), m.Modules...),
	}
	after, err := session.Run(ctx, run, pool, tools, options, func(ctx context.Context, s *session.Session) error {
		return s.Run(ctx, command)
	})
	if err != nil {
		return store.Digest{}, err
	}
	image, ok := after.Lookup(strings.TrimPrefix(output, "/"))
	if !ok || image.Type != tree.Regular {
		return store.Digest{}, fmt.Errorf("%s ended without an error but made no image", command.Name)
	}
	return image.Digest, nil
}

// runnable returns the part of a tools tree that programs need: without what only
// people read, a root of it is made in half the time.
func runnable(t *tree.Tree) (*tree.Tree, error) {
	edit := t.Edit()
	for _, p := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"} {
		edit.Remove(p)
	}
	return edit.Tree()
}

// Lookup returns the first of the files at absolute paths that the tools tree has.
func Lookup(t *tree.Tree, paths ...string) (tree.Entry, error) {
	for _, p := range paths {
		real, err := t.Resolve(p)
		if err != nil {
			continue
		}
		if e, ok := t.Lookup(real); ok && e.Type == tree.Regular {
			return e, nil
		}
	}
	return tree.Entry{}, fmt.Errorf("the boot packages of the distribution hold no file %s; its definition does not fit this release", strings.Join(paths, " or "))
}
