package rpmdistro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
)

// A Distribution is one that was made.
type Distribution struct {
	// Repository is the directory of the package repository, Updates one with a later
	// version of the package rpmtest-note that is in no repository.
	Repository, Updates string
	// Key is the public key of packages and metadata, armored; Vars the variable store
	// of a firmware that enforces Secure Boot and only knows the distribution's key.
	Key, Vars string
}

func newDistribution(dir string) *Distribution {
	return &Distribution{
		Repository: filepath.Join(dir, "repository"), Updates: filepath.Join(dir, "updates"), Key: filepath.Join(dir, "key.asc"), Vars: filepath.Join(dir, "vars.fd"),
	}
}

// sources are this package's own: when they change, so does what is made.
//
//go:embed *.go
var sources embed.FS

// CacheDir returns the directory in which distributions are kept between runs: beside
// IMAGEFACTORY_E2E_CACHE, when that is set.
func CacheDir() (string, error) {
	dir := os.Getenv("IMAGEFACTORY_E2E_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "imagefactory-e2e")
	}
	return filepath.Clean(dir) + "-rpm", nil
}

// Make returns the distribution, made for the first time or found below dir, where it
// is kept for later runs until the donor's packages or this package change. vars is the
// empty variable store of the firmware.
func Make(ctx context.Context, dir, vars string) (*Distribution, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	c, err := choose(ctx, filepath.Join(dir, "downloads"))
	if err != nil {
		return nil, fmt.Errorf("choosing the donor's packages: %w", err)
	}
	name, err := c.key(vars)
	if err != nil {
		return nil, err
	}
	finished := filepath.Join(dir, name)
	if _, err := os.Stat(finished); err == nil {
		return newDistribution(finished), nil
	}
	old, err := filepath.Glob(filepath.Join(dir, "made-*"))
	if err != nil {
		return nil, err
	}
	for _, path := range old {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	scratch, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	made := filepath.Join(scratch, "made")
	if err := c.make(ctx, scratch, newDistribution(made), vars); err != nil {
		return nil, fmt.Errorf("making the distribution: %w", err)
	}
	return newDistribution(finished), os.Rename(made, finished)
}

// key names what is made from these packages by this code.
func (c *chosen) key(vars string) (string, error) {
	h := sha256.New()
	for _, p := range c.packages {
		fmt.Fprintln(h, p.Name, p.SHA256)
	}
	store, err := os.ReadFile(vars)
	if err != nil {
		return "", err
	}
	h.Write(store)
	err = fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return "made-" + hex.EncodeToString(h.Sum(nil))[:16], err
}

func (c *chosen) make(ctx context.Context, scratch string, d *Distribution, vars string) error {
	st, err := store.Open(filepath.Join(scratch, "store"))
	if err != nil {
		return err
	}
	defer st.Close()
	all, err := c.unpack(ctx, st)
	if err != nil {
		return err
	}
	s, err := newSource(st, all)
	if err != nil {
		return err
	}
	for _, dir := range []string{d.Repository, d.Updates, filepath.Join(scratch, "boot")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	signer, err := newBootSigner(filepath.Join(scratch, "boot"))
	if err != nil {
		return err
	}
	packages, err := s.translateAll()
	if err != nil {
		return err
	}
	for _, more := range []func(*bootSigner) ([]*Package, error){s.kernel, s.bootPrograms} {
		list, err := more(signer)
		if err != nil {
			return err
		}
		packages = append(packages, list...)
	}
	packages = append(packages, ownPackages()...)

	key, err := NewKey()
	if err != nil {
		return err
	}
	content := func(f File) (io.Reader, error) {
		if f.Digest == store.Sum([]byte(f.text)) {
			return strings.NewReader(f.text), nil
		}
		o, err := st.Object(f.Digest)
		if err != nil {
			return nil, err
		}
		return o.NewReader(), nil
	}
	if err := writePackages(d.Updates, key, []*Package{note2()}, content); err != nil {
		return err
	}
	if err := writePackages(filepath.Join(d.Repository, "Packages"), key, packages, content); err != nil {
		return err
	}
	empty, err := os.ReadFile(vars)
	if err != nil {
		return err
	}
	enrolled, err := Enroll(empty, signer.certificate)
	if err != nil {
		return err
	}
	public, err := PublicKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		Index(d.Repository, key, comps, modules),
		os.WriteFile(d.Vars, enrolled, 0o644),
		os.WriteFile(d.Key, public, 0o644),
	)
}

// NewKey makes a key for packages and metadata.
func NewKey() (*openpgp.Entity, error) {
	return openpgp.NewEntity(Vendor, "test key", Name+"@example.org", nil)
}

// PublicKey returns the public half of a key, armored.
func PublicKey(key *openpgp.Entity) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, err
	}
	err = errors.Join(key.Serialize(w), w.Close())
	return b.Bytes(), err
}

// WritePackages writes packages whose files are all texts into a directory, signed by key
// unless that is nil.
func WritePackages(dir string, key *openpgp.Entity, packages ...*Package) error {
	return writePackages(dir, key, packages, func(f File) (io.Reader, error) { return strings.NewReader(f.text), nil })
}

func writePackages(dir string, key *openpgp.Entity, packages []*Package, content func(File) (io.Reader, error)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range packages {
		group.Go(func() error {
			data, err := p.encode(key, content)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, p.nevra()+".rpm"), data, 0o644)
		})
	}
	return group.Wait()
}

// Index writes the metadata of the packages below dir with createrepo_c, and signs it.
// comps and modules may be empty.
func Index(dir string, key *openpgp.Entity, comps, modules string) error {
	args := []string{"--quiet", "--no-database"}
	if comps != "" {
		path := filepath.Join(dir, "comps.xml")
		if err := os.WriteFile(path, []byte(comps), 0o644); err != nil {
			return err
		}
		args = append(args, "--groupfile", path)
	}
	if err := runTool("createrepo-c", "createrepo_c", append(args, dir)...); err != nil {
		return err
	}
	repodata := filepath.Join(dir, "repodata")
	if modules != "" {
		path := filepath.Join(dir, "modules.yaml")
		if err := os.WriteFile(path, []byte(modules), 0o644); err != nil {
			return err
		}
		if err := runTool("createrepo-c", "modifyrepo_c", "--mdtype=modules", path, repodata); err != nil {
			return err
		}
	}
	return Sign(dir, key)
}

// Sign signs the metadata as it is.
func Sign(dir string, key *openpgp.Entity) error {
	path := filepath.Join(dir, "repodata/repomd.xml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var signature bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&signature, key, bytes.NewReader(text), nil); err != nil {
		return err
	}
	return os.WriteFile(path+".asc", signature.Bytes(), 0o644)
}

// What modules.yaml says of the module's builds.
const (
	moduleVersion = "20240101"
	moduleContext = "c0ffee42"
)

// modules describes the module greet: two streams, of which the first is the default
// (https://github.com/fedora-modularity/libmodulemd, spec.v2.yaml).
var modules = moduleStream("1") + moduleStream("2") + `---
document: modulemd-defaults
version: 1
data:
  module: greet
  stream: "1"
  profiles:
    "1": [default]
    "2": [default]
...
`

func moduleStream(stream string) string {
	return fmt.Sprintf(`---
document: modulemd
version: 2
data:
  name: greet
  stream: %q
  version: %s
  context: %s
  arch: x86_64
  summary: Greetings
  description: Greetings, in one of two ways.
  license:
    module: [MIT]
  dependencies:
  - requires:
      platform: [%s%s]
  profiles:
    default:
      rpms: [greet]
  artifacts:
    rpms:
    - greet-0:%s.0-1.module.noarch
...
`, stream, moduleVersion, moduleContext, Name, Release, stream)
}

// comps has the group "core" and the environment "minimal-environment".
const comps = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>core</id>
    <name>Core</name>
    <description>Smallest possible installation</description>
    <default>false</default>
    <uservisible>false</uservisible>
    <packagelist>
      <packagereq type="mandatory">bash</packagereq>
      <packagereq type="mandatory">coreutils</packagereq>
      <packagereq type="mandatory">dbus</packagereq>
      <packagereq type="mandatory">e2fsprogs</packagereq>
      <packagereq type="mandatory">filesystem</packagereq>
      <packagereq type="mandatory">glibc-common</packagereq>
      <packagereq type="mandatory">grep</packagereq>
      <packagereq type="mandatory">hostname</packagereq>
      <packagereq type="mandatory">iproute</packagereq>
      <packagereq type="mandatory">iputils</packagereq>
      <packagereq type="mandatory">kmod</packagereq>
      <packagereq type="mandatory">mawk</packagereq>
      <packagereq type="mandatory">ncurses-base</packagereq>
      <packagereq type="mandatory">netbase</packagereq>
      <packagereq type="mandatory">pam</packagereq>
      <packagereq type="mandatory">procps</packagereq>
      <packagereq type="mandatory">rpm</packagereq>
      <packagereq type="mandatory">rpmtest-release</packagereq>
      <packagereq type="mandatory">sed</packagereq>
      <packagereq type="mandatory">setup</packagereq>
      <packagereq type="mandatory">shadow-utils</packagereq>
      <packagereq type="mandatory">systemd</packagereq>
      <packagereq type="mandatory">systemd-resolved</packagereq>
      <packagereq type="mandatory">systemd-udev</packagereq>
      <packagereq type="mandatory">tzdata</packagereq>
      <packagereq type="mandatory">util-linux</packagereq>
      <packagereq type="default">rpmtest-note</packagereq>
      <packagereq type="default">sudo</packagereq>
      <packagereq type="conditional" requires="kernel-core">grub2-tools</packagereq>
      <packagereq type="conditional" requires="musl">zstd</packagereq>
      <packagereq type="optional">less</packagereq>
    </packagelist>
  </group>
  <environment>
    <id>minimal-environment</id>
    <name>Minimal</name>
    <description>Basic functionality</description>
    <display_order>1</display_order>
    <grouplist>
      <groupid>core</groupid>
    </grouplist>
  </environment>
</comps>
`
