package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/e2e/rpmdistro"
	"github.com/imagefactory/imagefactory/qemu"
)

// rpmTools begin the names of what the native installer does without.
var rpmTools = []string{"rpm", "dnf", "yum", "microdnf", "createrepo"}

// TestRPM builds the RPM test distribution natively, as an ordinary user who has no
// rpm, and looks at what came out from every side.
func TestRPM(t *testing.T) {
	ctx := t.Context()
	site := newRPMSite(t)
	b := newBuilder(t)
	b.withoutTools(t, rpmTools...)
	const image = "rpm-host"
	recipe := b.writeRPM(t, site, rpmRecipe{file: image, packages: rpmPackages, modules: []string{"greet:2"}})
	b.must(t, ctx, "lock", recipe)
	locked := lockedPackages(t, b, recipe)
	b.must(t, ctx, "build", recipe)
	out := filepath.Join(b.Home, "out")
	raw := qemu.Disk{Path: filepath.Join(out, image+"-1-x86_64.raw"), Format: "raw"}
	qcow2 := qemu.Disk{Path: filepath.Join(out, image+"-1-x86_64.qcow2"), Format: "qcow2"}

	t.Run("files", func(t *testing.T) { checkOutputs(t, b, out) })
	t.Run("no leaks", func(t *testing.T) { checkLeaks(t, b, raw.Path) })
	t.Run("only new packages are unpacked", func(t *testing.T) { checkNewPackages(t, b, site) })

	boots := []struct {
		name     string
		firmware qemu.Firmware
		disk     qemu.Disk
	}{
		{"raw under BIOS", qemu.BIOS, raw},
		{"qcow2 under Secure Boot", qemu.UEFISecure, qcow2},
	}
	if full() {
		boots = append(boots, []struct {
			name     string
			firmware qemu.Firmware
			disk     qemu.Disk
		}{
			{"qcow2 under BIOS", qemu.BIOS, qcow2},
			{"raw under UEFI", qemu.UEFI, raw},
			{"qcow2 under UEFI", qemu.UEFI, qcow2},
			{"raw under Secure Boot", qemu.UEFISecure, raw},
		}...)
	}
	for _, c := range boots {
		t.Run(c.name, func(t *testing.T) {
			m := qemu.Machine{Firmware: c.firmware, Disks: []qemu.Disk{c.disk}}
			if c.firmware == qemu.UEFISecure {
				m.Vars = site.Vars
			}
			if c.disk.Format == "qcow2" {
				m.Disks[0].Size = 4 << 30
			}
			g := bootMachine(t, m)
			checkRunning(t, g)
			checkFirmware(t, g, c.firmware)
			checkRPMInstalled(t, g, locked)
			// An emulator takes minutes for what is the same under every firmware.
			if full() || c.firmware == qemu.BIOS {
				checkRPMSystem(t, g)
			}
			checkEnvironmentBlock(t, g)
			if m.Disks[0].Size > 0 {
				checkGrown(t, g, m.Disks[0].Size)
			}
			g.powerOff()
		})
	}

	t.Run("reproducible", func(t *testing.T) { checkReproducible(t, b, recipe, out, filepath.Base(raw.Path)) })
}

// lockedPackages returns the packages of a recipe's lock as `rpm -qa` lists them.
func lockedPackages(t *testing.T, b *builder, recipe string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.Home, recipe+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages []struct{ Name, Version, Arch string }
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range lock.Packages {
		names = append(names, p.Name+" "+p.Version+" "+p.Arch)
	}
	slices.Sort(names)
	if len(names) < 100 {
		t.Errorf("the lock has only %d packages", len(names))
	}
	return names
}

// orderOfScriptlets is what dnf leaves in the log of the probe packages: b needs a, and a
// has triggers on b and on files of both.
const orderOfScriptlets = `rpmtest-probe-a pre 1
rpmtest-probe-a filetriggerin /usr/share/rpmtest/rpmtest-probe-a
rpmtest-probe-a post 1
rpmtest-probe-b pre 1
rpmtest-probe-a filetriggerin /usr/share/rpmtest/rpmtest-probe-b
rpmtest-probe-b post 1
rpmtest-probe-a triggerin 1 1
rpmtest-probe-a posttrans 1
rpmtest-probe-b posttrans 1
rpmtest-probe-a transfiletriggerin /usr/share/rpmtest/rpmtest-probe-a
rpmtest-probe-a transfiletriggerin /usr/share/rpmtest/rpmtest-probe-b`

// checkRPMInstalled checks that rpm lists the packages of the lock.
func checkRPMInstalled(t *testing.T, g *guest, locked []string) {
	installed := strings.Split(g.must(`rpm -qa --qf '%{NAME} %{EVR} %{ARCH}\n' | LC_ALL=C sort`), "\n")
	if !slices.Equal(installed, locked) {
		t.Errorf("rpm -qa and the lock differ:\n%s", strings.Join(differences(installed, locked), "\n"))
	}
}

// checkRPMSystem checks a booted system of the RPM test distribution with its own rpm,
// and changes it.
func checkRPMSystem(t *testing.T, g *guest) {
	// Configuration the build or the packages changed, and what packages only own.
	expected := regexp.MustCompile(`^(missing {4}|\S{9})  [cg] /`)
	verified, _ := g.run("rpm -Va")
	for line := range strings.Lines(verified) {
		if !expected.MatchString(line) {
			t.Errorf("rpm -Va: %s", line)
		}
	}
	g.must("rpmdb --verifydb")

	for command, want := range map[string]string{
		"stat -c '%A %U %G' /usr/lib/dbus-1.0/dbus-daemon-launch-helper": "-rwsr-xr-- root messagebus",
		"getcap /usr/bin/ping":       "/usr/bin/ping cap_net_raw=ep",
		"stat -c %h /usr/bin/gunzip": "2",
		"greet":                      "greetings from stream 2",
		"cut -d: -f1,6,7 /etc/passwd | grep ^sshd": "sshd:/run/sshd:/usr/sbin/nologin",
		"cat /etc/shells":                          "/usr/bin/sh\n/bin/sh\n/bin/bash",
		"ldconfig -p | grep -c libsystemd.so.0":    "1",
		"grep -c '^systemd-network:' /etc/passwd":  "1",
		"hostname":              "rpmtest",
		"ls /etc/udev/hwdb.bin": "/etc/udev/hwdb.bin",
		"grep -v -e /note -e '/rpmtest$' " + rpmdistro.OrderLog + " | sed 's/ *$//'": orderOfScriptlets,
	} {
		if got, _ := g.run(command); got != want {
			t.Errorf("%s printed %q, not %q", command, got, want)
		}
	}

	// The database is one that rpm goes on with.
	g.must("rpm -e less")
	if _, status := g.run("rpm -q less"); status == 0 {
		t.Error("rpm -e left its package in the database")
	}
	g.must("test ! -e /usr/bin/less")
	g.must("rpm -U --nosignature /root/update.rpm")
	if got := g.must("rpm -q --qf %{VERSION} " + rpmdistro.Name + "-note; cat /usr/share/rpmtest/note"); got != "2A better note." {
		t.Errorf("after rpm -U: %q", got)
	}
	g.must("rpmdb --verifydb")
	g.empty("systemctl --failed --no-legend --plain")
}

// checkEnvironmentBlock changes GRUB's environment as an administrator does.
func checkEnvironmentBlock(t *testing.T, g *guest) {
	g.must("test -f /boot/grub2/grubenv")
	g.must("grub2-editenv list")
	g.must("grub2-editenv - set e2e=42")
	if got := g.must("grub2-editenv list | grep ^e2e="); got != "e2e=42" {
		t.Errorf("grub2-editenv list: %q", got)
	}
	g.must("grub2-editenv /boot/grub2/grubenv unset e2e")
	g.empty("grub2-editenv list | grep ^e2e=")
	if size := g.must("stat -c %s /boot/grub2/grubenv"); size != "1024" {
		t.Errorf("GRUB's environment has %s bytes: GRUB only reads 1024", size)
	}
}

// differences lists what is in one of two sorted lists.
func differences(a, b []string) []string {
	var all []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			all = append(all, "-"+s)
		}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			all = append(all, "+"+s)
		}
	}
	return all
}

// checkNewPackages builds a second recipe of the same distribution: only packages that
// the first has not are fetched and unpacked.
func checkNewPackages(t *testing.T, b *builder, site *rpmSite) {
	before := unpacked(t, b)
	site.forget()
	other := slices.DeleteFunc(slices.Clone(rpmPackages), func(name string) bool { return name == "less" })
	recipe := b.writeRPM(t, site, rpmRecipe{file: "rpm-other", packages: append(other, rpmdistro.Name+"-extra"), outputs: []string{"raw"}})
	b.must(t, t.Context(), "build", recipe)
	fetched := site.forget()
	slices.Sort(fetched)
	// The module's default stream has another package of that name.
	if len(fetched) != 2 || !strings.HasPrefix(fetched[0], "greet-1.0-") || !strings.HasPrefix(fetched[1], rpmdistro.Name+"-extra-") {
		t.Errorf("fetched for the second recipe: %q", fetched)
	}
	if n := len(unpacked(t, b)) - len(before); n != 2 {
		t.Errorf("%d packages were unpacked for the second recipe", n)
	}
}

// unpacked returns the packages of which the cache has the files.
func unpacked(t *testing.T, b *builder) []string {
	t.Helper()
	var listed struct {
		Entries []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(b.must(t, t.Context(), "cache", "ls", "--output", "json")), &listed); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range listed.Entries {
		if name, ok := strings.CutPrefix(e.Name, "unpack "); ok {
			names = append(names, name)
		}
	}
	if len(names) < 100 {
		t.Errorf("the cache has only %d packages", len(names))
	}
	return names
}
