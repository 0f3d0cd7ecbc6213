package deb

import (
	"strings"
	"testing"
)

// withScripts returns packages by the fields of their control files, one a line after
// the name; "preinst" in them is a script that the package has.
func withScripts(t *testing.T, list ...string) []*Installed {
	t.Helper()
	var packages []*Installed
	for _, text := range list {
		name, fields, _ := strings.Cut(text, "\n")
		p := &Installed{Control: map[string][]byte{}}
		if strings.Contains(fields, "preinst\n") {
			fields = strings.ReplaceAll(fields, "preinst\n", "")
			p.Control["preinst"] = []byte("#!/bin/sh\n")
		}
		if !strings.Contains(fields, "Architecture:") {
			fields += "Architecture: amd64\n"
		}
		p.Control["control"] = []byte("Package: " + name + "\nVersion: 1\n" + fields)
		if err := p.Parse(); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// stepLines shows steps: of a shell script only the packages whose scripts run.
func stepLines(t *testing.T, packages []*Installed) string {
	t.Helper()
	steps, err := ConfigureSteps(packages)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range steps {
		if s.Args[0] != "/bin/sh" {
			b.WriteString(strings.Join(s.Args, " ") + "\n")
			continue
		}
		b.WriteString(s.Name + ":")
		for line := range strings.Lines(s.Args[2]) {
			if name, ok := strings.CutPrefix(line, "echo 'Running the preinst script of "); ok {
				b.WriteString(" " + strings.TrimSuffix(name, "'\n"))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestConfigureSteps(t *testing.T) {
	const (
		dpkg = "dpkg --force-confold --force-confdef "
		all  = dpkg + "--configure -a\n"
	)
	for _, test := range []struct {
		name     string
		packages []string
		want     string
	}{
		{"no scripts", []string{"a\nDepends: b\n", "b\n"}, all},
		{"scripts without needs, in the order given", []string{"b\npreinst\n", "a\npreinst\nDepends: c\n", "c\n"}, "preinst scripts: b a\n" + all},
		{
			"what a script needs is configured with all it depends on",
			[]string{"a\npreinst\nPre-Depends: b\n", "b\nDepends: c | x\n", "c\nArchitecture: all\n", "d\n", "e\npreinst\n"},
			"preinst scripts: e\n" + dpkg + "--no-triggers --configure b:amd64 c\npreinst scripts: a\n" + all,
		},
		{
			"through what is provided", []string{"a\npreinst\nPre-Depends: virtual\n", "b\nProvides: virtual (= 2)\n", "c\n"},
			dpkg + "--no-triggers --configure b:amd64\npreinst scripts: a\n" + all,
		},
		{
			"a script of what is needed early runs early, whatever it needs itself",
			[]string{"a\npreinst\nPre-Depends: b\n", "b\npreinst\nPre-Depends: c\n", "c\npreinst\n"},
			"preinst scripts: b c\n" + dpkg + "--no-triggers --configure b:amd64 c:amd64\npreinst scripts: a\n" + all,
		},
		{
			"two that need each other: both are needed early", []string{"a\npreinst\nPre-Depends: b\n", "b\npreinst\nPre-Depends: a\n", "c\npreinst\nPre-Depends: a\n"},
			"preinst scripts: a b\n" + dpkg + "--no-triggers --configure a:amd64 b:amd64\npreinst scripts: c\n" + all,
		},
		{
			"a circle without anything outside has no late scripts", []string{"a\npreinst\nPre-Depends: b\n", "b\npreinst\nPre-Depends: a\n"},
			"preinst scripts: a b\n" + dpkg + "--no-triggers --configure a:amd64 b:amd64\n" + all,
		},
		{
			"essential packages come first, with what they need",
			[]string{"a\npreinst\nPre-Depends: lib\n", "base\nEssential: yes\npreinst\nPre-Depends: lib\nDepends: data\n", "data\nArchitecture: all\n", "lib\n", "other\n"},
			"preinst scripts: base\n" + dpkg + "--no-triggers --configure base:amd64 data lib:amd64\npreinst scripts: a\n" + all,
		},
		{
			"what is not installed does not count", []string{"a\npreinst\nPre-Depends: b | c\n", "c\n"},
			dpkg + "--no-triggers --configure c:amd64\npreinst scripts: a\n" + all,
		},
		{
			"a package that needs itself", []string{"a\npreinst\nPre-Depends: a\n"}, "preinst scripts: a\n" + all,
		},
		{
			"packages of several architectures",
			[]string{"a\npreinst\nPre-Depends: b\n", "b\nMulti-Arch: same\n", "b\nMulti-Arch: same\nArchitecture: i386\n"},
			dpkg + "--no-triggers --configure b:amd64 b:i386\npreinst scripts: a\n" + all,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := stepLines(t, withScripts(t, test.packages...)); got != test.want {
				t.Errorf("\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestPreinstScript(t *testing.T) {
	steps, err := ConfigureSteps(withScripts(t, "lib\nMulti-Arch: same\npreinst\n", "data\npreinst\nArchitecture: all\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := `set -e
export DPKG_ROOT= DPKG_ADMINDIR=/var/lib/dpkg DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1
echo 'Running the preinst script of lib'
DPKG_MAINTSCRIPT_PACKAGE=lib DPKG_MAINTSCRIPT_ARCH=amd64 /var/lib/dpkg/info/lib:amd64.preinst install </dev/null
echo 'Running the preinst script of data'
DPKG_MAINTSCRIPT_PACKAGE=data DPKG_MAINTSCRIPT_ARCH=all /var/lib/dpkg/info/data.preinst install </dev/null
`
	if args := steps[0].Args; args[0] != "/bin/sh" || args[1] != "-c" || args[2] != want {
		t.Errorf("%q\nwant\n%s", args, want)
	}
}

func TestConfigureStepsErrors(t *testing.T) {
	for _, test := range []struct{ fields, want string }{
		{"Provides: a | b\n", `package p, Provides: "a | b": alternatives are not allowed here`},
		{"preinst\nPre-Depends: a (2)\n", `package p, Pre-Depends: relation "a (2)": unknown comparison ""; the comparisons are <<, <=, =, >= and >>`},
	} {
		if _, err := ConfigureSteps(withScripts(t, "p\n"+test.fields)); err == nil || err.Error() != test.want {
			t.Errorf("%q: %v; want %s", test.fields, err, test.want)
		}
	}
}
