package media

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// LoadersVersion is the version of MakeLoaders' code; see stages.Stage.
const LoadersVersion = 1

// LoadersOptions says which boot loaders a medium has.
type LoadersOptions struct {
	Mkimage  string       `json:"mkimage"`  // program in the tools tree
	BIOS     *grub.Target `json:"bios"`     // nil: the medium does not boot on a BIOS
	UEFI     *grub.Target `json:"uefi"`     // nil: not under UEFI, or Signed does
	Signed   *Signed      `json:"signed"`   // nil: a GRUB of our own, which Secure Boot refuses
	Fallback string       `json:"fallback"` // program that firmware starts from EFI/BOOT: "BOOTX64.EFI"
	Epoch    int64        `json:"epoch"`
}

// Signed names the distribution's signed boot programs.
type Signed struct {
	// Disk are those for disks, with their prefix.
	Disk grub.Signed `json:"disk"`
	// Medium is the GRUB for media with its prefix, in place of Disk's. Nil: the distribution signs none, and Disk's is
	// used, which reads ISO 9660 too.
	Medium *SignedGrub `json:"medium,omitempty"`
}

// SignedGrub is a signed GRUB.
type SignedGrub struct {
	Prefix  string   `json:"prefix"`  // where it looks for its menu on the file system that it was started from
	Sources []string `json:"sources"` // in the tools tree; the first that exists is taken
	Name    string   `json:"name"`    // beside the shim, which starts no other
}

// Loaders are the boot loaders of a medium. They do not depend on what it installs, so they are made once.
type Loaders struct {
	BIOS      store.Digest `json:"bios,omitzero"`       // image to boot from a CD without emulation
	HybridMBR store.Digest `json:"hybrid_mbr,omitzero"` // boot sector that boots the same where the medium is a disk

	EFI       []LoaderFile `json:"efi,omitempty"`        // programs for UEFI
	EFIPrefix string       `json:"efi_prefix,omitempty"` // directory where their GRUB looks for grub.cfg beside them
}

// LoaderFile is a file of the EFI file system.
type LoaderFile struct {
	Path   string       `json:"path"` // "EFI/BOOT/BOOTX64.EFI"
	Digest store.Digest `json:"digest"`
	Size   int64        `json:"size"`
}

const (
	efiBoot = "EFI/BOOT"
	// ownPrefix is where a GRUB of our own for UEFI looks for its menu.
	ownPrefix = "/EFI/BOOT"
	// grubDir is GRUB's directory on an ISO.
	grubDir = "boot/grub"
)

// Modules that GRUB on a medium needs to read it, show the menu and boot a kernel or a disk.
var (
	mediumModules = []string{
		"all_video", "boot", "cat", "chain", "configfile", "echo", "fat", "gzio", "halt", "iso9660", "linux", "ls", "minicmd", "normal",
		"part_gpt", "part_msdos", "password_pbkdf2", "reboot", "regexp", "search", "search_fs_file", "search_fs_uuid", "search_label",
		"serial", "sleep", "terminal", "test", "true",
	}
	mediumBIOSModules = []string{"biosdisk", "drivemap"}
	mediumEFIModules  = []string{"efifwsetup", "efi_gop"}
)

// MakeLoaders makes the boot loaders of media with the tools' grub-mkimage, or takes the distribution's signed ones.
func MakeLoaders(ctx context.Context, run *stages.Run, pool *sandbox.Pool, tools rootfs.Root, o LoadersOptions) (Loaders, error) {
	st := run.Cache.Store
	t, err := tools.Load(st)
	if err != nil {
		return Loaders{}, err
	}
	var out Loaders
	if o.BIOS != nil {
		hybrid, err := grub.Lookup(t, path.Join(path.Dir(o.BIOS.BootImg), "boot_hybrid.img"))
		if err != nil {
			return Loaders{}, err
		}
		out.HybridMBR = hybrid.Digest
		// The image finds its device by itself: it is on the one that the BIOS booted.
		if out.BIOS, err = o.mkimage(*o.BIOS, o.BIOS.Platform+"-eltorito", "/"+grubDir, mediumBIOSModules).Run(ctx, run, pool, tools); err != nil {
			return Loaders{}, err
		}
	}
	switch {
	case o.Signed != nil:
		out.EFI, out.EFIPrefix, err = o.Signed.files(st, t, o.Fallback)
	case o.UEFI != nil:
		var digest store.Digest
		if digest, err = o.mkimage(*o.UEFI, o.UEFI.Platform, ownPrefix, mediumEFIModules).Run(ctx, run, pool, tools); err == nil {
			out.EFIPrefix = ownPrefix
			var program *store.Object
			if program, err = st.Object(digest); err == nil {
				out.EFI = []LoaderFile{{path.Join(efiBoot, o.Fallback), digest, program.Size()}}
			}
		}
	}
	return out, err
}

func (o LoadersOptions) mkimage(target grub.Target, platform, prefix string, modules []string) grub.Mkimage {
	return grub.Mkimage{
		Program: o.Mkimage, Platform: platform, Directory: target.Modules, Prefix: prefix,
		Modules: append(append([]string{}, mediumModules...), modules...), Epoch: o.Epoch,
	}
}

// files returns the signed programs, and where their GRUB looks for its menu.
func (s *Signed) files(st *store.Store, t *tree.Tree, fallback string) ([]LoaderFile, string, error) {
	disk, err := s.Disk.InTools(t)
	if err != nil {
		return nil, "", err
	}
	var files []LoaderFile
	prefix := disk.Prefix
	for _, f := range disk.Files {
		name := f.Name
		if f.Role == "shim" {
			name = fallback
		}
		if f.Role == "grub" && s.Medium != nil {
			name, f.Sources, prefix = s.Medium.Name, s.Medium.Sources, s.Medium.Prefix
		}
		e, err := grub.Lookup(t, f.Sources...)
		if err != nil {
			return nil, "", err
		}
		if f.Role == "grub" {
			if err := readsMedia(st, e); err != nil {
				return nil, "", err
			}
		}
		files = append(files, LoaderFile{path.Join(efiBoot, name), e.Digest, e.Size})
	}
	return files, strings.TrimSuffix(prefix, "/"), nil
}

// readsMedia checks that a signed GRUB, which can load no further modules, reads ISO 9660. Its modules are built in
// uncompressed, and each has its name.
func readsMedia(st *store.Store, e tree.Entry) error {
	program, err := st.ReadAll(e.Digest)
	if err != nil {
		return err
	}
	if !bytes.Contains(program, []byte("iso9660")) {
		return fmt.Errorf("the signed GRUB of the distribution, /%s, cannot read ISO 9660; with boot { secure_boot = \"off\" } the medium gets one that can", e.Path)
	}
	return nil
}
