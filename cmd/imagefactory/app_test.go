package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/report"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// invoke runs the program as main does and returns its output and exit status.
func invoke(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	s := streams{in: strings.NewReader(stdin), out: &out, err: &err}
	status = run(t.Context(), append([]string{"imagefactory"}, args...), s)
	return out.String(), err.String(), status
}

func TestFlagsFirst(t *testing.T) {
	app := newApp(streams{strings.NewReader(""), io.Discard, io.Discard})
	for _, test := range []struct{ args, want string }{
		{"", ""},
		{"build", "build"},
		{"build r.hcl -o out", "build -o out r.hcl"},
		{"build -o out r.hcl", "build -o out r.hcl"},
		{"build r.hcl --output=json -var a=b --locked", "build --output=json -var a=b --locked r.hcl"},
		{"build r.hcl -- -o", "build -- r.hcl -o"},
		{"fmt - -w", "fmt -w -"},
		{"cache gc --max-size 1GiB", "cache gc --max-size 1GiB"},
		{"cache verify x --repair", "cache verify --repair x"},
		{"build r.hcl --unknown value", "build --unknown r.hcl value"},
		{"boot image.raw --snapshot=false --memory 2GiB", "boot --snapshot=false --memory 2GiB image.raw"},
		{"nonsense -x", "nonsense -x"},
	} {
		args := append([]string{"imagefactory"}, strings.Fields(test.args)...)
		original := slices.Clone(args)
		got, err := flagsFirst(app, args)
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		if text := strings.Join(got[1:], " "); text != test.want {
			t.Errorf("%s: %s, want %s", test.args, text, test.want)
		}
		if !slices.Equal(args, original) {
			t.Errorf("%s: the arguments were changed", test.args)
		}
	}
}

// TestUsageErrors holds what people are told who typed something wrong.
func TestUsageErrors(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"biuld r.hcl", `there is no command "biuld"; did you mean "build"?`},
		{"xyzzy", `there is no command "xyzzy"; the commands are init, validate, fmt, lock`},
		{"--verbose", `imagefactory has no option --verbose; see "imagefactory --help"`},
		{"-x build", `imagefactory has no option -x; see "imagefactory --help"`},
		{"help nosuch", `No help topic for 'nosuch'`},
		{"cache gc --qqq", `gc has no option --qqq; see "imagefactory cache gc --help"`},
		{"cache lst", `there is no command "lst"; did you mean "ls"?`},
		{"cache", `cache needs one of: ls, gc, verify`},
		{"build", `build needs a recipe; see "imagefactory build --help"`},
		{"build a.hcl b.hcl", `build takes one recipe, not also "b.hcl"`},
		{"build a.hcl --ofline", `build has no option --ofline; did you mean --offline?`},
		{"build a.hcl --qqq", `build has no option --qqq; see "imagefactory build --help"`},
		{"build a.hcl -o", `the option -o of build needs a value`},
		{"build a.hcl --jobs many", `invalid value "many" for flag -jobs`},
		{"build a.hcl --output yaml", `choose one of text, json`},
		{"validate a.hcl -var version", `-var "version": write NAME=VALUE`},
		{"boot --firmware efi", `choose one of bios, uefi, uefi-secure`},
		{"boot --memory lots", `--memory: `},
		{"boot --ssh-port 70000", `--ssh-port: 70000 is no port: choose one from 1 to 65535`},
		{"cache gc", `cache gc needs --max-size: how much to keep, such as 10GiB`},
		{"cache gc --max-size 10", `--max-size: `},
		{"cache ls extra", `ls takes no argument, but got "extra"`},
		{"inspect", `inspect needs an image`},
		{"inspect a b c", `inspect takes an image and a path, nothing more`},
		{"inspect a --stat", `--stat and --recursive need a PATH in the image`},
		{"inspect a /b -r --stat", `choose one`},
		{"trim", `trim needs a recipe; see "imagefactory trim --help"`},
		{"trim a.hcl b.hcl", `trim takes one recipe, not also "b.hcl"`},
		{"trim a.hcl --reports x", `trim has no option --reports; did you mean --report?`},
		{"why a.hcl", `why needs a recipe, and a package, a path or a service`},
		{"why a.hcl b c", `why needs a recipe, and a package, a path or a service`},
		{"diff a.hcl", `diff needs two systems: recipes, directories that builds left, or image files`},
		{"diff a b c", `diff needs two systems`},
		{"scan", `scan needs a recipe or image; see "imagefactory scan --help"`},
		{"scan a.raw --format xml", `choose one of table, json, junit`},
		{"scan a.raw --severity none", `choose one of low, medium, high`},
		{"scan a.hcl --skip sshd-x11", `a recipe says in its harden block which rules are skipped`},
		{"scan a.raw --openscap-profile standard", `need --openscap`},
		{"scan a.raw --profile basline", `Did you mean "baseline"?`},
		{"scan a.raw --skip sshd-x12", `Did you mean "sshd-x11"?`},
		{"fmt", `fmt needs a file, or "-" for the standard input`},
		{"fmt -w -check a.hcl", `choose one`},
		{"completion tcsh", `there is no completion for "tcsh": choose one of bash, zsh, fish`},
		{"init --distro debain-12", `debian-12`},
		{"distros debain-12", `debian-12`},
		{"distros --source", `distros --source needs a name`},
		{"distros --source rcoky-9", `rocky-9`},
		{"ci", `ci needs one of: gitlab`},
		{"ci gitlab", `there is no *.hcl in this directory`},
		{"ci gitlab ../node.hcl", `../node.hcl is not below this directory`},
	} {
		t.Chdir(t.TempDir())
		stdout, stderr, status := invoke(t, "", strings.Fields(test.args)...)
		if status != exitUsage {
			t.Errorf("%s: exit status %d, want %d: %s", test.args, status, exitUsage, stderr)
		}
		if stdout != "" {
			t.Errorf("%s: the standard output is not empty: %s", test.args, stdout)
		}
		if !strings.Contains(stderr, test.says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %q, want one line that says %q", test.args, stderr, test.says)
		}
	}
}

func TestHelpStatesExitStatuses(t *testing.T) {
	var visit func(path []string, commands []*cli.Command)
	visit = func(path []string, commands []*cli.Command) {
		for _, c := range commands {
			path := append(slices.Clone(path), c.Name)
			if len(c.Subcommands) > 0 {
				visit(path, c.Subcommands)
				continue
			}
			stdout, stderr, status := invoke(t, "", append(path, "--help")...)
			if status != exitDone || !strings.Contains(stdout, "Exit status: 0 done;") {
				t.Errorf("%v --help: exit status %d\n%s%s", path, status, stdout, stderr)
			}
		}
	}
	visit(nil, newApp(streams{strings.NewReader(""), io.Discard, io.Discard}).Commands)
}

func TestInterruptedIsOneWord(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, err bytes.Buffer
	status := run(ctx, []string{"imagefactory", "cache", "ls", "--cache", t.TempDir()}, streams{strings.NewReader(""), &out, &err})
	if status != exitFailed || err.String() != "imagefactory: interrupted\n" {
		t.Errorf("exit status %d, %q", status, err.String())
	}
}

func TestInitValidateFmt(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, stderr, status := invoke(t, "", "init", "node.hcl"); status != exitDone {
		t.Fatal(stderr)
	}
	if _, stderr, status := invoke(t, "", "init", "node.hcl"); status != exitUsage || !strings.Contains(stderr, "node.hcl exists") {
		t.Errorf("init over a file: exit status %d, %q", status, stderr)
	}
	stdout, stderr, status := invoke(t, "", "validate", "node.hcl", "--output", "json", "-var", "version=7,8")
	if status == exitDone {
		t.Errorf("the version 7,8 was accepted: %s", stdout)
	}
	if !strings.Contains(stderr, "7,8") {
		t.Errorf("a value with a comma was split: %s", stderr)
	}
	stdout, stderr, status = invoke(t, "", "validate", "node.hcl", "--output", "json", "-var", "version=7")
	var result validateResult
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || status != exitDone {
		t.Fatalf("%v, exit status %d: %s%s", err, status, stdout, stderr)
	}
	if result.Name != "node" || result.Version != "7" {
		t.Errorf("validated %+v", result)
	}
	if _, stderr, status := invoke(t, "", "fmt", "-check", "node.hcl"); status != exitDone {
		t.Errorf("the starter is not formatted: %s", stderr)
	}

	source, err := os.ReadFile("node.hcl")
	if err != nil {
		t.Fatal(err)
	}
	untidy := strings.Replace(string(source), "name    =", "name =", 1)
	if err := os.WriteFile("node.hcl", []byte(untidy), 0o644); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, status := invoke(t, "", "fmt", "node.hcl", "--check"); status != exitCheck || stdout != "node.hcl\n" || !strings.Contains(stderr, "1 of 1") {
		t.Errorf("fmt --check: exit status %d, %q, %q", status, stdout, stderr)
	}
	if stdout, _, status := invoke(t, untidy, "fmt", "-"); status != exitDone || stdout != string(source) {
		t.Errorf("fmt -: exit status %d, %q", status, stdout)
	}
	if stdout, _, status := invoke(t, "", "fmt", "-w", "node.hcl"); status != exitDone || stdout != "node.hcl\n" {
		t.Errorf("fmt -w: exit status %d, %q", status, stdout)
	}
	if after, err := os.ReadFile("node.hcl"); err != nil || string(after) != string(source) {
		t.Errorf("fmt -w wrote %q, %v", after, err)
	}
}

// TestWrongRecipe checks that a diagnostic is printed once and gives status 2.
func TestWrongRecipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.hcl")
	if err := os.WriteFile(path, []byte("nmae = \"x\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"validate", "build", "plan", "lock", "trim", "why", "diff", "scan"} {
		args := []string{command, path}
		switch command {
		case "why":
			args = append(args, "bash")
		case "diff":
			args = append(args, path)
		}
		if command != "validate" {
			args = append(args, "--cache", t.TempDir())
		}
		stdout, stderr, status := invoke(t, "", args...)
		if status != exitUsage || stdout != "" || strings.Count(stderr, "Error: Missing \"name\"") != 1 {
			t.Errorf("%s: exit status %d, %q, %q", command, status, stdout, stderr)
		}
	}
	if _, stderr, status := invoke(t, "", "validate", filepath.Join(t.TempDir(), "absent.hcl")); status != exitUsage || !strings.Contains(stderr, "absent.hcl") {
		t.Errorf("a recipe that does not exist: exit status %d, %q", status, stderr)
	}
}

// TestDiff compares what two manifests tell.
func TestDiff(t *testing.T) {
	manifest := func(name, version string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), name)
		text, err := json.Marshal(emit.Manifest{
			Schema: emit.ManifestSchema, Name: "node", Version: version, Arch: "x86_64",
			Packages: []emit.ManifestPackage{{Name: "bash", Version: version, Arch: "amd64"}, {Name: "dash", Version: "0.5", Arch: "amd64"}},
		})
		if err == nil {
			err = os.WriteFile(file, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	old, now := manifest("old.json", "5.1"), manifest("new.json", "5.2")
	stdout, stderr, status := invoke(t, "", "diff", old, now)
	if status != exitDone || !strings.Contains(stdout, "5.1 → 5.2") || strings.Contains(stdout, "dash") {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	stdout, stderr, status = invoke(t, "", "diff", "--check", "--output", "json", old, now)
	var d report.Difference
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || d.Equal || len(d.Packages) != 1 || d.Packages[0].Name != "bash" {
		t.Errorf("%v: %s", err, stdout)
	}
	if status != exitCheck || stderr != "imagefactory: "+now+" differs from "+old+"\n" {
		t.Errorf("exit status %d, %q", status, stderr)
	}
	if stdout, stderr, status = invoke(t, "", "diff", "--check", old, old); status != exitDone {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	if _, stderr, status = invoke(t, "", "diff", old, filepath.Dir(old)); status != exitFailed || !strings.Contains(stderr, "name a directory that a build left, or an image file") {
		t.Errorf("a directory without a build: exit status %d, %s", status, stderr)
	}
}

// TestScanImage checks a system that is wrong in several ways, in an image file.
func TestScanImage(t *testing.T) {
	image := filepath.Join(t.TempDir(), "node.raw")
	writeSystem(t, image, map[string]string{
		"etc/passwd":          "root:x:0:0:root:/root:/bin/bash\nguest::1000:1000::/home/guest:/bin/bash\n",
		"etc/group":           "root:x:0:\nguest:x:1000:\n",
		"etc/shadow":          "root:*:19000:0:99999:7:::\n",
		"etc/ssh/sshd_config": "PermitEmptyPasswords yes\n",
		"usr/sbin/sshd":       "",
	})
	stdout, stderr, status := invoke(t, "", "scan", image)
	if status != exitCheck || !strings.Contains(stdout, "empty-passwords") || !strings.Contains(stdout, "/etc/ssh/sshd_config:1") || !strings.Contains(stderr, "sshd-empty-passwords") {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	stdout, _, status = invoke(t, "", "scan", image, "--format", "json", "--skip", "sshd-empty-passwords")
	var r scan.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != exitCheck || r.Counts.Skipped != 1 || len(r.Inventory.EmptyPasswords) != 1 {
		t.Errorf("%v, exit status %d: %s", err, status, stdout)
	}
	stdout, _, _ = invoke(t, "", "scan", image, "--format", "junit")
	var suites struct {
		Failures int `xml:"failures,attr"`
	}
	if err := xml.Unmarshal([]byte(stdout), &suites); err != nil || suites.Failures < 2 {
		t.Errorf("%v, %d failures: %s", err, suites.Failures, stdout)
	}
}

// writeSystem writes an ext4 file system that holds the files.
func writeSystem(t *testing.T, path string, files map[string]string) {
	t.Helper()
	st := stagetest.Cache(t).Store
	var entries []tree.Entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, stagetest.File(t, st, name, files[name]))
	}
	written, err := ext4.Write(t.Context(), st, stagetest.Tree(t, entries...), ext4.Options{Size: 16 << 20, UUID: [16]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := written.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	image := make([]byte, written.Size)
	if _, err := r.ReadAt(image, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestVersionAndDistros(t *testing.T) {
	version = "v1.2.3"
	t.Cleanup(func() { version = "" })
	stdout, _, status := invoke(t, "", "version", "--output", "json")
	var v versionResult
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || status != exitDone || v.Version != "v1.2.3" || v.Go == "" {
		t.Errorf("version: %v, exit status %d, %s", err, status, stdout)
	}
	stdout, _, status = invoke(t, "", "distros", "--output", "json")
	var d distrosResult
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || status != exitDone || len(d.Distros) == 0 {
		t.Fatalf("distros: %v, exit status %d, %s", err, status, stdout)
	}
	for _, line := range d.Distros {
		text, _, status := invoke(t, "", "distros", line.Name, "--source")
		if status != exitDone || !strings.Contains(text, `distro "`+line.Name+`"`) {
			t.Errorf("distros %s --source: exit status %d, %s", line.Name, status, text)
		}
		text, _, status = invoke(t, "", "distros", line.Name)
		if status != exitDone || !strings.HasPrefix(text, line.Name+": "+line.Title) || !strings.Contains(text, line.Verified) {
			t.Errorf("distros %s: exit status %d, %s", line.Name, status, text)
		}
		text, _, status = invoke(t, "", "distros", line.Name, "--output", "json")
		var one distroResult
		if err := json.Unmarshal([]byte(text), &one); err != nil || status != exitDone || one.Verification != line.Verified {
			t.Errorf("distros %s --output json: %v, exit status %d, %s", line.Name, err, status, text)
			continue
		}
		// Every kind of fact says something, and whether it was verified.
		for i, kind := range distros.FactKinds {
			if f := one.Facts[i]; f.Kind != kind || len(f.Values) == 0 && kind != distros.FactBoot || f.Verified != one.Verified[kind] {
				t.Errorf("distros %s: %+v", line.Name, f)
			}
		}
		if one.Verified[distros.FactBoot] == "" && !strings.Contains(line.Verified, "not yet verified on the vendor's packages") {
			t.Errorf("distros %s, which nobody booted, is %q", line.Name, line.Verified)
		}
	}
}

func TestCacheCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	t.Setenv("IMAGEFACTORY_CACHE", dir)
	stdout, _, status := invoke(t, "", "cache", "ls", "--output", "json")
	var list cacheListResult
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || status != exitDone || list.Dir != dir {
		t.Errorf("cache ls: %v, exit status %d, %s", err, status, stdout)
	}
	if stdout, stderr, status := invoke(t, "", "cache", "verify"); status != exitDone || stdout != "the cache is sound\n" {
		t.Errorf("cache verify: exit status %d, %s%s", status, stdout, stderr)
	}
	if stdout, stderr, status := invoke(t, "", "cache", "gc", "--max-size", "0"); status != exitDone || !strings.HasPrefix(stdout, "freed 0 B") {
		t.Errorf("cache gc: exit status %d, %s%s", status, stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, "results", strings.Repeat("ab", 32)+".json"), []byte("no JSON"), 0o644); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, status := invoke(t, "", "cache", "verify"); status != exitCheck || !strings.Contains(stderr, "cache verify --repair") {
		t.Errorf("cache verify of a damaged cache: exit status %d, %s%s", status, stdout, stderr)
	}
	if _, stderr, status := invoke(t, "", "cache", "verify", "--repair"); status != exitDone {
		t.Errorf("cache verify --repair: exit status %d, %s", status, stderr)
	}
}

func TestDoctor(t *testing.T) {
	t.Setenv("IMAGEFACTORY_CACHE", filepath.Join(t.TempDir(), "not/yet"))
	stdout, stderr, status := invoke(t, "", "doctor", "--output", "json")
	var r doctorResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	if blocked := r.Verdict == "blocking"; blocked != (status == exitHost) || !blocked && status != exitDone {
		t.Errorf("the verdict is %s, the exit status %d", r.Verdict, status)
	}
	for _, f := range r.Findings {
		if f.Verdict != "good" && f.Remedy == "" {
			t.Errorf("%s is %s (%s), and nothing says how to mend it", f.About, f.Verdict, f.Found)
		}
	}
	if text, _, _ := invoke(t, "", "doctor"); !strings.Contains(text, "sandbox") {
		t.Errorf("doctor says nothing of the sandbox: %s", text)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9951: "10 kB", 145_000_000: "145 MB", 999_600: "1.0 MB", 2147483648: "2.1 GB",
	} {
		if got := report.Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
