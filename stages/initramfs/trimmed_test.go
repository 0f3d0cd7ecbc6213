package initramfs

import (
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// paths lists what a tree has, but for directories.
func paths(t *tree.Tree) string {
	var list []string
	for _, e := range t.Entries() {
		if e.Type != tree.Directory {
			list = append(list, e.Path)
		}
	}
	return strings.Join(list, " ")
}

func TestTrimmedRoot(t *testing.T) {
	st := stagetest.Cache(t).Store
	o := Options{Kernel: "/boot/vmlinuz-{version}", Image: "/boot/initrd.img-{version}"}
	kernel := stagetest.File(t, st, "boot/vmlinuz-6.1", "kernel")
	ext4 := stagetest.File(t, st, "usr/lib/modules/6.1/ext4.ko", "ext4")
	lib := stagetest.Link("lib", "usr/lib")
	full := stagetest.Tree(t, kernel, lib, ext4, stagetest.File(t, st, "usr/bin/mkinitramfs", "generator"),
		stagetest.File(t, st, "usr/lib/modules/6.1/snd.ko", "sound"), stagetest.File(t, st, "usr/lib/modules/6.1/modules.dep", "ext4.ko snd.ko"),
		stagetest.File(t, st, "usr/lib/firmware/snd.bin", "sound"), stagetest.File(t, st, "usr/lib/firmware/cpu.bin", "cpu"))
	trimmed := stagetest.Tree(t, kernel, lib, ext4, stagetest.File(t, st, "usr/lib/modules/6.1/modules.dep", "ext4.ko"), stagetest.File(t, st, "usr/lib/firmware/cpu.bin", "cpu"))

	prepared, err := WithDrivers(full, trimmed)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := paths(prepared), "boot/vmlinuz-6.1 lib usr/bin/mkinitramfs usr/lib/firmware/cpu.bin usr/lib/modules/6.1/ext4.ko usr/lib/modules/6.1/modules.dep"; got != want {
		t.Errorf("the generator runs in a root with\n%s, not\n%s", got, want)
	}
	dep, _ := prepared.Lookup("usr/lib/modules/6.1/modules.dep")
	if want, _ := trimmed.Lookup(dep.Path); dep.Digest != want.Digest {
		t.Error("modules.dep is not that of the trimmed root")
	}

	edit := prepared.Edit()
	edit.Put(stagetest.File(t, st, "boot/initrd.img-6.1", "initrd"))
	edit.Put(stagetest.File(t, st, "usr/bin/leftover", "of the generator"))
	made, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	result, err := Transfer(made, trimmed, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := paths(result), "boot/initrd.img-6.1 boot/vmlinuz-6.1 lib usr/lib/firmware/cpu.bin usr/lib/modules/6.1/ext4.ko usr/lib/modules/6.1/modules.dep"; got != want {
		t.Errorf("the trimmed root has\n%s, not\n%s", got, want)
	}

	if _, err := Transfer(prepared, trimmed, o); err == nil || err.Error() != "the initial RAM file system of Linux 6.1 is missing: /boot/initrd.img-6.1" {
		t.Errorf("without an initramfs: %v", err)
	}
	// A root without drivers is as it was.
	bare := stagetest.Tree(t, kernel)
	if same, err := WithDrivers(bare, bare); err != nil || same.Digest() != bare.Digest() {
		t.Errorf("a root without drivers: %v", err)
	}
}
