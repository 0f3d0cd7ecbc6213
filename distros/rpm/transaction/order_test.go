package transaction

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// need returns the path of a program that a test cannot do without.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: make test installs what the tests need", err)
	}
	return path
}

// build builds the packages of a specification, given by the preamble of each and its
// %files list, and returns their files in the order of names.
func build(t testing.TB, preambles, files map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	var spec strings.Builder
	spec.WriteString("Name: test\nVersion: 1\nRelease: 1\nSummary: test\nLicense: none\nBuildArch: noarch\nAutoReqProv: no\n%description\n%install\n")
	names := sortedKeys(preambles)
	for _, list := range files {
		for _, path := range strings.Fields(list) {
			fmt.Fprintf(&spec, "mkdir -p %%{buildroot}%s; touch %%{buildroot}%s\n", filepath.Dir(path), path)
		}
	}
	for _, name := range names {
		fmt.Fprintf(&spec, "%%package -n %s\nSummary: test\nAutoReqProv: no\n%s\n%%description -n %s\n%%files -n %s\n%s\n", name, preambles[name], name, name, files[name])
	}
	path := filepath.Join(dir, "test.spec")
	if err := os.WriteFile(path, []byte(spec.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need(t, "rpmbuild"), "-bb", "--quiet", "--nodeps", "--define", "_topdir "+dir, "--define", "_rpmfilename %%{NAME}.rpm",
		"--define", "__os_install_post %{nil}", "--define", "_binary_payload w1.gzdio", path)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild: %v\n%s\n%s", err, out, spec.String())
	}
	var built []string
	for _, name := range names {
		built = append(built, filepath.Join(dir, "RPMS", name+".rpm"))
	}
	return built
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// load reads the headers of package files.
func load(t testing.TB, paths []string) []*Member {
	t.Helper()
	var members []*Member
	for _, path := range paths {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		size := func(p []byte) int {
			return 8 + 16*int(binary.BigEndian.Uint32(p)) + int(binary.BigEndian.Uint32(p[4:]))
		}
		const lead, magic = 96, 8
		p = p[lead:]
		p = p[magic+(size(p[magic:])+7)/8*8:]
		h, err := header.Parse(p[magic : magic+size(p[magic:])])
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		members = append(members, &Member{Header: h})
	}
	return members
}

var sortedLine = regexp.MustCompile(`(?m)^D:(?: +\d+){4} +\+(\S+)-1-1\.noarch$`)

// rpmOrder returns the names in the order in which rpm would install the files.
func rpmOrder(t testing.TB, paths []string) []string {
	t.Helper()
	root := t.TempDir()
	cmd := exec.Command(need(t, "rpm"), append([]string{"-i", "--test", "-vv", "--nodeps", "--nosignature", "--nodigest", "--root", root, "--dbpath", "/db", "--define", "_db_backend sqlite"}, paths...)...)
	cmd.Env = append(os.Environ(), "HOME="+root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var order []string
	for _, m := range sortedLine.FindAllSubmatch(out, -1) {
		order = append(order, string(m[1]))
	}
	return order
}

// checkOrder compares the order of packages with rpm's.
func checkOrder(t testing.TB, preambles, files map[string]string) {
	t.Helper()
	paths := build(t, preambles, files)
	members := load(t, paths)
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	ordered, err := Order(members)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range ordered {
		got = append(got, m.Header.Name())
	}
	if want := rpmOrder(t, paths); !slices.Equal(got, want) {
		t.Errorf("order\n%v, rpm's is\n%v\n%s", got, want, describe(preambles, files))
	}
}

func describe(preambles, files map[string]string) string {
	var b strings.Builder
	for _, name := range sortedKeys(preambles) {
		fmt.Fprintf(&b, "%s: %q %q\n", name, preambles[name], files[name])
	}
	return b.String()
}

// TestOrderOfRandomPackages compares with rpm over graphs with chains, circles, several
// providers, files, versions, kinds of requirements and rich ones.
func TestOrderOfRandomPackages(t *testing.T) {
	kinds := []string{"Requires", "Requires", "Requires", "Requires(pre)", "Requires(post)", "Requires(preun)", "Requires(pretrans)", "Requires(posttrans)", "Requires(meta)",
		"OrderWithRequires", "Recommends", "Suggests", "Supplements", "Enhances", "Requires(pre,post)", "PreReq"}
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			preambles, files := map[string]string{}, map[string]string{}
			n := 4 + random.IntN(30)
			name := func(i int) string { return fmt.Sprintf("p%02d", i) }
			capability := func() string {
				switch i := random.IntN(n); random.IntN(10) {
				case 0:
					return fmt.Sprintf("cap%d", i%5)
				case 1:
					return fmt.Sprintf("cap%d >= %d", i%5, random.IntN(3))
				case 2:
					return fmt.Sprintf("/usr/share/f%d", i%7)
				case 3:
					return name(i) + " = 1-1"
				default:
					return name(i)
				}
			}
			edges := random.IntN(3) + 1
			for i := range n {
				var b strings.Builder
				if random.IntN(3) == 0 {
					fmt.Fprintf(&b, "Provides: cap%d = %d\n", random.IntN(5), random.IntN(3))
				}
				for range random.IntN(edges + 1) {
					kind := kinds[random.IntN(len(kinds))]
					if kind == "Requires" && random.IntN(5) == 0 {
						operators := []string{"(%s and %s and %s)", "(%s or %s)", "(%s if %s)", "(%s if %s else %s)", "(%s with %s)", "(%s without %s)", "(%s and (%s or %s))", "((%s if %s) and %s)"}
						operator := operators[random.IntN(len(operators))]
						var operands []any
						for range strings.Count(operator, "%s") {
							operands = append(operands, capability())
						}
						fmt.Fprintf(&b, "Requires: "+operator+"\n", operands...)
						continue
					}
					fmt.Fprintf(&b, "%s: %s\n", kind, capability())
				}
				preambles[name(i)] = b.String()
				if random.IntN(3) == 0 {
					files[name(i)] = fmt.Sprintf("/usr/share/f%d", random.IntN(7))
				}
			}
			checkOrder(t, preambles, files)
		})
	}
}

func TestOrderBreaksCircles(t *testing.T) {
	for name, preambles := range map[string]map[string]string{
		// A scriptlet needs the shell; the shell's own requirement of it is the one to break.
		"shell":  {"libc": "Requires: common\nRequires(post): shell\n", "shell": "Requires: libc\n", "common": "Requires: libc\n"},
		"self":   {"a": "Requires(pre): a\nRequires: b\n", "b": "Requires: a\n"},
		"nested": {"a": "Requires: b\n", "b": "Requires: c\nRequires(pre): d\n", "c": "Requires: a\n", "d": "Requires: b\nRequires: e\n", "e": "Requires: f\n", "f": "Requires: e\n", "z": "Requires: a\n"},
		"two":    {"a": "Requires: b\n", "b": "Requires: a\n", "c": "Requires: d\nRequires: a\n", "d": "Requires(post): c\n", "top": "Requires: d\nRequires: b\n"},
	} {
		t.Run(name, func(t *testing.T) { checkOrder(t, preambles, nil) })
	}
}
