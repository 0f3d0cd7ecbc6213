package rpmdistro

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// What the distribution calls itself. No real one has these names.
const (
	Name   = "rpmtest"
	Vendor = "RPM Test Linux"
	// Release is its number, and the version of the packages that are all its own.
	Release = "1"
)

// Paths that recipes and tests need.
const (
	EFIDirectory = "/EFI/" + Name                // on the EFI system partition
	OrderLog     = "/var/lib/" + Name + "/order" // one line for every scriptlet of the probe packages
)

// Paths in packages.
const (
	efiPath     = "/boot/efi" + EFIDirectory // boot programs
	grubModules = "/usr/lib/grub"            // the modules of all platforms
	libexecGrub = "/usr/libexec/grub2"       // the donor's programs that get a wrapper
	installD    = "/usr/lib/kernel/install.d"
	shareOwn    = "/usr/share/" + Name // what file triggers are about
	modulesD    = "/usr/lib/modules"   // of all kernels

	// helperPath belongs to a group that the %pre of its package makes.
	helperPath = "/usr/lib/dbus-1.0/dbus-daemon-launch-helper"
	messagebus = "messagebus"
)

// ownRelease is the RPM release of the packages that are all the distribution's own.
const ownRelease = Release + "." + Name

// own returns a package that nobody donated.
func own(name string, files ...File) *Package {
	return &Package{Name: name, Version: Release, Release: ownRelease, Arch: "noarch", Files: files}
}

// merged are packages that are made from several donated ones, or have another name here.
var merged = []struct {
	name string
	from []string
	only []string
}{
	{name: "glibc", from: []string{"libc6"}},
	{name: "glibc-common", from: []string{"libc-bin"}},
	{name: "pam", from: []string{"libpam0g", "libpam-modules", "libpam-modules-bin"}},
	{name: "shadow-utils", from: []string{"passwd", "login"}},
	{name: "util-linux", from: []string{"util-linux", "util-linux-extra", "bsdutils", "mount"}},
	{name: "systemd", from: []string{"systemd", "systemd-sysv", "libsystemd-shared", "libpam-systemd"}},
	{name: "systemd-udev", from: []string{"udev"}},
	{name: "dbus", from: []string{"dbus", "dbus-bin", "dbus-daemon", "dbus-session-bus-common", "dbus-system-bus-common"}},
	{name: "rpm-libs", from: []string{"librpm9", "librpmio9"}},
	{name: "rpm", from: []string{"rpm", "rpm-common"}, only: []string{
		"/usr/bin/rpm", "/usr/bin/rpmdb", "/usr/bin/rpmkeys", "/usr/bin/rpmquery", "/usr/bin/rpmverify", "/usr/lib/rpm/macros", "/usr/lib/rpm/macros.d",
		"/usr/lib/rpm/rpmrc", "/usr/lib/rpm/rpmpopt-4.18.0", "/usr/lib/rpm/platform/x86_64-linux", "/usr/lib/rpm/platform/noarch-linux", "/var/lib/rpm", "/usr/share/doc/rpm/copyright",
	}},
	{name: "openssh", from: []string{"openssh-client"}},
	{name: "openssh-server", from: []string{"openssh-server", "openssh-sftp-server"}},
	{name: "iproute", from: []string{"iproute2"}},
	{name: "iputils", from: []string{"iputils-ping"}},
	{name: "libcap", from: []string{"libcap2", "libcap2-bin"}},
	{name: "dracut", from: []string{"dracut-core"}},
	{name: "xz", from: []string{"xz-utils"}},
	{name: "kmod", from: []string{"kmod", "libkmod2"}},
	{name: "grub2-tools", from: []string{"grub-common"}, only: []string{
		"/usr/bin/grub-editenv", "/usr/bin/grub-mkimage", "/usr/bin/grub-mkpasswd-pbkdf2", "/usr/bin/grub-script-check", "/usr/share/doc/grub-common/copyright",
	}},
	{name: "grub2-pc-modules", from: []string{"grub-pc-bin"}, only: []string{grubModules + "/i386-pc"}},
	{name: "grub2-efi-x64-modules", from: []string{"grub-efi-amd64-bin"}, only: []string{grubModules + "/x86_64-efi"}},
}

// changes are made to translated packages.
var changes = map[string]func(p *Package){
	"bash": func(p *Package) {
		p.Files = append(p.Files, Symlink("/usr/bin/sh", "bash"))
		p.Provides = append(p.Provides, Any("/bin/sh"), Any("/bin/bash"))
		p.Recommends = append(p.Recommends, Any("less"))
		p.Scripts = append(p.Scripts, Script{When: "post", Interpreter: Lua, Body: shellsScript})
	},
	"glibc": func(p *Package) {
		p.Requires = append(p.Requires, Any("filesystem"), Any("setup"))
	},
	"glibc-common": func(p *Package) {
		p.Files = append(p.Files, Ghost("/etc/ld.so.cache", 0o644), Config("/etc/nsswitch.conf", nsswitch))
		p.Triggers = append(p.Triggers, Trigger{
			Kind: "transfiletriggerin", Priority: 2000000, On: OnFiles("/lib", "/usr/lib", "/lib64", "/usr/lib64"), Script: Script{Body: "/usr/sbin/ldconfig\n"},
		})
	},
	"mawk": func(p *Package) {
		p.Files = append(p.Files, Symlink("/usr/bin/awk", "mawk"))
		p.Provides = append(p.Provides, Any("/bin/awk"))
	},
	"pam": func(p *Package) {
		for name, text := range pamConfig {
			p.Files = append(p.Files, Config("/etc/pam.d/"+name, text))
		}
		p.Files = append(p.Files, Config("/etc/environment", ""))
	},
	"systemd": func(p *Package) {
		p.Files = append(p.Files, Ghost("/etc/machine-id", 0o444), Ghost("/var/lib/systemd/catalog/database", 0o644), Directory("/var/lib/systemd/catalog", 0o755))
		p.Scripts = append(p.Scripts, Script{When: "post", Body: "systemd-machine-id-setup >/dev/null 2>&1 || :\n" + preset("getty@.service", "remote-fs.target")})
		p.Triggers = append(p.Triggers, systemdTriggers...)
	},
	"systemd-resolved": func(p *Package) {
		p.Scripts = append(p.Scripts, Script{When: "post", Body: preset("systemd-resolved.service")})
	},
	"systemd-udev": func(p *Package) {
		p.Files = append(p.Files, Ghost("/etc/udev/hwdb.bin", 0o444))
		p.Triggers = append(p.Triggers,
			Trigger{Kind: "transfiletriggerin", Priority: 1000600, On: OnFiles("/usr/lib/udev/hwdb.d", "/etc/udev/hwdb.d"), Script: Script{Body: "systemd-hwdb update || :\n"}},
		)
	},
	"dbus": func(p *Package) {
		p.Scripts = append(p.Scripts, Script{When: "pre", Body: userScript(messagebus, "/nonexistent")})
		p.Requires = append(p.Requires, Pre("/usr/sbin/useradd"), Pre("/usr/sbin/groupadd"), Pre("/usr/bin/getent"))
		for i, f := range p.Files {
			if f.Path == helperPath {
				p.Files[i].Mode, p.Files[i].Group = 0o4754, messagebus
			}
		}
	},
	"openssh-server": func(p *Package) {
		p.Scripts = append(p.Scripts, Script{When: "pre", Body: userScript("sshd", "/run/sshd")}, Script{When: "post", Body: preset("ssh.service")})
		p.Requires = append(p.Requires, Pre("/usr/sbin/useradd"), Pre("/usr/sbin/groupadd"), Pre("/usr/bin/getent"), Any("(systemd if systemd-udev)"))
		p.Files = append(p.Files, Config("/etc/ssh/sshd_config", sshdConfig))
	},
	"iputils": func(p *Package) {
		for i, f := range p.Files {
			if path.Base(f.Path) == "ping" && f.Type == tree.Regular {
				p.Files[i].Mode, p.Files[i].Caps = 0o755, "cap_net_raw=ep"
			}
		}
	},
	"rpm": func(p *Package) {
		p.Files = append(p.Files, Text("/usr/lib/rpm/macros.d/macros."+Name, rpmMacros), Ghost("/var/lib/rpm/rpmdb.sqlite", 0o644))
	},
	"kmod": func(p *Package) {
		// Of a kernel that is installed without kernel-install.
		p.Triggers = append(p.Triggers, Trigger{Kind: "filetriggerin", On: OnFiles(modulesD), Script: Script{Body: depmodScript}})
	},
	"dracut": func(p *Package) {
		p.Files = append(p.Files, Text(installD+"/50-dracut.install", dracutInstall), Text("/usr/lib/dracut/dracut.conf.d/10-"+Name+".conf", dracutConfig))
		p.Requires = append(p.Requires, Any("(zstd if kernel-core)"), Any("xz"), Any("gzip"), Any("findutils"), Any("procps"), Any("util-linux"))
	},
	"grub2-tools": func(p *Package) {
		for i, f := range p.Files {
			p.Files[i].Path = strings.Replace(f.Path, "/usr/bin/grub-", "/usr/bin/grub2-", 1)
			if f.Path == "/usr/bin/grub-editenv" { // its default file is the donor's
				p.Files[i].Path = libexecGrub + "/grub-editenv"
			}
		}
		p.Files = append(p.Files, Directory(libexecGrub, 0o755), Text("/usr/bin/grub2-editenv", editenvWrapper), Text(installD+"/20-grub.install", grubInstall), Directory("/boot/grub2", 0o700))
		p.Obsoletes = append(p.Obsoletes, Dependency{"grub", senseLess, "2.02-100"})
	},
	"grub2-pc-modules":      func(p *Package) { p.Arch, p.Requires = "noarch", nil },
	"grub2-efi-x64-modules": func(p *Package) { p.Arch, p.Requires = "noarch", nil },
}

// translateAll makes every package that comes from the donor.
func (s *source) translateAll() ([]*Package, error) {
	var all []*Package
	used := map[string]bool{"shim-unsigned": true}
	add := func(name string, from []string, only []string) error {
		p, err := s.translate(name, from, only...)
		if err != nil {
			return err
		}
		if change := changes[name]; change != nil {
			change(p)
		}
		all = append(all, p)
		return nil
	}
	for _, m := range merged {
		for _, name := range m.from {
			used[name] = true
		}
		if err := add(m.name, m.from, m.only); err != nil {
			return nil, err
		}
	}
	names := map[string]bool{}
	for name := range s.donated {
		names[name] = !used[name] && !strings.HasPrefix(name, "linux-image-")
	}
	for _, name := range sorted(names) {
		if names[name] {
			if err := add(name, []string{name}, nil); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// ownPackages are those that need nothing of the donor's.
func ownPackages() []*Package {
	filesystem := own("filesystem")
	filesystem.Arch = "x86_64"
	filesystem.Scripts = []Script{{When: "pretrans", Interpreter: Lua, Body: mergedUsrScript}}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		filesystem.Files = append(filesystem.Files, Symlink("/"+link, "usr/"+link))
	}
	for _, dir := range baseDirectories {
		filesystem.Files = append(filesystem.Files, Directory(dir, directoryMode(dir)))
	}
	filesystem.Requires = []Dependency{Pre("setup")}

	setup := own("setup")
	for path, contents := range setupFiles {
		setup.Files = append(setup.Files, Config(path, contents))
	}
	for i, f := range setup.Files {
		if strings.HasSuffix(f.Path, "shadow") {
			setup.Files[i].Mode = 0o600
		}
	}

	release := own(Name+"-release", Text("/usr/lib/os-release", osRelease), Symlink("/etc/os-release", "../usr/lib/os-release"))
	release.Provides = []Dependency{Equal("system-release", Release), Equal("system-release(releasever)", Release)}
	release.Requires = []Dependency{Any("(bash and coreutils)"), Any("(glibc with libc6 >= 2.30)"), Any("(systemd-udev if kernel-core else coreutils)"), Any("(glibc without musl)")}
	release.Conflicts = []Dependency{Any("(musl unless glibc)")}

	note := own(Name+"-note", Config("/etc/"+Name+"-note.conf", "answer = 42\n"), Text(shareOwn+"/note", "A note.\n"), Directory(shareOwn, 0o755))
	extra := own(Name+"-extra", Text("/usr/bin/"+Name+"-extra", "#!/bin/sh\necho extra\n"))
	return slices.Concat([]*Package{filesystem, setup, release, note, extra}, probes(), greetings())
}

// note2 is the later version of the package rpmtest-note, for `rpm -U`.
func note2() *Package {
	p := own(Name+"-note", Config("/etc/"+Name+"-note.conf", "answer = 42\n"), Text(shareOwn+"/note", "A better note.\n"), Directory(shareOwn, 0o755))
	p.Version = "2"
	return p
}

// probes are two packages whose scriptlets write down that they ran, and with which
// argument.
func probes() []*Package {
	log := func(what string) string {
		return fmt.Sprintf("mkdir -p %s\necho \"%s $1 $2\" >>%s\n", path.Dir(OrderLog), what, OrderLog)
	}
	names := []string{Name + "-probe-a", Name + "-probe-b"}
	var all []*Package
	for _, name := range names {
		p := own(name, Text(shareOwn+"/"+name, name+"\n"), Directory(shareOwn, 0o755))
		for _, when := range []string{"pre", "post", "preun", "postun", "posttrans"} {
			p.Scripts = append(p.Scripts, Script{When: when, Body: log(name + " " + when)})
		}
		p.Scripts = append(p.Scripts, Script{When: "pretrans", Interpreter: Lua, Body: "-- nothing can be written down yet\nassert(posix.getcwd())\n"})
		all = append(all, p)
	}
	a, b := all[0], all[1]
	a.Files = append(a.Files, Ghost(OrderLog, 0o644), Directory(path.Dir(OrderLog), 0o755))
	a.Requires = []Dependency{Any("coreutils"), Pre("coreutils")}
	b.Requires = []Dependency{Any(names[0]), Pre(names[0])}
	a.Triggers = []Trigger{
		{Kind: "triggerin", On: []Dependency{Any(names[1])}, Script: Script{Body: log(names[0] + " triggerin")}},
		{Kind: "filetriggerin", On: OnFiles(shareOwn), Script: Script{Body: fmt.Sprintf("while read -r f; do echo \"%s filetriggerin $f\" >>%s; done\n", names[0], OrderLog)}},
		{Kind: "transfiletriggerin", On: OnFiles(shareOwn), Script: Script{Body: fmt.Sprintf("while read -r f; do echo \"%s transfiletriggerin $f\" >>%s; done\n", names[0], OrderLog)}},
	}
	return all
}

// greetings are the packages of the module "greet", one in each stream.
func greetings() []*Package {
	var all []*Package
	for _, stream := range []string{"1", "2"} {
		p := own("greet", Text("/usr/bin/greet", "#!/bin/sh\necho greetings from stream "+stream+"\n"))
		p.Version, p.Release = stream+".0", "1.module"
		p.Module = "greet:" + stream + ":" + moduleVersion + ":" + moduleContext
		all = append(all, p)
	}
	return all
}

// kernel makes the packages of the kernel from the donor's.
func (s *source) kernel(b *bootSigner) ([]*Package, error) {
	for name, d := range s.donated {
		if !strings.HasPrefix(name, "linux-image-") {
			continue
		}
		release := strings.TrimPrefix(name, "linux-image-")
		core, err := s.translate("kernel-core", []string{name})
		if err != nil {
			return nil, err
		}
		dir := modulesD + "/" + release
		core.Files = slices.DeleteFunc(core.Files, func(f File) bool { return f.Path == "/boot" })
		for i, f := range core.Files {
			if base := path.Base(f.Path); strings.HasPrefix(f.Path, "/boot/") {
				core.Files[i].Path = dir + "/" + strings.TrimSuffix(base, "-"+release)
			}
		}
		vmlinuz := slices.IndexFunc(core.Files, func(f File) bool { return f.Path == dir+"/vmlinuz" })
		if vmlinuz < 0 {
			return nil, fmt.Errorf("the donor's package %s has no kernel", name)
		}
		image, err := s.store.ReadAll(core.Files[vmlinuz].Digest)
		if err != nil {
			return nil, err
		}
		signed, err := b.sign(image)
		if err != nil {
			return nil, err
		}
		core.Files[vmlinuz] = Text(dir+"/vmlinuz", string(signed))
		core.Files[vmlinuz].Mode = 0o755
		core.Files = append(core.Files, Ghost("/boot/vmlinuz-"+release, 0o755), Ghost("/boot/initramfs-"+release+".img", 0o600))
		for _, made := range []string{"dep", "dep.bin", "alias", "alias.bin", "symbols", "symbols.bin", "softdep", "devname", "builtin.bin", "builtin.alias.bin"} {
			core.Files = append(core.Files, Ghost(dir+"/modules."+made, 0o644))
		}
		core.Provides = append(core.Provides, Any("kernel-uname-r("+release+")"))
		core.Requires = append(core.Requires, Any("dracut"), Any("grub2-tools"), Dependency{Name: "/usr/bin/kernel-install", Flags: sensePosttrans})
		core.Scripts = []Script{{When: "posttrans", Body: fmt.Sprintf("/usr/bin/kernel-install add %s %s/vmlinuz || exit $?\n", release, dir)}}

		kernel := &Package{Name: "kernel", Epoch: core.Epoch, Version: core.Version, Release: core.Release, Arch: core.Arch, Summary: "The Linux kernel"}
		kernel.Requires = []Dependency{Equal("kernel-core", evr(d.Version))}
		return []*Package{core, kernel}, nil
	}
	return nil, fmt.Errorf("nobody donated a kernel")
}

// bootPrograms makes the packages of signed boot programs.
func (s *source) bootPrograms(b *bootSigner) ([]*Package, error) {
	d := s.donated["shim-unsigned"]
	shim := &Package{Name: "shim", Arch: "x86_64", Summary: d.Description, Files: bootDirectories()}
	var err error
	if shim.Epoch, shim.Version, shim.Release, err = splitVersion(d.Version); err != nil {
		return nil, err
	}
	for _, name := range []string{"shimx64.efi", "mmx64.efi"} {
		e, ok := d.files.Lookup("usr/lib/shim/" + name)
		if !ok {
			return nil, fmt.Errorf("the donor's shim has no %s", name)
		}
		image, err := s.store.ReadAll(e.Digest)
		if err != nil {
			return nil, err
		}
		signed, err := b.sign(image)
		if err != nil {
			return nil, err
		}
		shim.Files = append(shim.Files, bootProgram(efiPath+"/"+name, signed))
		if name == "shimx64.efi" {
			shim.Files = append(shim.Files, Directory("/boot/efi/EFI/BOOT", 0o700), bootProgram("/boot/efi/EFI/BOOT/BOOTX64.EFI", signed))
		}
	}

	modules := s.donated["grub-efi-amd64-bin"]
	image, err := b.makeGrub(s.store, modules.files)
	if err != nil {
		return nil, err
	}
	if image, err = b.sign(image); err != nil {
		return nil, err
	}
	grub := &Package{Name: "grub2-efi-x64", Arch: "x86_64", Summary: "Signed GRUB", Files: append(bootDirectories(), bootProgram(efiPath+"/grubx64.efi", image))}
	if grub.Epoch, grub.Version, grub.Release, err = splitVersion(modules.Version); err != nil {
		return nil, err
	}
	grub.Requires = []Dependency{Any("grub2-tools"), Any("(shim if kernel-core)")}
	return []*Package{shim, grub}, nil
}

func bootDirectories() []File {
	return []File{Directory("/boot/efi", 0o700), Directory("/boot/efi/EFI", 0o700), Directory(efiPath, 0o700)}
}

func bootProgram(path string, image []byte) File {
	f := Text(path, string(image))
	f.Mode = 0o700
	return f
}
