// Package grub is the stages that make an image boot: MakeImages runs the
// distribution's grub-mkimage, Install writes the menu into the root and lays out
// the EFI system partition.
//
// The menu is written from what is known about the image, never by a generator that
// asks the machine it runs on. File systems are found by UUID, so another disk in
// the same machine cannot be taken for ours.
package grub

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Versions of the code of the two stages; see stages.Stage.
const (
	ImagesVersion  = 3
	InstallVersion = 2
)

// Target is one kind of firmware that GRUB is built for.
type Target struct {
	Platform string `json:"platform"` // "i386-pc", "x86_64-efi"
	Modules  string `json:"modules"`  // directory of the modules in the tools tree
	BootImg  string `json:"boot_img"` // boot.img in the tools tree; BIOS only
}

// ImagesOptions says which images to make.
type ImagesOptions struct {
	Mkimage string  `json:"mkimage"` // program in the tools tree
	BIOS    *Target `json:"bios"`    // nil: none
	UEFI    *Target `json:"uefi"`    // nil: none; an unsigned one is only made where it is used
	UUID    string  `json:"uuid"`    // of the file system that holds Dir
	Dir     string  `json:"dir"`     // GRUB's directory on that file system: "/boot/grub"
	Epoch   int64   `json:"epoch"`
}

// Images is GRUB, ready to be put in place.
type Images struct {
	BootImg store.Digest `json:"boot_img,omitzero"` // for the first sector
	Core    store.Digest `json:"core,omitzero"`     // for the BIOS boot partition
	EFI     store.Digest `json:"efi,omitzero"`      // an EFI program

	// Snippets says that all of them read boot loader entries.
	Snippets bool `json:"snippets,omitempty"`
}

// Modules that an image needs to find its file system, read the menu and boot a
// kernel. All are built in: the root needs no copy of GRUB's module directory.
var (
	commonModules = []string{
		"all_video", "boot", "cat", "configfile", "echo", "ext2", "fat", "gzio", "halt", "linux", "loadenv", "ls", "minicmd",
		"normal", "part_gpt", "part_msdos", "password_pbkdf2", "reboot", "regexp", "search", "search_fs_uuid", "search_label",
		"serial", "sleep", "terminal", "test", "true", "xfs",
	}
	biosModules = []string{"biosdisk"}
	efiModules  = []string{"efifwsetup", "efi_gop"}
)

// snippetModule is the module that makes a menu of boot loader entries. Not every
// distribution's GRUB has it.
const snippetModule = "blscfg"

// early returns the configuration that is built into an image or lies where a
// signed one looks for it: it goes on with the menu in the root.
func early(uuid, dir string) string {
	return fmt.Sprintf("search --no-floppy --fs-uuid --set=root %s\nset prefix=($root)%s\nconfigfile $prefix/grub.cfg\n", uuid, dir)
}

// MakeImages makes the images with the tools' grub-mkimage.
func MakeImages(ctx context.Context, run *stages.Run, pool *sandbox.Pool, tools rootfs.Root, o ImagesOptions) (Images, error) {
	if o.BIOS == nil && o.UEFI == nil {
		return Images{}, nil
	}
	st := run.Cache.Store
	t, err := tools.Load(st)
	if err != nil {
		return Images{}, err
	}
	if t, err = runnable(t); err != nil {
		return Images{}, err
	}
	var images Images
	images.Snippets = true
	build := func(target *Target, modules []string) (store.Digest, error) {
		if _, err := Lookup(t, path.Join(target.Modules, snippetModule+".mod")); err == nil {
			modules = append(slices.Clone(modules), snippetModule)
		} else {
			images.Snippets = false
		}
		return mkimage(ctx, run, pool, t, Mkimage{
			Program: o.Mkimage, Platform: target.Platform, Directory: target.Modules, Prefix: o.Dir,
			Early: early(o.UUID, o.Dir), Modules: slices.Concat(commonModules, modules), Epoch: o.Epoch,
		})
	}
	if o.BIOS != nil {
		boot, err := Lookup(t, o.BIOS.BootImg)
		if err != nil {
			return Images{}, err
		}
		images.BootImg = boot.Digest
		if images.Core, err = build(o.BIOS, biosModules); err != nil {
			return Images{}, err
		}
	}
	if o.UEFI != nil {
		if images.EFI, err = build(o.UEFI, efiModules); err != nil {
			return Images{}, err
		}
	}
	return images, nil
}

// Signed says which signed programs go onto the EFI system partition.
type Signed struct {
	// Prefix is the directory where the signed GRUB looks for its configuration. When it
	// ends in "/*", "*" stands, here and in the files' sources, for the one directory of the
	// tools tree that holds the signed GRUB.
	Prefix string       `json:"prefix"`
	Files  []SignedFile `json:"files"`
}

// SignedFile is a signed program.
type SignedFile struct {
	Role    string   `json:"role"`    // "shim", "mokmanager", "grub"
	Sources []string `json:"sources"` // in the tools tree; the first that exists is taken
	Name    string   `json:"name"`    // on the EFI system partition
}

// InstallOptions says how the image boots.
type InstallOptions struct {
	Menu     Menu    `json:"menu"`
	MenuPath string  `json:"menu_path"` // absolute path of grub.cfg in the root
	UEFI     bool    `json:"uefi"`
	Signed   *Signed `json:"signed"`   // nil: the image's own, unsigned GRUB
	Vendor   string  `json:"vendor"`   // directory of an unsigned GRUB on the EFI system partition
	Fallback string  `json:"fallback"` // name in EFI/BOOT that firmware starts by itself
	EFIName  string  `json:"efi_name"` // suffix of EFI programs: "x64"
	Dir      string  `json:"dir"`      // GRUB's directory on the file system that holds it
	Epoch    int64   `json:"epoch"`

	// Snippets is the directory of the root for boot loader entries, and SnippetsDir
	// the same on the file system that holds it. Empty: the distribution has none.
	Snippets    string `json:"snippets,omitempty"`
	SnippetsDir string `json:"snippets_dir,omitempty"`
}

// Installed is a root that boots, and what belongs beside it.
type Installed struct {
	Root rootfs.Root  `json:"root"`
	ESP  store.Digest `json:"esp,omitzero"` // tree of the EFI system partition
}

// Install writes the menu into root and lays out the EFI system partition.
func Install(run *stages.Run, root, tools rootfs.Root, images Images, o InstallOptions) (Installed, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return Installed{}, err
	}
	if o.UEFI && o.Signed != nil {
		toolsTree, err := tools.Load(st)
		if err != nil {
			return Installed{}, err
		}
		if o.Signed, err = o.Signed.InTools(toolsTree); err != nil {
			return Installed{}, err
		}
	}
	if o.Snippets != "" {
		can, err := readsSnippets(st, tools, images, o)
		if err != nil {
			return Installed{}, err
		}
		if can {
			o.Menu.Snippets = o.SnippetsDir
		}
	}
	edit := t.Edit()
	for _, f := range o.files() {
		if err := put(st, edit, f.path, f.mode, o.Epoch, f.content); err != nil {
			return Installed{}, err
		}
	}
	if t, err = edit.Tree(); err != nil {
		return Installed{}, err
	}
	var out Installed
	if out.Root, err = rootfs.Save(st, t); err != nil || !o.UEFI {
		return out, err
	}
	esp, err := layoutESP(st, tools, images, o)
	if err != nil {
		return Installed{}, err
	}
	out.ESP, err = tree.Save(st, esp)
	return out, err
}

// file is a file for the root, owned by root.
type file struct {
	path    string // absolute
	mode    uint32
	content []byte
}

// files returns what the root needs for its menu.
func (o InstallOptions) files() []file {
	mode := uint32(0o644)
	if o.Menu.PasswordPBKDF2 != "" {
		mode = 0o600 // the hash is nobody's business
	}
	files := []file{
		{o.MenuPath, mode, []byte(o.Menu.String())},
		{path.Join(path.Dir(o.MenuPath), "grubenv"), 0o600, environmentBlock()},
	}
	if o.Snippets != "" {
		for _, e := range o.Menu.Entries {
			// Entries belong to a machine, by the id in their names. This is the one that
			// images use, which are for no machine in particular.
			const anyMachine = "ffffffffffffffffffffffffffffffff"
			files = append(files, file{path.Join(o.Snippets, anyMachine+"-"+e.Version+".conf"), 0o644, []byte(e.snippet())})
		}
	}
	return files
}

// put writes a file into edit.
func put(st *store.Store, edit *tree.Editor, p string, mode uint32, epoch int64, content []byte) error {
	digest, err := st.Put(content)
	if err != nil {
		return err
	}
	now := tree.Time{Sec: epoch}
	p = strings.TrimPrefix(p, "/")
	if err := edit.MkdirAll(tree.Parent(p), tree.Entry{Mode: 0o755, MTime: now}); err != nil {
		return err
	}
	edit.Put(tree.Entry{Path: p, Type: tree.Regular, Mode: mode, MTime: now, Digest: digest, Size: int64(len(content))})
	return nil
}

// readsSnippets reports whether every GRUB of the image reads boot loader entries.
func readsSnippets(st *store.Store, tools rootfs.Root, images Images, o InstallOptions) (bool, error) {
	if !images.Core.IsZero() || !images.EFI.IsZero() {
		if !images.Snippets {
			return false, nil
		}
	}
	if !o.UEFI || o.Signed == nil {
		return true, nil
	}
	t, err := tools.Load(st)
	if err != nil {
		return false, err
	}
	for _, f := range o.Signed.Files {
		if f.Role != "grub" {
			continue
		}
		e, err := Lookup(t, f.Sources...)
		if err != nil {
			return false, err
		}
		// A signed one has the modules built in, uncompressed, and each its name.
		program, err := st.ReadAll(e.Digest)
		if err != nil || !bytes.Contains(program, []byte(snippetModule)) {
			return false, err
		}
	}
	return true, nil
}

// layoutESP returns the tree of the EFI system partition (UEFI specification 13.3):
// the programs in EFI/BOOT, where firmware finds them without a boot entry, and the
// same in the vendor's directory, for firmware and tools that keep entries.
func layoutESP(st *store.Store, tools rootfs.Root, images Images, o InstallOptions) (*tree.Tree, error) {
	now := tree.Time{Sec: o.Epoch}
	edit := tree.Empty(now).Edit()
	put := func(p string, digest store.Digest, size int64) error {
		p = strings.TrimPrefix(p, "/")
		if err := edit.MkdirAll(tree.Parent(p), tree.Entry{Mode: 0o755, MTime: now}); err != nil {
			return err
		}
		edit.Put(tree.Entry{Path: p, Type: tree.Regular, Mode: 0o644, MTime: now, Digest: digest, Size: size})
		return nil
	}
	const fallbackDir = "EFI/BOOT"
	if o.Signed == nil {
		program, err := st.Object(images.EFI)
		if err != nil {
			return nil, err
		}
		for _, p := range []string{path.Join(fallbackDir, o.Fallback), path.Join(o.Vendor, "grub"+o.EFIName+".efi")} {
			if err := put(p, images.EFI, program.Size()); err != nil {
				return nil, err
			}
		}
		return edit.Tree()
	}

	t, err := tools.Load(st)
	if err != nil {
		return nil, err
	}
	for _, f := range o.Signed.Files {
		e, err := Lookup(t, f.Sources...)
		if err != nil {
			return nil, err
		}
		names := []string{path.Join(fallbackDir, f.Name), path.Join(o.Signed.Prefix, f.Name)}
		if f.Role == "shim" {
			names[0] = path.Join(fallbackDir, o.Fallback)
		}
		for _, p := range names {
			if err := put(p, e.Digest, e.Size); err != nil {
				return nil, err
			}
		}
	}
	stub := []byte(early(o.Menu.UUID, o.Dir))
	digest, err := st.Put(stub)
	if err != nil {
		return nil, err
	}
	if err := put(path.Join(o.Signed.Prefix, "grub.cfg"), digest, int64(len(stub))); err != nil {
		return nil, err
	}
	return edit.Tree()
}
