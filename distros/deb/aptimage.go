package deb

import (
	"fmt"
	"os"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/openpgp"
)

// AptProgram is there where apt is installed.
const AptProgram = "/usr/bin/apt-get"

// SourcesFiles returns apt's configuration for an image in which apt is installed:
// the repositories it was made from, at the addresses that the distribution or the
// recipe names. The mirror a build used is its own affair and never named, nor is a
// directory of the build host.
//
// The key that a recipe names for a repository of its own goes into it, because the
// image has no other copy; those of the distribution's repositories come, and change,
// with its keyring package. The error is about a recipe's key.
func SourcesFiles(name string, repositories []distros.Repository) ([]DatabaseFile, error) {
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
		case len(r.KeyFiles) > 0 && r.AptOrigin == "":
			key, err := armoredKeys(r.KeyFiles)
			if err != nil {
				return nil, fmt.Errorf("repository %s: %w", r.Name, err)
			}
			b.WriteString("Signed-By:\n")
			for line := range strings.Lines(key) {
				if line == "\n" {
					line = ".\n"
				}
				b.WriteString(" " + line)
			}
		case len(r.Keyrings) > 0:
			// The distribution's keyring package puts the same file there as on a
			// build host.
			fmt.Fprintf(&b, "Signed-By: %s\n", r.Keyrings[0])
		}
	}
	if b.Len() == 0 {
		return nil, nil
	}
	return []DatabaseFile{{Path: "/etc/apt/sources.list.d/" + name + ".sources", Content: []byte(b.String()), Mode: 0o644}}, nil
}

// armoredKeys returns the keys in the files as one armored block, ending with a line end.
func armoredKeys(files []string) (string, error) {
	var blocks strings.Builder
	for _, file := range files {
		p, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("key %s: %w", file, err)
		}
		block, err := openpgp.Armor(p)
		if err != nil {
			return "", fmt.Errorf("key %s: %w", file, err)
		}
		blocks.WriteString(block)
	}
	return openpgp.Armor([]byte(blocks.String()))
}
