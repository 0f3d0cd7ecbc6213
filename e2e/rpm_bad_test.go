package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/imagefactory/imagefactory/e2e/rpmdistro"
)

// tinySite is a repository with an operating system of a few kilobytes, packaged as
// RPMs: builds from it take seconds, and it can be made to be wrong in every way.
type tinySite struct {
	dir string // what is served
	key *openpgp.Entity
	url string
}

// newTinySite makes a repository in which everything is right.
func newTinySite(t *testing.T) *tinySite {
	t.Helper()
	key, err := rpmdistro.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &tinySite{dir: t.TempDir(), key: key}
	s.write(t, key, tinyRPMs(t)...)
	s.index(t)
	server := httptest.NewServer(http.FileServer(http.Dir(s.dir)))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// write writes packages, signed by key unless that is nil.
func (s *tinySite) write(t *testing.T, key *openpgp.Entity, packages ...*rpmdistro.Package) {
	t.Helper()
	if err := rpmdistro.WritePackages(s.dir, key, packages...); err != nil {
		t.Fatal(err)
	}
}

// index writes and signs the metadata of what is there.
func (s *tinySite) index(t *testing.T) {
	t.Helper()
	if err := rpmdistro.Index(s.dir, s.key, "", ""); err != nil {
		t.Fatal(err)
	}
}

// change changes one byte in the middle of a file.
func (s *tinySite) change(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(data)
	data[len(data)*2/3] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

const tinyAppFile = "tiny-app-1-1.noarch.rpm"

// tinyRPMs are the packages of the tiny operating system.
func tinyRPMs(t *testing.T) []*rpmdistro.Package {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tinyos")
	if err := goBuild(program, "./e2e/tinyos"); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	base := tinyRPM("tiny-base",
		rpmdistro.Text("/usr/bin/sh", string(code)), rpmdistro.Symlink("/usr/bin/mkinitramfs", "sh"), rpmdistro.Symlink("/usr/bin/grub2-mkimage", "sh"),
		rpmdistro.Symlink("/bin", "usr/bin"), rpmdistro.Directory("/tmp", 0o1777), rpmdistro.Directory("/root", 0o700),
		rpmdistro.Config("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), rpmdistro.Config("/etc/group", "root:x:0:\n"),
		rpmdistro.Config("/etc/shadow", "root:*:1:0:99999:7:::\n"), rpmdistro.Text("/usr/share/zoneinfo/Etc/UTC", "TZif"),
	)
	base.Provides = []rpmdistro.Dependency{rpmdistro.Any("/bin/sh")}
	app := tinyRPM("tiny-app", rpmdistro.Text("/usr/share/tiny/app", strings.Repeat("An application.\n", 4096)))
	app.Requires = []rpmdistro.Dependency{rpmdistro.AtLeast("tiny-base", "1")}
	broken := tinyRPM("tiny-broken")
	broken.Requires = []rpmdistro.Dependency{rpmdistro.AtLeast("tiny-missing", "2.0")}
	needs := tinyRPM("tiny-needs-broken")
	needs.Requires = []rpmdistro.Dependency{rpmdistro.Any("tiny-broken")}
	return []*rpmdistro.Package{
		base, app, broken, needs,
		tinyRPM("tiny-kernel", rpmdistro.Text("/boot/vmlinuz-1.0", "kernel")),
		tinyRPM("tiny-grub", rpmdistro.Text("/usr/lib/grub/i386-pc/boot.img", strings.Repeat("\x90", 510)+"\x55\xaa")),
		failing("tiny-refuses", "pre"), failing("tiny-complains", "post"),
	}
}

func tinyRPM(name string, files ...rpmdistro.File) *rpmdistro.Package {
	return &rpmdistro.Package{Name: name, Version: "1", Release: "1", Arch: "noarch", Files: files}
}

// failing is a package with a scriptlet that the tiny system's shell fails at.
func failing(name, when string) *rpmdistro.Package {
	p := tinyRPM(name, rpmdistro.Text("/usr/share/"+name, name))
	p.Scripts = []rpmdistro.Script{{When: when, Body: "fail there is no room at the inn\n"}}
	return p
}

// TestBadRPMInput is TestBadInput for repositories of RPMs.
func TestBadRPMInput(t *testing.T) {
	b := newBuilder(t)
	b.withoutTools(t, rpmTools...)
	stranger, err := rpmdistro.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		packages []string
		spoil    func(t *testing.T, s *tinySite)
		status   int
		says     string // a regular expression
	}{
		{
			name: "unsigned package", status: 1, says: `tiny-app.*not signed`,
			spoil: func(t *testing.T, s *tinySite) { s.rewrite(t, nil) },
		},
		{
			name: "package signed by an unknown key", status: 1, says: `tiny-app.*key`,
			spoil: func(t *testing.T, s *tinySite) { s.rewrite(t, stranger) },
		},
		{
			name: "package that was changed on its way", status: 1, says: `tiny-app.*(SHA-256|sha256|digest)`,
			spoil: func(t *testing.T, s *tinySite) { s.change(t, tinyAppFile) },
		},
		{
			name: "package that was changed before the metadata was made", status: 1, says: `tiny-app.*digest`,
			spoil: func(t *testing.T, s *tinySite) { s.change(t, tinyAppFile); s.index(t) },
		},
		{
			name: "metadata changed", status: 1, says: `primary`,
			spoil: func(t *testing.T, s *tinySite) {
				names, err := filepath.Glob(filepath.Join(s.dir, "repodata/*-primary.xml.*"))
				if err != nil || len(names) != 1 {
					t.Fatalf("%q: %v", names, err)
				}
				rest, _ := filepath.Rel(s.dir, names[0])
				s.change(t, rest)
			},
		},
		{
			name: "metadata signed by an unknown key", status: 1, says: `repomd\.xml.*key`,
			spoil: func(t *testing.T, s *tinySite) { s.sign(t, stranger) },
		},
		{
			name: "metadata with a wrong signature", status: 1, says: `repomd\.xml.*sign`,
			spoil: func(t *testing.T, s *tinySite) { s.change(t, "repodata/repomd.xml") },
		},
		{
			name: "metadata without a signature", status: 1, says: `repomd\.xml.*sign`,
			spoil: func(t *testing.T, s *tinySite) {
				if err := os.Remove(filepath.Join(s.dir, "repodata/repomd.xml.asc")); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "package that is gone", status: 1, says: `tiny-app.*(404|not found)`,
			spoil: func(t *testing.T, s *tinySite) {
				if err := os.Remove(filepath.Join(s.dir, tinyAppFile)); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "failing %pre", packages: []string{"tiny-refuses"}, status: 1, says: `%pre.*tiny-refuses.*no room at the inn|tiny-refuses.*%pre.*no room at the inn|no room at the inn.*tiny-refuses`,
		},
		{
			name: "unsatisfiable package", packages: []string{"tiny-needs-broken"}, status: 2, says: `tiny-needs-broken.*tiny-broken.*tiny-missing >= 2\.0`,
		},
		{
			name: "unknown package", packages: []string{"tiny-ap"}, status: 2, says: `tiny-ap\b`,
		},
		{
			name: "full disk under the cache", status: 3, says: `no space left on device`,
			spoil: func(t *testing.T, s *tinySite) {
				b.mkdir(t, b.cache)
				small(t, b, b.cache, 1<<20)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTinySite(t)
			fresh(t, b)
			if c.packages == nil {
				c.packages = []string{"tiny-app"}
			}
			if c.spoil != nil {
				c.spoil(t, s)
			}
			b.writeTinyRPM(t, s, c.packages...)
			checkFailure(t, b.run(t, t.Context(), "build", "tiny.hcl"), c.status, c.says)
			checkNoImages(t, filepath.Join(b.Home, "out"))
		})
	}

	// As rpm does, the build only warns of what fails after the package is there.
	t.Run("failing %post", func(t *testing.T) {
		s := newTinySite(t)
		fresh(t, b)
		b.writeTinyRPM(t, s, "tiny-complains", "tiny-app")
		r := b.run(t, t.Context(), "build", "tiny.hcl")
		if r.status != 0 {
			t.Fatalf("exit status %d\n%s", r.status, r.stderr)
		}
		for _, text := range []string{"tiny-complains", "%post", "no room at the inn"} {
			if !strings.Contains(r.stderr, text) {
				t.Errorf("the warning does not say %q:\n%s", text, r.stderr)
			}
		}
	})
}

// rewrite replaces the package tiny-app by one that key has signed, metadata included.
func (s *tinySite) rewrite(t *testing.T, key *openpgp.Entity) {
	t.Helper()
	for _, p := range tinyRPMs(t) {
		if p.Name == "tiny-app" {
			s.write(t, key, p)
		}
	}
	s.index(t)
}

// sign signs the metadata with another key.
func (s *tinySite) sign(t *testing.T, key *openpgp.Entity) {
	t.Helper()
	if err := rpmdistro.Sign(s.dir, key); err != nil {
		t.Fatal(err)
	}
}

// writeTinyRPM writes a recipe for the tiny operating system, and its key.
func (b *builder) writeTinyRPM(t *testing.T, s *tinySite, packages ...string) {
	t.Helper()
	key, err := rpmdistro.PublicKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, filepath.Join(b.Home, "key.asc"), string(key))
	b.write(t, filepath.Join(b.Home, "tiny.hcl"), fmt.Sprintf(`
name    = "tiny"
version = "1"
distro  = "tiny"
arch    = "x86_64"

distro "tiny" {
  family  = "rpm"
  version = "1"
  rpm {
    database = "/var/lib/rpm"
  }
  repository "main" {
    url            = %q
    gpg_key        = "key.asc"
    repo_gpg_check = true
  }
  architecture "x86_64" {
    package_arch = "x86_64"
    efi_name     = "x64"
    efi_fallback = "BOOTX64.EFI"
    grub "bios" {
      platform = "i386-pc"
      packages = ["tiny-base", "tiny-grub"]
      modules  = "/usr/lib/grub/i386-pc"
      boot_img = "/usr/lib/grub/i386-pc/boot.img"
    }
  }
  base {
    packages = ["tiny-base"]
  }
  scripts {}
  kernel {
    image = "/boot/vmlinuz-{version}"
  }
  initramfs {
    image   = "/boot/initramfs-{version}.img"
    command = ["/usr/bin/mkinitramfs", "-o", "{image}", "{version}"]
  }
  grub {
    mkimage = "/usr/bin/grub2-mkimage"
    dir     = "/boot/grub2"
    vendor  = "/EFI/tiny"
  }
  ext4 {
    features = ["ext_attr", "dir_index", "filetype", "extent", "sparse_super", "large_file"]
  }
}

rootfs {
  packages = %s
}

disk {
  partition "BIOS" {
    role = "bios"
    size = "1MiB"
  }
  partition "ROOT" {
    role       = "root"
    size       = "32MiB"
    filesystem = "ext4"
    mount      = "/"
  }
}

boot {
  firmware = ["bios"]
  console  = ["ttyS0"]
}

output "raw" {}
`, s.url, list(append([]string{"tiny-kernel"}, packages...))))
}
