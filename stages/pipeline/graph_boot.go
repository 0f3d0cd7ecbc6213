package pipeline

import (
	"context"
	"path"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/initramfs"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/selinux"
)

// boot adds the stages that make the system boot, and returns those that others go on
// from: the root, the tools and GRUB.
func (b *builder) boot(root *stages.Handle[rootfs.Root]) (*stages.Handle[grub.Installed], *stages.Handle[rootfs.Root], *stages.Handle[grub.Images]) {
	r, d := b.recipe, b.recipe.Distro
	// Unpacking needs all processors; configuring, which waits for the image's packages
	// alone, leaves some to the tools.
	var after []stages.Node
	if b.graph.packages != nil {
		after = append(after, b.graph.packages)
	}
	toolPackages := b.unpack("tools-packages", b.lock.Tools, after)
	tools := b.merge("tools", toolPackages, false)

	menuPart, grubDir := b.holder(d.Grub.Dir)
	uuid := filesystems.UUIDText(menuPart.Filesystem, menuPart.UUID)
	signed := b.signed()
	io := grub.ImagesOptions{Mkimage: d.Grub.Mkimage, UUID: uuid, Dir: grubDir, Epoch: b.epoch}
	io.BIOS, io.UEFI = b.grubTargets(signed)
	images := stages.Add(b.graph.Graph, stages.Stage{
		Name: "grub", Kind: "grub", Version: grub.ImagesVersion,
		Inputs: []stages.Input{{Name: "options", Value: io}},
		Needs:  []stages.Node{tools},
	}, func(ctx context.Context, run *stages.Run) (grub.Images, error) {
		return grub.MakeImages(ctx, run, b.env.Pool, tools.Result(), io)
	})

	rootPart, _ := b.holder("/")
	cmdline := []string{"root=UUID=" + filesystems.UUIDText(rootPart.Filesystem, rootPart.UUID), "ro"}
	for _, console := range r.Boot.Console {
		cmdline = append(cmdline, "console="+console)
	}
	if r.SELinux == distros.SELinuxDisabled && d.SELinux.Mode != r.SELinux {
		cmdline = append(cmdline, "selinux=0") // kernels of today no longer heed the configuration file
	}
	cmdline = append(cmdline, r.Boot.Cmdline...)
	b.graph.cmdline = cmdline
	install := grub.InstallOptions{
		Menu:     grub.Menu{UUID: uuid, Timeout: r.Boot.Timeout, Consoles: r.Boot.Console, PasswordPBKDF2: r.Boot.PasswordPBKDF2},
		MenuPath: path.Join(d.Grub.Dir, "grub.cfg"),
		UEFI:     r.Boot.Has("uefi"), Vendor: d.Grub.Vendor, Fallback: b.arch.EFIFallback, EFIName: b.arch.EFIName, Dir: grubDir, Epoch: b.epoch,
	}
	if d.Grub.BLS {
		install.Snippets = "/boot/loader/entries"
		_, install.SnippetsDir = b.holder(install.Snippets)
	}
	install.Signed = signed
	kernel, image, title := d.Kernel.Image, d.Initramfs.Image, d.Title
	installed := stages.Add(b.graph.Graph, stages.Stage{
		Name: "boot", Kind: "boot", Version: grub.InstallVersion,
		Inputs: []stages.Input{
			{Name: "boot", Value: install}, {Name: "cmdline", Value: cmdline}, {Name: "distribution", Value: []string{kernel, image, title}},
		},
		Needs: []stages.Node{root, tools, images},
	}, func(ctx context.Context, run *stages.Run) (grub.Installed, error) {
		t, err := root.Result().Load(run.Cache.Store)
		if err != nil {
			return grub.Installed{}, err
		}
		versions, err := initramfs.Kernels(t, kernel)
		if err != nil {
			return grub.Installed{}, err
		}
		o := install
		for _, v := range versions {
			_, k := b.holder("/" + initramfs.At(kernel, v))
			_, i := b.holder("/" + initramfs.At(image, v))
			o.Menu.Entries = append(o.Menu.Entries, grub.Entry{
				ID: "linux-" + v, Title: title + ", Linux " + v, Version: v, Kernel: k, Initramfs: i, Cmdline: cmdline,
			})
		}
		return grub.Install(run, root.Result(), tools.Result(), images.Result(), o)
	})
	b.bootStep("boot loader", installed, toolPackages)
	return installed, tools, images
}

// grubTargets returns the kinds of firmware that a GRUB is made for: nil where the image
// does not boot on them, and for UEFI where signed boot programs do it.
func (b *builder) grubTargets(signed *grub.Signed) (bios, uefi *grub.Target) {
	if p := b.arch.BIOS; p != nil && b.recipe.Boot.Has("bios") {
		bios = &grub.Target{Platform: p.Platform, Modules: p.Modules, BootImg: p.BootImg}
	}
	if p := b.arch.UEFI; p != nil && b.recipe.Boot.Has("uefi") && signed == nil {
		uefi = &grub.Target{Platform: p.Platform, Modules: p.Modules}
	}
	return bios, uefi
}

// label adds the stage that labels the root for SELinux, where the distribution has it or
// the recipe wants it. It is the last that sees the root.
func (b *builder) label(installed *stages.Handle[grub.Installed]) *stages.Handle[grub.Installed] {
	mode := b.recipe.SELinux
	if mode == distros.SELinuxDisabled && b.recipe.Distro.SELinux.Mode == mode {
		return installed
	}
	root, _ := b.holder("/")
	o := selinux.Options{Mode: mode, Epoch: b.epoch}
	if root.Filesystem == "ext4" {
		o.Directories = append(o.Directories, "/lost+found") // which the writer would make, without a label
	}
	labelled := stages.Add(b.graph.Graph, stages.Stage{
		Name: "label", Kind: "selinux", Version: selinux.Version,
		Inputs: []stages.Input{{Name: "selinux", Value: o}},
		Needs:  []stages.Node{installed},
	}, func(ctx context.Context, run *stages.Run) (grub.Installed, error) {
		out := installed.Result()
		var err error
		out.Root, err = selinux.Run(ctx, run, out.Root, o)
		return out, err
	})
	b.bootStep("SELinux labels", labelled, nil)
	return labelled
}
