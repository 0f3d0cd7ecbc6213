package media

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/isofs"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// sampleContents are made-up contents of a medium.
func sampleContents(t *testing.T, st *store.Store) Contents {
	t.Helper()
	put := func(text string) store.Digest { return stagetest.File(t, st, "x", text).Digest }
	image, err := partition.BytesImage(st, []byte("file system"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	root, err := disk.Save(st, image)
	if err != nil {
		t.Fatal(err)
	}
	hybrid := make([]byte, 512)
	hybrid[510], hybrid[511] = 0x55, 0xaa
	c := Contents{
		Initramfs: Initramfs{Release: "6.1", Kernel: put("kernel"), Image: put("initramfs")},
		Loaders: Loaders{
			BIOS: put(strings.Repeat("eltorito", 1000)), HybridMBR: put(string(hybrid)), EFIPrefix: "/boot/grub",
			EFI: []LoaderFile{{"EFI/BOOT/BOOTX64.EFI", put("shim"), 4}, {"EFI/BOOT/grubx64.efi", put("grub"), 4}},
		},
		Payload: somePayload, Layout: sampleLayout, Root: Root{Image: root, Filesystem: "ext4"},
	}
	c.Payload.Object = put("payload")
	return c
}

var sampleScripts = []Script{
	{Name: "register it/now", Content: []byte("echo hi\n"), Inline: true, Env: map[string]string{"A": "b"}, Network: true},
	{Name: "second", Content: []byte("#!/usr/bin/python3\n")},
}

func TestMakeISO(t *testing.T) {
	cache := stagetest.Cache(t)
	c, o := sampleContents(t, cache.Store), sampleOptions()
	o.Scripts, o.PasswordPBKDF2 = sampleScripts, "grub.pbkdf2.sha512.10000.AB.CD"
	build := func(c Contents, o Options) (store.Digest, error) {
		digest, _, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (store.Digest, error) {
			return MakeISO(ctx, run, c, o)
		})
		return digest, err
	}
	digest, err := build(c, o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := build(c, o); err != nil || again != digest {
		t.Errorf("made again: %v, %v", again, err)
	}
	im, err := disk.Load(cache.Store, digest)
	if err != nil {
		t.Fatal(err)
	}
	file := real{cache: cache}.write(t, im, "medium.iso")
	document, err := o.Config(c)
	if err != nil {
		t.Fatal(err)
	}
	id := document.ID

	xorriso := func(args ...string) string {
		cmd := exec.Command(needTool(t, "xorriso"), append([]string{"-no_rc", "-indev", file}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("xorriso %v: %v", args, err)
		}
		return string(out)
	}
	var list []string
	for line := range strings.Lines(xorriso("-find", "/", "-type", "f", "-exec", "lsdl", "--")) {
		fields := strings.Fields(line)
		list = append(list, strings.Trim(fields[len(fields)-1], "'")+" "+fields[0])
	}
	slices.Sort(list)
	want := strings.ReplaceAll(`/.disk/info -rw-r--r--
/EFI/BOOT/BOOTX64.EFI -rw-r--r--
/EFI/BOOT/grubx64.efi -rw-r--r--
/boot/grub/bios.img -rw-r--r--
/boot/grub/efi.img -rw-r--r--
/boot/grub/grub.cfg -rw-------
/imagefactory/ID.id -r--r--r--
/imagefactory/initramfs -rw-r--r--
/imagefactory/install.json -rw-r--r--
/imagefactory/kernel -rw-r--r--
/imagefactory/payload -rw-r--r--
/imagefactory/scripts/01-register_it_now -rwxr-xr-x
/imagefactory/scripts/02-second -rwxr-xr-x
/live/root.img -rw-r--r--`, "ID", id)
	slices.Sort(list)
	if got := strings.Join(list, "\n"); got != want {
		t.Errorf("the medium holds\n%s\nwant\n%s", got, want)
	}
	extract := func(path string) string {
		to := filepath.Join(t.TempDir(), "file")
		xorriso("-osirrox", "on", "-extract", path, to)
		p, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		return string(p)
	}
	for path, want := range map[string]string{
		"/.disk/info": "sample 1.0 x86_64\n", "/imagefactory/kernel": "kernel", "/imagefactory/payload": "payload",
		"/imagefactory/scripts/01-register_it_now": "#!/bin/sh -e\necho hi\n", "/imagefactory/scripts/02-second": "#!/usr/bin/python3\n",
		"/boot/grub/grub.cfg": o.Menu(c, id),
	} {
		if got := extract(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	read, err := config.Decode(strings.NewReader(extract("/imagefactory/install.json")))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", *read) != fmt.Sprintf("%+v", document) {
		t.Errorf("install.json\n%+v\nwant\n%+v", *read, document)
	}
	if read.Payload.File != "/imagefactory/payload" || read.Root.File != "/live/root.img" || read.Scripts[0].File != "/imagefactory/scripts/01-register_it_now" {
		t.Errorf("paths in install.json: %+v", read)
	}

	// The installer's own reader.
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	volume, err := isofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if volume.SetID != id || volume.ID != "SAMPLE_1_0" {
		t.Errorf("identifiers %q, %q", volume.SetID, volume.ID)
	}
	if payload, err := volume.Open(read.Payload.File); err != nil || payload.Size() != 7 {
		t.Errorf("the payload: %v", err)
	}

	descriptor := filter(t, nil, "isoinfo", "-d", "-i", file)
	for _, want := range []string{"Volume id: SAMPLE_1_0\n", "Volume set id: " + id + "\n", "El Torito VD version 1 found"} {
		if !strings.Contains(descriptor, want) {
			t.Errorf("isoinfo does not say %q:\n%s", want, descriptor)
		}
	}
	efi := filepath.Join(t.TempDir(), "efi.img")
	if err := os.WriteFile(efi, []byte(extract("/boot/grub/efi.img")), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"::/boot/grub/grub.cfg": stub(id), "::/EFI/BOOT/BOOTX64.EFI": "shim", "::/imagefactory/" + id + ".id": id + "\n",
	} {
		if got := filter(t, nil, "mtype", "-i", efi, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if out, err := exec.Command(needTool(t, "fsck.fat"), "-n", efi).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}

	// Whatever differs makes another medium.
	ids := map[string]string{id: "the first"}
	for name, change := range map[string]func(*Contents, *Options){
		"version": func(_ *Contents, o *Options) { o.Version = "2" },
		"policy":  func(_ *Contents, o *Options) { o.Target.Wipe = true },
		"script":  func(_ *Contents, o *Options) { o.Scripts = sampleScripts[:1] },
		"payload": func(c *Contents, _ *Options) { c.Payload.Object = store.Digest{9} },
		"loaders": func(c *Contents, _ *Options) { c.Loaders.BIOS = store.Digest{9} },
	} {
		c, o := c, o
		change(&c, &o)
		document, err := o.Config(c)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := ids[document.ID]; twice {
			t.Errorf("another %s has the id of %s", name, other)
		}
		ids[document.ID] = name
	}

	o.Arch = ""
	if _, err := build(c, o); err == nil || err.Error() != "what the recipe says does not make a medium: arch: missing" {
		t.Errorf("no architecture: %v", err)
	}
}

// TestLiveOnly makes a medium that has nothing to install, for one kind of firmware.
func TestLiveOnly(t *testing.T) {
	cache := stagetest.Cache(t)
	c, o := sampleContents(t, cache.Store), sampleOptions()
	o.Mode, o.After = config.ModeLive, ""
	c.Payload, c.Layout, c.Loaders.EFI = Contents{}.Payload, config.Layout{}, nil
	im, err := composeISO(context.Background(), cache.Store, c, o)
	if err != nil {
		t.Fatal(err)
	}
	file := real{cache: cache}.write(t, im, "medium.iso")
	out := filter(t, nil, "isoinfo", "-R", "-f", "-i", file)
	if strings.Contains(out, "payload") || strings.Contains(out, "/EFI") || !strings.Contains(out, "/live/root.img\n") {
		t.Errorf("the medium holds\n%s", out)
	}
}

func TestMakePXE(t *testing.T) {
	cache := stagetest.Cache(t)
	c, o := sampleContents(t, cache.Store), sampleOptions()
	o.URL, o.Scripts = "http://boot.example.com/node", sampleScripts
	build := func(c Contents, o Options) ([]ServedFile, error) {
		files, _, err := stagetest.Run(t, cache, func(_ context.Context, run *stages.Run) ([]ServedFile, error) { return MakePXE(run, c, o) })
		return files, err
	}
	files, err := build(c, o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		got[f.Name] = stagetest.Contents(t, cache.Store, tree.Entry{Digest: f.Digest})
	}
	document, err := config.Decode(strings.NewReader(got["install.json"]))
	if err != nil {
		t.Fatal(err)
	}
	if document.Payload.File != "/payload" || document.Scripts[0].File != "/scripts/01-register_it_now" || document.Root.File != "" {
		t.Errorf("%+v", document)
	}
	delete(got, "install.json")
	live := c
	live.Root = Root{}
	for name, want := range map[string]string{
		"kernel": "kernel", "initramfs": "initramfs", "payload": "payload", "boot.ipxe": o.IPXE(live), "grub.cfg": o.NetworkMenu(live),
		"scripts/01-register_it_now": "#!/bin/sh -e\necho hi\n", "scripts/02-second": "#!/usr/bin/python3\n",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("besides, there is %q", got)
	}
	o.URL = ""
	if _, err := build(c, o); err == nil || err.Error() != "a directory for network boots needs the URL where it is served" {
		t.Errorf("no URL: %v", err)
	}
	o.URL, c.Payload.Object = "http://boot.example.com", store.Digest{}
	if _, err := build(c, o); err == nil || err.Error() != "a directory for network boots needs something to install" {
		t.Errorf("no payload: %v", err)
	}
}

func TestLayout(t *testing.T) {
	guid := partition.UUID(store.Digest{}, "disk")
	got := Layout(partition.Layout{GUID: guid, Size: 1 << 30, Partitions: []partition.Placed{
		{Number: 5, Label: "BIOS", Type: partition.TypeBIOSBoot, GUID: guid, Start: 1 << 20, Size: 1 << 20},
		{Number: 1, Label: "ROOT", Type: partition.TypeLinux, GUID: guid, Start: 2 << 20, Size: 64 << 20},
	}}, map[int]Use{1: {"ext4", "root"}, 5: {Role: "bios"}})
	want := config.Layout{DiskGUID: guid.String(), Partitions: []config.Partition{
		{Number: 1, Label: "ROOT", TypeGUID: "0fc63daf-8483-4772-8e79-3d69d8477de4", GUID: guid.String(), Start: 2 << 20, Size: 64 << 20, Filesystem: "ext4", Role: "root"},
		{Number: 5, Label: "BIOS", TypeGUID: "21686148-6449-6e6f-744e-656564454649", GUID: guid.String(), Start: 1 << 20, Size: 1 << 20, Role: "bios"},
	}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
