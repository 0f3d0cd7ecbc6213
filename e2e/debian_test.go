package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// The images of examples/debian-12.hcl.
const (
	debianRecipe = "examples/debian-12.hcl"
	debianImage  = "debian-12-host-1.0.0-x86_64"
)

// TestDebian12 builds the example of the README once, as an ordinary user, and
// looks at what came out from every side.
func TestDebian12(t *testing.T) {
	ctx := t.Context()
	b := newBuilder(t)
	b.shareDownloads(t)
	b.must(t, ctx, "lock", debianRecipe)
	b.must(t, ctx, "build", debianRecipe)
	out := filepath.Join(b.Home, "out")
	raw := qemu.Disk{Path: filepath.Join(out, debianImage+".raw"), Format: "raw"}
	qcow2 := qemu.Disk{Path: filepath.Join(out, debianImage+".qcow2"), Format: "qcow2"}

	t.Run("files", func(t *testing.T) { checkOutputs(t, b, out) })
	t.Run("no leaks", func(t *testing.T) { checkLeaks(t, b, raw.Path) })
	t.Run("same disk in every format", func(t *testing.T) { checkSameDisk(t, raw.Path, qcow2.Path) })

	// Every kind of firmware and every format in three boots; all six take long.
	identities := map[string][]string{}
	boots := []struct {
		name     string
		firmware qemu.Firmware
		disk     qemu.Disk
	}{
		{"raw under BIOS", qemu.BIOS, raw},
		{"qcow2 under UEFI", qemu.UEFI, qcow2},
		{"raw under Secure Boot", qemu.UEFISecure, raw},
	}
	if full() {
		boots = append(boots, []struct {
			name     string
			firmware qemu.Firmware
			disk     qemu.Disk
		}{
			{"qcow2 under BIOS", qemu.BIOS, qcow2},
			{"raw under UEFI", qemu.UEFI, raw},
			{"qcow2 under Secure Boot", qemu.UEFISecure, qcow2},
		}...)
	}
	for _, c := range boots {
		t.Run(c.name, func(t *testing.T) {
			disk := c.disk
			if disk.Format == "qcow2" {
				disk.Size = 4 << 30
			}
			g := boot(t, c.firmware, disk)
			checkSystem(t, g)
			checkFirmware(t, g, c.firmware)
			if name := g.must("hostname"); name != "debian" {
				t.Errorf("the host name is %q", name)
			}
			if disk.Size > 0 {
				checkGrown(t, g, disk.Size)
			}
			if c.firmware == qemu.BIOS {
				checkAttributes(t, b, g, c.disk.Path)
			}
			for name, command := range map[string]string{
				"machine id": "cat /etc/machine-id",
				"host key":   "cat /etc/ssh/ssh_host_ed25519_key.pub",
			} {
				value := g.must(command)
				if slices.Contains(identities[name], value) {
					t.Errorf("two machines have the same %s: %s", name, value)
				}
				identities[name] = append(identities[name], value)
			}
			g.powerOff()
		})
	}

	t.Run("reproducible", func(t *testing.T) {
		checkReproducible(t, b, debianRecipe, out, debianImage+".raw", debianImage+".qcow2")
	})
	t.Run("cache", func(t *testing.T) { checkCache(t, b) }) // builds other images in the place of these
}

// checkOutputs compares what the build says of its outputs with the files.
func checkOutputs(t *testing.T, b *builder, out string) {
	var manifest struct {
		Outputs []struct {
			File   string `json:"file"`
			Size   int64  `json:"size"`
			SHA256 string `json:"sha256"`
		} `json:"outputs"`
	}
	data, err := os.ReadFile(filepath.Join(out, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Outputs) != 2 {
		t.Errorf("the manifest lists %d outputs, not 2", len(manifest.Outputs))
	}
	for _, o := range manifest.Outputs {
		check := b.Command(t.Context(), "sha256sum", "--check", "--strict", o.File+".sha256")
		check.Dir = out
		if r := finish(t, check); r.status != 0 {
			t.Errorf("%s: %s%s", o.File, r.stdout, r.stderr)
		}
		sum, err := os.ReadFile(filepath.Join(out, o.File+".sha256"))
		if err != nil {
			t.Fatal(err)
		}
		if digest := strings.TrimPrefix(o.SHA256, "sha256:"); !strings.HasPrefix(string(sum), digest) {
			t.Errorf("%s: the manifest says %s, its .sha256 %s", o.File, digest, sum)
		}
		info, err := os.Stat(filepath.Join(out, o.File))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != o.Size {
			t.Errorf("%s: the manifest says %d bytes, it has %d", o.File, o.Size, info.Size())
		}
	}
}

// checkSameDisk compares images with qemu-img.
func checkSameDisk(t *testing.T, raw, qcow2 string) {
	for _, args := range [][]string{
		{"qemu-img", "check", "-q", qcow2},
		{"qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", raw, qcow2},
	} {
		if r := finish(t, exec.Command(args[0], args[1:]...)); r.status != 0 {
			t.Errorf("%q: exit status %d: %s%s", args, r.status, r.stdout, r.stderr)
		}
	}
}

// checkSystem checks that a booted system is well. Lines of the journal that match
// one of the known complaints of its packages are passed over.
func checkSystem(t *testing.T, g *guest, known ...string) {
	checkRunning(t, g, known...)
	g.empty("dpkg --audit")
	g.empty("dpkg -V")
}

// checkRunning is what checkSystem checks of every distribution.
func checkRunning(t *testing.T, g *guest, known ...string) {
	if state, _ := g.run("systemctl is-system-running --wait"); state != "running" {
		t.Errorf("the system is %s", state)
	}
	g.empty("systemctl --failed --no-legend --plain")
	if id := g.must("cat /etc/machine-id"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("the machine id is %q", id)
	}
	// The journal names services that complained without failing. What the
	// kernel complains of is QEMU.
	filter := ""
	for _, text := range known {
		filter += " | grep --invert-match --fixed-strings '" + text + "'"
	}
	g.empty("journalctl --boot --priority err --no-pager --quiet --output cat _TRANSPORT=journal _TRANSPORT=stdout _TRANSPORT=syslog" + filter)
}

// checkFirmware checks that the system was started by what it was to be.
func checkFirmware(t *testing.T, g *guest, firmware qemu.Firmware) {
	_, noEFI := g.run("test -d /sys/firmware/efi")
	if (noEFI == 0) != (firmware != qemu.BIOS) {
		t.Errorf("started by EFI: %v", noEFI == 0)
	}
	_, notSecure := g.run("dmesg | grep -q 'secureboot: Secure boot enabled'")
	if (notSecure == 0) != (firmware == qemu.UEFISecure) {
		t.Errorf("the kernel says Secure Boot is enabled: %v", notSecure == 0)
	}
}

// checkGrown checks that the root has grown to the disk.
func checkGrown(t *testing.T, g *guest, disk int64) {
	const overhead = 300 << 20 // the other partitions and the file system's own structures
	text := g.must("df --block-size 1 --output=size / | tail -n 1")
	size, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if size < disk-overhead {
		t.Errorf("the root has %d bytes on a disk of %d", size, disk)
	}
}

// sampled are files whose attributes are compared: owners and modes of every
// kind that packages, maintainer scripts and the recipe give.
var sampled = []string{
	"/", "/etc/shadow", "/etc/gshadow", "/etc/passwd", "/etc/sudoers", "/etc/fstab", "/home/admin", "/root", "/tmp", "/var/tmp",
	"/var/log", "/var/log/journal", "/var/mail", "/usr/bin/su", "/usr/bin/sudo", "/usr/bin/passwd", "/usr/bin/chage", "/usr/bin/ssh-agent",
	"/usr/bin/crontab", "/usr/bin/wall", "/usr/bin/write", "/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "/usr/lib/openssh/ssh-keysign",
	"/usr/sbin/unix_chkpwd", "/usr/sbin/pam_extrausers_chkpwd", "/var/lib/dpkg/status", "/var/cache/apt/archives/partial", "/var/lib/private",
	"/etc/ssh/sshd_config", "/usr/local", "/var/local", "/lib64", "/etc/sysctl.d/90-containers.conf",
}

// checkAttributes compares files as the guest's kernel sees them with files as
// inspect reads them from the image.
func checkAttributes(t *testing.T, b *builder, g *guest, image string) {
	compared := 0
	for _, path := range sampled {
		inside, status := g.run("stat --format '%04a %u %g %s' " + path)
		r := b.run(t, t.Context(), "inspect", "--stat", "--output", "json", image, path)
		if status != 0 && r.status != 0 {
			continue // neither has it
		}
		var listed struct {
			Files []struct {
				Type, Mode string
				UID, GID   uint32
				Size       int64
			}
		}
		if err := json.Unmarshal([]byte(r.stdout), &listed); err != nil || len(listed.Files) != 1 {
			t.Errorf("%s: the guest says %q, inspect %s%s", path, inside, r.stdout, r.stderr)
			continue
		}
		f := listed.Files[0]
		outside := fmt.Sprintf("%s %d %d", f.Mode, f.UID, f.GID)
		if !strings.HasPrefix(inside, outside+" ") {
			t.Errorf("%s: the guest says %q, inspect %q", path, inside, outside)
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d of the sampled files exist", compared)
	}
	for path, want := range map[string]string{
		"/etc/shadow": "640 root shadow", "/usr/bin/sudo": "4755 root root", "/usr/bin/chage": "2755 root shadow",
		"/tmp": "1777 root root", "/home/admin": "700 admin admin",
		"/usr/lib/dbus-1.0/dbus-daemon-launch-helper": "4754 root messagebus",
	} {
		if got := g.must("stat --format '%a %U %G' " + path); got != want {
			t.Errorf("%s is %q, not %q", path, got, want)
		}
	}
}
