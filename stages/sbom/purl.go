package sbom

import (
	"strings"

	"github.com/imagefactory/imagefactory/stages/installed"
)

// packageURL returns the package URL of a binary package (ECMA-427; types deb and rpm). Of rpm the
// epoch is a qualifier.
func packageURL(family, name, version, arch string, s System) string {
	var qualifiers []string
	if arch != "" {
		qualifiers = append(qualifiers, "arch="+escape(arch))
	}
	if s.ID != "" {
		distro := s.ID
		if s.VersionID != "" {
			distro += "-" + s.VersionID
		}
		qualifiers = append(qualifiers, "distro="+escape(distro))
	}
	if family == installed.RPM {
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			version = rest
			if epoch != "0" {
				qualifiers = append(qualifiers, "epoch="+escape(epoch)) // sorted: after arch and distro
			}
		}
	}
	var b strings.Builder
	b.WriteString("pkg:" + family + "/")
	if s.ID != "" {
		b.WriteString(escape(strings.ToLower(s.ID)) + "/")
	}
	if family == installed.Deb {
		name = strings.ToLower(name)
	}
	b.WriteString(escape(name))
	if version != "" {
		b.WriteString("@" + escape(version))
	}
	if len(qualifiers) > 0 {
		b.WriteString("?" + strings.Join(qualifiers, "&"))
	}
	return b.String()
}

// containerURL returns the package URL of a container image (type oci).
func containerURL(c Container) string {
	// HOST[:PORT]/PATH/NAME[:TAG][@DIGEST]
	reference, _, _ := strings.Cut(c.Reference, "@")
	tag := ""
	if i := strings.LastIndexByte(reference, ':'); i > strings.LastIndexByte(reference, '/') {
		reference, tag = reference[:i], reference[i+1:]
	}
	name := strings.ToLower(reference[strings.LastIndexByte(reference, '/')+1:])
	var qualifiers []string
	if c.Arch != "" {
		qualifiers = append(qualifiers, "arch="+escape(c.Arch))
	}
	if strings.Contains(reference, "/") {
		qualifiers = append(qualifiers, "repository_url="+escape(strings.ToLower(reference)))
	}
	if tag != "" {
		qualifiers = append(qualifiers, "tag="+escape(tag))
	}
	url := "pkg:oci/" + escape(name) + "@" + escape(c.Digest.String())
	if len(qualifiers) > 0 {
		url += "?" + strings.Join(qualifiers, "&")
	}
	return url
}

// escape percent-encodes what package URLs do not take as it is.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
