package distros

import (
	"fmt"
	"slices"
	"strings"
)

// Kinds of facts a definition holds, in the order Facts has them.
const (
	FactRepositories = "repositories" // addresses and layout
	FactKeys         = "keys"         // what the repositories are verified with
	FactPackages     = "packages"     // names of the base, of kernels and of a minimal host
	FactKernel       = "kernel"       // where kernels are
	FactInitramfs    = "initramfs"    // how one is made
	FactGrub         = "grub"         // names and directories of GRUB
	FactEFI          = "efi"          // vendor directory, signed boot programs
	FactFilesystems  = "filesystems"  // features the kernel and GRUB read, growing
	FactSELinux      = "selinux"      // default mode, policy
	FactDatabase     = "database"     // of packages
	FactBoot         = "boot"         // an image was built and booted
)

// FactKinds lists the kinds of facts.
var FactKinds = []string{
	FactRepositories, FactKeys, FactPackages, FactKernel, FactInitramfs, FactGrub, FactEFI, FactFilesystems, FactSELinux, FactDatabase, FactBoot,
}

// Fact is what a definition says about one subject.
type Fact struct {
	Kind     string   `json:"kind"`               // one of FactKinds
	Values   []string `json:"values"`             // one line each, for people; may be empty
	Verified string   `json:"verified,omitempty"` // how it was checked, one sentence; empty: it was not
}

// Facts returns everything the definition claims, and of each whether it was checked.
func (d *Distro) Facts() []Fact {
	values := map[string][]string{}
	add := func(kind, format string, args ...any) {
		values[kind] = append(values[kind], fmt.Sprintf(format, args...))
	}
	list := func(kind, what string, items []string) {
		if len(items) > 0 {
			add(kind, "%s: %s", what, strings.Join(items, " "))
		}
	}
	for _, r := range d.Repositories {
		add(FactRepositories, "%s", r.describe())
		add(FactKeys, "%s", r.describeKeys())
	}
	if d.Base.Essential {
		list(FactPackages, "base, besides essential packages", append(slices.Clone(d.Base.Priorities), d.Base.Packages...))
	} else {
		list(FactPackages, "base", d.Base.Packages)
	}
	list(FactPackages, "minimal host", d.Host.Packages)
	add(FactKernel, "%s", d.Kernel.Image)
	if d.Kernel.Source != "" {
		add(FactKernel, "or %s", d.Kernel.Source)
	}
	add(FactInitramfs, "%s", d.Initramfs.Image)
	add(FactInitramfs, "made by: %s", strings.Join(d.Initramfs.Command, " "))
	list(FactInitramfs, "packages", d.Initramfs.Packages)
	add(FactGrub, "%s, %s", d.Grub.Mkimage, d.Grub.Dir)
	if d.Grub.BLS {
		add(FactGrub, "entries of the Boot Loader Specification")
	}
	add(FactEFI, "%s", d.Grub.Vendor)
	for _, a := range d.Architectures {
		list(FactPackages, "kernel on "+a.Name, a.Kernels)
		for _, p := range []*GrubPlatform{a.BIOS, a.UEFI} {
			if p != nil {
				add(FactGrub, "%s: %s in %s", p.Platform, strings.Join(p.Packages, " "), p.Modules)
			}
		}
		if a.Signed != nil {
			list(FactEFI, "signed on "+a.Name+", looking in "+a.Signed.Prefix, a.Signed.Packages)
			for _, f := range a.Signed.Files {
				add(FactEFI, "%s: %s", f.Name, strings.Join(f.Sources, " or "))
			}
			if m := a.Signed.Medium; m != nil {
				add(FactEFI, "%s of media, looking in %s: %s", m.Name, m.Prefix, strings.Join(m.Sources, " or "))
			}
		}
	}
	add(FactFilesystems, "ext4: %s", strings.Join(d.Ext4.Features, ","))
	if d.Grow.MountOptions != "" {
		add(FactFilesystems, "root grows with: %s", strings.Join(append([]string{d.Grow.MountOptions}, d.Grow.Packages...), " "))
	}
	add(FactSELinux, "%s", strings.Join(append([]string{d.SELinux.Mode}, d.SELinux.Packages...), ", "))
	if d.Family == FamilyRPM {
		add(FactDatabase, "%s, written by %s", d.RPM.Database, map[string]string{RPMSQLite: "the build (sqlite)", RPMImport: "the image's rpmdb"}[d.RPM.Backend])
		if d.RPM.ModulePlatform != "" {
			add(FactDatabase, "modules for %s", d.RPM.ModulePlatform)
		}
	} else {
		add(FactDatabase, "/var/lib/dpkg")
	}
	var facts []Fact
	for _, kind := range FactKinds {
		facts = append(facts, Fact{Kind: kind, Values: values[kind], Verified: d.Verified[kind]})
	}
	return facts
}

func (r *Repository) describe() string {
	var parts []string
	for _, s := range []string{r.URL, r.MirrorList, r.Metalink} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	parts = append(append(parts, r.Suites...), r.Components...)
	return r.Name + ": " + strings.Join(parts, " ")
}

func (r *Repository) describeKeys() string {
	var ways []string
	if len(r.KeyFiles) > 0 {
		ways = append(ways, strings.Join(r.KeyFiles, " "))
	} else {
		ways = append(ways, r.Keyrings...)
		if r.KeyURL != "" {
			ways = append(ways, r.KeyURL+" ("+strings.Join(r.KeyFingerprints, " ")+")")
		}
	}
	if len(ways) == 0 {
		return r.Name + ": must come with the recipe"
	}
	return r.Name + ": " + strings.Join(ways, ", or ")
}

// Verification says in one sentence how far the definition was checked.
func (d *Distro) Verification() string {
	var checked, missing []string
	for _, kind := range FactKinds {
		if d.Verified[kind] != "" {
			checked = append(checked, kind)
		} else {
			missing = append(missing, kind)
		}
	}
	switch {
	case len(missing) == 0:
		return "verified"
	case d.Verified[FactBoot] != "":
		return "verified, apart from " + strings.Join(missing, ", ")
	case len(checked) == 0:
		return "definition not yet verified on the vendor's packages"
	}
	return "definition not yet verified on the vendor's packages; checked otherwise: " + strings.Join(checked, ", ")
}
