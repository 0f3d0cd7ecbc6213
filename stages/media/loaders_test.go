package media

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// fakeMkimage stands for grub-mkimage: its image is what it was asked.
const fakeMkimage = `#!/bin/sh
set -e
asked="$*"
while [ "$1" != -o ]; do shift; done
echo "$asked" >"$2"
`

func TestMakeLoaders(t *testing.T) {
	cache := stagetest.Cache(t)
	pool := stagetest.Pool(t, cache)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	entries := append(stagetest.Programs(t, cache.Store, "sh"),
		stagetest.Mode(file("usr/bin/grub-mkimage", fakeMkimage), 0o755), file("usr/lib/grub/i386-pc/boot_hybrid.img", "hybrid"),
		file("usr/lib/shim/shimx64.efi.signed", "shim"), file("usr/lib/shim/mmx64.efi.signed", "mok"),
		file("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "for disks, reads iso9660"),
		file("usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", "for media, reads iso9660"),
		file("boot/efi/EFI/vendor/grubx64.efi", "of a vendor, reads iso9660"), file("boot/efi/EFI/BOOT/BOOTX64.EFI", "shim of a vendor"),
		file("old/grubx64.efi", "reads FAT only"))
	run := func(o LoadersOptions, entries ...tree.Entry) (Loaders, error) {
		tools := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, entries...))}
		o.Mkimage, o.Fallback, o.Epoch = "/usr/bin/grub-mkimage", "BOOTX64.EFI", stagetest.Epoch
		loaders, _, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (Loaders, error) {
			return MakeLoaders(ctx, run, pool, tools, o)
		})
		return loaders, err
	}
	text := func(l Loaders) string {
		var b strings.Builder
		if !l.BIOS.IsZero() {
			fmt.Fprintf(&b, "%s%s\n", contents(t, cache.Store, l.BIOS), contents(t, cache.Store, l.HybridMBR))
		}
		for _, f := range l.EFI {
			p := contents(t, cache.Store, f.Digest)
			if int64(len(p)) != f.Size {
				t.Errorf("%s has %d bytes, not %d", f.Path, len(p), f.Size)
			}
			fmt.Fprintf(&b, "%s: %s\n", f.Path, strings.TrimSpace(string(p)))
		}
		return b.String() + l.EFIPrefix
	}
	const modules = " all_video boot cat chain configfile echo fat gzio halt iso9660 linux ls minicmd normal part_gpt part_msdos password_pbkdf2 " +
		"reboot regexp search search_fs_file search_fs_uuid search_label serial sleep terminal test true"
	disk := *signed
	disk.Medium = nil
	vendor := &Signed{Disk: grub.Signed{Prefix: "/EFI/*", Files: []grub.SignedFile{
		{Role: "shim", Sources: []string{"/boot/efi/EFI/*/shimx64.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"}, Name: "shimx64.efi"},
		{Role: "grub", Sources: []string{"/boot/efi/EFI/*/grubx64.efi"}, Name: "grubx64.efi"},
	}}}
	for _, test := range []struct {
		name string
		o    LoadersOptions
		want string
	}{
		{"BIOS and a GRUB for media", LoadersOptions{BIOS: biosTarget, Signed: signed},
			"-O i386-pc-eltorito -d /usr/lib/grub/i386-pc -p /boot/grub -o /imagefactory-grub" + modules + " biosdisk drivemap\nhybrid\n" +
				"EFI/BOOT/BOOTX64.EFI: shim\nEFI/BOOT/mmx64.efi: mok\nEFI/BOOT/grubx64.efi: for media, reads iso9660\n/boot/grub"},
		{"a GRUB for disks", LoadersOptions{Signed: &disk},
			"EFI/BOOT/BOOTX64.EFI: shim\nEFI/BOOT/mmx64.efi: mok\nEFI/BOOT/grubx64.efi: for disks, reads iso9660\n/EFI/debian"},
		{"of a vendor found in the packages", LoadersOptions{Signed: vendor},
			"EFI/BOOT/BOOTX64.EFI: shim of a vendor\nEFI/BOOT/grubx64.efi: of a vendor, reads iso9660\n/EFI/vendor"},
		{"our own", LoadersOptions{UEFI: uefiTarget},
			"EFI/BOOT/BOOTX64.EFI: -O x86_64-efi -d /usr/lib/grub/x86_64-efi -p /EFI/BOOT -o /imagefactory-grub" + modules + " efifwsetup efi_gop\n/EFI/BOOT"},
		{"none", LoadersOptions{}, ""},
	} {
		loaders, err := run(test.o, entries...)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := text(loaders); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
	old := &Signed{Disk: grub.Signed{Prefix: "/EFI/old", Files: []grub.SignedFile{{Role: "grub", Sources: []string{"/old/grubx64.efi"}, Name: "grubx64.efi"}}}}
	for want, o := range map[string]LoadersOptions{
		"the boot packages of the distribution hold no file /somewhere/boot_hybrid.img; its definition does not fit this release":                       {BIOS: &grub.Target{BootImg: "/somewhere/boot.img"}},
		"the signed GRUB of the distribution, /old/grubx64.efi, cannot read ISO 9660; with boot { secure_boot = \"off\" } the medium gets one that can": {Signed: old},
		"the boot packages of the distribution hold no file /none.efi; its definition does not fit this release":                                        {Signed: &Signed{Disk: old.Disk, Medium: &SignedGrub{Sources: []string{"/none.efi"}}}},
	} {
		if _, err := run(o, entries...); err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	}
}
