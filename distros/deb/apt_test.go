package deb

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The release, component and architecture on which our answers are compared
// with apt's.
const (
	aptRelease  = "bookworm"
	aptArch     = "amd64"
	aptKeyring  = "/usr/share/keyrings/debian-archive-keyring.gpg"
	aptFallback = "http://ftp.debian.org/"
)

// A privateApt is a private apt: its own sources, indexes and cache and an empty
// dpkg status, so that neither the host's packages nor its configuration
// matter and no privilege is needed.
type privateApt struct {
	dir      string
	universe *Universe
	packages []*Package
}

// needTool fails the test when a program that judges our results is missing.
func needTool(tb testing.TB, tool, debianPackage string) {
	tb.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		tb.Fatalf("%s is missing; install the package %s (make test does)", tool, debianPackage)
	}
}

// newPrivateApt downloads the indexes of Debian 12 with apt-get and parses them.
func newPrivateApt(tb testing.TB) *privateApt {
	tb.Helper()
	needTool(tb, "apt-get", "apt")
	if _, err := os.Stat(aptKeyring); err != nil {
		tb.Fatalf("%v; install the package debian-archive-keyring (make test does)", err)
	}
	a := &privateApt{dir: tb.TempDir()}
	for _, dir := range []string{"etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d", "etc/sources.list.d", "lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	a.write(tb, "status", "")
	a.write(tb, "etc/sources.list", aptSources(tb))
	a.write(tb, "apt.conf", fmt.Sprintf(`
Dir::Etc "%[1]s/etc";
Dir::State "%[1]s";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
`, a.dir, aptArch))
	// The download goes through whatever proxy the host's configuration names:
	// only what this test needs is changed in it.
	update := exec.Command("apt-get", "-q", "update",
		"-o", "Dir::Etc::sourcelist="+a.dir+"/etc/sources.list", "-o", "Dir::Etc::sourceparts="+a.dir+"/etc/sources.list.d",
		"-o", "Dir::State::lists="+a.dir+"/lists", "-o", "Dir::State::status="+a.dir+"/status",
		"-o", "Dir::Cache="+a.dir+"/cache", "-o", "APT::Architecture="+aptArch, "-o", "APT::Architectures="+aptArch,
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Acquire::GzipIndexes=false",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "APT::Update::Post-Invoke::=", "-o", "APT::Update::Post-Invoke-Success::=")
	if out, err := update.CombinedOutput(); err != nil {
		tb.Fatalf("apt-get update: %v\n%s", err, out)
	}
	a.parse(tb)
	return a
}

func (a *privateApt) write(tb testing.TB, name, content string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// aptSources returns one-line sources for the release, its updates and its
// security updates, from the mirrors that the host uses for them.
func aptSources(tb testing.TB) string {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		tb.Fatalf("apt-get indextargets: %v", err)
	}
	uris := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "main" {
			uris[f[1]] = f[0]
		}
	}
	var sources strings.Builder
	for _, source := range []struct{ release, fallback string }{
		{aptRelease, "debian/"}, {aptRelease + "-updates", "debian/"}, {aptRelease + "-security", "debian-security/"},
	} {
		uri, ok := uris[source.release]
		if !ok {
			uri = aptFallback + source.fallback
		}
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", aptKeyring, uri, source.release)
	}
	return sources.String()
}

// parse reads the downloaded indexes in the order of the sources.
func (a *privateApt) parse(tb testing.TB) {
	tb.Helper()
	command := exec.Command("apt-get", "indextargets", "--format", "$(RELEASE) $(FILENAME)", "Created-By: Packages")
	command.Env = append(os.Environ(), "APT_CONFIG="+a.dir+"/apt.conf")
	out, err := command.Output()
	if err != nil {
		tb.Fatalf("apt-get indextargets: %v", err)
	}
	var indexes []*Index
	for line := range strings.Lines(string(out)) {
		release, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		index, err := ParseIndex(bytes.NewReader(text), release)
		if err != nil {
			tb.Fatal(err)
		}
		indexes = append(indexes, index)
		a.packages = append(a.packages, index.Packages...)
	}
	if len(indexes) != 3 {
		tb.Fatalf("apt-get knows %d indexes, want 3:\n%s", len(indexes), out)
	}
	if a.universe, err = NewUniverse(aptArch, nil, indexes...); err != nil {
		tb.Fatal(err)
	}
}

// largest returns the text of the largest index.
func (a *privateApt) largest(tb testing.TB) []byte {
	tb.Helper()
	files, err := filepath.Glob(a.dir + "/lists/*_Packages")
	if err != nil {
		tb.Fatal(err)
	}
	var largest []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		if len(text) > len(largest) {
			largest = text
		}
	}
	return largest
}

// install returns what apt-get would install, as sorted "name version arch",
// or its message when it finds no solution. It is asked with --print-uris:
// that takes the same decisions as -s and a third of the time, which -s
// spends on simulating dpkg.
func (a *privateApt) install(tb testing.TB, names []string, recommends bool) (set []string, failure string) {
	tb.Helper()
	stdout, failure := a.run(tb, "--print-uris", names, recommends)
	for line := range strings.Lines(stdout) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[0], "'") {
			file, err := url.PathUnescape(strings.TrimSuffix(f[1], ".deb"))
			if err != nil {
				tb.Fatal(err)
			}
			set = append(set, strings.ReplaceAll(file, "_", " "))
		}
	}
	slices.Sort(set)
	return set, failure
}

// simulate is install with -s.
func (a *privateApt) simulate(tb testing.TB, names []string, recommends bool) (set []string, failure string) {
	tb.Helper()
	stdout, failure := a.run(tb, "-s", names, recommends)
	for line := range strings.Lines(stdout) {
		// Inst name (version release, release [arch]) [what is broken then]
		if rest, ok := strings.CutPrefix(line, "Inst "); ok {
			f := strings.Fields(strings.SplitN(rest, ")", 2)[0])
			set = append(set, f[0]+" "+strings.TrimPrefix(f[1], "(")+" "+strings.Trim(f[len(f)-1], "[]"))
		}
	}
	slices.Sort(set)
	return set, failure
}

func (a *privateApt) run(tb testing.TB, option string, names []string, recommends bool) (stdout, failure string) {
	tb.Helper()
	arguments := []string{"install", "-q", "-y", option, "--no-install-recommends"}
	if recommends {
		arguments[4] = "--install-recommends"
	}
	command := exec.Command("apt-get", append(arguments, names...)...)
	command.Env = append(os.Environ(), "APT_CONFIG="+a.dir+"/apt.conf", "LC_ALL=C")
	var out, message bytes.Buffer
	command.Stdout, command.Stderr = &out, &message
	if err := command.Run(); err != nil {
		if _, exited := err.(*exec.ExitError); !exited {
			tb.Fatal(err)
		}
		return "", out.String() + message.String()
	}
	return out.String(), ""
}
