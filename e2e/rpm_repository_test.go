package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/e2e/rpmdistro"
	"github.com/imagefactory/imagefactory/qemu"
)

// rpmSite serves the repository of the RPM test distribution.
type rpmSite struct {
	*rpmdistro.Distribution
	url string

	mu     sync.Mutex
	served []string // package files that were asked for, since the last call of forget
}

// newRPMSite makes the distribution, or takes the one of an earlier run, and serves it.
func newRPMSite(t testing.TB) *rpmSite {
	t.Helper()
	firmware, err := qemu.FindFirmware(qemu.UEFI)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := rpmdistro.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	d, err := rpmdistro.Make(t.Context(), dir, firmware.Vars)
	if err != nil {
		t.Fatal(err)
	}
	s := &rpmSite{Distribution: d}
	files := http.FileServer(http.Dir(d.Repository))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := filepath.Base(r.URL.Path); strings.HasSuffix(name, ".rpm") {
			s.mu.Lock()
			s.served = append(s.served, name)
			s.mu.Unlock()
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// forget returns the names of the package files that were asked for since it was called
// before.
func (s *rpmSite) forget() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := s.served
	s.served = nil
	return served
}

// rpmRecipe is a recipe for the RPM test distribution.
type rpmRecipe struct {
	file      string // below the builder's directory "rpm", without ".hcl"; also the image's name
	installer string // "": native
	packages  []string
	modules   []string
	outputs   []string // "": raw and qcow2
}

// rpmPackages are those of the image that is booted: what the group "core" has, a
// kernel, and one of everything that is difficult.
var rpmPackages = []string{"@^minimal-environment", "kernel", "openssh-server", "less", "greet", rpmdistro.Name + "-probe-b", "/usr/bin/zstd"}

// writeRPM writes the recipe, the key, and a later version of one package, which the
// image gets as a file.
func (b *builder) writeRPM(t testing.TB, s *rpmSite, r rpmRecipe) (path string) {
	t.Helper()
	dir := filepath.Join(b.Home, "rpm")
	b.mkdir(t, dir)
	for name, from := range map[string]string{"key.asc": s.Key, "update.rpm": onlyFile(t, s.Updates)} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		b.write(t, filepath.Join(dir, name), string(data))
	}
	installer := ""
	if r.installer != "" {
		installer = fmt.Sprintf("installer = %q\n", r.installer)
	}
	if r.outputs == nil {
		r.outputs = []string{"raw", "qcow2"}
	}
	outputs := ""
	for _, o := range r.outputs {
		outputs += fmt.Sprintf("output %q {}\n", o)
	}
	path = filepath.Join("rpm", r.file+".hcl")
	b.write(t, filepath.Join(b.Home, path), strings.NewReplacer(
		"NAME", r.file, "URL", s.url, "INSTALLER", installer, "PACKAGES", list(r.packages), "MODULES", list(r.modules), "OUTPUTS", outputs,
	).Replace(rpmRecipeText))
	return path
}

// onlyFile returns the path of the only file of a directory.
func onlyFile(t testing.TB, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s holds %q: %v", dir, names, err)
	}
	return names[0]
}

// list returns a list as recipes have it.
func list(texts []string) string {
	return strings.ReplaceAll(fmt.Sprintf("%q", texts), `" "`, `", "`)
}

const rpmRecipeText = `
name     = "NAME"
version  = "1"
distro   = "rpmtest"
arch     = "x86_64"
hostname = "rpmtest"

distro "rpmtest" {
  inherits = "rpm"
  title    = "RPM Test Linux"
  version  = "1"

  rpm {
    module_platform = "platform:rpmtest1"
  }

  repository "base" {
    url            = "URL"
    gpg_key        = "key.asc"
    repo_gpg_check = true
  }

  architecture "x86_64" {
    signed {
      packages = ["shim", "grub2-efi-x64"]
      prefix   = "/EFI/rpmtest"

      file "shim" {
        sources = ["/boot/efi/EFI/rpmtest/shimx64.efi"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/rpmtest/mmx64.efi"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/rpmtest/grubx64.efi"]
        name    = "grubx64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/rpmtest"
  }

  grow {
    mount_options = "x-systemd.growfs"

    file "/etc/repart.d/50-root.conf" {
      content = "[Partition]\nType=root\n"
    }
  }
}

rootfs {
  INSTALLERpackages = PACKAGES
  modules  = MODULES
}

user "admin" {
  groups        = ["sudo"]
  password_hash = sha512crypt("imagefactory", "imagefactorytest")
}

file "/root/update.rpm" {
  source = "update.rpm"
}

file "/etc/systemd/network/80-dhcp.network" {
  content = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n\n[Link]\nRequiredForOnline=no\n"
}

script "services" {
  inline = <<-SH
    systemctl enable systemd-networkd systemd-resolved ssh
    systemctl disable systemd-networkd-wait-online
  SH
}

disk {
  layout = "single"
  size   = "2GiB"
}

boot {
  firmware = ["bios", "uefi"]
  console  = ["tty0", "ttyS0,115200n8"]
  timeout  = 1
}

OUTPUTS`

// withoutTools takes programs whose names begin with one of these out of the
// builder's path.
func (b *builder) withoutTools(t testing.TB, prefixes ...string) {
	t.Helper()
	bin := filepath.Join(b.Home, "bin")
	b.mkdir(t, bin)
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"} {
		programs, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, p := range programs {
			if hasAnyPrefix(p.Name(), prefixes) {
				continue
			}
			if err := os.Symlink(filepath.Join(dir, p.Name()), filepath.Join(bin, p.Name())); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	b.env = append(b.env, "PATH="+bin)
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
