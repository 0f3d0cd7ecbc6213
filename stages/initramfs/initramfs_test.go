package initramfs

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

func TestKernels(t *testing.T) {
	st := stagetest.Cache(t).Store
	var entries []tree.Entry
	for _, p := range []string{
		"boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64", "boot/vmlinuz-6.1.0-10-cloud-amd64", "boot/vmlinuz-", "boot/initrd.img-6.1.0-9-amd64",
		"boot/signed-1.efi", "boot/signed-2.efi", "boot/signed-3.txt", "boot/in-7-dir/linux", "usr/lib/modules/5.14.0-1.el9/vmlinuz", "usr/lib/modules/5.14.0-503.el9/vmlinuz",
		"usr/lib/modules/5.14.0-9.el9/modules.dep", "usr/lib/modules/dir/vmlinuz/file",
	} {
		entries = append(entries, stagetest.File(t, st, p, ""))
	}
	entries = append(entries, stagetest.Link("boot/vmlinuz-link", "vmlinuz-6.1.0-9-amd64"), stagetest.Dir("boot/vmlinuz-dir"))
	root := stagetest.Tree(t, entries...)
	for pattern, want := range map[string]string{
		"/boot/vmlinuz-{version}":            "6.1.0-10-cloud-amd64 6.1.0-10-amd64 6.1.0-9-amd64",
		"/boot/signed-{version}.efi":         "2 1",
		"/boot/in-{version}-dir/linux":       "7",
		"/usr/lib/modules/{version}/vmlinuz": "5.14.0-503.el9 5.14.0-1.el9",
	} {
		got, err := Kernels(root, pattern)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v; want %s", pattern, got, err, want)
		}
		for _, v := range got {
			if _, ok := root.Lookup(At(pattern, v)); !ok {
				t.Errorf("%s: there is no /%s", pattern, At(pattern, v))
			}
		}
	}
	for pattern, want := range map[string]string{
		"/boot/vmlinuz":           "the kernel pattern /boot/vmlinuz has no {version}",
		"/boot/bzImage-{version}": "the image has no kernel: there is no file /boot/bzImage-{version}; add a kernel package to rootfs.packages",
		"/none/{version}/linux":   "the image has no kernel: there is no file /none/{version}/linux; add a kernel package to rootfs.packages",
	} {
		if _, err := Kernels(root, pattern); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", pattern, err, want)
		}
	}
	if _, err := Kernels(root, "/boot/x{version}"); !errors.Is(err, ErrNoKernel) {
		t.Errorf("no kernel: %v", err)
	}
}

func TestRun(t *testing.T) {
	cache := stagetest.Cache(t)
	pool := stagetest.Pool(t, cache)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	base := append(stagetest.Programs(t, cache.Store, "sh"), file("boot/vmlinuz-1.0", ""), file("boot/vmlinuz-2.0", ""))
	options := Options{Kernel: "/boot/vmlinuz-{version}", Image: "/boot/initrd.img-{version}", Command: []string{"/usr/bin/generate", "-o", "{image}", "{version}"}, Env: map[string]string{"LEVEL": "9"}}
	generate := func(script string) (*tree.Tree, error) {
		entries := append(base, stagetest.Mode(file("usr/bin/generate", "#!/bin/sh\n"+script), 0o755))
		root := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, entries...))}
		got, _, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
			return Run(ctx, run, pool, root, options, session.Options{Epoch: stagetest.Epoch, Env: map[string]string{"LEVEL": "1"}})
		})
		if err != nil {
			return nil, err
		}
		return stagetest.Load(t, cache.Store, got.Tree), nil
	}
	// A kernel that is not where it boots from is copied there; one that is stays.
	plain := base
	base = append(plain[:len(plain):len(plain)], file("usr/lib/modules/3.0/vmlinuz", "third"), file("usr/lib/modules/2.0/vmlinuz", "not this"))
	options.Source = "/usr/lib/modules/{version}/vmlinuz"
	after, err := generate(`echo "$* $LEVEL" >"$2"`)
	if err != nil {
		t.Fatal(err)
	}
	want := "boot/\nboot/initrd.img-1.0 \"-o /boot/initrd.img-1.0 1.0 9\\n\"\nboot/initrd.img-2.0 \"-o /boot/initrd.img-2.0 2.0 9\\n\"\nboot/initrd.img-3.0 \"-o /boot/initrd.img-3.0 3.0 9\\n\"\nboot/vmlinuz-1.0 \"\"\nboot/vmlinuz-2.0 \"\"\nboot/vmlinuz-3.0 \"third\"\n"
	if got := stagetest.Text(t, cache.Store, after, "boot"); got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}

	base = plain
	for script, want := range map[string]string{
		"true":            "/usr/bin/generate ended without an error but made no /boot/initrd.img-2.0",
		`: >"$2"`:         "/usr/bin/generate ended without an error but made no /boot/initrd.img-2.0",
		"echo no; exit 4": "initramfs for 2.0: /usr/bin/generate failed with exit status 4; it printed last:\nno",
	} {
		if _, err := generate(script); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", script, err, want)
		}
	}
	options.Kernel = "/boot/none-{version}"
	if _, err := generate("true"); !errors.Is(err, ErrNoKernel) {
		t.Errorf("no kernel: %v", err)
	}
}
