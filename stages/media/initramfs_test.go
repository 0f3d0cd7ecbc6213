package media

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/media/internal/testmodule"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// needTool returns the path of a program that a test needs.
func needTool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing: make test installs what the tests need", name)
	return ""
}

// filter runs a program of the host on some bytes.
func filter(t *testing.T, input []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(needTool(t, name), args...)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.Bytes())
	}
	return string(out)
}

func contents(t *testing.T, st *store.Store, digest store.Digest) []byte {
	t.Helper()
	p, err := st.ReadAll(digest)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMakeInitramfs(t *testing.T) {
	cache := stagetest.Cache(t)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	module := testmodule.New("firmware=nic.bin")
	program := filepath.Join(t.TempDir(), "installer")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	init, err := OpenProgram(program, "x86_64")
	if err != nil {
		t.Fatalf("%v\nthe test's own program is the installer of this test", err)
	}
	const dir = "usr/lib/modules/6.1/"
	entries := []tree.Entry{
		stagetest.Link("lib", "usr/lib"), file("boot/vmlinuz-6.1", "kernel"), file("boot/vmlinuz-5.10", "old kernel"),
		file(dir+"modules.dep", "kernel/drivers/net/ethernet/nic.ko:\nkernel/drivers/md/torn.ko: kernel/gone.ko\nkernel/gone.ko:\n"),
		file(dir+"kernel/drivers/net/ethernet/nic.ko", module),
		file(dir+"kernel/drivers/md/torn.ko", module),
		file("usr/lib/firmware/nic.bin", "firmware"),
		file("etc/pki/tls/certs/bundle", "authorities"), stagetest.Link("etc/pki/tls/certs/ca-bundle.crt", "bundle"),
	}
	run := func(entries ...tree.Entry) (Initramfs, string, error) {
		root := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, entries...))}
		return stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (Initramfs, error) {
			return MakeInitramfs(ctx, run, root, InitramfsOptions{Kernel: "/boot/vmlinuz-{version}", Init: init, Epoch: stagetest.Epoch})
		})
	}
	out, text, err := run(entries...)
	if err != nil {
		t.Fatal(err)
	}
	wantText := []string{
		"1 modules of kernel 6.1 and 1 files of firmware for the installer; 0 files that modules name are not in the image",
		"the installer will lack drivers for SATA and IDE disks, NVMe disks, ",
		"the installer will lack the module torn: it needs gone, which is not in the image",
	}
	for _, want := range wantText {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if out.Release != "6.1" || string(contents(t, cache.Store, out.Kernel)) != "kernel" || out.Modules != 1 || out.Firmware != 1 {
		t.Errorf("%+v", out)
	}
	image := contents(t, cache.Store, out.Image)
	if int64(len(image)) != out.Size {
		t.Errorf("%d bytes, said were %d", len(image), out.Size)
	}
	archive := []byte(filter(t, image, "gzip", "-d"))
	var list strings.Builder
	for line := range strings.Lines(filter(t, archive, "cpio", "-t", "-v", "--quiet")) {
		fields := strings.Fields(line)
		list.WriteString(fields[0] + " " + strings.Join(fields[len(fields)-4:], " ") + "\n")
	}
	const date = " Sep 9 2001 "
	want := strings.ReplaceAll(`drwxr-xr-x dev
crw------- dev/console
crw-rw-rw- dev/null
drwxr-xr-x etc
drwxr-xr-x etc/ssl
drwxr-xr-x etc/ssl/certs
-rw-r--r-- etc/ssl/certs/ca-certificates.crt
-rwxr-xr-x init
drwxr-xr-x lib
drwxr-xr-x lib/firmware
-rw-r--r-- lib/firmware/nic.bin
drwxr-xr-x lib/modules
drwxr-xr-x lib/modules/6.1
drwxr-xr-x lib/modules/6.1/kernel
drwxr-xr-x lib/modules/6.1/kernel/drivers
drwxr-xr-x lib/modules/6.1/kernel/drivers/net
drwxr-xr-x lib/modules/6.1/kernel/drivers/net/ethernet
-rw-r--r-- lib/modules/6.1/kernel/drivers/net/ethernet/nic.ko.zst
-rw-r--r-- lib/modules/6.1/modules.dep
drwxr-xr-x proc
drwxr-xr-x run
drwxr-xr-x sys
drwxrwxrwt tmp
`, " ", date)
	if list.String() != want {
		t.Errorf("the archive holds\n%swant\n%s", list.String(), want)
	}
	extract := func(name string) string { return filter(t, archive, "cpio", "-i", "--quiet", "--to-stdout", name) }
	stripped := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(stripped, []byte(extract("init")), 0o755); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(stripped); err != nil || info.Size() >= int64(len(self)) {
		t.Errorf("/init has all %d bytes of the installer: %v", len(self), err)
	}
	if list, err := exec.Command(stripped, "-test.list=^TestMakeInitramfs$").CombinedOutput(); err != nil || string(list) != "TestMakeInitramfs\n" {
		t.Errorf("/init is not the installer: %v, %s", err, list)
	}
	if sections, err := exec.Command("readelf", "--sections", "--segments", "--wide", stripped).CombinedOutput(); err != nil || !strings.Contains(string(sections), "There are no sections in this file") ||
		!strings.Contains(string(sections), "LOAD") || strings.Contains(string(sections), "Warning") {
		t.Errorf("readelf: %v, %s", err, sections)
	}
	if got := extract("lib/modules/6.1/modules.dep"); got != "kernel/drivers/net/ethernet/nic.ko.zst:\n" {
		t.Errorf("modules.dep %q", got)
	}
	if got := filter(t, []byte(extract("lib/modules/6.1/kernel/drivers/net/ethernet/nic.ko.zst")), "zstd", "-d"); got != module {
		t.Error("the module is not what it was")
	}
	if got := extract("etc/ssl/certs/ca-certificates.crt"); got != "authorities" {
		t.Errorf("certificates %q", got)
	}

	// A change elsewhere in the root makes nothing anew, and says the same.
	again, text, err := run(append(entries, file("etc/motd", "hello"))...)
	if err != nil || again.Image != out.Image || !strings.Contains(text, wantText[1]) {
		t.Errorf("again %+v, %v, %s", again, err, text)
	}
	// Made anew of the same, it is the same.
	changed, _, err := run(append(entries, file("usr/lib/firmware/other.bin", "x"))...)
	if err != nil || changed.Image != out.Image {
		t.Errorf("made anew: %+v, %v", changed, err)
	}

	if err := os.WriteFile(program, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err = run(append(entries, file("usr/lib/firmware/nic2.bin", "x"))...); err == nil || !strings.HasSuffix(err.Error(), program+", changed while this build was running; build again") {
		t.Errorf("another program: %v", err)
	}
	if _, _, err = run(file("etc/x", "")); err == nil || !strings.Contains(err.Error(), "the image has no kernel") {
		t.Errorf("no kernel: %v", err)
	}
}

func TestOpenProgram(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"+strings.Repeat("#", 100)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ file, arch, want string }{
		{"/proc/self/exe", "aarch64", "the installer for the medium, /proc/self/exe: it is for EM_X86_64, the image for aarch64: build imagefactory for that too, and name it"},
		{"/proc/self/exe", "riscv64", "the installer for the medium, /proc/self/exe: there are no media for riscv64"},
		{"/bin/sh", "x86_64", "the installer for the medium, /bin/sh: it needs shared libraries, which the medium has not: build it with CGO_ENABLED=0"},
		{text, "x86_64", "the installer for the medium, " + text + ": it is no program for Linux: bad magic number '[35 33 47 98]' in record at byte 0x0"},
		{dir + "/none", "x86_64", "the installer for the medium: open " + dir + "/none: no such file or directory"},
	} {
		if _, err := OpenProgram(test.file, test.arch); err == nil || err.Error() != test.want {
			t.Errorf("error %v\nwant  %s", err, test.want)
		}
	}
}
