package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// TestISO builds a medium as an ordinary user, starts it in every way there is, installs a
// machine and looks at the system that the machine then starts by itself.
func TestISO(t *testing.T) {
	m := buildMedium(t, "server", serverRecipe)
	for _, c := range []struct {
		name     string
		full     bool // only in the full tier
		firmware qemu.Firmware
		stick    bool
		target   qemu.Interface
	}{
		{"CD under Secure Boot", false, qemu.UEFISecure, false, qemu.VirtIO},
		{"CD under BIOS", true, qemu.BIOS, false, qemu.SATA},
		{"CD under UEFI", true, qemu.UEFI, false, qemu.NVMe},
		{"stick under BIOS", true, qemu.BIOS, true, qemu.SCSI},
		{"stick under UEFI", true, qemu.UEFI, true, qemu.VirtIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.full && !full() {
				t.Skip("only with IMAGEFACTORY_TEST=full")
			}
			medium := m.cd()
			if c.stick {
				medium = qemu.Disk{Path: m.iso, Format: "raw", Interface: qemu.USB, Removable: true}
			}
			medium.TakeOut = true
			alone(t)
			target := named(blank(t, 2<<30), "TARGET", c.target)
			i := install(t, qemu.Machine{Firmware: c.firmware, Disks: []qemu.Disk{medium, target}})
			i.checkServer(m, c.firmware, target)
		})
	}
	t.Run("foreign disks", func(t *testing.T) { testForeign(t, m) })
	t.Run("onto a stick", func(t *testing.T) { testStick(t, m) })
	t.Run("live", func(t *testing.T) { testLive(t, m) })
	t.Run("reproducible", func(t *testing.T) {
		if !full() {
			t.Skip("only with IMAGEFACTORY_TEST=full")
		}
		recipe, err := filepath.Rel(m.Home, m.recipe)
		if err != nil {
			t.Fatal(err)
		}
		checkReproducible(t, m.builder, recipe, filepath.Dir(m.iso), filepath.Base(m.iso))
	})
}

// checkServer follows an installation, and the first start of what was installed.
func (i *installation) checkServer(m *medium, firmware qemu.Firmware, target qemu.Disk) {
	t := i.t
	i.takes("TARGET")
	i.until("write")
	if grown := i.until("grow"); grown.Label != "ROOT" {
		t.Errorf("partition %d, %q, has grown", grown.Partition, grown.Label)
	}
	if firmware != qemu.BIOS {
		i.until("efi")
	}
	if script := i.until("script"); script.Name != "mark" {
		t.Errorf("the script %q ran", script.Name)
	}
	i.until("done")
	g := &guest{t, i.vm, i.ctx}
	if err := i.vm.Console.Login(i.ctx, "admin", "imagefactory"); err != nil {
		t.Fatal(err)
	}
	g.becomeRoot("imagefactory")
	checkRunning(t, g) // the recipe removes files that packages know of
	checkFirmware(t, g, firmware)
	if text := g.must("cat /etc/installed"); !strings.HasPrefix(text, "server on /dev/") {
		t.Errorf("the script of the installation wrote %q", text)
	}
	g.must("mountpoint --quiet /persist")
	checkGrown(t, g, 2<<30)
	g.powerOff()
	if out := command(t, "sgdisk", "--verify", target.Path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
}

// testStick installs onto a USB stick, which then starts machines of both kinds, though no firmware was told of it.
func testStick(t *testing.T, m *medium) {
	if !full() {
		t.Skip("only with IMAGEFACTORY_TEST=full")
	}
	const size = 2 << 30
	target := named(blank(t, size), "TARGET", qemu.USB)
	target.Removable = true
	if !t.Run("installation", func(t *testing.T) {
		alone(t)
		i := install(t, m.installer("imagefactory.target=serial:TARGET imagefactory.after=poweroff", target, m.cd()))
		i.takes("TARGET")
		i.succeedsFrom("write")
	}) {
		return
	}
	for _, firmware := range []qemu.Firmware{qemu.BIOS, qemu.UEFI} {
		t.Run(string(firmware), func(t *testing.T) {
			g := bootMachine(t, qemu.Machine{Firmware: firmware, Disks: []qemu.Disk{target}})
			checkRunning(t, g) // the recipe removes files that packages know of
			checkFirmware(t, g, firmware)
			checkGrown(t, g, size)
			g.powerOff()
		})
	}
}

// testLive runs the system from the medium, beside a disk that stays as it is.
func testLive(t *testing.T, m *medium) {
	if !full() {
		t.Skip("only with IMAGEFACTORY_TEST=full")
	}
	live := buildMedium(t, "live", strings.NewReplacer(
		`mode = "install"`, `mode = "live"`,
		`"server"`, `"live"`,
		"  target {\n    match = \"smallest-empty\"\n  }\n", "",
		serverInstallScript, "",
	).Replace(serverRecipe))
	disk := named(filled(t, 224<<20, "mke2fs", "-q", "-F"), "DISK", qemu.VirtIO)
	same := unchanged(t, disk)
	for _, firmware := range []qemu.Firmware{qemu.BIOS, qemu.UEFI} {
		t.Run(string(firmware), func(t *testing.T) {
			g := bootMachine(t, qemu.Machine{Firmware: firmware, Disks: []qemu.Disk{live.cd(), disk}})
			checkRunning(t, g) // the recipe removes files that packages know of
			checkFirmware(t, g, firmware)
			if kind := g.must("findmnt --noheadings --output FSTYPE /"); kind != "overlay" {
				t.Errorf("the root is of the type %q", kind)
			}
			g.must("echo changed > /etc/changed")
			g.powerOff()
			same()
		})
	}
}

// TestInstaller tests all that the installer decides, and what it does when something
// goes wrong, with a disk image that is written in seconds.
func TestInstaller(t *testing.T) {
	if !full() {
		t.Skip("only with IMAGEFACTORY_TEST=full")
	}
	m := buildMedium(t, "tiny", tinyDiskRecipe(anyDisk))
	for _, part := range []struct {
		name string
		test func(*testing.T, *medium)
	}{
		{"policy", testPolicy},
		{"preserve", testPreserve},
		{"interfaces", testInterfaces},
		{"prompts", testPrompts},
		{"faults", testFaults},
		{"network", testNetwork},
		{"power cuts", testPowerCuts},
	} {
		t.Run(part.name, func(t *testing.T) {
			alone(t)
			part.test(t, m)
		})
	}
}

// testInterfaces installs on a disk of every interface, from every kind of medium. A
// disk as large as the image needs nothing moved: it is the image, byte by byte.
func testInterfaces(t *testing.T, m *medium) {
	sameSize := m.document.Payload.DiskSize
	for _, c := range []struct {
		on    qemu.Interface
		size  int64
		stick bool
	}{
		{qemu.VirtIO, sameSize, false},
		{qemu.SATA, 300 << 20, true},
		{qemu.NVMe, 5 << 30, false},
		{qemu.USB, 1 << 30, false},
		{qemu.SCSI, sameSize, true},
	} {
		t.Run(string(c.on), func(t *testing.T) {
			medium := m.cd()
			if c.stick {
				medium = qemu.Disk{Path: m.iso, Format: "raw", Interface: qemu.USB, Removable: true}
			}
			target := named(blank(t, c.size), "TARGET", c.on)
			i := install(t, m.installer("imagefactory.target=serial:TARGET imagefactory.after=poweroff", target, medium))
			i.succeeds()
			m.checkInstalled(t, target.Path)
		})
	}
}
