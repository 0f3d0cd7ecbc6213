package deb

import (
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
)

// AptProgram is there where apt is installed.
const AptProgram = "/usr/bin/apt-get"

// SourcesFiles returns apt's configuration for an image in which apt is installed:
// the repositories it was made from, at the addresses that the distribution or the
// recipe names. The mirror a build used is its own affair and never named, nor is a
// directory of the build host.
func SourcesFiles(name string, repositories []distros.Repository) []DatabaseFile {
	var b strings.Builder
	for _, r := range repositories {
		if strings.HasPrefix(r.URL, "file:") {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", r.URL, strings.Join(r.Suites, " "), strings.Join(r.Components, " "))
		if r.AllowExpired {
			b.WriteString("Check-Valid-Until: no\n")
		}
		switch {
		case !r.GPGCheck:
			b.WriteString("Trusted: yes\n")
		case r.KeyFile == "" && len(r.Keyrings) > 0:
			// The distribution's keyring package puts the same file there as on a
			// build host.
			fmt.Fprintf(&b, "Signed-By: %s\n", r.Keyrings[0])
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return []DatabaseFile{{Path: "/etc/apt/sources.list.d/" + name + ".sources", Content: []byte(b.String()), Mode: 0o644}}
}
