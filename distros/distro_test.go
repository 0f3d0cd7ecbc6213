package distros

import (
	"errors"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

func TestEveryDistribution(t *testing.T) {
	if len(Names()) < 4 {
		t.Fatalf("only %v", Names())
	}
	for _, name := range Names() {
		d, err := Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		check := func(ok bool, format string, args ...any) {
			t.Helper()
			if !ok {
				t.Errorf(name+": "+format, args...)
			}
		}
		check(d.Name == name && d.Title != name && d.Version != "", "title or version is missing: %+v", d)
		check(!strings.Contains(d.Title, "12") || strings.Contains(name, "12"), "the title %q is inherited", d.Title)
		if d.Family == FamilyDeb {
			check(d.Codename != "", "no codename")
			check(d.Base.Essential && len(d.Base.Priorities) > 0, "base")
		}
		for _, r := range d.Repositories {
			check(r.GPGCheck, "repository %+v is not verified", r)
			if d.Family == FamilyDeb {
				check(len(r.Keyrings) > 0 && r.KeyringPackage != "" && r.AptOrigin != "", "repository %+v", r)
			}
			for _, s := range r.Suites {
				check(strings.HasPrefix(s, d.Codename), "suite %q of another release", s)
			}
		}
		check(len(d.Host.Packages) > 0 && len(d.Host.Services) > 0 && d.Host.Group != "", "host")
		check(d.Grow.MountOptions != "" && len(d.Grow.Files) > 0, "grow")
		check(len(d.Clean.Remove) > 0 && len(d.Clean.Truncate) > 0, "clean")
		for _, p := range append(d.Clean.Remove, d.Clean.Truncate...) {
			check(path.IsAbs(p) && path.Clean(p) == p, "clean path %q", p)
		}
		for _, u := range d.Units {
			check(strings.HasPrefix(u.Content, "[Unit]\n") && strings.HasSuffix(u.Name, ".service"), "unit %+v", u)
		}
		for _, a := range d.Architectures {
			check(len(a.Kernels) > 0 && len(a.Console) > 0 && a.EFIName != "" && a.EFIFallback != "", "%s: incomplete", a.Name)
			check(a.BIOS != nil == (a.Name == "x86_64") && a.UEFI != nil, "%s: GRUB platforms", a.Name)
			if a.Signed == nil {
				continue
			}
			check(a.Signed.Prefix == d.Grub.Vendor || a.Signed.Prefix == "/EFI/*", "%s: signed GRUB looks in %s, the vendor directory is %s", a.Name, a.Signed.Prefix, d.Grub.Vendor)
			roles := map[string]bool{}
			for _, f := range a.Signed.Files {
				roles[f.Role] = true
				check(len(f.Sources) > 0 && strings.HasSuffix(f.Name, a.EFIName+".efi"), "%s: %+v", a.Name, f)
			}
			check(roles["shim"] && roles["mokmanager"] && roles["grub"] && len(roles) == 3, "%s: signed roles %v", a.Name, roles)
			if m := a.Signed.Medium; m != nil {
				check(len(m.Sources) > 0 && m.Name == "grub"+a.EFIName+".efi" && path.IsAbs(m.Prefix), "%s: %+v", a.Name, m)
			}
		}
	}
}

func TestInheritance(t *testing.T) {
	d, err := Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	a, ok := d.Architecture("x86_64")
	if !ok || len(a.Links) != 0 || a.PackageArch != "amd64" || a.BIOS.BootImg != "/usr/lib/grub/i386-pc/boot.img" {
		t.Errorf("%+v", a)
	}
	if len(d.Base.Packages) != 0 || d.Repositories[1].AptLabel != "Debian-Security" || len(d.Grow.Packages) != 1 {
		t.Errorf("%+v", d)
	}
	if m := a.Signed.Medium; m == nil || m.Prefix != "/boot/grub" || m.Name != "grubx64.efi" || m.Sources[0] != "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed" {
		t.Errorf("GRUB of media: %+v", m)
	}
	if _, ok := d.Architecture("riscv64"); ok {
		t.Error("an architecture from nowhere")
	}
}

func TestUnknown(t *testing.T) {
	var unknown *UnknownError
	for _, name := range []string{"debian-21", "deb", ""} {
		if _, err := Load(name); !errors.As(err, &unknown) || unknown.ExitStatus() != 2 {
			t.Errorf("Load(%q): %v", name, err)
		}
	}
	if _, err := Source("debian-21"); !errors.As(err, &unknown) || !strings.Contains(err.Error(), `Did you mean "debian-12" or "debian-13"?`) {
		t.Errorf("Source: %v", err)
	}
}

// Hosts that data files may name: the fallback mirrors.
var mirrors = regexp.MustCompile(`^(http://(ftp\.debian\.org|mirrors\.edge\.kernel\.org|mirrors\.bclinux\.org)|https://(repo\.openeuler\.org|mirror\.stream\.centos\.org|www\.centos\.org|download\.rockylinux\.org|update\.cs2c\.com\.cn))/`)

func TestDataFiles(t *testing.T) {
	entries, err := data.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		src, err := data.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := hclwrite.Format(src); string(got) != string(src) {
			t.Errorf("%s is not formatted; imagefactory fmt does it", e.Name())
		}
		if !strings.Contains(string(src), "distro \""+strings.TrimSuffix(e.Name(), ".hcl")+"\" {") {
			t.Errorf("%s does not define what its name says", e.Name())
		}
		for _, url := range regexp.MustCompile(`https?://[^"]*`).FindAllString(string(src), -1) {
			if !mirrors.MatchString(url) {
				t.Errorf("%s names %s", e.Name(), url)
			}
		}
	}
	for _, name := range Names() {
		if src, err := Source(name); err != nil || !strings.Contains(string(src), name) {
			t.Errorf("Source(%q): %v", name, err)
		}
	}
}
