package repodata

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/distros/rpm"
)

// oracle runs testdata/oracle.py with the Python that dnf runs with, and returns the
// lines it prints.
func oracle(t testing.TB, command string, args ...string) []string {
	t.Helper()
	program, err := os.Open(tool(t, "dnf", "dnf"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	first, err := bufio.NewReader(program).ReadString('\n')
	interpreter, ok := strings.CutPrefix(strings.TrimSpace(first), "#!")
	if err != nil || !ok {
		t.Fatalf("this test needs the dnf that is written in Python, and %s is not", program.Name())
	}
	python := append(strings.Fields(interpreter), "testdata/oracle.py", command, t.TempDir())
	out := run(t, ".", python[0], append(python[1:], args...)...)
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// Real repositories, and how many packages, requirements and rich ones among these
// they have.
var realRepositories = []struct {
	dir                      string
	packages, requires, rich int
}{
	{"osbuild-cs9/appstream", 17649, 199427, 730},
	{"images-cs9-baseos-2022", 1125, 9845, 14},
	{"osbuild-cs9/custom", 1, 0, 0},
}

func realURL(t testing.TB, name string) string { return "file://" + realPath(t, name) }

func TestRealCounts(t *testing.T) {
	for _, want := range realRepositories {
		r := load(t, newClient(t), unverified(realURL(t, want.dir)))
		requires, rich := 0, 0
		for _, p := range r.Packages {
			requires += len(p.Requires)
			for _, d := range p.Requires {
				if d.IsRich() {
					rich++
				}
			}
		}
		if len(r.Packages) != want.packages || requires != want.requires || rich != want.rich {
			t.Errorf("%s: %d packages, %d requirements, %d rich; want %d, %d, %d", want.dir, len(r.Packages), requires, rich, want.packages, want.requires, want.rich)
		}
	}
}

// Every package of CentOS Stream 9 is what libsolv makes of it.
func TestRealPackagesAsDNFReadsThem(t *testing.T) {
	for _, repository := range realRepositories {
		url := realURL(t, repository.dir)
		var got []string
		for _, p := range load(t, newClient(t), unverified(url)).Packages {
			lines := []string{fmt.Sprintf("%s|%s|%d|%d|%d|%s", withEpoch(p), p.Location, p.Size, p.InstalledSize, p.BuildTime, p.SourceRPM)}
			for _, kind := range []struct {
				name string
				list []rpm.Dependency
			}{
				{"provides", p.Provides}, {"requires", p.Requires}, {"conflicts", p.Conflicts}, {"obsoletes", p.Obsoletes},
				{"recommends", p.Recommends}, {"suggests", p.Suggests}, {"supplements", p.Supplements}, {"enhances", p.Enhances},
			} {
				var names []string
				for _, d := range kind.list {
					names = append(names, dependencyText(d))
				}
				slices.Sort(names)
				lines = append(lines, strings.Join(append([]string{kind.name}, slices.Compact(names)...), "|"))
			}
			got = append(got, canonical(lines))
		}
		var want []string
		for lines := range slices.Chunk(oracle(t, "packages", url), 9) {
			want = append(want, canonical(lines))
		}
		slices.Sort(got)
		slices.Sort(want)
		if slices.Equal(got, want) {
			continue
		}
		shown := 0
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] && shown < 3 {
				shown++
				t.Errorf("%s: got\n%s\ndnf reads\n%s", repository.dir, got[i], want[i])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d packages, dnf reads %d", repository.dir, len(got), len(want))
		}
	}
}

// canonical joins the lines of a package. Parentheses go, because libsolv takes apart
// rich dependencies and leaves out those it can do without.
func canonical(lines []string) string {
	for i, line := range lines {
		fields := strings.Split(strings.NewReplacer("(", "", ")", "").Replace(line), "|")
		slices.Sort(fields[1:])
		lines[i] = strings.Join(slices.Compact(fields), "|")
	}
	return strings.Join(lines, "\n")
}

// The scanner finds what encoding/xml finds.
func TestRealFilesAsEncodingXMLReadsThem(t *testing.T) {
	dir := realPath(t, "images-cs9-baseos-2022/repodata")
	primary, filelists := readReal(t, dir, "*-primary.xml.gz"), readReal(t, dir, "*-filelists.xml.gz")
	var inPrimary struct {
		Packages []struct {
			Name  string   `xml:"name"`
			ID    string   `xml:"checksum"`
			Files []string `xml:"format>file"`
		} `xml:"package"`
	}
	if err := xml.Unmarshal(primary, &inPrimary); err != nil {
		t.Fatal(err)
	}
	var inFilelists struct {
		Packages []struct {
			ID    string   `xml:"pkgid,attr"`
			Files []string `xml:"file"`
		} `xml:"package"`
	}
	if err := xml.Unmarshal(filelists, &inFilelists); err != nil {
		t.Fatal(err)
	}
	all, wanted := make(map[string][]string), make(map[string]bool)
	for _, p := range inFilelists.Packages {
		all[p.ID] = p.Files
		for _, path := range p.Files {
			wanted[path] = true
		}
	}
	got, err := ParsePrimary(bytes.NewReader(primary), "baseos", "")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got.Packages {
		if want := inPrimary.Packages[i]; p.Name != want.Name || p.SHA256.Hex() != want.ID || !slices.Equal(p.Files, want.Files) {
			t.Fatalf("%s has the digest %s and the files %q, want %+v", p, p.SHA256, p.Files, want)
		}
	}
	if err := got.AddFiles(bytes.NewReader(filelists), wanted); err != nil {
		t.Fatal(err)
	}
	for _, p := range got.Packages {
		want := all[p.SHA256.Hex()]
		slices.Sort(want)
		if slices.Sort(p.Files); !slices.Equal(p.Files, want) {
			t.Fatalf("%s has %d files, want %d", p, len(p.Files), len(want))
		}
	}
}

// readReal returns the decompressed contents of the one file that a pattern means.
func readReal(t testing.TB, dir, pattern string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %q, %v", pattern, names, err)
	}
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, release, err := compress.NewReader(filepath.Ext(names[0]), f)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Of the paths that AppStream's packages require, BaseOS' list of packages has nearly
// all that AppStream's has not.
func TestRealFileRequirements(t *testing.T) {
	client := newClient(t)
	required := make(map[string]bool)
	appstream := load(t, client, unverified(realURL(t, "osbuild-cs9/appstream")))
	for _, p := range appstream.Packages {
		for _, d := range p.Requires {
			if strings.HasPrefix(d.Name, "/") {
				required[d.Name] = true
			}
		}
	}
	baseos := load(t, client, unverified(realURL(t, "images-cs9-baseos-2022")))
	missing := func(packages ...*rpm.Package) (paths []string) {
		known := make(map[string]bool)
		for _, p := range packages {
			for _, path := range p.Files {
				known[path] = true
			}
			for _, d := range p.Provides {
				known[d.Name] = true
			}
		}
		for path := range required {
			if !known[path] {
				paths = append(paths, path)
			}
		}
		return paths
	}
	alone, together := missing(appstream.Packages...), missing(slices.Concat(appstream.Packages, baseos.Packages)...)
	// AppStream's own file list, which has the last one, is not among the data.
	if len(required) != 121 || len(alone) != 75 || !slices.Equal(together, []string{"/usr/libexec/gcr-ssh-askpass"}) {
		t.Errorf("%d paths required, %d not in AppStream's list of packages, %q not in BaseOS' either", len(required), len(alone), together)
	}
}

// Groups and environments install what they install with dnf.
func TestRealGroupsAsDNFReadsThem(t *testing.T) {
	for _, name := range []string{"osbuild-cs9/appstream", "images-cs9-baseos-2022"} {
		url := realURL(t, name)
		compareGroups(t, load(t, newClient(t), unverified(url)).Comps, url)
	}
}

// compareGroups compares what Expand returns for all groups and environments with
// dnf's.
func compareGroups(t *testing.T, comps *Comps, urls ...string) {
	t.Helper()
	want := oracle(t, "groups", urls...)
	want = slices.DeleteFunc(want, func(s string) bool { return !strings.HasPrefix(s, "@") }) // messages
	if len(want) != len(comps.Groups)+len(comps.Environments) {
		t.Errorf("%d groups and %d environments, dnf has %d together", len(comps.Groups), len(comps.Environments), len(want))
	}
	for _, line := range want {
		spec, _, _ := strings.Cut(line, "|")
		items, err := comps.Expand(spec)
		if err != nil {
			t.Error(err)
			continue
		}
		var names []string
		for _, item := range items {
			text := item.Spec
			if item.If != "" {
				text += " if " + item.If
			}
			names = append(names, text)
			if !item.Optional {
				t.Errorf("%s: %s is not optional", spec, item.Spec)
			}
		}
		slices.Sort(names)
		fromDNF := strings.Split(line, "|")[1:]
		fromDNF = slices.DeleteFunc(fromDNF, func(s string) bool {
			// Conditional in one group, and wanted in any case in another.
			name, _, conditional := strings.Cut(s, " if ")
			_, found := slices.BinarySearch(fromDNF, name)
			return s == "" || conditional && found
		})
		if !slices.Equal(names, fromDNF) {
			t.Errorf("%s: difference to dnf:\n%s", spec, difference(names, fromDNF))
		}
	}
}

// Modular filtering leaves the packages that it leaves with dnf.
func TestRealModulesAsDNFFiltersThem(t *testing.T) {
	url := realURL(t, "osbuild-cs9/appstream")
	for _, enabled := range []string{"", "nodejs:18", "nodejs:20,php:8.2", "postgresql:16,redis:7,ruby:3.1,nginx:1.24,maven:3.8,mariadb:10.11"} {
		r := load(t, newClient(t), unverified(url))
		compareModules(t, r, "platform:el9", enabled, url)
	}
}

func compareModules(t *testing.T, r *Repository, platform, enabled, url string) {
	t.Helper()
	var streams []string
	if enabled != "" {
		streams = strings.Split(enabled, ",")
	}
	kept, active, err := ApplyModules([]*Modules{r.Modules}, r.Packages, streams, platform)
	if err != nil {
		t.Errorf("%s: %v", enabled, err)
		return
	}
	var got []string
	for _, p := range kept {
		got = append(got, withEpoch(p))
	}
	slices.Sort(got)
	want := oracle(t, "modules", platform, enabled, url)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("enabled %q (active %v): %d packages are left, with dnf %d:\n%s", enabled, active, len(got), len(want), difference(got, want))
	}
}

// difference lists what only one of two sorted lists has.
func difference(got, want []string) string {
	var b strings.Builder
	for _, s := range got {
		if _, found := slices.BinarySearch(want, s); !found {
			fmt.Fprintf(&b, "+ %s\n", s)
		}
	}
	for _, s := range want {
		if _, found := slices.BinarySearch(got, s); !found {
			fmt.Fprintf(&b, "- %s\n", s)
		}
	}
	return b.String()
}
