package rpmdistro

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// donor is the distribution whose binaries are packaged again. Its mirror comes
// from this machine's apt, where that has one.
const donor = "debian-12"

// wanted are the donor's packages that the distribution is made from, besides those
// they depend on.
var wanted = []string{
	// What every system has.
	"bash", "coreutils", "diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "login", "mawk", "mount", "ncurses-base",
	"ncurses-bin", "passwd", "procps", "sed", "tar", "util-linux", "bsdutils", "base-files", "netbase", "tzdata", "zstd", "xz-utils",
	// What makes it start.
	"linux-image-cloud-amd64", "systemd", "systemd-sysv", "systemd-resolved", "udev", "dbus", "kmod", "e2fsprogs", "dracut-core", "libpam-systemd", "libpam-modules",
	"grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "shim-unsigned",
	// What makes it useful.
	"openssh-server", "sudo", "iproute2", "iputils-ping", "libcap2-bin", "rpm", "sqlite3", "less",
}

// donorTools are packages that only mean something to dpkg, or that only the
// donor's own maintainer scripts call. What depends on them does without.
var donorTools = []string{
	// Its package manager, what configures packages, and what generates an initramfs in its way.
	"adduser", "base-files", "base-passwd", "dash", "debconf", "debianutils", "debugedit", "dpkg", "gettext-base", "init-system-helpers",
	"initramfs-tools", "initramfs-tools-core", "install-info", "klibc-utils", "libklibc", "libpam-runtime", "linux-base", "linux-image-cloud-amd64",
	"lsb-base", "runit-helper", "sensible-utils", "ucf",
	// Perl, and what only programs need that are left out here: rpmbuild, rpm2cpio, grub-mkfont and the like.
	"libbrotli1", "libdw1", "libefiboot1", "libefivar1", "libfile-find-rule-perl", "libfreetype6", "libfsverity0", "libfuse2", "libgdbm-compat4",
	"libgdbm6", "libgomp1", "libicu72", "libarchive13", "libmagic-mgc", "libmagic1", "libnettle8", "libnumber-compare-perl", "libperl5.36",
	"libpng16-16", "librpmbuild9", "librpmsign9", "libtext-glob-perl", "libxml2", "perl", "perl-base", "perl-modules-5.36", "rpm2cpio",
}

// A donated package is one of the donor's, unpacked.
type donated struct {
	*deb.Package
	files     *tree.Tree
	conffiles map[string]bool // absolute paths
}

// chosen are the donor's packages that were chosen, and where they can be had.
type chosen struct {
	client   *fetch.Client
	packages []*deb.Package
	urls     map[string]string // by the name of the repository
}

// choose solves for the donor's packages.
func choose(ctx context.Context, dir string) (*chosen, error) {
	d, err := distros.Load(donor)
	if err != nil {
		return nil, err
	}
	// What is malformed in apt's configuration is left out, as apt does.
	sources, _ := deb.ReadAptSources("/")
	c := &chosen{urls: map[string]string{}}
	if c.client, err = fetch.New(fetch.Options{Dir: dir}); err != nil {
		return nil, err
	}
	arch, ok := d.Architecture("x86_64")
	if !ok {
		return nil, fmt.Errorf("%s has no x86_64", donor)
	}
	var indexes []*deb.Index
	for _, repository := range d.Repositories {
		keys, err := readKeyring(repository.Keyrings)
		if err != nil {
			return nil, err
		}
		for _, suite := range repository.Suites {
			config := deb.RepositoryConfig{
				Name: repository.Name + "/" + suite, Suite: suite, Components: repository.Components, Arch: arch.PackageArch,
				URIs:    append(deb.AptMirrors(sources, suite, repository.Components, arch.PackageArch, repository.Keyrings), repository.URL),
				Keyring: keys, Origin: repository.AptOrigin, Label: repository.AptLabel,
				AllowExpired: true, // the host's mirror may be a snapshot of an old day
				Now:          time.Now(),
			}
			loaded, err := deb.LoadIndexes(ctx, c.client, config)
			if err != nil {
				return nil, err
			}
			c.urls[config.Name] = loaded.URI
			indexes = append(indexes, loaded.Indexes...)
		}
	}
	universe, err := deb.NewUniverse(arch.PackageArch, nil, indexes...)
	if err != nil {
		return nil, err
	}
	var request deb.Request
	for _, name := range wanted {
		request.Packages = append(request.Packages, deb.Item{Name: name})
	}
	solution, err := universe.Solve(request)
	if err != nil {
		return nil, err
	}
	c.packages = slices.DeleteFunc(solution, func(p *deb.Package) bool { return slices.Contains(donorTools, p.Name) })
	return c, nil
}

// readKeyring reads the first keyring that this machine has.
func readKeyring(paths []string) (deb.Keyring, error) {
	for _, path := range paths {
		p, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return deb.ParseKeyring(p)
	}
	return nil, fmt.Errorf("none of the keyrings %q is there: install the package debian-archive-keyring", paths)
}

// unpack downloads and unpacks the chosen packages.
func (c *chosen) unpack(ctx context.Context, st *store.Store) (map[string]*donated, error) {
	unpacked := make([]*donated, len(c.packages))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, p := range c.packages {
		group.Go(func() (err error) {
			unpacked[i], err = c.unpackOne(ctx, st, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	byName := map[string]*donated{}
	for _, d := range unpacked {
		byName[d.Name] = d
	}
	return byName, nil
}

func (c *chosen) unpackOne(ctx context.Context, st *store.Store, p *deb.Package) (*donated, error) {
	path, err := c.client.Get(ctx, fetch.Request{
		Name: p.String(), URLs: []string{c.urls[p.Repository] + "/" + p.Filename}, Size: p.Size, Digest: p.SHA256,
	})
	if err != nil {
		return nil, err
	}
	u, err := deb.Unpack(ctx, st, path)
	if err != nil {
		return nil, err
	}
	d := &donated{Package: p, conffiles: map[string]bool{}}
	if d.files, err = tree.Load(st, u.Tree); err != nil {
		return nil, err
	}
	for _, path := range fields(u.Control["conffiles"]) {
		d.conffiles[path] = true
	}
	return d, nil
}
