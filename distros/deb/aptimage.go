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
// recipe names. The mirror a build used is its own affair and never named.
func SourcesFiles(name string, repositories []distros.Repository) []DatabaseFile {
	var b strings.Builder
	for i, r := range repositories {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", r.URL, strings.Join(r.Suites, " "), strings.Join(r.Components, " "))
		switch {
		case !r.GPGCheck:
			b.WriteString("Trusted: yes\n")
		case r.KeyFile == "" && len(r.Keyrings) > 0:
			// The distribution's keyring package puts the same file there as on a
			// build host.
			fmt.Fprintf(&b, "Signed-By: %s\n", r.Keyrings[0])
		}
	}
	return []DatabaseFile{{Path: "/etc/apt/sources.list.d/" + name + ".sources", Content: []byte(b.String()), Mode: 0o644}}
}
