package rpm

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// A testcase is a file that libsolv's testsolv reads: repositories, and jobs for the solver
// with the results that it had. Of the format this knows what solving on an empty
// system is written with; the rest is named in unsupported.
type testcase struct {
	dir         string
	arch        string
	packages    []*Package
	tests       []jobTest
	unsupported string // why nothing of it can be run
}

// A jobTest is what one run of the solver is asked for.
type jobTest struct {
	jobs        []string // "install name A"
	weak        bool
	result      string   // what is recorded: "transaction,problems"
	recorded    []string // lines of it
	unsupported string
	any         bool // it has jobs, or says something that cannot be run
}

func readTestcase(text, dir string) *testcase {
	c := &testcase{dir: dir, tests: []jobTest{{weak: true}}}
	var repository string
	var priority int
	var inline *[]string
	var repoLines []string
	endRepository := func() {
		if repoLines != nil {
			c.addPackages(repoLines, repository, priority)
			repoLines = nil
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "#>"); ok {
			if inline != nil {
				*inline = append(*inline, rest)
			}
			continue
		}
		inline = nil
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		test := &c.tests[len(c.tests)-1]
		switch words[0] {
		case "repo":
			endRepository()
			repository = words[1]
			libsolvPriority, _ := strconv.Atoi(words[2])
			priority = -libsolvPriority
			if words[3] == "empty" {
				break
			}
			repoLines = []string{}
			if words[4] == "<inline>" {
				inline = &repoLines
			} else if p, err := os.ReadFile(filepath.Join(dir, words[4])); err == nil {
				repoLines = strings.Split(string(p), "\n")
			}
		case "system":
			endRepository()
			c.arch = words[1]
			if words[2] == "deb" {
				c.unsupported = "of another family: deb"
			}
			if len(words) > 3 {
				for _, p := range c.packages {
					if p.Repository == words[3] {
						c.unsupported = "changes an installed system"
					}
				}
			}
		case "job":
			endRepository()
			test.any = true
			job := strings.Join(words[1:], " ")
			kind := strings.Join(words[1:min(3, len(words))], " ")
			switch {
			case !slices.Contains([]string{"install name", "install provides", "install oneof", "install pkg"}, kind):
				test.unsupported = "has a job " + kind
			case strings.HasSuffix(job, "]"):
				test.unsupported = "has a job with " + words[len(words)-1]
			}
			test.jobs = append(test.jobs, job)
		case "solverflags", "poolflags":
			for _, flag := range words[1:] {
				switch flag {
				case "ignorerecommended":
					test.weak = false
				case "yumobsoletes", "urpmreorder", "implicitobsoleteusescolors": // as dnf has it
				default:
					test.unsupported = "has the flag " + flag
				}
			}
		case "result":
			test.result = words[1]
			inline = &test.recorded
		case "nextjob":
			c.tests = append(c.tests, jobTest{weak: true})
		case "feature":
		default: // namespace, disable, genid, evrcmp
			test.any = true
			test.unsupported = "has " + words[0]
		}
	}
	endRepository()
	if c.arch == "" || c.arch == "unset" {
		c.arch = "x86_64"
	}
	for _, p := range c.packages {
		if p.Arch != noarch && p.Arch != c.arch {
			c.unsupported = "has packages of several architectures"
		}
	}
	return c
}

// addPackages reads a repository in the testtags format.
func (c *testcase) addPackages(lines []string, repository string, priority int) {
	var p *Package
	for _, line := range lines {
		tag, value, found := strings.Cut(strings.TrimPrefix(line, "="), ": ")
		if !found || !strings.HasPrefix(line, "=") {
			continue
		}
		if tag == "Pkg" {
			words := append(strings.Fields(value), noarch)
			evr, _ := ParseEVR(words[1] + "-" + words[2])
			p = &Package{Name: words[0], EVR: evr, Arch: words[3], Repository: repository, Priority: priority}
			c.packages = append(c.packages, p)
			continue
		}
		lists := map[string]*[]Dependency{}
		if p != nil {
			lists = map[string]*[]Dependency{"Prv": &p.Provides, "Req": &p.Requires, "Con": &p.Conflicts, "Obs": &p.Obsoletes,
				"Rec": &p.Recommends, "Sug": &p.Suggests, "Sup": &p.Supplements, "Enh": &p.Enhances}
		}
		switch list := lists[tag]; {
		case list != nil:
			*list = append(*list, dependencyOfTestcase(value))
		case tag == "Fls" && p != nil:
			p.Files = append(p.Files, value)
		}
	}
}

// dependencyOfTestcase translates libsolv's notation, "A <IF> B", into rpm's.
func dependencyOfTestcase(s string) Dependency {
	words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s))
	if strings.Contains(s, "(") && !strings.Contains(s, " ") {
		return Dependency{Name: s} // a capability like locale(de)
	}
	translated := map[string]string{"&": "and", "|": "or", "<IF>": "if", "<ELSE>": "else", "<UNLESS>": "unless", "+": "with", "-": "without"}
	rich := false
	for i, w := range words {
		if t, ok := translated[w]; ok {
			words[i], rich = t, true
		}
	}
	if !rich {
		d, err := ParseDependency(s)
		if err != nil {
			panic(err)
		}
		return d
	}
	text := "(" + strings.Join(words, " ") + ")"
	text = strings.NewReplacer("( ", "(", " )", ")").Replace(text)
	// rpm has "a if b else c" where libsolv has "a <IF> (b <ELSE> c)".
	for _, op := range []string{" if (", " unless ("} {
		if at := strings.Index(text, op); at >= 0 && strings.Contains(text[at:], " else ") {
			end := at + strings.Index(text[at:], ")")
			text = text[:at+len(op)-1] + text[at+len(op):end] + text[end+1:]
		}
	}
	return Dependency{Name: text}
}

// solve runs our solver like libsolv's: by jobs, without what dnf makes of a spec.
func (c *testcase) solve(t testing.TB, test jobTest) ([]string, error) {
	t.Helper()
	u, err := NewUniverse(c.arch, c.packages)
	if err != nil {
		t.Fatal(err)
	}
	s := newSearch(u, test.weak)
	for _, job := range test.jobs {
		literals := c.candidates(t, u, job)
		if len(literals) == 0 {
			return nil, fmt.Errorf("nothing for %s", job)
		}
		s.want(Item{Spec: job}, [][]sat.Literal{literals})
	}
	if conflict := s.run(); conflict != nil {
		return nil, &UnsatisfiableError{Reasons: s.explain(s.sat.Core(conflict))}
	}
	var set []string
	for i, p := range u.packages {
		if s.isChosen(int32(i)) {
			set = append(set, fmt.Sprintf("install %s@%s", p, p.Repository))
		}
	}
	slices.Sort(set)
	return set, nil
}

// candidates returns the packages that a job asks for.
func (c *testcase) candidates(t testing.TB, u *Universe, job string) []sat.Literal {
	words := strings.SplitN(job, " ", 3)
	var found []int32
	switch words[1] {
	case "name":
		found = u.matching(dependencyOfTestcase(words[2]))
	case "provides":
		found = u.providing(dependencyOfTestcase(words[2]))
	default: // pkg, oneof
		for _, name := range strings.Fields(words[2]) {
			for i, p := range u.packages {
				if p.String()+"@"+p.Repository == name {
					found = append(found, int32(i))
				}
			}
		}
	}
	var literals []sat.Literal
	for _, i := range found {
		literals = append(literals, isIn(i))
	}
	return literals
}

// libsolvTests returns the test cases in realdata by their path.
func libsolvTests(t *testing.T) map[string]*testcase {
	t.Helper()
	root := realdata + "/libsolv-testcases"
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no test cases in %s", root)
	}
	paths, err := filepath.Glob(root + "/*/*.t")
	if err != nil {
		t.Fatal(err)
	}
	cases := make(map[string]*testcase)
	for _, path := range paths {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cases[strings.TrimPrefix(path, root+"/")] = readTestcase(string(p), filepath.Dir(path))
	}
	return cases
}

// notCovered says why test cases are not run, by the reason that readTestcase finds.
var notCovered = []struct{ reason, why string }{
	{"changes an installed system", "an image is installed into an empty root: nothing is updated, kept, locked or removed"},
	{"has packages of several architectures", "multilib is off"},
	{"of another family", "Debian packages have a solver of their own"},
	{"has a job noop selection", "selections are libsolv's own language for specs; ours is dnf's, and compared with dnf"},
	{"has a job ", "there is nothing but asking for packages and excluding them"},
	{"has the flag strictrepopriority", "dnf prefers repositories by priority, it does not forbid the others"},
	{"has the flag strongrecommends", "recommendations are never requirements"},
	{"has evrcmp", "TestVersionsLikeLibsolv checks it"},
	{"has genid", "about the notation of test cases"},
}

// TestSolveLikeLibsolv compares with what libsolv's own test cases record: transactions
// from an empty system, and the clauses of rich dependencies.
func TestSolveLikeLibsolv(t *testing.T) {
	ran := 0
	skipped := make(map[string][]string)
	for path, c := range libsolvTests(t) {
		for n, test := range c.tests {
			reason := c.unsupported
			switch {
			case !test.any:
				continue
			case reason != "":
			case test.unsupported != "":
				reason = test.unsupported
			case test.result == "rules":
				c.checkRules(t, path, test)
			case test.result == "proof": // that there is no solution
				if set, err := c.solve(t, test); err == nil {
					t.Errorf("%s: we find %q, libsolv none", path, set)
				}
			case strings.HasPrefix(test.result, "transaction"):
				c.checkTransaction(t, fmt.Sprintf("%s, job %d", path, n+1), test)
			default:
				reason = "records " + test.result
			}
			if reason == "" {
				ran++
			} else if !slices.Contains(skipped[reason], path) {
				skipped[reason] = append(skipped[reason], path)
			}
		}
	}
	var reasons []string
	for reason, paths := range skipped {
		n := slices.IndexFunc(notCovered, func(c struct{ reason, why string }) bool { return strings.HasPrefix(reason, c.reason) })
		if n < 0 {
			t.Errorf("%v: not run, as it %s, without a reason", paths, reason)
			continue
		}
		slices.Sort(paths)
		reasons = append(reasons, fmt.Sprintf("%s (%s): %s", reason, notCovered[n].why, strings.Join(paths, " ")))
	}
	slices.Sort(reasons)
	t.Logf("%d recorded results; not covered:\n%s", ran, strings.Join(reasons, "\n"))
	if ran < 30 {
		t.Errorf("only %d recorded results were compared", ran)
	}
}

// TestVersionsLikeLibsolv checks the comparisons that libsolv's test case records.
func TestVersionsLikeLibsolv(t *testing.T) {
	n := 0
	for line := range strings.Lines(string(readRealdata(t, "libsolv-testcases/evrcmp/caret.t"))) {
		words := strings.Fields(line)
		if len(words) != 6 || words[0] != "#>job" {
			continue
		}
		n++
		a, b := EVR{Version: words[3]}, EVR{Version: words[5]}
		if got, want := sign(CompareEVR(a, b)), strings.Index("<=>", words[4])-1; got != want {
			t.Errorf("%s and %s: %d, libsolv has %d", a, b, got, want)
		}
	}
	if n < 25 {
		t.Errorf("only %d comparisons", n)
	}
}

// TestSatisfiedByLikeLibsolv checks which provided versions meet which conflicts, with
// releases and without: libsolv's test case records what a conflict removes.
func TestSatisfiedByLikeLibsolv(t *testing.T) {
	dir := realdata + "/libsolv-testcases/evrcmp"
	c := readTestcase(string(readRealdata(t, "libsolv-testcases/evrcmp/testevr.t")), dir)
	byName := make(map[string]*Package)
	for _, p := range c.packages {
		byName[p.Name] = p
	}
	for _, test := range c.tests {
		name, _ := strings.CutPrefix(test.jobs[0], "install name ")
		conflict := byName[name].Conflicts[0]
		for _, p := range c.packages {
			if p.Repository != "system" {
				continue
			}
			want := slices.Contains(test.recorded, fmt.Sprintf("erase %s@system", p))
			if got := conflict.SatisfiedBy(p.Provides[0]); got != want {
				t.Errorf("%v provided, %v asked for: %v, libsolv has %v", p.Provides[0], conflict, got, want)
			}
		}
	}
	if len(c.tests) < 10 {
		t.Errorf("only %d conflicts", len(c.tests))
	}
}

func (c *testcase) checkTransaction(t *testing.T, name string, test jobTest) {
	t.Helper()
	set, err := c.solve(t, test)
	var want []string
	problem := false
	for _, line := range test.recorded {
		switch {
		case strings.HasPrefix(line, "install "):
			want = append(want, line)
		case strings.HasPrefix(line, "problem "):
			problem = true
		}
	}
	slices.Sort(want)
	switch {
	case problem && err == nil:
		t.Errorf("%s: we find %q, libsolv none", name, set)
	case !problem && err != nil:
		t.Errorf("%s: libsolv finds %q, we: %v", name, want, err)
	case !problem && !slices.Equal(set, want):
		t.Errorf("%s: %q, libsolv has %q", name, set, want)
	}
}

// checkRules compares the clauses of the dependencies of the package that a job asks for.
func (c *testcase) checkRules(t *testing.T, path string, test jobTest) {
	t.Helper()
	u, err := NewUniverse(c.arch, c.packages)
	if err != nil {
		t.Fatal(err)
	}
	recorded := make(map[string][]string) // literals by rule
	for _, line := range test.recorded {
		words := strings.Fields(line)
		if words[1] == "pkg" {
			name, _, _ := strings.Cut(words[3], "@")
			recorded[words[2]] = append(recorded[words[2]], name)
		}
	}
	var want, got []string
	for _, literals := range recorded {
		slices.Sort(literals)
		want = append(want, strings.Join(literals, " "))
	}
	s := newSearch(u, false)
	s.want(Item{}, [][]sat.Literal{c.candidates(t, u, test.jobs[0])})
	s.prepare()
	for _, clause := range s.clauses {
		if clause.Fact.kind == factAsked {
			continue
		}
		var literals []string
		for _, l := range clause.Literals {
			name := u.packages[l.Variable()].String()
			if !l.Positive() {
				name = "-" + name
			}
			literals = append(literals, name)
		}
		slices.Sort(literals)
		got = append(got, strings.Join(literals, " "))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%s, %v: clauses\n%s\nlibsolv has\n%s", path, test.jobs, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSolveLikeTestsolv compares with libsolv itself on random universes, in which
// everything that decides between packages is frequent.
func TestSolveLikeTestsolv(t *testing.T) {
	if _, err := exec.LookPath("testsolv"); err != nil {
		t.Fatal("the testsolv program is missing; install libsolv-tools")
	}
	universes := 60
	if os.Getenv("IMAGEFACTORY_TEST") == "full" {
		universes = 1000
	}
	dir := t.TempDir()
	solved, unsolvable := 0, 0
	for seed := range int64(universes) {
		text := randomTestcase(rand.New(rand.NewSource(seed)))
		file := filepath.Join(dir, "random.t")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("testsolv", "-r", file).CombinedOutput()
		if err != nil {
			t.Fatalf("testsolv: %v\n%s", err, out)
		}
		c := readTestcase(text, dir)
		answers := strings.Split(string(out), "test ")[1:]
		if len(answers) != len(c.tests) {
			t.Fatalf("testsolv answered %d of %d tests:\n%s", len(answers), len(c.tests), out)
		}
		for n, test := range c.tests {
			set, err := c.solve(t, test)
			lines := strings.Split(strings.TrimSpace(answers[n]), "\n")[1:]
			problem := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "problem ") })
			slices.Sort(lines)
			switch {
			case problem != (err != nil):
				t.Errorf("seed %d, test %d %v: libsolv says %q, we %q, %v\n%s", seed, n+1, test.jobs, lines, set, err, text)
			case problem:
				unsolvable++
			case !slices.Equal(set, lines):
				t.Errorf("seed %d, test %d %v weak %v: libsolv has %q, we %q\n%s", seed, n+1, test.jobs, test.weak, lines, set, text)
			default:
				solved++
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d sets as libsolv has them, %d more without a solution in both", solved, unsolvable)
}

// randomTestcase writes a universe and jobs in libsolv's notation.
func randomTestcase(random *rand.Rand) string {
	var b bytes.Buffer
	names := []string{"A", "B", "C", "D", "E", "F", "G"}
	capability := func() string {
		name := names[random.Intn(len(names))]
		switch random.Intn(8) {
		case 0, 1:
			name = "v"
		case 2:
			name = "w"
		case 3:
			if random.Intn(4) == 0 {
				name = "gone"
			}
		}
		if random.Intn(4) == 0 {
			name += fmt.Sprintf(" %s %d", []string{"<", "<=", "=", ">=", ">"}[random.Intn(5)], 1+random.Intn(3))
			if random.Intn(3) == 0 {
				name += "-1"
			}
		}
		return name
	}
	dependency := func() string {
		if random.Intn(4) != 0 {
			return capability()
		}
		switch op := []string{"&", "|", "<IF>", "<UNLESS>", "+", "-", "else"}[random.Intn(7)]; op {
		case "else":
			return capability() + []string{" <IF> (", " <UNLESS> ("}[random.Intn(2)] + capability() + " <ELSE> " + capability() + ")"
		default:
			return capability() + " " + op + " " + capability()
		}
	}
	b.WriteString("repo system 0 empty\n")
	for _, repository := range []string{"one", "two"}[:1+random.Intn(2)] {
		fmt.Fprintf(&b, "repo %s %d testtags <inline>\n#>=Ver: 2.0\n", repository, random.Intn(3)/2*random.Intn(3))
		for range 4 + random.Intn(8) {
			name := names[random.Intn(len(names))]
			version := 1 + random.Intn(3)
			fmt.Fprintf(&b, "#>=Pkg: %s %d %d %s\n", name, version, 1+random.Intn(2), []string{"noarch", "x86_64"}[random.Intn(2)])
			for range random.Intn(3) {
				fmt.Fprintf(&b, "#>=Prv: %s%s\n", []string{"v", "w", "v", names[random.Intn(len(names))]}[random.Intn(4)],
					[]string{"", fmt.Sprintf(" = %d", 1+random.Intn(3)), fmt.Sprintf(" = %d-1", 1+random.Intn(3))}[random.Intn(3)])
			}
			for _, tag := range []struct {
				name string
				most int
			}{{"Req", 3}, {"Con", 2}, {"Rec", 2}, {"Sug", 2}, {"Sup", 2}, {"Enh", 2}} {
				if tag.name == "Con" && random.Intn(3) > 0 {
					continue
				}
				for range random.Intn(tag.most) {
					fmt.Fprintf(&b, "#>=%s: %s\n", tag.name, dependency())
				}
			}
			if random.Intn(6) == 0 {
				fmt.Fprintf(&b, "#>=Obs: %s\n", capability())
			}
		}
	}
	b.WriteString("system x86_64 rpm system\n")
	for n := range 12 {
		if n > 0 {
			b.WriteString("nextjob\n")
		}
		if n%2 == 0 {
			b.WriteString("solverflags ignorerecommended\n")
		}
		for range 1 + random.Intn(3) {
			fmt.Fprintf(&b, "job install %s %s\n", []string{"name", "provides"}[random.Intn(2)], capability())
		}
	}
	return b.String()
}
