package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDiskArguments(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a,b.raw")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	quoted := filepath.Join(dir, "a,,b.raw")
	blank := func(n string) string {
		return "format=raw,cache=unsafe,discard=unmap,file=" + filepath.Join(dir, "disk"+n+".raw")
	}
	for _, c := range []struct {
		name  string
		disks []Disk
		want  []string
	}{
		{"image", []Disk{{Path: image, Format: "raw"}}, []string{
			"-drive", "if=none,id=disk0,format=raw,snapshot=on,discard=unmap,file=" + quoted,
			"-device", "virtio-blk-pci,id=device0,drive=disk0,bootindex=1",
		}},
		{"blank disks of every interface", []Disk{
			{Size: 1 << 30}, {Size: 1 << 30, Interface: SATA}, {Size: 1 << 30, Interface: NVMe}, {Size: 1 << 30, Interface: USB}, {Size: 1 << 30, Interface: SCSI},
		}, []string{
			"-device", "qemu-xhci,id=usb,p2=8,p3=8", "-device", "virtio-scsi-pci,id=scsi",
			"-drive", "if=none,id=disk0," + blank("0"), "-device", "virtio-blk-pci,id=device0,drive=disk0,bootindex=5",
			"-drive", "if=none,id=disk1," + blank("1"), "-device", "ide-hd,bus=ide.0,id=device1,drive=disk1,bootindex=6",
			"-drive", "if=none,id=disk2," + blank("2"), "-device", "nvme,serial=NVME0002,id=device2,drive=disk2,bootindex=7",
			"-drive", "if=none,id=disk3," + blank("3"), "-device", "usb-storage,bus=usb.0,id=device3,drive=disk3,bootindex=8",
			"-drive", "if=none,id=disk4," + blank("4"), "-device", "scsi-hd,bus=scsi.0,id=device4,drive=disk4,bootindex=9",
		}},
		{"CDs", []Disk{{Path: image, Format: "raw", CD: true}, {Path: image, Format: "raw", CD: true, Interface: SCSI}}, []string{
			"-device", "virtio-scsi-pci,id=scsi",
			"-drive", "if=none,id=disk0,format=raw,media=cdrom,readonly=on,file=" + quoted, "-device", "ide-cd,bus=ide.0,id=device0,drive=disk0,bootindex=2",
			"-drive", "if=none,id=disk1,format=raw,media=cdrom,readonly=on,file=" + quoted, "-device", "scsi-cd,bus=scsi.0,id=device1,drive=disk1,bootindex=3",
		}},
		{"what a disk says of itself", []Disk{
			{Size: 1 << 30, Interface: SATA, Serial: "S1,2", WWN: 0x5000c500155, Model: "ACME 7", RotationRate: 7200, SectorSize: 4096},
			{Size: 1 << 30, Interface: SCSI, Model: "ACME", RotationRate: 1},
			{Size: 1 << 30, Interface: USB, Removable: true},
		}, []string{
			"-device", "qemu-xhci,id=usb,p2=8,p3=8", "-device", "virtio-scsi-pci,id=scsi",
			"-drive", "if=none,id=disk0," + blank("0"),
			"-device", "ide-hd,serial=S1,,2,wwn=0x5000c500155,model=ACME 7,rotation_rate=7200,logical_block_size=4096,physical_block_size=4096,bus=ide.0,id=device0,drive=disk0,bootindex=3",
			"-drive", "if=none,id=disk1," + blank("1"), "-device", "scsi-hd,bus=scsi.0,product=ACME,rotation_rate=1,id=device1,drive=disk1,bootindex=4",
			"-drive", "if=none,id=disk2," + blank("2"), "-device", "usb-storage,bus=usb.0,removable=on,id=device2,drive=disk2,bootindex=5",
		}},
		{"faults", []Disk{{Path: image, Format: "raw", Writable: true, Faults: []Fault{{"write", 1 << 20}, {"read", -1}}}}, []string{
			"-drive", "if=none,id=disk0,format=raw,snapshot=off,discard=unmap,file.driver=blkdebug,file.image.driver=file,file.image.filename=" + quoted +
				",file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.errno=5,file.inject-error.0.sector=2048" +
				",file.inject-error.1.event=none,file.inject-error.1.iotype=read,file.inject-error.1.errno=5",
			"-device", "virtio-blk-pci,id=device0,drive=disk0,bootindex=1",
		}},
	} {
		disks, err := connected(c.disks)
		if err != nil {
			t.Fatal(err)
		}
		got, err := diskArguments(t.Context(), disks, dir)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, g, w)
		}
	}
}

func TestImpossibleDisks(t *testing.T) {
	full := make([]Disk, 7)
	for i := range full {
		full[i] = Disk{Size: 1 << 20, Interface: SATA}
	}
	for _, c := range []struct {
		disks []Disk
		want  string
	}{
		{[]Disk{{}}, "needs a size"},
		{[]Disk{{Size: 1, Interface: "ide"}}, `unknown interface "ide"`},
		{[]Disk{{Path: "a.iso", CD: true, Interface: NVMe}}, "in a drive on sata, scsi or usb"},
		{[]Disk{{Path: "a.iso", CD: true, Writable: true}}, "nobody writes to"},
		{[]Disk{{Size: 1, Interface: SATA, TakeOut: true}}, "only a CD or a disk on usb"},
		{[]Disk{{Path: "a.raw", Faults: []Fault{{"read", 0}}}}, "blank, writable or a CD"},
		{[]Disk{{Path: "a.raw", Writable: true, Size: 1}}, "leave the size out"},
		{[]Disk{{Size: 1, WWN: 1}}, "WWN"},
		{[]Disk{{Size: 1, Interface: SATA, Removable: true}}, "only disks on usb are removable"},
		{full, "6 sata ports"},
	} {
		disks, err := connected(c.disks)
		if err == nil {
			_, err = diskArguments(t.Context(), disks, t.TempDir())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.disks, err, c.want)
		}
	}
	m := Machine{Firmware: BIOS, NoReboot: true, Disks: []Disk{{Path: "a.iso", CD: true, TakeOut: true}}}
	if _, err := m.arguments(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no time") {
		t.Errorf("NoReboot and TakeOut: %v", err)
	}
}

func TestNetworkArguments(t *testing.T) {
	for _, c := range []struct {
		m    Machine
		want string
	}{
		{Machine{}, "-netdev user,id=net -device virtio-net-pci,netdev=net,romfile="},
		{Machine{NoNetwork: true}, ""},
		{Machine{SSHPort: 2222}, "-netdev user,id=net,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-pci,netdev=net,romfile="},
		{Machine{Disks: make([]Disk, 2), Netboot: &Netboot{Dir: "/srv/tftp", File: "http://10.0.2.2:80/boot.ipxe"}},
			"-netdev user,id=net,tftp=/srv/tftp,bootfile=http://10.0.2.2:80/boot.ipxe -device virtio-net-pci,netdev=net,bootindex=4"},
	} {
		if got := strings.Join(c.m.networkArguments(), " "); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// TestFirmwareStartsFromEveryInterface has a blank disk in front, as machines have before an installation.
func TestFirmwareStartsFromEveryInterface(t *testing.T) {
	for _, i := range Interfaces {
		t.Run(string(i), func(t *testing.T) {
			ctx := testContext(t)
			vm := start(t, ctx, Machine{Firmware: BIOS, NoNetwork: true, Disks: []Disk{
				{Path: bootSector(t, "hello from the disk\n"), Format: "raw", Interface: i}, {Size: 1 << 30},
			}})
			if _, err := vm.Console.Expect(ctx, regexp.MustCompile("hello from the disk")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// rebootSector is a disk image that prints text on the first serial port, waits for a byte and reboots the machine.
func rebootSector(t *testing.T, text string) string {
	t.Helper()
	path := bootSector(t, text)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const echo = 0x1b
	copy(image[echo:], []byte{
		0xba, 0xfd, 0x03, // mov dx, 0x3fd
		0xec,       // in al, dx
		0xa8, 0x01, // test al, 1 (data ready)
		0x74, 0xf8, // jz echo
		0xb0, 0x06, // mov al, 6 (reset the processor)
		0xba, 0xf9, 0x0c, // mov dx, 0xcf9 (reset control of the chip set)
		0xee,       // out dx, al
		0xeb, 0xfe, // jmp $
	})
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// bootableCD is a CD that does what the boot sector does.
func bootableCD(t *testing.T, sector string) string {
	t.Helper()
	xorriso, err := exec.LookPath("xorriso")
	if err != nil {
		t.Fatal("xorriso is needed: install the package xorriso (Debian, Ubuntu, RHEL and relatives)")
	}
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "cd.iso")
	content, err := os.ReadFile(sector)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "boot.img"), content[:2048], 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), xorriso, "-as", "mkisofs", "-quiet", "-o", image, "-b", "boot.img", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return image
}

// TestTakeOut installs nothing, but what is started is what would be: the medium first, and after the guest's reboot the
// disk behind it, though the medium is first in order.
func TestTakeOut(t *testing.T) {
	medium := rebootSector(t, "from the medium\n")
	for name, disk := range map[string]Disk{
		"CD":     {Path: bootableCD(t, medium), Format: "raw", CD: true, TakeOut: true},
		"USB CD": {Path: bootableCD(t, medium), Format: "raw", CD: true, Interface: USB, TakeOut: true},
		"stick":  {Path: medium, Format: "raw", Interface: USB, Removable: true, TakeOut: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			vm := start(t, ctx, Machine{Firmware: BIOS, NoNetwork: true, Disks: []Disk{disk, {Path: rebootSector(t, "from the disk\n"), Format: "raw"}}})
			expect := func(text string) {
				t.Helper()
				if _, err := vm.Console.Expect(ctx, regexp.MustCompile(text)); err != nil {
					t.Fatal(err)
				}
			}
			expect("from the medium")
			for range 2 { // the second reboot is an ordinary one
				if err := vm.Console.Send("\n"); err != nil {
					t.Fatal(err)
				}
				expect("from the disk")
			}
			if err := vm.TakeOut(ctx, 0); err != nil {
				t.Errorf("a second time: %v", err)
			}
			if err := vm.TakeOut(ctx, 1); err == nil {
				t.Error("a disk that is built in was taken out")
			}
			if err := vm.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestInstalledDiskComesFirst has two blank disks. What a guest would install on the second is written from here.
func TestInstalledDiskComesFirst(t *testing.T) {
	for _, i := range Interfaces {
		t.Run(string(i), func(t *testing.T) {
			ctx := testContext(t)
			medium, installed := rebootSector(t, "from the medium\n"), bootSector(t, "from the disk\n")
			blank := Disk{Size: 64 << 20, Interface: i}
			m := Machine{Firmware: BIOS, NoNetwork: true, Disks: []Disk{{Path: bootableCD(t, medium), Format: "raw", CD: true, TakeOut: true}, blank, blank}}
			vm := start(t, ctx, m)
			content, err := os.ReadFile(installed)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(blankPath(vm.dir, 2), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := vm.Console.Expect(ctx, regexp.MustCompile("from the medium")); err != nil {
				t.Fatal(err)
			}
			if err := vm.Console.Send("\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := vm.Console.Expect(ctx, regexp.MustCompile("from the disk")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFaults lets firmware meet an error: it cannot read the CD's boot record (ECMA-119 sector 17) and goes on to the disk.
func TestFaults(t *testing.T) {
	ctx := testContext(t)
	bad, good := bootSector(t, "from the bad disk\n"), bootSector(t, "from the good disk\n")
	vm := start(t, ctx, Machine{Firmware: BIOS, NoNetwork: true, Disks: []Disk{
		{Path: bootableCD(t, bad), Format: "raw", CD: true, Faults: []Fault{{Operation: "read", Offset: 17 * 2048}}}, {Path: good, Format: "raw"},
	}})
	if _, err := vm.Console.Expect(ctx, regexp.MustCompile("from the good disk")); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(vm.Console.Transcript()), "bad disk") {
		t.Error("the error was not injected")
	}
}

// TestNothingToStart has a blank disk on every interface: firmware finds them, in their order, and nothing on them.
func TestNothingToStart(t *testing.T) {
	ctx := testContext(t)
	m := Machine{Firmware: UEFI, NoNetwork: true}
	for _, i := range Interfaces {
		m.Disks = append(m.Disks, Disk{Size: 64 << 20, Interface: i})
	}
	vm := start(t, ctx, m)
	for _, device := range []string{`"UEFI Misc Device"`, `Sata\(`, `NVMe\(`, `USB\(`, `Scsi\(`} {
		if _, err := vm.Console.Expect(ctx, regexp.MustCompile(`failed to load Boot.*`+device+`.*Not Found`)); err != nil {
			t.Fatal(err)
		}
	}
}
