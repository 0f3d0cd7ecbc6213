package pipeline

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// miniText is a recipe for a system of two packages with a distribution of its own.
const miniText = `
name    = "mini"
version = "1"
distro  = "mini"
arch    = "x86_64"

distro "mini" {
  family = "deb"
  repository "main" {
    url        = "file://REPOSITORY"
    suites     = ["stable"]
    components = ["main"]
    gpg_check  = false
  }
  architecture "x86_64" {
    package_arch = "amd64"
    efi_name     = "x64"
    efi_fallback = "BOOTX64.EFI"
    links        = { "/bin" = "usr/bin" }
    grub "uefi" {
      platform = "x86_64-efi"
      packages = ["mini-base"]
      modules  = "/usr/lib/grub"
    }
  }
  base {
    packages = ["mini-base"]
  }
  scripts {}
  kernel {
    image = "/boot/vmlinuz-{version}"
  }
  initramfs {
    image   = "/boot/initrd-{version}"
    command = ["/usr/bin/mkinitramfs", "{image}"]
  }
  grub {
    mkimage = "/usr/bin/grub-mkimage"
    dir     = "/boot/grub"
    vendor  = "/EFI/mini"
  }
  ext4 {
    features = ["ext_attr", "dir_index", "filetype", "extent", "sparse_super", "large_file"]
  }
  clean {
    truncate = ["/etc/machine-id"]
  }
}

rootfs {
  packages = ["mini-kernel"]
}

script "last" {
  inline = "SCRIPT"
}

disk {
  partition "ESP" {
    role       = "esp"
    size       = "16MiB"
    filesystem = "vfat"
    mount      = "/boot/efi"
  }
  partition "ROOT" {
    role       = "root"
    size       = "48MiB"
    filesystem = "ext4"
    mount      = "/"
  }
}

output "raw" {}
`

// mini writes the packages of miniText, once, and a lock for a recipe of it.
type mini struct {
	dir  string // of the repository
	lock []recipes.LockedPackage
}

func newMini(t *testing.T) mini {
	t.Helper()
	m := mini{dir: t.TempDir()}
	st := stagetest.Cache(t).Store
	base := map[string]string{
		"usr/bin/dpkg": "#!/bin/sh\nexit 0\n", "usr/bin/mkinitramfs": "#!/bin/sh\necho initramfs >\"$1\"\n",
		"usr/bin/grub-mkimage": "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\necho grub >\"$2\"\n",
		"etc/passwd":           "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "usr/share/zoneinfo/Etc/UTC": "TZif",
	}
	for _, e := range stagetest.Programs(t, st, "sh", "cat") {
		if e.Target == "" {
			base[e.Path] = stagetest.Contents(t, st, e)
		}
	}
	for name, files := range map[string]map[string]string{"mini-base": base, "mini-kernel": {"boot/vmlinuz-1.0": "kernel", "DEBIAN/preinst": "#!/bin/sh\necho \"$1\" >/etc/preinst\n"}} {
		path := stagetest.Package(t, "Package: "+name+"\nVersion: 1\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n", files)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m.dir, name+".deb"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		m.lock = append(m.lock, recipes.LockedPackage{
			Name: name, Version: "1", Arch: "amd64", SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), Size: int64(len(data)), Repository: "main", Filename: name + ".deb",
		})
	}
	return m
}

// recipe returns the recipe with a script, locked.
func (m mini) recipe(t *testing.T, script string) *recipes.Recipe {
	t.Helper()
	r := load(t, strings.NewReplacer("REPOSITORY", m.dir, "SCRIPT", script).Replace(miniText))
	lock := lockFor(r)
	lock.Packages, lock.Tools = m.lock, nil
	for _, p := range m.lock {
		if p.Name == "mini-base" {
			lock.Tools = append(lock.Tools, p)
		}
	}
	lock.Repositories[0].URL = "file://" + m.dir
	if err := lock.Write(recipes.LockPath(r.Path)); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBuildAndVerify(t *testing.T) {
	m := newMini(t)
	out := t.TempDir()
	var log strings.Builder
	env, err := Open(Options{Cache: t.TempDir(), OutputDir: out, Locked: true, Tool: "test", Sink: func(e stages.Event) {
		if e.Kind == stages.Log {
			fmt.Fprintf(&log, "%s: %s\n", e.Stage, e.Text)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Pool.Clean(0); err != nil {
			t.Error(err)
		}
		env.Close()
	})

	r := m.recipe(t, "echo from the script; echo made >/etc/made")
	summary, err := env.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if want := "configure: Running the preinst script of mini-kernel\nscript last: from the script\n"; log.String() != want {
		t.Errorf("the log is %q", log.String())
	}
	image := filepath.Join(out, "mini-1-x86_64.raw")
	if len(summary.Outputs) != 1 || summary.Outputs[0].Path != image || !summary.Locked || summary.Packages != 2 || summary.Manifest != filepath.Join(out, "manifest.json") {
		t.Errorf("summary %+v", summary)
	}
	at := fmt.Sprintf("%s?offset=%d", image, 17<<20)
	tool(t, "e2fsck", "-fn", at)
	for path, want := range map[string]string{
		"/etc/made": "made\n", "/etc/hostname": "mini\n", "/boot/initrd-1.0": "initramfs\n", "/etc/machine-id": "", "/etc/preinst": "install\n",
	} {
		if got := tool(t, "debugfs", "-R", "cat "+path, at); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := tool(t, "mtype", "-i", image+"@@1M", "::EFI/BOOT/BOOTX64.EFI"); got != "grub\n" {
		t.Errorf("the boot program is %q", got)
	}
	checkManifest(t, summary)

	// Again: everything is there.
	again, err := env.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range again.Stages {
		if !s.Cached {
			t.Errorf("the second build runs %s", s.Stage)
		}
	}
	if err := env.Verify(t.Context(), r); err != nil {
		t.Errorf("verification: %v", err)
	}

	// Another script runs the stages from it on.
	r = m.recipe(t, "cat /proc/sys/kernel/random/uuid >/etc/random")
	summary, err = env.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var ran []string
	for _, s := range summary.Stages {
		if !s.Cached {
			ran = append(ran, s.Stage)
		}
	}
	if want := "script last, initramfs, boot, filesystems, disk, raw, sbom"; strings.Join(ran, ", ") != want {
		t.Errorf("another script runs %q, want %s", ran, want)
	}
	err = env.Verify(t.Context(), r)
	var differs *NotReproducibleError
	if !errors.As(err, &differs) || differs.Stage != "script last" || !strings.HasPrefix(differs.Detail, "/etc/random: contents sha256:") || status(err) != 4 {
		t.Errorf("a script that writes something else each time: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(env.Cache.Dir, "scratch-*")); err != nil || len(left) > 0 {
		t.Errorf("verification left %q, %v", left, err)
	}
}

// TestInputsChange changes a script's input after the build has begun.
func TestInputsChange(t *testing.T) {
	m := newMini(t)
	env, err := Open(Options{Cache: t.TempDir(), OutputDir: t.TempDir(), Locked: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Pool.Clean(0); err != nil {
			t.Error(err)
		}
		env.Close()
	})
	input := filepath.Join(t.TempDir(), "input")
	write := func(text string) {
		if err := os.WriteFile(input, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	r := m.recipe(t, "cat /run/imagefactory/inputs/input >/etc/copy")
	r.Scripts[0].Inputs = []recipes.Input{{Path: input, Name: "input"}}
	p, err := env.prepare(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	write("after")
	_, err = p.Run(t.Context(), p.name, nil, p.targets...)
	if want := "stage script last: the input " + input + " changed while the build ran; build again"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := env.Build(t.Context(), r); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

// checkManifest reads the manifest of a build of miniText.
func checkManifest(t *testing.T, s *Summary) {
	t.Helper()
	var m emit.Manifest
	if err := json.Unmarshal([]byte(read(t, s.Manifest)), &m); err != nil {
		t.Fatal(err)
	}
	if m.Tool != "test" || m.Name != "mini" || m.Version != "1" || m.Arch != "x86_64" || m.SourceDateEpoch != 1_700_000_000 || m.Recipe.IsZero() || m.Lock.IsZero() {
		t.Errorf("manifest %+v", m)
	}
	var scripts, packages []string
	for _, x := range m.Scripts {
		scripts = append(scripts, x.Stage+": "+x.Name)
	}
	for _, x := range m.Packages {
		packages = append(packages, x.Name+" "+x.Version)
	}
	if got, want := strings.Join(scripts, ", "), "configure: mini-kernel.preinst, script last: last, initramfs: /usr/bin/mkinitramfs {image}, grub: /usr/bin/grub-mkimage"; got != want {
		t.Errorf("scripts %s, want %s", got, want)
	}
	if got, want := strings.Join(packages, ", "), "mini-base 1, mini-kernel 1"; got != want {
		t.Errorf("packages %s, want %s", got, want)
	}
	if len(m.Stages) != len(s.Stages) || len(m.Outputs) != 1 || m.Outputs[0].File != "mini-1-x86_64.raw" || len(m.Disk.Partitions) != 2 {
		t.Errorf("manifest %+v", m)
	}
	if want := strings.Fields(read(t, s.Outputs[0].Path+".sha256"))[0]; m.Outputs[0].SHA256 != emit.SHA256(s.Outputs[0].Digest) || s.Outputs[0].Digest.Hex() != want {
		t.Errorf("the manifest's digest is %v, the file's %s", m.Outputs[0].SHA256, want)
	}
}
