package scan

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestParseXCCDF(t *testing.T) {
	results, err := parseXCCDF(strings.NewReader(`<?xml version="1.0"?>
<Benchmark xmlns="http://checklists.nist.gov/xccdf/1.2" xmlns:h="http://www.w3.org/1999/xhtml">
 <Group><Rule id="r1" severity="high"><title>No <h:code>x</h:code>
   here</title><check><title>other</title></check></Rule><Rule id="r2"><title>Two</title></Rule></Group>
 <TestResult><rule-result idref="r1" severity="high"><result>fail</result><check/></rule-result>
 <rule-result idref="r2"><result>notselected</result></rule-result><rule-result idref="r3" severity="low"><result>pass</result></rule-result></TestResult>
</Benchmark>`))
	if err != nil || len(results) != 2 || results[0] != (OpenSCAPResult{"r1", "No x here", "high", "fail"}) || results[1].ID != "r3" {
		t.Errorf("%+v, %v", results, err)
	}
	if _, err := parseXCCDF(strings.NewReader("<a><b></a>")); err == nil {
		t.Error("broken XML is no error")
	}
}

func TestFindContent(t *testing.T) {
	st := openStore(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ssg-a11-ds.xml": `<platform idref="cpe:/o:a:a_linux:11"/>`,
		"ssg-b9-ds.xml":  `<platform idref="cpe:/o:b:enterprise_linux:9"/><x:platform idref="cpe:/o:c:c:9"/><reference ref_id="cpe:/o:a:a_linux:12"/>`,
		"other.xml":      `cpe:/o:z:z:1`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for release, want := range map[string]string{
		"ID=a\nVERSION_ID=\"11\"\n": "ssg-a11-ds.xml",
		"ID=a\nVERSION_ID=12\n":     "none of the 2 data streams in " + dir + " is for a 12",
		"ID=b\nVERSION_ID=9.4\nCPE_NAME=\"cpe:/o:b:enterprise_linux:9::baseos\"\n": "ssg-b9-ds.xml",
		"ID=c\nCPE_NAME=cpe:2.3:o:c:c:9\n":                                         "ssg-b9-ds.xml",
		"ID=z\nVERSION_ID=1\n":                                                     "is for z 1",
		"":                                                                         "no os-release",
	} {
		root := files.Root{Store: st, Tree: stagetest.Tree(t, stagetest.File(t, st, "usr/lib/os-release", release), stagetest.Link("etc/os-release", "../usr/lib/os-release"))}
		content, skipped, err := findContent(root, dir)
		if err != nil || !strings.Contains(content+skipped, want) || content != "" && filepath.Base(content) != want {
			t.Errorf("%q: %q %q %v, want %s", release, content, skipped, err, want)
		}
	}
	_, skipped, err := findContent(files.Root{Store: st, Tree: stagetest.Tree(t, stagetest.File(t, st, "etc/os-release", "ID=a\n"))}, t.TempDir())
	if err != nil || !strings.Contains(skipped, "install the SCAP Security Guide") {
		t.Errorf("%q %v", skipped, err)
	}
}

// content returns a data stream of the SCAP Security Guide and the os-release of the
// system it is for; the package is no part of what tests install.
func content(t *testing.T) (stream, release string) {
	t.Helper()
	if _, err := exec.LookPath("oscap"); err != nil {
		t.Skip("there is no oscap here: apt-get install openscap-scanner ssg-debian")
	}
	streams, err := filepath.Glob(filepath.Join(ContentDir, "ssg-debian*-ds.xml"))
	if err != nil || len(streams) == 0 {
		t.Skip("there is no content for Debian here: apt-get install ssg-debian")
	}
	stream = streams[len(streams)-1]
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(stream), "ssg-debian"), "-ds.xml")
	return stream, "ID=debian\nVERSION_ID=" + version + "\n"
}

// oscap looks into the tree and not at this host, and its results are merged.
func TestOpenSCAP(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("part of the full tier: set IMAGEFACTORY_TEST=full")
	}
	stream, release := content(t)
	st := openStore(t)
	scratch := t.TempDir()
	version := strings.TrimSpace(release[strings.LastIndexByte(release, '=')+1:])
	var tables []tree.Entry // without which libapt reads no database
	for _, name := range []string{"cputable", "tupletable"} {
		data, err := os.ReadFile("/usr/share/dpkg/" + name)
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, stagetest.File(t, st, "usr/share/dpkg/"+name, string(data)))
	}
	entries := func(mode uint32) []tree.Entry {
		return append([]tree.Entry{
			stagetest.File(t, st, "etc/os-release", release), stagetest.File(t, st, "etc/debian_version", version+".0\n"),
			stagetest.File(t, st, "etc/passwd", passwd), stagetest.File(t, st, "etc/group", group), stagetest.Mode(stagetest.Owner(stagetest.File(t, st, "etc/shadow", shadow), 0, 42), mode),
			stagetest.Dir("var/lib/apt/lists/partial"), stagetest.Dir("var/cache/apt/archives/partial"), stagetest.Dir("etc/apt"),
			// Programs of the tree that leave a trace when they are run.
			stagetest.Mode(stagetest.File(t, st, "usr/bin/dpkg", "#!/bin/sh\ntouch /ran "+scratch+"/ran\n"), 0o755), stagetest.Link("bin", "usr/bin"),
			stagetest.File(t, st, "var/lib/dpkg/status", "Package: cron\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n"),
		}, tables...)
	}
	find := func(o *OpenSCAP, suffix string) OpenSCAPResult {
		for _, r := range o.Results {
			if strings.HasSuffix(r.ID, suffix) {
				return r
			}
		}
		t.Errorf("there is no result for %s in %+v", suffix, o)
		return OpenSCAPResult{}
	}
	run := func(mode uint32) *OpenSCAP {
		o, err := RunOpenSCAP(t.Context(), st, stagetest.Tree(t, entries(mode)...), OpenSCAPOptions{Scratch: scratch})
		if err != nil {
			t.Fatal(err)
		}
		if o.Skipped != "" || o.Content != stream || !strings.HasSuffix(o.Profile, "_standard") || o.Version == "" {
			t.Fatalf("%+v", o)
		}
		return o
	}
	good, bad := run(0o640), run(0o644)
	if g, b := find(good, "file_permissions_etc_shadow"), find(bad, "file_permissions_etc_shadow"); g.Result != "pass" || b.Result != "fail" || g.Title == "" || g.Severity == "" {
		t.Errorf("%+v %+v", g, b)
	}
	if r := find(good, "package_cron_installed"); r.Result != "pass" { // of the tree's database: here it is not installed
		t.Errorf("%+v", r)
	}
	if good.Warnings != nil {
		t.Errorf("%q", good.Warnings)
	}
	tables = nil
	if w := run(0o640).Warnings; len(w) != 1 || !strings.Contains(w[0], "dpkginfo") {
		t.Errorf("%q", w)
	}
	if _, err := os.Stat(filepath.Join(scratch, "ran")); err == nil {
		t.Error("a program of the tree was run")
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	if _, err := RunOpenSCAP(t.Context(), st, stagetest.Tree(t, entries(0o640)...), OpenSCAPOptions{Scratch: scratch, Profile: "strict"}); err == nil || !strings.Contains(err.Error(), "has no profile \"strict\"; it has xccdf_") {
		t.Error(err)
	}
	r, err := Tree(t.Context(), st, stagetest.Tree(t, entries(0o644)...), rules(t), Options{Profile: "baseline"})
	if err != nil {
		t.Fatal(err)
	}
	r.OpenSCAP = bad
	var table, junit strings.Builder
	if err := errors.Join(r.WriteTable(&table, 100, false), r.WriteJUnit(&junit)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{table.String(), junit.String()} {
		if !strings.Contains(text, "file_permissions_etc_shadow") {
			t.Errorf("the result is missing in\n%s", text)
		}
	}
}

// A command can be kept from changing its root directory.
func TestRunWithoutChroot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root could change it in the first place")
	}
	args := []string{"chroot", "/", "true"}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Skipf("%v %s", err, out)
	}
	if err := runWithoutChroot(exec.Command(args[0], args[1:]...)); err == nil {
		t.Error("chroot works")
	}
	if err := runWithoutChroot(exec.Command("true")); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Errorf("afterwards others cannot either: %v %s", err, out)
	}
}

func TestAptConfig(t *testing.T) {
	st := openStore(t)
	for _, test := range []struct{ path, text, want string }{
		{"var/lib/dpkg/arch", "arm64\ni386\n", "APT::Architecture \"arm64\";\nAPT::Architectures:: \"arm64\";\nAPT::Architectures:: \"i386\";\n"},
		{"var/lib/dpkg/status", "Package: a\nArchitecture: all\n\nPackage: b\nArchitecture: amd64\n", "APT::Architecture \"amd64\";\nAPT::Architectures:: \"amd64\";\nDir"},
		{"var/lib/dpkg/arch", "x\";Dir::Bin::dpkg", "no name of an architecture"},
	} {
		path, err := aptConfig(files.Root{Store: st, Tree: stagetest.Tree(t, stagetest.File(t, st, test.path, test.text))}, t.TempDir())
		text := ""
		if err == nil {
			data, _ := os.ReadFile(path)
			text = string(data)
		} else {
			text = err.Error()
		}
		if !strings.Contains(text, test.want) {
			t.Errorf("%q, want %q", text, test.want)
		}
	}
}

// Without oscap, content or a distribution the scan says what is missing, and goes on.
func TestOpenSCAPMissing(t *testing.T) {
	st := openStore(t)
	value := stagetest.Tree(t, stagetest.File(t, st, "etc/os-release", "ID=nowhere\nVERSION_ID=1\n"))
	t.Setenv("PATH", t.TempDir())
	o, err := RunOpenSCAP(t.Context(), st, value, OpenSCAPOptions{})
	if err != nil || o.Skipped != "oscap is not installed: install the package openscap-scanner" {
		t.Errorf("%+v, %v", o, err)
	}
}
