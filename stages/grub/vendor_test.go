package grub

import (
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestVendorDirectory(t *testing.T) {
	cache := stagetest.Cache(t)
	files := func(paths ...string) *tree.Tree {
		var entries []tree.Entry
		for _, p := range paths {
			entries = append(entries, stagetest.File(t, cache.Store, p, p))
		}
		return stagetest.Tree(t, entries...)
	}
	open := &Signed{Prefix: "/EFI/*", Files: []SignedFile{
		{"shim", []string{"/boot/efi/EFI/*/shimx64.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"}, "shimx64.efi"},
		{"grub", []string{"/boot/efi/EFI/*/grubx64.efi"}, "grubx64.efi"},
	}}
	tools := files("boot/efi/EFI/BOOT/BOOTX64.EFI", "boot/efi/EFI/acme/grubx64.efi", "boot/efi/EFI/acme/fonts/unicode.pf2")
	got, err := open.InTools(tools)
	want := &Signed{Prefix: "/EFI/acme", Files: []SignedFile{
		{"shim", []string{"/boot/efi/EFI/acme/shimx64.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"}, "shimx64.efi"},
		{"grub", []string{"/boot/efi/EFI/acme/grubx64.efi"}, "grubx64.efi"},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}

	for text, tools := range map[string]*tree.Tree{
		"hold 0 files /boot/efi/EFI/*/grubx64.efi": files("boot/efi/EFI/BOOT/BOOTX64.EFI"),
		"hold 2 files /boot/efi/EFI/*/grubx64.efi": files("boot/efi/EFI/a/grubx64.efi", "boot/efi/EFI/b/grubx64.efi"),
	} {
		if _, err := open.InTools(tools); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want %s", err, text)
		}
	}
	named := &Signed{Prefix: "/EFI/debian", Files: open.Files}
	if got, err := named.InTools(tools); err != nil || got != named {
		t.Errorf("a directory that is known became %+v, %v", got, err)
	}
	if got, err := (*Signed)(nil).InTools(tools); err != nil || got != nil {
		t.Errorf("nothing signed became %+v, %v", got, err)
	}
}
