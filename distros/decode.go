package distros

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// Families lists the package families this version can install.
var Families = []string{FamilyDeb, FamilyRPM}

// Decoder turns distro blocks into values. Files is the file system keys are read from, rooted at "/".
type Decoder struct {
	Files fs.FS
	Diags *hcl.Diagnostics
}

// Decode reads the distro block which parts define, together with the embedded definition it inherits from.
func (d Decoder) Decode(name string, parts []decode.Part) Distro {
	what := fmt.Sprintf("distro %q", name)
	parts, ok := d.inherit(what, parts, []string{name})
	if !ok {
		return Distro{Name: name}
	}
	return d.distro(name, decode.New(what, d.Diags, parts...))
}

// inherit puts the parts of the named embedded definitions before the parts; false when one cannot be found.
func (d Decoder) inherit(what string, parts []decode.Part, seen []string) ([]decode.Part, bool) {
	base := decode.New(what, d.Diags, parts...).Text("inherits")
	if base.Value == "" {
		return parts, true
	}
	if slices.Contains(seen[1:], base.Value) {
		decode.Errorf(d.Diags, base.Range, "Inheritance cycle", "Distro %q inherits from itself, by way of %s. Let one of them stand on its own.", base.Value, strings.Join(seen, " → "))
		return nil, false
	}
	part, ok := embedded()[base.Value]
	if !ok {
		decode.Errorf(d.Diags, base.Range, "Unknown distribution", "There is no built-in distribution %q to inherit from. %s", base.Value, decode.DidYouMean(base.Value, Names()))
		return nil, false
	}
	inherited, ok := d.inherit(what, []decode.Part{part}, append(seen, base.Value))
	return append(inherited, parts...), ok
}

func (d Decoder) distro(name string, b *decode.Body) Distro {
	b.String("inherits", "")
	b.Bool("abstract", false)
	v := Distro{
		Name:     name,
		Title:    b.String("title", name),
		Family:   d.oneOf(b, "family", Families),
		Version:  b.String("version", ""),
		Codename: b.String("codename", ""),
		Locale:   b.String("locale", "C.UTF-8"),
		Timezone: b.String("timezone", "Etc/UTC"),
		Host: Host{
			Packages: b.Strings("host_packages"), Services: b.Strings("host_services"), Group: b.String("host_group", ""), Size: b.String("host_size", "2GiB"),
		},
	}
	v.Notes = b.Strings("notes")
	b.Require("family", `family = "deb"`)
	d.verified(b, &v)
	for _, blk := range b.Labelled("repository", "name", true) {
		s := d.repository(blk, v.Family)
		v.Repositories = append(v.Repositories, s.read(NewRepository(v.Family, blk.Label())))
	}
	if len(v.Repositories) == 0 {
		form := "url = …, suites = […], components = […]"
		if v.Family == FamilyRPM {
			form = "url = …, gpg_key = …"
		}
		b.Errorf(b.Header(), "Missing repository", `Distro %q has no repository. Write: repository "main" { %s }`, name, form)
	}
	for _, blk := range b.Labelled("architecture", "name", true) {
		v.Architectures = append(v.Architectures, d.architecture(blk))
	}
	if len(v.Architectures) == 0 {
		b.Errorf(b.Header(), "Missing architecture", `Distro %q has no architecture. Write: architecture "x86_64" { package_arch = "amd64" … }`, name)
	}
	var missing []string
	single := func(kind string) *decode.Body {
		blk := b.Single(kind)
		if blk == nil {
			missing = append(missing, kind)
			return nil
		}
		return decode.New(fmt.Sprintf("the %q block", kind), d.Diags, blk.Parts...)
	}
	if s := single("base"); s != nil {
		d.only(s, v.Family, FamilyDeb, "essential", "priorities")
		v.Base = Base{Essential: s.Bool("essential", v.Family == FamilyDeb), Priorities: s.Strings("priorities"), Packages: s.Strings("packages")}
		s.Close()
	}
	if s := single("scripts"); s != nil {
		v.Scripts = Scripts{Env: s.Map("env"), Files: d.files(s)}
		s.Close()
	}
	if s := single("kernel"); s != nil {
		v.Kernel.Image = d.pattern(s, "image")
		if s.Has("source") {
			v.Kernel.Source = d.pattern(s, "source")
		}
		s.Close()
	}
	if s := single("initramfs"); s != nil {
		v.Initramfs = Initramfs{Image: d.pattern(s, "image"), Command: s.Strings("command"), Packages: s.Strings("packages"), Env: s.Map("env"), Files: d.files(s)}
		s.Require("command", `command = ["mkinitramfs", "-o", "{image}", "{version}"]`)
		s.Close()
	}
	if s := single("grub"); s != nil {
		v.Grub = Grub{Mkimage: d.absolute(s, "mkimage"), Dir: d.absolute(s, "dir"), Vendor: d.absolute(s, "vendor"), BLS: s.Bool("bls", false)}
		s.Close()
	}
	if s := single("ext4"); s != nil {
		v.Ext4.Features = s.Strings("features")
		s.Close()
	}
	v.SELinux.Mode = SELinuxDisabled
	if blk := b.Single("selinux"); blk != nil { // optional: a distribution without it
		s := decode.New(`the "selinux" block`, d.Diags, blk.Parts...)
		s.Require("mode", `mode = "enforcing"`)
		v.SELinux = SELinux{Mode: d.oneOf(s, "mode", SELinuxModes), Packages: s.Strings("packages")}
		s.Close()
	}
	if v.Family == FamilyRPM {
		if s := single("rpm"); s != nil {
			v.RPM = d.rpm(s)
		}
	} else if blk := b.Single("rpm"); blk != nil {
		b.Errorf(blk.Range, "Block of another family", "An rpm block describes the package database of RPM distributions; the family of this one is %q. Remove the block.", v.Family)
	}
	if len(missing) > 0 {
		b.Errorf(b.Header(), "Incomplete distro", "Distro %q lacks the block(s) %s. Write them, or inherit them with: inherits = %q", name, decode.List(missing), v.Family)
	}
	if blk := b.Single("grow"); blk != nil { // optional: a distribution which cannot grow its root
		s := decode.New(`the "grow" block`, d.Diags, blk.Parts...)
		v.Grow = Grow{Packages: s.Strings("packages"), Files: d.files(s), MountOptions: s.String("mount_options", "")}
		s.Close()
	}
	if blk := b.Single("clean"); blk != nil {
		s := decode.New(`the "clean" block`, d.Diags, blk.Parts...)
		v.Clean = Clean{Remove: s.Strings("remove"), Truncate: s.Strings("truncate")}
		s.Close()
	}
	for _, blk := range b.Labelled("unit", "name", true) {
		s := decode.New(fmt.Sprintf("unit %q", blk.Label()), d.Diags, blk.Parts...)
		u := Unit{Name: blk.Label(), When: s.String("when", ""), WantedBy: s.String("wanted_by", ""), Content: s.String("content", "")}
		s.Require("wanted_by", `wanted_by = "multi-user.target"`)
		s.Require("content", `content = "[Service]…"`)
		s.Close()
		v.Units = append(v.Units, u)
	}
	b.Close()
	return v
}

// verified reads what is known of the definition's truth, from its last part alone: what it inherits may be wrong here.
func (d Decoder) verified(b *decode.Body, v *Distro) {
	b.Has("verified")
	b.Has("unverified")
	parts := b.Parts()
	last := decode.New("the distro block", d.Diags, parts[len(parts)-1:]...)
	v.Verified = last.Map("verified")
	v.Unverified = last.Strings("unverified")
	for _, kind := range slices.Sorted(maps.Keys(v.Verified)) {
		if !slices.Contains(FactKinds, kind) {
			b.Errorf(last.Range("verified"), "Unknown kind of fact", "There is no kind of fact %q. %s", kind, decode.DidYouMean(kind, FactKinds))
		}
	}
}

func (d Decoder) rpm(s *decode.Body) RPM {
	r := RPM{Database: d.absolute(s, "database"), Backend: RPMSQLite, ModulePlatform: s.String("module_platform", ""), Modules: s.Strings("modules")}
	if s.Has("backend") {
		r.Backend = d.oneOf(s, "backend", RPMBackends)
	}
	s.Close()
	return r
}

// only reports attributes that belong to another package family.
func (d Decoder) only(b *decode.Body, family, of string, names ...string) {
	for _, name := range names {
		if b.Has(name) && family != of && family != "" {
			b.Errorf(b.Range(name), "Attribute of another family", "%q belongs to the package family %q; the distribution's is %q. Remove the attribute.", name, of, family)
		}
	}
}

// Reason strips the path from a file system error, which the message around it already names.
func Reason(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "it does not exist"
	}
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// Architectures known to the partition types and firmware of this version, canonical name first.
var architectureNames = []string{"x86_64", "aarch64"}

func (d Decoder) architecture(blk *decode.Block) Architecture {
	b := decode.New(fmt.Sprintf("architecture %q", blk.Label()), d.Diags, blk.Parts...)
	if !slices.Contains(architectureNames, blk.Label()) {
		b.Errorf(blk.Range, "Unknown architecture", "There is no architecture %q. %s", blk.Label(), decode.DidYouMean(blk.Label(), architectureNames))
	}
	a := Architecture{
		Name:        blk.Label(),
		PackageArch: b.String("package_arch", ""),
		EFIName:     b.String("efi_name", ""),
		EFIFallback: b.String("efi_fallback", ""),
		Links:       b.Map("links"),
		Kernels:     b.Strings("kernels"),
		Console:     b.Strings("console"),
	}
	b.Require("package_arch", `package_arch = "amd64"`)
	for _, g := range b.Labelled("grub", "firmware", true) {
		s := decode.New(fmt.Sprintf("grub %q", g.Label()), d.Diags, g.Parts...)
		p := &GrubPlatform{Platform: s.String("platform", ""), Packages: s.Strings("packages"), Modules: d.absolute(s, "modules")}
		s.Require("platform", `platform = "x86_64-efi"`)
		switch g.Label() {
		case "bios":
			p.BootImg = d.absolute(s, "boot_img")
			a.BIOS = p
		case "uefi":
			a.UEFI = p
		default:
			s.Errorf(g.Range, "Unknown firmware", "There is no firmware %q. %s", g.Label(), decode.DidYouMean(g.Label(), []string{"bios", "uefi"}))
		}
		s.Close()
	}
	if sb := b.Single("signed"); sb != nil {
		s := decode.New(`the "signed" block`, d.Diags, sb.Parts...)
		a.Signed = &Signed{Packages: s.Strings("packages"), Prefix: d.absolute(s, "prefix")}
		for _, f := range s.Labelled("file", "role", true) {
			fb := decode.New(fmt.Sprintf("file %q", f.Label()), d.Diags, f.Parts...)
			fb.Require("sources", `sources = ["/usr/lib/shim/shimx64.efi.signed"]`)
			fb.Require("name", `name = "shimx64.efi"`)
			file := SignedFile{Role: f.Label(), Sources: fb.Strings("sources"), Name: fb.String("name", "")}
			if file.Role == RoleMediumGrub {
				a.Signed.Medium = &SignedMedium{Prefix: d.absolute(s, "cd_prefix"), Sources: file.Sources, Name: file.Name}
			} else {
				a.Signed.Files = append(a.Signed.Files, file)
			}
			fb.Close()
		}
		s.Close()
	}
	b.Close()
	return a
}

func (d Decoder) files(b *decode.Body) []File {
	var out []File
	for _, blk := range b.Labelled("file", "path", true) {
		s := decode.New(fmt.Sprintf("file %q", blk.Label()), d.Diags, blk.Parts...)
		if !path.IsAbs(blk.Label()) || path.Clean(blk.Label()) != blk.Label() {
			s.Errorf(blk.Range, "Invalid path", "The path %q of a file in the image must be absolute and without \".\" or \"..\".", blk.Label())
		}
		f := File{Path: blk.Label(), Content: s.String("content", ""), Mode: Mode(s, "mode", 0o644)}
		s.Require("content", `content = "…"`)
		s.Close()
		out = append(out, f)
	}
	return out
}

// Mode reads permission bits written as an octal string, "0644".
func Mode(b *decode.Body, name string, def uint32) uint32 {
	v, at, ok := b.Value(name)
	if !ok {
		return def
	}
	if v.Type() != cty.String {
		b.Errorf(at, "Invalid mode", "%q must be a string of octal digits, because a number would be read as decimal. Write: %s = \"0644\"", name, name)
		return def
	}
	m, err := strconv.ParseUint(v.AsString(), 8, 32)
	if err != nil || m > 0o7777 {
		b.Errorf(at, "Invalid mode", "%q is not a file mode: it has up to four octal digits. Write for example: %s = \"0644\"", v.AsString(), name)
		return def
	}
	return uint32(m)
}

func (d Decoder) absolute(b *decode.Body, name string) string {
	t := b.Text(name)
	b.Require(name, name+` = "/…"`)
	if t.Range.Filename != "" && (!path.IsAbs(t.Value) || path.Clean(t.Value) != t.Value) {
		b.Errorf(t.Range, "Invalid path", "%q must be an absolute path without \".\" or \"..\", not %q.", name, t.Value)
	}
	return t.Value
}

func (d Decoder) pattern(b *decode.Body, name string) string {
	t := b.Text(name)
	b.Require(name, name+` = "/boot/vmlinuz-{version}"`)
	if t.Range.Filename != "" && (!path.IsAbs(t.Value) || strings.Count(t.Value, "{version}") != 1) {
		b.Errorf(t.Range, "Invalid pattern", "%q must be an absolute path with {version} once, where the kernel's release stands. Write for example: %s = \"/boot/vmlinuz-{version}\"", name, name)
	}
	return t.Value
}

func (d Decoder) oneOf(b *decode.Body, name string, known []string) string {
	t := b.Text(name)
	if t.Range.Filename != "" && !slices.Contains(known, t.Value) {
		b.Errorf(t.Range, "Not supported by this version", "The %s %q is not supported by this version of imagefactory. Supported: %s.", name, t.Value, decode.List(known))
	}
	return t.Value
}
