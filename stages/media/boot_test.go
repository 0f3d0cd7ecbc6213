package media

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/media/internal/packages"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// TestMain is also the installer of the media under test: the test's own program is /init there.
func TestMain(m *testing.M) {
	if os.Getpid() == 1 && os.Args[0] == "/init" {
		testInstaller()
	}
	sandbox.Init()
	os.Exit(m.Run())
}

// testInstaller says on the console what it was given, loads modules, and ends the machine.
func testInstaller() {
	defer unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fail := func(err error) {
		if err != nil {
			fmt.Println("TEST-FAILED", err)
		}
	}
	fail(unix.Mount("proc", "/proc", "proc", 0, ""))
	commandLine, err := os.ReadFile("/proc/cmdline")
	fail(err)
	var name unix.Utsname
	fail(unix.Uname(&name))
	release := unix.ByteSliceToString(name.Release[:])
	index, err := modules.Read(os.DirFS("/lib/modules/" + release))
	fail(err)
	if err == nil {
		loader := modules.NewLoader(index, nil)
		for _, module := range strings.Fields("ahci nvme virtio_blk virtio_pci usb_storage uas xhci_pci sr_mod sd_mod loop isofs vfat nls_ascii ext4 xfs overlay efivarfs e1000e virtio_net hid_generic") {
			fail(loader.Load(module))
		}
		fmt.Println("TEST-MODULES", loader.Loaded())
	}
	info, err := os.Stat("/dev/null")
	fail(err)
	if err == nil && info.Mode()&os.ModeCharDevice == 0 {
		fail(fmt.Errorf("/dev/null is %v", info.Mode()))
	}
	fmt.Printf("TEST-INIT %s %s", release, commandLine)
	fmt.Println("TEST-END")
}

// real makes the parts of a medium from packages of a distribution.
type real struct {
	cache  *stages.Cache
	pool   *sandbox.Pool
	kernel packages.Kernel
	tools  rootfs.Root
}

func newReal(t *testing.T) real {
	t.Helper()
	cache := stagetest.Cache(t)
	var entries []tree.Entry
	for _, name := range []string{"grub-pc-bin", "grub-efi-amd64-bin", "grub-efi-amd64-signed", "shim-signed", "shim-helpers-amd64-signed"} {
		entries = append(entries, packages.Entries(t, cache.Store, packages.Unpacked(t, name), "usr/lib", "usr/lib")...)
	}
	entries = append(entries, stagetest.Programs(t, cache.Store, "grub-mkimage")...)
	seen := map[string]bool{}
	var once []tree.Entry
	for _, e := range entries {
		if !seen[e.Path] {
			seen[e.Path] = true
			once = append(once, e)
		}
	}
	return real{cache, stagetest.Pool(t, cache), packages.Newest(t), rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, once...))}}
}

var (
	biosTarget = &grub.Target{Platform: "i386-pc", Modules: "/usr/lib/grub/i386-pc", BootImg: "/usr/lib/grub/i386-pc/boot.img"}
	uefiTarget = &grub.Target{Platform: "x86_64-efi", Modules: "/usr/lib/grub/x86_64-efi"}
	signed     = &Signed{
		Disk: grub.Signed{Prefix: "/EFI/debian", Files: []grub.SignedFile{
			{Role: "shim", Sources: []string{"/usr/lib/shim/shimx64.efi.signed"}, Name: "shimx64.efi"},
			{Role: "mokmanager", Sources: []string{"/usr/lib/shim/mmx64.efi.signed"}, Name: "mmx64.efi"},
			{Role: "grub", Sources: []string{"/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"}, Name: "grubx64.efi"},
		}},
		Medium: &SignedGrub{Prefix: "/boot/grub", Sources: []string{"/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"}, Name: "grubx64.efi"},
	}
)

func (r real) loaders(t *testing.T, o LoadersOptions) Loaders {
	t.Helper()
	o.Mkimage, o.Fallback, o.Epoch = "/usr/bin/grub-mkimage", "BOOTX64.EFI", stagetest.Epoch
	loaders, _, err := stagetest.Run(t, r.cache, func(ctx context.Context, run *stages.Run) (Loaders, error) {
		return MakeLoaders(ctx, run, r.pool, r.tools, o)
	})
	if err != nil {
		t.Fatal(err)
	}
	return loaders
}

func (r real) initramfs(t *testing.T) Initramfs {
	t.Helper()
	program, err := OpenProgram("/proc/self/exe", "x86_64")
	if err != nil {
		t.Fatalf("%v\nthe test's own program is the installer of this test", err)
	}
	root := rootfs.Root{Tree: stagetest.Save(t, r.cache.Store, stagetest.Tree(t, r.kernel.Entries(t, r.cache.Store)...))}
	began := time.Now()
	out, text, err := stagetest.Run(t, r.cache, func(ctx context.Context, run *stages.Run) (Initramfs, error) {
		return MakeInitramfs(ctx, run, root, InitramfsOptions{Kernel: "/boot/vmlinuz-{version}", Init: program, Epoch: stagetest.Epoch})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v\n%sin %v", out, text, time.Since(began))
	return out
}

// write writes an image to a file.
func (r real) write(t *testing.T, im disk.Image, name string) string {
	t.Helper()
	reader, err := im.Open(r.cache.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(reader, 0, im.Size)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBoot starts media with the loaders of a distribution in every way there is, and what their menus start.
func TestBoot(t *testing.T) {
	r := newReal(t)
	initramfs := r.initramfs(t)
	contents := Contents{
		Initramfs: initramfs,
		Payload:   payload.Result{Object: stagetest.File(t, r.cache.Store, "payload", "payload").Digest, Info: samplePayload},
		Layout:    sampleLayout,
	}
	options := sampleOptions()
	options.Timeout = 3
	iso := func(o Options, l Loaders) (path, id string) {
		c := contents
		c.Loaders = l
		im, err := composeISO(context.Background(), r.cache.Store, c, o)
		if err != nil {
			t.Fatal(err)
		}
		if id, err = o.id(c); err != nil {
			t.Fatal(err)
		}
		return r.write(t, im, "medium.iso"), "imagefactory.id=" + id
	}
	loaders := r.loaders(t, LoadersOptions{BIOS: biosTarget, Signed: signed})
	both, bothID := iso(options, loaders)
	other := options
	other.Name = "other"
	another, _ := iso(other, loaders)
	bios, uefi := r.localDisks(t)

	const installs = "imagefactory.mode=install"
	type boot struct {
		name     string
		firmware qemu.Firmware
		iso      string
		usb      bool
		keys     string // typed into the menu
		disk     string
		want     []string // in the kernel's command line; with a disk, what its system prints
	}
	const last, second = "\x1b[F\r", "\x1b[B\r"
	boots := []boot{
		{name: "BIOS, CD", firmware: qemu.BIOS, iso: both, want: []string{installs, bothID}},
		{name: "Secure Boot, stick", firmware: qemu.UEFISecure, iso: both, usb: true, want: []string{installs, bothID}},
		{name: "BIOS, stick, local disk", firmware: qemu.BIOS, iso: both, usb: true, keys: last, disk: bios, want: []string{"LOCAL-BIOS"}},
		{name: "UEFI, CD, local disk", firmware: qemu.UEFI, iso: both, keys: last, disk: uefi, want: []string{"LOCAL-EFI"}},
	}
	if os.Getenv("IMAGEFACTORY_TEST") == "full" {
		plainSigned := *signed
		plainSigned.Medium = nil
		plain, plainID := iso(options, r.loaders(t, LoadersOptions{Signed: &plainSigned}))
		own, ownID := iso(options, r.loaders(t, LoadersOptions{UEFI: uefiTarget}))
		boots = append(boots,
			boot{name: "BIOS, stick", firmware: qemu.BIOS, iso: both, usb: true, want: []string{installs, bothID}},
			boot{name: "UEFI, CD", firmware: qemu.UEFI, iso: both, want: []string{installs, bothID}},
			boot{name: "Secure Boot, CD", firmware: qemu.UEFISecure, iso: both, want: []string{installs, bothID}},
			boot{name: "Secure Boot, GRUB for disks, CD", firmware: qemu.UEFISecure, iso: plain, want: []string{installs, plainID}},
			boot{name: "UEFI, own GRUB, CD", firmware: qemu.UEFI, iso: own, want: []string{installs, ownID}},
			boot{name: "UEFI, own GRUB, stick", firmware: qemu.UEFI, iso: own, usb: true, want: []string{installs, ownID}},
			boot{name: "BIOS, CD, beside another", firmware: qemu.BIOS, iso: both, disk: another, want: []string{installs, bothID}},
			boot{name: "UEFI, CD, beside another", firmware: qemu.UEFI, iso: both, disk: another, want: []string{installs, bothID}},
			boot{name: "UEFI, stick, beside another", firmware: qemu.UEFI, iso: both, usb: true, disk: another, want: []string{installs, bothID}},
			boot{name: "BIOS, CD, asking", firmware: qemu.BIOS, iso: both, keys: second, want: []string{installs, "imagefactory.confirm"}},
			boot{name: "BIOS, CD, local disk", firmware: qemu.BIOS, iso: both, keys: last, disk: bios, want: []string{"LOCAL-BIOS"}},
			boot{name: "UEFI, stick, local disk", firmware: qemu.UEFI, iso: both, usb: true, keys: last, disk: uefi, want: []string{"LOCAL-EFI"}},
		)
	}
	for _, test := range boots {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			medium := qemu.Disk{Path: test.iso, Format: "raw", CD: true}
			if test.usb {
				medium = qemu.Disk{Path: test.iso, Format: "raw", Interface: qemu.USB}
			}
			m := qemu.Machine{Firmware: test.firmware, Disks: []qemu.Disk{medium}, NoReboot: true, NoNetwork: true}
			if test.disk != "" {
				m.Disks = append(m.Disks, qemu.Disk{Path: test.disk, Format: "raw"})
			}
			began := time.Now()
			vm, err := m.Start(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer vm.Quit()
			if test.keys != "" {
				if _, err := vm.Console.Expect(ctx, regexp.MustCompile(`Install sample 1\.0`)); err != nil {
					t.Fatal(err)
				}
				if err := vm.Console.Send(test.keys); err != nil {
					t.Fatal(err)
				}
			}
			if test.keys == last {
				if _, err := vm.Console.Expect(ctx, regexp.MustCompile(test.want[0])); err != nil {
					t.Fatal(err)
				}
				return
			}
			found, err := vm.Console.Expect(ctx, startedPattern)
			if err != nil {
				t.Fatal(err)
			}
			if found[1] != initramfs.Release {
				t.Errorf("the kernel is %s", found[1])
			}
			for _, want := range test.want {
				if !strings.Contains(found[2], want) {
					t.Errorf("command line %s\nhas no %s", found[2], want)
				}
			}
			transcript := string(vm.Console.Transcript())
			if strings.Contains(transcript, "TEST-FAILED") {
				t.Errorf("console\n%s", transcript)
			}
			t.Logf("after %v: %s", time.Since(began), regexp.MustCompile(`TEST-MODULES \d+`).FindString(transcript))
		})
	}
}

// TestNetworkBoot starts machines without disks from the network, with the iPXE that QEMU's network cards have, and with a GRUB
// that firmware loads by TFTP.
func TestNetworkBoot(t *testing.T) {
	r := newReal(t)
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const host = "10.0.2.2" // what guests call this machine
	options := sampleOptions()
	options.URL, options.Timeout = "http://"+net.JoinHostPort(host, port)+"/node", 1
	c := Contents{
		Initramfs: r.initramfs(t), Layout: sampleLayout,
		Payload: payload.Result{Object: stagetest.File(t, r.cache.Store, "payload", "payload").Digest, Info: samplePayload},
	}
	files, _, err := stagetest.Run(t, r.cache, func(_ context.Context, run *stages.Run) ([]ServedFile, error) { return MakePXE(run, c, options) })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "node"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		p, err := r.cache.Store.ReadAll(f.Digest)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "node", f.Name), p, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	early := "net_bootp\nconfigfile (tftp," + host + ")/node/grub.cfg\n"
	for _, g := range []grub.Mkimage{
		{Platform: "i386-pc-pxe", Directory: biosTarget.Modules, Modules: []string{"pxe"}},
		{Platform: uefiTarget.Platform, Directory: uefiTarget.Modules, Modules: []string{"efinet"}},
	} {
		g.Program, g.Prefix, g.Early, g.Epoch = "/usr/bin/grub-mkimage", "/nowhere", early, stagetest.Epoch
		g.Modules = append(g.Modules, "net", "tftp", "normal", "configfile", "linux", "echo", "test", "serial", "terminal", "minicmd")
		digest, _, err := stagetest.Run(t, r.cache, func(ctx context.Context, run *stages.Run) (store.Digest, error) {
			return g.Run(ctx, run, r.pool, r.tools)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.cache.Store.ReadAll(digest)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "node", g.Platform), p, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	boots := []struct {
		name     string
		firmware qemu.Firmware
		file     string
	}{
		{"iPXE, BIOS", qemu.BIOS, options.URL + "/boot.ipxe"},
		{"iPXE, UEFI", qemu.UEFI, options.URL + "/boot.ipxe"},
		{"GRUB, BIOS", qemu.BIOS, "node/i386-pc-pxe"},
		{"GRUB, UEFI", qemu.UEFI, "node/" + uefiTarget.Platform},
	}
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		boots = boots[:1]
	}
	for _, test := range boots {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			vm, err := qemu.Machine{Firmware: test.firmware, NoReboot: true, Netboot: &qemu.Netboot{Dir: dir, File: test.file}}.Start(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer vm.Quit()
			found, err := vm.Console.Expect(ctx, startedPattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"imagefactory.mode=install", "imagefactory.url=" + options.URL, "console=ttyS0,115200n8"} {
				if !strings.Contains(found[2], want) {
					t.Errorf("command line %s\nhas no %s", found[2], want)
				}
			}
		})
	}
}

// startedPattern matches what testInstaller prints: the kernel's release and its command line.
var startedPattern = regexp.MustCompile(`TEST-INIT (\S+) (.*)\r?\n[^\n]*TEST-END`)

// localDisks returns disks with a system for BIOS and for UEFI, which only says that it was started.
func (r real) localDisks(t *testing.T) (bios, uefi string) {
	t.Helper()
	// mov dx, 0x3f8; for each character: mov al, c; out dx, al; then hlt for ever
	code := []byte{0xba, 0xf8, 0x03}
	for _, c := range []byte("LOCAL-BIOS\r\n") {
		code = append(code, 0xb0, c, 0xee)
	}
	code = append(code, 0xf4, 0xeb, 0xfd)
	sector := make([]byte, 1<<20)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	bios = filepath.Join(t.TempDir(), "bios.img")
	if err := os.WriteFile(bios, sector, 0o644); err != nil {
		t.Fatal(err)
	}

	st := r.cache.Store
	program, _, err := stagetest.Run(t, r.cache, func(ctx context.Context, run *stages.Run) (store.Digest, error) {
		return grub.Mkimage{
			Program: "/usr/bin/grub-mkimage", Platform: uefiTarget.Platform, Directory: uefiTarget.Modules, Prefix: "/nowhere",
			Early: "echo LOCAL-EFI\nsleep 30\n", Modules: []string{"echo", "sleep", "normal"}, Epoch: stagetest.Epoch,
		}.Run(ctx, run, r.pool, r.tools)
	})
	if err != nil {
		t.Fatal(err)
	}
	size, err := st.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	esp := stagetest.Tree(t, tree.Entry{Path: "EFI/BOOT/BOOTX64.EFI", Type: tree.Regular, Mode: 0o644, Digest: program, Size: size})
	const espSize = 8 << 20
	image, err := fat.Write(context.Background(), st, esp, fat.Options{Size: espSize})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := partition.Plan(0, partition.UUID(store.Digest{1}, "disk"), []partition.Spec{{
		Number: 1, Label: "ESP", Type: partition.TypeESP, GUID: partition.UUID(store.Digest{1}, "esp"), Size: espSize,
	}})
	if err != nil {
		t.Fatal(err)
	}
	im, err := partition.Compose(st, layout, partition.Contents{Partitions: map[int]disk.Image{1: image}})
	if err != nil {
		t.Fatal(err)
	}
	return bios, r.write(t, im, "uefi.img")
}

// sampleOptions are those of a medium for tests.
func sampleOptions() Options {
	return Options{
		Name: "sample", Version: "1.0", Arch: "x86_64", Mode: config.ModeInstall, After: config.Reboot, OnFailure: config.Shell,
		Target: config.Target{Match: config.MatchSmallestEmpty}, Grow: true, Consoles: []string{"tty0", "ttyS0,115200n8"},
		Cmdline: []string{"nomodeset"}, VolumeID: "SAMPLE_1_0", Timeout: 5, Epoch: stagetest.Epoch,
		EFI:          config.EFI{Label: "sample", Loader: `\EFI\debian\shimx64.efi`, Partition: 1},
		LocalLoaders: []string{"/EFI/debian/shimx64.efi", "/EFI/BOOT/BOOTX64.EFI"},
	}
}

const someGUID = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

var (
	samplePayload = payload.Info{
		Size: 7, SHA256: "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5", DiskSize: 1 << 30,
		IndexSHA256: "0000000000000000000000000000000000000000000000000000000000000001",
	}
	sampleLayout = config.Layout{DiskGUID: someGUID, Partitions: []config.Partition{
		{Number: 1, Label: "BOOT", TypeGUID: someGUID, GUID: someGUID, Start: 1 << 20, Size: 64 << 20, Filesystem: "vfat", Role: "esp"},
		{Number: 2, Label: "ROOT", TypeGUID: someGUID, GUID: someGUID, Start: 65 << 20, Size: 512 << 20, Filesystem: "ext4", Role: "root"},
	}}
)
