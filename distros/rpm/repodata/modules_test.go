package repodata

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// A testModule is one document of a modules.yaml.
type testModule struct {
	name, stream, context string
	version               int
	requires              string // YAML of one or more maps
	artifacts             []string
	demodularized         []string
}

func (m testModule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\ndocument: modulemd\nversion: 2\ndata:\n  name: %s\n  stream: %q\n  version: %d\n  context: %s\n  arch: x86_64\n  summary: a\n  description: b\n  license:\n    module: [MIT]\n",
		m.name, m.stream, m.version, m.context)
	if m.requires != "" {
		b.WriteString("  dependencies:\n")
		for _, r := range strings.Split(m.requires, ";") {
			fmt.Fprintf(&b, "  - requires: {%s}\n", r)
		}
	}
	b.WriteString("  profiles:\n    common:\n      rpms: [one]\n")
	if len(m.artifacts) > 0 {
		fmt.Fprintf(&b, "  artifacts:\n    rpms: [%s]\n", strings.Join(m.artifacts, ", "))
	}
	if len(m.demodularized) > 0 {
		fmt.Fprintf(&b, "  demodularized:\n    rpms: [%s]\n", strings.Join(m.demodularized, ", "))
	}
	return b.String() + "...\n"
}

func defaultsFor(module, stream string) string {
	return fmt.Sprintf("---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: %s\n  stream: %q\n...\n", module, stream)
}

// testModules have all that modular filtering looks at.
func testModules() string {
	var b strings.Builder
	for _, m := range []testModule{
		{"web", "2.4", "aaaa", 1, "platform: [el9]", []string{"web-0:2.4-1.x86_64", "web-libs-0:2.4-1.x86_64", "web-0:2.4-1.src"}, nil},
		{"web", "2.4", "aaaa", 2, "platform: [el9]", []string{"web-0:2.4-2.x86_64"}, []string{"web-libs"}},
		{"web", "1.10", "bbbb", 1, "platform: [el9]", []string{"web-0:1.10-1.x86_64"}, nil},
		// php needs a web, of either stream, in two contexts.
		{"php", "8", "with24", 5, "platform: [el9], web: ['2.4']", []string{"php-0:8-24.x86_64"}, nil},
		{"php", "8", "with110", 5, "platform: [el9], web: ['1.10']", []string{"php-0:8-110.x86_64"}, nil},
		// Streams that will not do, and several that will.
		{"app", "1", "cccc", 1, "web: ['-2.4'], platform: []", []string{"app-0:1-1.noarch"}, nil},
		{"either", "1", "hhhh", 1, "platform: [el8]; platform: [el9]", []string{"either-0:1-1.x86_64"}, nil}, // never: dnf wants both
		{"several", "1", "iiii", 1, "web: ['3', '1.10']", []string{"several-0:1-1.x86_64"}, nil},
		{"elsewhere", "1", "dddd", 1, "platform: [el8]", []string{"elsewhere-0:1-1.x86_64"}, nil},
		{"lost", "1", "eeee", 1, "absent: ['1']", []string{"lost-0:1-1.x86_64"}, nil},
		// Not a default, but others need it.
		{"base", "rhel", "ffff", 1, "", []string{"base-0:1-1.x86_64"}, nil},
		{"top", "1", "gggg", 1, "base: []", []string{"top-0:1-1.x86_64"}, nil},
	} {
		b.WriteString(m.String())
	}
	for module, stream := range map[string]string{"web": "2.4", "elsewhere": "1", "lost": "1"} {
		b.WriteString(defaultsFor(module, stream))
	}
	b.WriteString("---\ndocument: modulemd-translations\nversion: 1\ndata:\n  module: web\n  stream: '2.4'\n  modified: 1\n  translations: {}\n...\n")
	return b.String()
}

// modularPackages are the packages of testModules, and others, some of which stand in
// their way.
var modularPackages = []string{
	"web-2.4-1.x86_64", "web-2.4-2.x86_64", "web-1.10-1.x86_64", "web-libs-2.4-1.x86_64",
	"web-libs-3-1.x86_64", "web-9-9.x86_64", // not of the module
	"php-8-24.x86_64", "php-8-110.x86_64", "php-5-1.x86_64", "app-1-1.noarch", "elsewhere-1-1.x86_64", "elsewhere-2-1.x86_64",
	"lost-1-1.x86_64", "base-1-1.x86_64", "base-2-1.x86_64", "top-1-1.x86_64", "plain-1-1.x86_64", "either-1-1.x86_64", "several-1-1.x86_64",
	"webby-1-1.x86_64", // provides web
}

// modularRepository makes a repository of modularPackages and testModules.
func modularRepository(t testing.TB) string {
	t.Helper()
	tool(t, "rpmbuild", "rpm")
	dir := t.TempDir()
	for i, p := range modularPackages {
		rest, arch, _ := cutLast(p, ".")
		rest, release, _ := cutLast(rest, "-")
		name, version, _ := cutLast(rest, "-")
		spec := filepath.Join(dir, fmt.Sprint(i, ".spec"))
		provides := ""
		if name == "webby" {
			provides = "Provides: web = 99\n"
		}
		build := ""
		if arch == "noarch" {
			build = "BuildArch: noarch\n"
		}
		text := fmt.Sprintf("Name: %s\nVersion: %s\nRelease: %s\nSummary: s\nLicense: l\n%s%s%%description\nd\n%%files\n", name, version, release, provides, build)
		if err := os.WriteFile(spec, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, dir, "rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", "_topdir "+dir, "--define", "debug_package %{nil}", spec)
	}
	if err := os.WriteFile(dir+"/modules.yaml", []byte(testModules()), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "modifyrepo_c", "createrepo-c")
	createrepo(t, dir)
	run(t, dir, "modifyrepo_c", "--mdtype=modules", dir+"/modules.yaml", dir+"/repodata")
	return "file://" + dir
}

func TestModulesAsDNFFiltersThem(t *testing.T) {
	url := modularRepository(t)
	r := load(t, newClient(t), unverified(url))
	for enabled, active := range map[string]string{
		"":               "web:2.4",
		"web:1.10":       "web:1.10",
		"web:2.4":        "web:2.4",
		"php:8":          "php:8 web:2.4",
		"php:8,web:1.10": "php:8 web:1.10",
		"app:1":          "app:1 web:1.10",
		"app:1,web:1.10": "app:1 web:1.10",
		"top:1":          "base:rhel top:1 web:2.4",
		"several:1":      "several:1 web:1.10",
	} {
		compareModules(t, r, "platform:el9", enabled, url)
		_, streams, err := ApplyModules([]*Modules{r.Modules, nil}, r.Packages, slices.DeleteFunc(strings.Split(enabled, ","), func(s string) bool { return s == "" }), "platform:el9")
		var got []string
		for _, s := range streams {
			got = append(got, s.String())
		}
		if strings.Join(got, " ") != active || err != nil {
			t.Errorf("%q: active are %q, %v; want %s", enabled, got, err, active)
		}
	}
	kept, streams, err := ApplyModules([]*Modules{r.Modules}, r.Packages, nil, "platform:el9")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range kept {
		if want := p.Name == "web" || p.Name == "web-libs" && p.EVR.Version == "2.4"; p.Modular != want {
			t.Errorf("%s is modular: %v", p, p.Modular)
		}
	}
	if s := streams[0]; !s.Default || s.Version != 2 || s.Context != "aaaa" || !slices.Equal(s.Profiles["common"], []string{"one"}) {
		t.Errorf("%+v", s)
	}
}

func TestModuleErrors(t *testing.T) {
	m, err := ParseModules(strings.NewReader(testModules()))
	if err != nil {
		t.Fatal(err)
	}
	for enabled, want := range map[string]string{
		"wep":              `no repository has the module "wep"; there is app, base, either, elsewhere, lost, php, several, top, web`,
		"web:2":            `the module web has no stream "2"; it has 1.10, 2.4`,
		"web:2.4,web:1.10": "the module web has two streams enabled, 2.4 and 1.10, and can have one",
		"elsewhere:1":      "the modules elsewhere:1 cannot be enabled together: elsewhere:1 is for platform:el8, and this distribution is platform:el9",
		"either:1":         "the modules either:1 cannot be enabled together: either:1 is for platform:el8, and this distribution is platform:el9",
		"lost:1":           "the modules lost:1 cannot be enabled together: lost:1 needs absent:1, which no repository has",
		"app:1,web:2.4":    "the modules app:1, web:2.4 cannot be enabled together: app:1 needs web:-2.4, and web:2.4 is enabled",
		"web:2.4,app:1":    "the modules web:2.4, app:1 cannot be enabled together: app:1 needs web:-2.4, and web:2.4 is active",
	} {
		_, _, err := ApplyModules([]*Modules{m}, nil, strings.Split(enabled, ","), "platform:el9")
		var module *ModuleError
		if !errors.As(err, &module) || err.Error() != want || module.ExitStatus() != 2 {
			t.Errorf("%s: error %v\nwant %s", enabled, err, want)
		}
	}
	if _, _, err := ApplyModules(nil, nil, []string{"web"}, ""); err == nil || err.Error() != `no repository has the module "web"; there is none at all` {
		t.Errorf("error %v", err)
	}
	// The only stream needs not be named, nor the default one.
	for _, enabled := range []string{"php", "web", "elsewhere"} {
		if _, _, err := ApplyModules([]*Modules{m}, nil, []string{enabled}, ""); err != nil {
			t.Error(err)
		}
	}
	other, err := ParseModules(strings.NewReader(testModule{name: "db", stream: "1", context: "a", version: 1}.String() +
		testModule{name: "db", stream: "2", context: "a", version: 1}.String() + defaultsFor("db", "1")))
	if err != nil {
		t.Fatal(err)
	}
	disagreeing, err := ParseModules(strings.NewReader(defaultsFor("db", "2")))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = ApplyModules([]*Modules{other, disagreeing}, nil, []string{"db"}, "")
	if err == nil || err.Error() != "the module db has no default stream: write one of db:1, db:2" {
		t.Errorf("error %v", err)
	}
}

func TestParseModulesErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a: [":                             "document 1: yaml: line 1: did not find expected node content",
		"--- {}\n--- [1]\n":                "document 2: yaml: unmarshal errors:\n  line 2: cannot unmarshal !!seq into struct",
		"document: modulemd\nversion: 1\n": "document 1: version 1 of modulemd is not supported, but version 2",
		"document: modulemd\nversion: 2\ndata: {name: a}\n":              `document 1: "a:" is not a module's name and stream`,
		"document: modulemd\nversion: 2\ndata: {name: a, stream: [b]}\n": "document 1: line 3: not a single value",
		"document: modulemd-defaults\nversion: 3\n":                      "document 1: version 3 of modulemd-defaults is not supported, but version 1",
	} {
		if _, err := ParseModules(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
	m, err := ParseModules(strings.NewReader("document: modulemd\nversion: 2\ndata: {name: a, stream: 1.10, context: 0123, dependencies: [{requires: {b: 2.0, c: [3.00]}}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v := m.streams[0]; v.stream != "1.10" || v.context != "0123" || v.requires[0]["b"][0] != "2.0" || v.requires[0]["c"][0] != "3.00" {
		t.Errorf("%+v", v)
	}
}

func FuzzModules(f *testing.F) {
	f.Add(testModules(), "php:8,web:1.10")
	f.Fuzz(func(t *testing.T, text, enabled string) {
		m, err := ParseModules(strings.NewReader(text))
		if err != nil {
			return
		}
		packages := []*rpm.Package{{Name: "web", EVR: rpm.EVR{Version: "2.4", Release: "1"}, Arch: "x86_64"}}
		_, _, _ = ApplyModules([]*Modules{m}, packages, strings.Split(enabled, ","), "platform:el9")
	})
}
