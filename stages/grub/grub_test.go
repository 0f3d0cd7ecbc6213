package grub

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// fakeMkimage stands for grub-mkimage: its image is what it was asked.
const fakeMkimage = `#!/bin/sh
set -e
asked="$*"
while [ "$1" != -c ]; do shift; done
config=$2
while [ "$1" != -o ]; do shift; done
{ echo "$asked"; cat "$config"; } >"$2"
if [ -e /usr/share/doc/text ]; then echo "documentation is in the way" >&2; exit 1; fi
`

const (
	asked    = " -p /boot/grub -c /imagefactory-early.cfg -o /imagefactory-grub"
	common   = " all_video boot cat configfile echo ext2 fat gzio halt linux loadenv ls minicmd normal part_gpt part_msdos password_pbkdf2 reboot regexp search search_fs_uuid search_label serial sleep terminal test true xfs"
	earlyCfg = "search --no-floppy --fs-uuid --set=root the-uuid\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
)

func TestMakeImages(t *testing.T) {
	cache := stagetest.Cache(t)
	pool := stagetest.Pool(t, cache)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	program := stagetest.Mode(file("usr/bin/grub-mkimage", fakeMkimage), 0o755)
	makeImages := func(o ImagesOptions, entries ...tree.Entry) (Images, error) {
		entries = append(entries, stagetest.Programs(t, cache.Store, "sh", "cat")...)
		tools := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, entries...))}
		o.Mkimage, o.UUID, o.Dir, o.Epoch = "/usr/bin/grub-mkimage", "the-uuid", "/boot/grub", stagetest.Epoch
		images, _, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (Images, error) {
			return MakeImages(ctx, run, pool, tools, o)
		})
		return images, err
	}
	bios := &Target{Platform: "i386-pc", Modules: "/usr/lib/grub/i386-pc", BootImg: "/usr/lib/grub/i386-pc/boot.img"}
	uefi := &Target{Platform: "x86_64-efi", Modules: "/usr/lib/grub/x86_64-efi"}

	images, err := makeImages(ImagesOptions{BIOS: bios, UEFI: uefi}, program, file("usr/lib/grub/i386-pc/boot.img", "boot"), file("usr/share/doc/text", ""))
	if err != nil {
		t.Fatal(err)
	}
	for want, digest := range map[string]tree.Entry{
		"boot": {Digest: images.BootImg},
		"-O i386-pc -d /usr/lib/grub/i386-pc" + asked + common + " biosdisk\n" + earlyCfg:                 {Digest: images.Core},
		"-O x86_64-efi -d /usr/lib/grub/x86_64-efi" + asked + common + " efifwsetup efi_gop\n" + earlyCfg: {Digest: images.EFI},
	} {
		if got := stagetest.Contents(t, cache.Store, digest); got != want {
			t.Errorf("image %q\nwant  %q", got, want)
		}
	}
	if images.Snippets {
		t.Error("images without the module read boot loader entries")
	}
	images, err = makeImages(ImagesOptions{UEFI: uefi}, program, file("usr/lib/grub/x86_64-efi/blscfg.mod", ""))
	if err != nil || !images.Snippets || !strings.Contains(stagetest.Contents(t, cache.Store, tree.Entry{Digest: images.EFI}), " efi_gop blscfg\n") {
		t.Errorf("with the module: %+v, %v", images, err)
	}
	if images, err := makeImages(ImagesOptions{}, program); err != nil || images != (Images{}) {
		t.Errorf("without firmware: %+v, %v", images, err)
	}

	for _, test := range []struct {
		want    string
		program tree.Entry
	}{
		{"the boot packages of the distribution hold no file /usr/lib/grub/i386-pc/boot.img; its definition does not fit this release", program},
		{"grub-mkimage i386-pc: /usr/bin/grub-mkimage failed with exit status 3; it printed last:\nno room", stagetest.Mode(file("usr/bin/grub-mkimage", "#!/bin/sh\necho no room\nexit 3\n"), 0o755)},
		{"grub-mkimage i386-pc ended without an error but made no image", stagetest.Mode(file("usr/bin/grub-mkimage", "#!/bin/sh\n"), 0o755)},
	} {
		entries := []tree.Entry{test.program}
		if test.program.Digest != program.Digest {
			entries = append(entries, file("usr/lib/grub/i386-pc/boot.img", "boot"))
		}
		if _, err := makeImages(ImagesOptions{BIOS: bios}, entries...); err == nil || err.Error() != test.want {
			t.Errorf("error %v\nwant  %s", err, test.want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(cache.Dir, "scratch-*")); err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %q, %v", left, err)
	}
}

func TestInstall(t *testing.T) {
	cache := stagetest.Cache(t)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	root := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, file("boot/vmlinuz-1", "kernel")))}
	tools := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t,
		file("usr/lib/shim/shimx64.efi.signed", "shim"), file("usr/lib/shim/mmx64.efi.signed", "mok"),
		file("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub"), stagetest.Link("lib", "usr/lib")))}
	efi := file("grub.efi", "own grub").Digest
	menu := Menu{UUID: "the-uuid", Entries: []Entry{{ID: "linux-1", Title: "Linux", Kernel: "/boot/vmlinuz-1", Initramfs: "/boot/initrd-1"}}}
	options := InstallOptions{
		Menu: menu, MenuPath: "/boot/grub/grub.cfg", UEFI: true, Vendor: "/EFI/demo", Fallback: "BOOTX64.EFI", EFIName: "x64", Dir: "/boot/grub", Epoch: stagetest.Epoch,
	}
	signed := &Signed{Prefix: "/EFI/debian", Files: []SignedFile{
		{"shim", []string{"/usr/lib/shim/shimx64.efi.none", "/usr/lib/shim/shimx64.efi.signed"}, "shimx64.efi"},
		{"mokmanager", []string{"/lib/shim/mmx64.efi.signed"}, "mmx64.efi"},
		{"grub", []string{"/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"}, "grubx64.efi"},
	}}
	install := func(o InstallOptions) (Installed, error) {
		installed, _, err := stagetest.Run(t, cache, func(_ context.Context, run *stages.Run) (Installed, error) {
			return Install(run, root, tools, Images{EFI: efi}, o)
		})
		return installed, err
	}

	stub := `"` + strings.ReplaceAll(earlyCfg, "\n", `\n`) + `"` + "\n"
	for _, test := range []struct {
		name   string
		change func(*InstallOptions)
		esp    string
	}{
		{"signed", func(o *InstallOptions) { o.Signed = signed }, "EFI/\nEFI/BOOT/\nEFI/BOOT/BOOTX64.EFI \"shim\"\nEFI/BOOT/grubx64.efi \"grub\"\nEFI/BOOT/mmx64.efi \"mok\"\n" +
			"EFI/debian/\nEFI/debian/grub.cfg " + stub + "EFI/debian/grubx64.efi \"grub\"\nEFI/debian/mmx64.efi \"mok\"\nEFI/debian/shimx64.efi \"shim\"\n"},
		{"unsigned", func(*InstallOptions) {}, "EFI/\nEFI/BOOT/\nEFI/BOOT/BOOTX64.EFI \"own grub\"\nEFI/demo/\nEFI/demo/grubx64.efi \"own grub\"\n"},
		{"BIOS only", func(o *InstallOptions) { o.UEFI = false }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options
			test.change(&o)
			installed, err := install(o)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := stagetest.Text(t, cache.Store, stagetest.Load(t, cache.Store, installed.Root.Tree)),
				stagetest.Text(t, cache.Store, stagetest.Tree(t, file("boot/vmlinuz-1", "kernel"), file("boot/grub/grub.cfg", menu.String()),
					stagetest.Mode(file("boot/grub/grubenv", string(environmentBlock())), 0o600))); got != want {
				t.Errorf("root\n%s\nwant\n%s", got, want)
			}
			var esp string
			if !installed.ESP.IsZero() {
				esp = stagetest.Text(t, cache.Store, stagetest.Load(t, cache.Store, installed.ESP))
			}
			if esp != test.esp {
				t.Errorf("ESP\n%s\nwant\n%s", esp, test.esp)
			}
		})
	}

	// The hash of a password is not for everybody's eyes.
	o := options
	o.Menu.PasswordPBKDF2 = "grub.pbkdf2.sha512.1.A.B"
	installed, err := install(o)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := stagetest.Load(t, cache.Store, installed.Root.Tree).Lookup("boot/grub/grub.cfg"); e.Mode != 0o600 {
		t.Errorf("a menu with a password has the mode %#o", e.Mode)
	}

	for want, change := range map[string]func(*InstallOptions){
		"the boot packages of the distribution hold no file /a.efi or /b.efi; its definition does not fit this release": func(o *InstallOptions) {
			o.Signed = &Signed{Prefix: "/EFI/x", Files: []SignedFile{{"shim", []string{"/a.efi", "/b.efi"}, "shimx64.efi"}}}
		},
		"/boot/vmlinuz-1 is a file, not a directory": func(o *InstallOptions) { o.MenuPath = "/boot/vmlinuz-1/grub.cfg" },
	} {
		o := options
		change(&o)
		if _, err := install(o); err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	}
}

// TestSnippets is about boot loader entries: they are written where the distribution
// has them, and the menu is made of them where every GRUB of the image reads them.
func TestSnippets(t *testing.T) {
	cache := stagetest.Cache(t)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	root := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, file("boot/vmlinuz-1", "kernel")))}
	tools := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, file("able.efi", "a blscfg b"), file("plain.efi", "a b")))}
	core := file("core", "core").Digest
	options := InstallOptions{
		Menu: Menu{UUID: "the-uuid", Entries: []Entry{{
			ID: "linux-1", Title: "Demo 1, Linux 1", Version: "1", Kernel: "/vmlinuz-1", Initramfs: "/initrd-1", Cmdline: []string{"root=UUID=x", "ro"},
		}}},
		MenuPath: "/boot/grub2/grub.cfg", Vendor: "/EFI/demo", Fallback: "BOOTX64.EFI", Snippets: "/boot/loader/entries", SnippetsDir: "/loader/entries",
	}
	signed := func(program string) *Signed {
		return &Signed{Prefix: "/EFI/demo", Files: []SignedFile{{"grub", []string{program}, "grubx64.efi"}}}
	}
	for _, test := range []struct {
		name   string
		images Images
		signed *Signed
		want   bool
	}{
		{"own images with the module", Images{Core: core, EFI: core, Snippets: true}, nil, true},
		{"own images without", Images{Core: core}, nil, false},
		{"a signed one with it", Images{}, signed("/able.efi"), true},
		{"a signed one without", Images{}, signed("/plain.efi"), false},
		{"both with it", Images{Core: core, Snippets: true}, signed("/able.efi"), true},
		{"only the signed one", Images{Core: core}, signed("/able.efi"), false},
		{"only ours", Images{Core: core, Snippets: true}, signed("/plain.efi"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options
			o.Signed, o.UEFI = test.signed, test.signed != nil || !test.images.EFI.IsZero()
			installed, _, err := stagetest.Run(t, cache, func(_ context.Context, run *stages.Run) (Installed, error) {
				return Install(run, root, tools, test.images, o)
			})
			if err != nil {
				t.Fatal(err)
			}
			after := stagetest.Load(t, cache.Store, installed.Root.Tree)
			read := func(path string) string {
				e, _ := after.Lookup(path)
				return stagetest.Contents(t, cache.Store, e)
			}
			want := "title Demo 1, Linux 1\nversion 1\nlinux /vmlinuz-1\ninitrd /initrd-1\noptions root=UUID=x ro\ngrub_users $grub_users\ngrub_arg --unrestricted\n"
			if got := read("boot/loader/entries/ffffffffffffffffffffffffffffffff-1.conf"); got != want {
				t.Errorf("entry %q", got)
			}
			menu := read("boot/grub2/grub.cfg")
			if got := strings.Contains(menu, "set blsdir=/loader/entries\nblscfg\n"); got != test.want || strings.Contains(menu, "menuentry") == test.want {
				t.Errorf("menu\n%s", menu)
			}
		})
	}
}
