package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

func (l *loader) rootfs(b *decode.Body, d *distros.Distro, arch distros.Architecture) Rootfs {
	r := Rootfs{Installer: InstallerNative, Docs: true, Repositories: slices.Clone(d.Repositories)}
	blk := b.Single("rootfs")
	if blk == nil {
		l.errorf(b.Header(), "Missing rootfs", "The recipe does not say which packages the image holds. Write: rootfs { packages = [\"systemd-sysv\"] }")
		return r
	}
	s := decode.New("the rootfs block", &l.diags, blk.Parts...)
	r.Installer = l.installer(s, d.Family)
	if r.TakesPackages() {
		l.packageAttributes(s, d, &r)
	} else {
		l.unused(s, r.Installer, "packages", "exclude", "recommends", "modules", "docs", "languages")
	}
	if r.Installer == InstallerArchive {
		r.Archive, r.ArchiveDigest = l.archive(s)
	} else {
		l.unused(s, r.Installer, "archive")
	}
	if r.Installer == InstallerImage {
		r.Image, r.ImageReference = l.image(s)
	} else {
		l.unused(s, r.Installer, "image")
	}
	r.Repositories = l.repositories(s, d, r.Repositories)
	if d.Family == distros.FamilyRPM {
		for i := range r.Repositories {
			r.Repositories[i] = r.Repositories[i].Expand(arch.PackageArch, d.Version)
		}
	}
	s.Close()
	return r
}

func (l *loader) installer(s *decode.Body, family string) string {
	t := s.Text("installer")
	switch {
	case t.Range.Filename == "":
		return InstallerNative
	case t.Value == "iso":
		l.errorf(t.Range, "Unknown installer", "Packages on an install DVD are a repository like others. Write: installer = \"native\", and in it: repository \"dvd\" { url = \"iso:FILE.iso\" }")
	case !slices.Contains(Installers, t.Value):
		l.errorf(t.Range, "Unknown installer", "There is no installer %q. %s \"native\" is the default.", t.Value, decode.DidYouMean(t.Value, Installers))
	case t.Value == InstallerApt && family == distros.FamilyRPM, (t.Value == InstallerDNF || t.Value == InstallerYum) && family == distros.FamilyDeb:
		l.errorf(t.Range, "Installer of another family", "%q cannot install packages of the family %q. Write: installer = \"native\"", t.Value, family)
	default:
		return t.Value
	}
	return InstallerNative
}

// unused reports attributes that say nothing to the installer.
func (l *loader) unused(s *decode.Body, installer string, names ...string) {
	for _, name := range names {
		if s.Has(name) {
			l.errorf(s.Range(name), "Attribute of another installer", "%q says nothing to the installer %q. Remove it, or choose another installer.", name, installer)
		}
	}
}

// packageAttributes reads what installers of packages need.
func (l *loader) packageAttributes(s *decode.Body, d *distros.Distro, r *Rootfs) {
	s.Require("packages", `packages = ["systemd", "openssh-server"]`)
	r.Packages = l.packages(s, "packages", d.Family)
	r.Exclude = l.packages(s, "exclude", d.Family)
	for _, t := range s.AllTexts("exclude") {
		if slices.Contains(r.Packages, t.Value) {
			l.errorf(t.Range, "Package wanted and excluded", "Package %q is also in packages. Remove it from one of the two lists.", t.Value)
		}
	}
	r.Recommends = s.Bool("recommends", false)
	r.Modules = slices.Clone(d.RPM.Modules)
	if d.Family == distros.FamilyDeb {
		for _, name := range []string{"modules", "docs", "languages"} {
			if s.Has(name) {
				l.errorf(s.Range(name), "Attribute of another family", "%q belongs to the package family \"rpm\"; %s is of the family %q. Remove the attribute.", name, d.Name, d.Family)
			}
		}
		return
	}
	for _, t := range s.AllTexts("modules") {
		if !modulePattern.MatchString(t.Value) {
			l.errorf(t.Range, "Invalid module stream", "%q is not a module stream: the name of a module, \":\" and that of one of its streams. Write for example: \"nodejs:18\"", t.Value)
			continue
		}
		if !slices.Contains(r.Modules, t.Value) {
			r.Modules = append(r.Modules, t.Value)
		}
	}
	r.Docs = s.Bool("docs", true)
	if s.Has("languages") {
		r.Languages = []string{} // none is not the same as all
	}
	for _, t := range s.Texts("languages") {
		if !languagePattern.MatchString(t.Value) {
			l.errorf(t.Range, "Invalid language", "%q is not a language. Write for example: \"de\", \"pt_BR\" or \"sr@latin\"", t.Value)
			continue
		}
		r.Languages = append(r.Languages, t.Value)
	}
}

var (
	modulePattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*:[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	languagePattern = regexp.MustCompile(`^[A-Za-z]{2,8}([_-][A-Za-z0-9]+)*(\.[A-Za-z0-9-]+)?(@[A-Za-z0-9]+)?$`)
)

// Package names: letters, digits and . + - of Debian Policy 5.6.1, an architecture qualifier behind a colon.
var debPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?$`)

// What rpm installs: names, capabilities like perl(Foo::Bar), paths, patterns; without white space.
var rpmPackage = regexp.MustCompile(`^[A-Za-z0-9/*?\[_][^\s,;"'\\]*$`)

// groupPackage is a group or environment of comps, by id or by name.
var groupPackage = regexp.MustCompile(`^@\^?[A-Za-z0-9]([^\t\n"'\\]*[^\s"'\\])?$`)

// packages reads a list of package names, joined over all files, without repetitions across files. A name twice in one
// list is a slip of the pen worth telling.
func (l *loader) packages(s *decode.Body, name, family string) []string {
	var out []string
	seen := map[string]hcl.Range{}
	for _, t := range s.AllTexts(name) {
		if first, twice := seen[t.Value]; twice {
			if first.Filename == t.Range.Filename {
				l.errorf(t.Range, "Duplicate package", "Package %q already stands at %s. Remove one of them.", t.Value, decode.Where(first))
			}
			continue
		}
		seen[t.Value] = t.Range
		if hint := packageMistake(t.Value, name, family); hint != "" {
			l.errorf(t.Range, "Invalid package name", "%q is not the name of a package. %s", t.Value, hint)
			continue
		}
		out = append(out, t.Value)
	}
	return out
}

// packageMistake says what is wrong with an element of a list of packages; "" when nothing is.
func packageMistake(value, list, family string) string {
	valid := debPackage
	switch family {
	case distros.FamilyRPM:
		valid = rpmPackage
	case distros.FamilyDeb:
	default: // the distribution is wrong, and that was reported
		return ""
	}
	fields := strings.Fields(value)
	switch {
	case valid.MatchString(value):
		return ""
	case strings.HasPrefix(value, "@") && family != distros.FamilyRPM:
		return "Only RPM distributions have groups of packages. Name the packages themselves."
	case strings.HasPrefix(value, "@") && list == "exclude":
		return "A group cannot be excluded. Name the packages themselves."
	case groupPackage.MatchString(value):
		return ""
	case strings.HasPrefix(value, "@"):
		return "A group is written \"@core\", an environment \"@^minimal-environment\"."
	case len(fields) > 1 && strings.ContainsAny(value, "=<>"):
		return fmt.Sprintf("Versions are pinned by the lock file, not here. Write: %q", fields[0])
	case len(fields) > 1:
		return fmt.Sprintf("Every package is an element of its own. Write: %s", strings.ReplaceAll(fmt.Sprintf("%q", fields), `" "`, `", "`))
	case family == distros.FamilyRPM:
		return "Write a name, a path, a capability such as \"perl(Encode)\", or a pattern with * and ?."
	}
	if base, _, found := strings.Cut(value, "="); found && debPackage.MatchString(base) {
		return fmt.Sprintf("Versions are pinned by the lock file, not here. Write: %q", base)
	}
	if lower := strings.ToLower(value); debPackage.MatchString(lower) {
		return fmt.Sprintf("Names are in lower case. Write: %q", lower)
	}
	return "Names have lower case letters, digits, \"+\", \"-\" and \".\"."
}

// repositories reads the repository blocks over those of the distribution.
func (l *loader) repositories(s *decode.Body, d *distros.Distro, have []distros.Repository) []distros.Repository {
	written := map[string]bool{}
	for _, blk := range s.Labelled("repository", "name", false) {
		written[blk.Label()] = true
		base := distros.NewRepository(d.Family, blk.Label())
		at := slices.IndexFunc(have, func(r distros.Repository) bool { return r.Name == blk.Label() })
		if at >= 0 {
			base = have[at]
		}
		repo := distros.Decoder{Files: l.files, Diags: &l.diags}.Repository(d.Family, base, blk)
		if at >= 0 {
			have[at] = repo
		} else {
			have = append(have, repo)
		}
	}
	for _, r := range have {
		if r.GPGCheck && !r.HasKey() && !written[r.Name] {
			source := ""
			if r.KeySource != "" {
				source = fmt.Sprintf(" The key is %s.", r.KeySource)
			}
			l.errorf(s.Header(), "Missing key", "The definition of %s has no key for its repository %q, so the recipe must bring it.%s Write: repository %q { gpg_key = \"keys/FILE\" }", d.Name, r.Name, source, r.Name)
		}
	}
	return have
}

// archive finds the archive and hashes it.
func (l *loader) archive(s *decode.Body) (file, digest string) {
	if !s.Require("archive", `archive = "rootfs.tar.zst"`) {
		return "", ""
	}
	t := s.Text("archive")
	if t.Range.Filename == "" {
		return "", ""
	}
	file = l.abs(s.Dir("archive"), t.Value)
	fail := func(reason string) (string, string) {
		l.errorf(t.Range, "Cannot read file", "The archive %q cannot be read: %s. Relative paths start from the directory of the file they are written in.", t.Value, reason)
		return "", ""
	}
	info, err := l.stat(file)
	if err != nil {
		return fail(distros.Reason(err))
	}
	if !info.Mode().IsRegular() {
		return fail("it is not a regular file")
	}
	f, err := l.files.Open(inRoot(file))
	if err != nil {
		return fail(distros.Reason(err))
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fail(distros.Reason(err))
	}
	return file, "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// imageTransports are the places of container images, with how one is written.
var imageTransports = map[string]string{
	"docker":         "docker://registry.example.com/node:1.0",
	"oci":            "oci:DIRECTORY:TAG",
	"oci-archive":    "oci-archive:FILE:TAG",
	"docker-archive": "docker-archive:FILE:NAME:TAG",
}

// image reads the reference of a container image; a path in it becomes absolute.
func (l *loader) image(s *decode.Body) (image, reference string) {
	if !s.Require("image", fmt.Sprintf("image = %q", imageTransports["docker"])) {
		return "", ""
	}
	t := s.Text("image")
	if t.Range.Filename == "" {
		return "", ""
	}
	return l.imageReference(t, s.Dir("image"), "image")
}

// imageReference reads where a container image is; attribute is what says it. A path in it becomes absolute.
func (l *loader) imageReference(t decode.Text, dir, attribute string) (image, reference string) {
	transport, rest, _ := strings.Cut(t.Value, ":")
	form, known := imageTransports[transport]
	switch {
	case !known:
		l.errorf(t.Range, "Unknown place of an image", "%q does not say where the image is: in a registry (docker://…), a directory (oci:…) or a file (oci-archive:…, docker-archive:…). Write for example: %s = %q", t.Value, attribute, imageTransports["docker"])
		return "", ""
	case transport == "docker":
		if name, ok := strings.CutPrefix(rest, "//"); !ok || !registryImage.MatchString(name) {
			l.errorf(t.Range, "Invalid image", "%q is not the name of an image in a registry. Write for example: %s = %q", t.Value, attribute, form)
		}
		return t.Value, t.Value
	}
	file, tag, tagged := strings.Cut(rest, ":")
	if file == "" || strings.HasPrefix(rest, "//") {
		l.errorf(t.Range, "Invalid image", "%q names no path. Write: %s = %q", t.Value, attribute, form)
		return "", ""
	}
	image = transport + ":" + l.abs(dir, file)
	if tagged {
		image += ":" + tag
	}
	if _, err := l.stat(l.abs(dir, filepath.FromSlash(file))); err != nil {
		l.errorf(t.Range, "Cannot read file", "The image %q cannot be read: %s. Relative paths start from the directory of the file they are written in.", file, distros.Reason(err))
	}
	return image, t.Value
}

// registryImage is the name of an image in a registry: a host, a path, and a tag or a digest.
var registryImage = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
