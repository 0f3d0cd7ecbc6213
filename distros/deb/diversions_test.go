package deb

import (
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestDivertedDirectories(t *testing.T) {
	st, _ := newStore(t)
	const control = "Version: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n"
	packages := []*Installed{
		unpackInstalled(t, st, buildPackage(t, "Package: guard\n"+control, map[string]string{"lib/": ""})),
		unpackInstalled(t, st, buildPackage(t, "Package: user\n"+control, map[string]string{"lib/x": "", "bin/": "", "etc/file": ""})),
		unpackInstalled(t, st, buildPackage(t, "Package: more\n"+control, map[string]string{"lib/y": ""})),
	}
	diversions := "/lib\n/lib.guarded\nguard\n" + // a directory of others
		"/bin\n/bin.guarded\nuser\n" + // only the owner's
		"/etc/file\n/etc/file.old\nguard\n" + // no directory
		"/none\n/none.guarded\n:\n" // nobody's
	dirs, err := DivertedDirectories([]byte(diversions), packages)
	if err != nil || len(dirs) != 1 || dirs[0].Path != "lib.guarded" || dirs[0].Type != tree.Directory || dirs[0].Mode != 0o755 {
		t.Errorf("directories %+v, %v", dirs, err)
	}
	if dirs, err := DivertedDirectories(nil, packages); err != nil || len(dirs) != 0 {
		t.Errorf("without diversions: %+v, %v", dirs, err)
	}
	_, err = DivertedDirectories([]byte("/lib\n/lib.guarded\n"), packages)
	if want := "/var/lib/dpkg/diversions has 2 lines, not three for each diversion"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// FuzzDatabase gives hostile metadata to everything that reads it after unpacking.
func FuzzDatabase(f *testing.F) {
	f.Add("Package: a\nArchitecture: all\nReplaces: b\nPre-Depends: b\nProvides: c\n", "/etc/x\nremove-on-upgrade /etc/y\n", "interest /x\ninterest-noawait y\nactivate z\ninterest ../w\n", "/a\n/b\nc\n")
	f.Add("Package: a\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nEssential: yes\nDescription: x\n y\n", "", "#\n\ninterest", "\n\n\n")
	f.Fuzz(func(t *testing.T, control, conffiles, triggers, diversions string) {
		tr := tree.Empty(tree.Time{})
		p := &Installed{Tree: tr, Control: map[string][]byte{
			"control": []byte(control), "conffiles": []byte(conffiles), "triggers": []byte(triggers), "preinst": []byte("#!/bin/sh\n"),
		}}
		if p.Parse() != nil {
			return
		}
		packages := []*Installed{p}
		files, err := Database("amd64", packages, func(tree.Entry) ([]byte, error) { return nil, nil })
		for _, file := range files {
			if err == nil && tree.CheckPath(strings.TrimPrefix(file.Path, "/")) != nil {
				t.Errorf("the database has a file %q", file.Path)
			}
			if !strings.HasPrefix(file.Path, adminDir+"/") {
				t.Errorf("%q is outside of the database", file.Path)
			}
		}
		_, _ = p.Replaces(p)
		_, _ = ConfigureSteps(packages)
		_, _ = OrderInstalled("amd64", packages)
		_, _ = DivertedDirectories([]byte(diversions), packages)
	})
}
