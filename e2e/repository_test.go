package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// repository is a package repository with an operating system of a few
// kilobytes, served over HTTP: builds from it take seconds, and it can be made
// to be wrong in every way.
type repository struct {
	server *httptest.Server
	key    *openpgp.Entity // that signs
	now    time.Time       // when the Release file was made

	mu    sync.Mutex
	files map[string][]byte
	fault func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

// validity is how long a Release file is good for.
const validity = 7 * 24 * time.Hour

// newRepository makes a repository in which everything is right.
func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{key: newKey(t), now: time.Now(), files: maps.Clone(packageFiles(t))}
	r.sign(t)
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

// ServeHTTP serves the files, unless there is a fault.
func (r *repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	fault := r.fault
	data, ok := r.files[strings.TrimPrefix(request.URL.Path, "/")]
	r.mu.Unlock()
	if fault != nil && fault(w, request) {
		return
	}
	if !ok {
		http.NotFound(w, request)
		return
	}
	http.ServeContent(w, request, "", r.now, bytes.NewReader(data))
}

// breakWith makes the server answer wrongly; nil mends it.
func (r *repository) breakWith(fault func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// path returns where the file of a package is.
func (r *repository) path(t *testing.T, name string) string {
	t.Helper()
	for path := range r.files {
		if strings.HasPrefix(path, "pool/"+name+"_") {
			return path
		}
	}
	t.Fatalf("the repository has no package %s", name)
	return ""
}

func newKey(t *testing.T) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("e2e", "", "e2e@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publicKey is the key that repositories' files are verified with.
func (r *repository) publicKey(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.key.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sign writes the Release file for the index as it is, with the key and the
// time of the repository.
func (r *repository) sign(t *testing.T) {
	t.Helper()
	index := r.files["dists/stable/main/binary-amd64/Packages.gz"]
	release := fmt.Sprintf(`Origin: e2e
Label: e2e
Suite: stable
Codename: stable
Date: %s
Valid-Until: %s
Architectures: amd64
Components: main
SHA256:
 %x %d main/binary-amd64/Packages.gz
`, r.now.UTC().Format(time.RFC1123), r.now.Add(validity).UTC().Format(time.RFC1123), sha256.Sum256(index), len(index))
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, r.key.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(release)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files["dists/stable/InRelease"] = b.Bytes()
}

// packageFiles returns the packages and their index, made once.
func packageFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := makePackages()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// tinyPackage is a package of the tiny operating system.
type tinyPackage struct {
	name, fields string            // of the control file, besides what all have
	files        map[string]string // by path; a value that begins with "->" is a symlink, "tinyos" the program
}

var tinyPackages = []tinyPackage{
	{"tiny-base", "Essential: yes\nPriority: required\n", map[string]string{
		"usr/bin/dpkg": "tinyos", "usr/bin/sh": "-> dpkg", "usr/bin/mkinitramfs": "-> dpkg", "bin": "-> usr/bin",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:1:0:99999:7:::\n",
		"usr/share/zoneinfo/Etc/UTC": "TZif", "root/.profile": "", "tmp/.keep": "",
	}},
	{"tiny-kernel", "", map[string]string{"boot/vmlinuz-1.0": "kernel"}},
	{"tiny-app", "Depends: tiny-base (>= 1.0)\n", map[string]string{"usr/share/tiny/app": strings.Repeat("An application.\n", 4096)}},
	{"tiny-big", "", map[string]string{"usr/share/tiny/big": strings.Repeat("No hole.", 2<<20)}},
	{"tiny-grub", "", map[string]string{
		"usr/bin/grub-mkimage": "tinyos", "usr/lib/grub/i386-pc/boot.img": strings.Repeat("\x90", 510) + "\x55\xaa",
	}},
	{"tiny-hang", "", map[string]string{"etc/hang": ""}},
	{"tiny-broken", "Depends: tiny-app, tiny-missing (>= 2.0)\n", nil},
	{"tiny-needs-broken", "Depends: tiny-broken\n", nil},
}

var makePackages = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "imagefactory-e2e-packages-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "tinyos")
	if err := goBuild(program, "./e2e/tinyos"); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	var index bytes.Buffer
	for _, p := range tinyPackages {
		data, control, err := p.build(dir, program)
		if err != nil {
			return nil, err
		}
		path := "pool/" + p.name + "_1.0_amd64.deb"
		files[path] = data
		fmt.Fprintf(&index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", control, path, len(data), sha256.Sum256(data))
	}
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(index.Bytes()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	files["dists/stable/main/binary-amd64/Packages.gz"] = compressed.Bytes()
	return files, nil
})

// build makes the package with dpkg-deb.
func (p tinyPackage) build(dir, program string) (data []byte, control string, err error) {
	root := filepath.Join(dir, p.name)
	control = fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: amd64\nMaintainer: e2e <e2e@example.org>\n%sDescription: %s\n", p.name, p.fields, p.name)
	if err := writeInto(root, "DEBIAN/control", control); err != nil {
		return nil, "", err
	}
	for _, path := range slices.Sorted(maps.Keys(p.files)) {
		content := p.files[path]
		target := filepath.Join(root, path)
		if link, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return nil, "", err
			}
			if err := os.Symlink(link, target); err != nil {
				return nil, "", err
			}
			continue
		}
		if content == "tinyos" {
			text, err := os.ReadFile(program)
			if err != nil {
				return nil, "", err
			}
			content = string(text)
		}
		if err := writeInto(root, path, content); err != nil {
			return nil, "", err
		}
	}
	file := root + ".deb"
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "--build", root, file).CombinedOutput()
	if err != nil {
		return nil, "", fmt.Errorf("dpkg-deb, of the package dpkg: %w: %s", err, out)
	}
	data, err = os.ReadFile(file)
	return data, control, err
}

func writeInto(root, path, content string) error {
	target := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(path, "usr/bin/") {
		mode = 0o755
	}
	return os.WriteFile(target, []byte(content), mode)
}

// tinyRecipe is a recipe for the tiny operating system. It and its key are
// written into the builder's home.
type tinyRecipe struct {
	url      string
	packages []string
	rootSize string
}

func (b *builder) writeTiny(t *testing.T, r *repository, recipe tinyRecipe) {
	t.Helper()
	if recipe.url == "" {
		recipe.url = r.server.URL
	}
	if recipe.rootSize == "" {
		recipe.rootSize = "32MiB"
	}
	b.write(t, filepath.Join(b.Home, "key.asc"), r.publicKey(t))
	b.write(t, filepath.Join(b.Home, "tiny.hcl"), fmt.Sprintf(`
name    = "tiny"
version = "1"
distro  = "tiny"
arch    = "x86_64"

distro "tiny" {
  family = "deb"
  repository "main" {
    url        = %q
    suites     = ["stable"]
    components = ["main"]
    gpg_key    = "key.asc"
  }
  architecture "x86_64" {
    package_arch = "amd64"
    efi_name     = "x64"
    efi_fallback = "BOOTX64.EFI"
    grub "bios" {
      platform = "i386-pc"
      packages = ["tiny-grub"]
      modules  = "/usr/lib/grub/i386-pc"
      boot_img = "/usr/lib/grub/i386-pc/boot.img"
    }
  }
  base {
    essential = true
  }
  scripts {}
  kernel {
    image = "/boot/vmlinuz-{version}"
  }
  initramfs {
    image   = "/boot/initrd-{version}"
    command = ["/usr/bin/mkinitramfs", "-o", "{image}", "{version}"]
  }
  grub {
    mkimage = "/usr/bin/grub-mkimage"
    dir     = "/boot/grub"
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
    size       = %q
    filesystem = "ext4"
    mount      = "/"
  }
}

boot {
  firmware = ["bios"]
  console  = ["ttyS0"]
}

output "raw" {}
output "qcow2" {}
`, recipe.url, strings.ReplaceAll(fmt.Sprintf("%q", append([]string{"tiny-kernel"}, recipe.packages...)), " ", ", "), recipe.rootSize))
}
