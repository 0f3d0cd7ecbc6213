package trim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/profiles"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/guard"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// pkg is a package of a made-up root: its stanza's fields after the name, and its files by path.
type pkg struct {
	name, fields string
	files        []string // paths; " -> target" for links
}

// debian returns a root that has packages, and other entries. The contents of a file are its path.
func debian(t testing.TB, st *store.Store, pkgs []pkg, others ...tree.Entry) *tree.Tree {
	t.Helper()
	var status strings.Builder
	entries := others
	for _, p := range pkgs {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n%s\n", p.name, p.fields)
		list := "/.\n"
		for _, f := range p.files {
			path, target, link := strings.Cut(f, " -> ")
			list += "/" + path + "\n"
			switch {
			case link:
				entries = append(entries, stagetest.Link(path, target))
			case strings.HasSuffix(path, "/"):
				entries = append(entries, stagetest.Dir(strings.TrimSuffix(path, "/")))
			default:
				entries = append(entries, stagetest.File(t, st, path, "/"+path))
			}
		}
		entries = append(entries, stagetest.File(t, st, "var/lib/dpkg/info/"+p.name+".list", list))
	}
	return stagetest.Tree(t, append(entries, stagetest.File(t, st, "var/lib/dpkg/status", status.String()))...)
}

// run trims with a profile that no file has.
func run(st *store.Store, t *tree.Tree, profile profiles.Profile, o Options) (*tree.Tree, Report, error) {
	if profile.Name == "" {
		profile.Name = "test"
	}
	w := &trimming{
		ctx: context.Background(), store: st, before: t, options: o, profile: &profile, warn: func(string, ...any) {}, reasons: map[string]string{},
	}
	return w.run()
}

// kept returns the names of the packages that a report has as kept.
func kept(r Report) string {
	var names []string
	for _, p := range r.Packages {
		if p.Kept {
			names = append(names, p.ID)
		}
	}
	return strings.Join(names, " ")
}

// files lists what is no directory, the database left out.
func files(t *tree.Tree) string {
	var list []string
	for _, e := range t.Entries() {
		if e.Type != tree.Directory && !strings.HasPrefix(e.Path, "var/lib/dpkg/") {
			list = append(list, e.Path)
		}
	}
	return strings.Join(list, " ")
}

// world is what the tests of reachability begin with.
var world = []pkg{
	{"app", "Depends: lib, editor | fallback, setup", []string{"usr/bin/app"}},
	{"base", "Essential: yes\n", []string{"usr/bin/base"}},
	{"fallback", "", []string{"usr/bin/fallback"}},
	{"lib", "Pre-Depends: deep", []string{"usr/lib/lib"}},
	{"deep", "", []string{"usr/lib/deep"}},
	{"manager", "Depends: managerlib", []string{"usr/bin/manager"}},
	{"managerlib", "", []string{"usr/lib/managerlib"}},
	{"nano", "Provides: editor", []string{"usr/bin/nano"}},
	{"setup", "Depends: setuplib", []string{"usr/bin/setup"}},
	{"setuplib", "", []string{"usr/lib/setuplib"}},
	{"vim", "Provides: editor", []string{"usr/bin/vim"}},
}

func fields(pkgs []pkg) []pkg {
	out := slices.Clone(pkgs)
	for i := range out {
		if out[i].fields != "" && !strings.HasSuffix(out[i].fields, "\n") {
			out[i].fields += "\n"
		}
	}
	return out
}

// TestReachable keeps what is reached from the roots, by each rule that the package's documentation has.
func TestReachable(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := debian(t, st, fields(world))
	manager := profiles.Manager{Packages: []string{"manager"}, Reason: "images"}
	for _, test := range []struct {
		name    string
		profile profiles.Profile
		o       Options
		want    string
	}{
		{"nothing is reachable", profiles.Profile{}, Options{}, "app base deep fallback lib manager managerlib nano setup setuplib vim"},
		{"what is requested, the first of alternatives", profiles.Profile{Reachable: true}, Options{Requested: []string{"app"}}, "app deep lib nano setup setuplib"},
		{"an alternative that is kept anyway", profiles.Profile{Reachable: true}, Options{Requested: []string{"app", "vim"}}, "app deep lib setup setuplib vim"},
		{"what provides something", profiles.Profile{Reachable: true}, Options{Requested: []string{"editor"}}, "nano vim"},
		{"essential", profiles.Profile{Reachable: true, Essential: true}, Options{Requested: []string{"lib"}}, "base deep lib"},
		{"roles", profiles.Profile{Reachable: true, Roles: []profiles.Role{{Name: "r", Packages: []string{"l*b", "other"}}}}, Options{}, "deep lib"},
		{"needs of scripts, with a manager", profiles.Profile{Reachable: true, Scripts: []string{"setup"}}, Options{Requested: []string{"app"}}, "app deep lib nano setup setuplib"},
		{"needs of scripts, without", profiles.Profile{Reachable: true, Scripts: []string{"setup"}, Manager: manager}, Options{Requested: []string{"app"}}, "app deep lib nano"},
		{"the manager goes though it is requested", profiles.Profile{Reachable: true, Manager: manager}, Options{Requested: []string{"manager", "base"}}, "base"},
		{"the manager is kept, and scripts count", profiles.Profile{Reachable: true, Manager: manager, Scripts: []string{"setup"}},
			Options{Requested: []string{"app"}, Keep: []string{"manager"}}, "app deep lib manager managerlib nano setup setuplib"},
		{"remove", profiles.Profile{}, Options{Remove: []string{"*lib", "vim"}}, "app base deep fallback manager nano setup"},
		{"remove what is needed", profiles.Profile{Reachable: true}, Options{Requested: []string{"app"}, Remove: []string{"lib", "nano"}}, "app setup setuplib vim"},
		{"keep", profiles.Profile{Reachable: true}, Options{Keep: []string{"lib"}}, "deep lib"},
		{"a need that the profile adds", profiles.Profile{Reachable: true, Needs: []profiles.Need{{Of: []string{"base"}, On: []string{"vim"}}}}, Options{Requested: []string{"base"}}, "base vim"},
		{"a need that the profile drops", profiles.Profile{Reachable: true, Needs: []profiles.Need{{Of: []string{"app"}, On: []string{"lib", "setup"}, Drop: true}}},
			Options{Requested: []string{"app"}}, "app nano"},
	} {
		after, r, err := run(st, root, test.profile, test.o)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if kept(r) != test.want {
			t.Errorf("%s: kept are %s, want %s", test.name, kept(r), test.want)
		}
		for _, p := range r.Packages {
			for _, f := range p2files(p.Name) {
				if _, ok := after.Lookup(f); ok != p.Kept {
					t.Errorf("%s: %s is kept: %v, and its file %s is there: %v", test.name, p.ID, p.Kept, f, ok)
				}
			}
			if p.Kept != (len(p.Chain) > 0) {
				t.Errorf("%s: %s is kept: %v, because of %q", test.name, p.ID, p.Kept, p.Chain)
			}
		}
		_, err = installed.Read(st, after)
		if dropped := r.Database == "dropped"; dropped != errors.Is(err, installed.ErrNoDatabase) || dropped != (len(test.profile.Manager.Packages) > 0 && !strings.Contains(kept(r), "manager")) {
			t.Errorf("%s: the database was %s, and reading gives %v", test.name, r.Database, err)
		}
	}
}

func p2files(name string) []string {
	for _, p := range world {
		if p.name == name {
			return p.files
		}
	}
	return nil
}

// TestReport reads the reasons, the chains, the counts and the dependents.
func TestReport(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := debian(t, st, fields(world))
	_, r, err := run(st, root, profiles.Profile{Reachable: true}, Options{Requested: []string{"app"}, Remove: []string{"lib"}})
	if err != nil {
		t.Fatal(err)
	}
	if p := r.Package("lib"); p.Kept || !slices.Equal(p.Dependents, []string{"app"}) || p.Reason != `remove of the recipe has "lib"` || p.Bytes != 12 || p.After != 0 || p.Files != 1 || p.FilesAfter != 0 {
		t.Errorf("lib: %+v", p)
	}
	want := []string{"app: the recipe installs it", "app needs setup", "setup needs setuplib"}
	if p := r.Package("setuplib"); !slices.Equal(p.Chain, want) || p.By != "setup" || p.Need != "setuplib" || p.Reason != "setup needs setuplib" {
		t.Errorf("setuplib: %+v", p)
	}
	if p := r.Package("nano"); p.Chain[1] != "app needs editor | fallback: nano" {
		t.Errorf("nano: %q", p.Chain)
	}
	if p := r.Package("vim"); p.Reason != "nothing that is kept needs it" {
		t.Errorf("vim: %+v", p)
	}
	if r.Before.Packages != len(world) || r.After.Packages != 4 || r.Before.Files-r.After.Files != 14 || r.Before.Bytes <= r.After.Bytes {
		t.Errorf("before %+v, after %+v", r.Before, r.After)
	}
}

// TestDependents lists who needs a package that stays without any of its files.
func TestDependents(t *testing.T) {
	st := stagetest.Cache(t).Store
	_, r, err := run(st, debian(t, st, fields(world)), profiles.Profile{}, Options{Paths: []string{"/usr/lib/deep"}})
	if err != nil {
		t.Fatal(err)
	}
	if p := r.Package("deep"); !p.Kept || p.FilesAfter != 0 || !slices.Equal(p.Dependents, []string{"lib"}) {
		t.Errorf("deep: %+v", p)
	}
}

// TestPaths takes files by path, keeps others, and cleans up after packages.
func TestPaths(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := debian(t, st, []pkg{
		{"a", "", []string{"usr/share/doc/a/copyright", "usr/share/doc/a/README", "usr/share/doc/a/html/index", "usr/lib/a.so", "usr/share/shared"}},
		{"b", "", []string{"usr/share/doc/b/README", "usr/lib/b/b.so", "usr/share/shared", "etc/b/", "usr/bin/b"}},
	},
		stagetest.Link("lib", "usr/lib"),
		stagetest.Link("etc/alternatives/x", "/usr/bin/b"), stagetest.Link("etc/alternatives/y", "x"), stagetest.Link("etc/alternatives/z", "/nowhere"), stagetest.Link("etc/kept", "/usr/lib/a.so"),
		stagetest.File(t, st, "etc/b/made", ""), stagetest.File(t, st, "var/lib/b/made", ""), stagetest.File(t, st, "var/lib/c", ""),
	)
	profile := profiles.Profile{
		Reachable: true,
		Links:     []string{"/etc/alternatives"},
		Paths: []profiles.PathRule{
			{Name: "docs", Globs: []string{"/usr/share/doc/**"}, Except: []string{"/usr/share/doc/*/copyright"}, Reason: "unread"},
			{Name: "unless", Globs: []string{"/var/lib/c"}, Unless: []string{"a"}},
		},
		Leftovers: []profiles.Leftover{{Name: "b", Packages: []string{"b"}, Paths: []string{"/var/lib/b/**", "/usr/lib/a.so"}}, {Name: "a", Packages: []string{"a"}, Paths: []string{"/var/lib/c"}}},
	}
	after, r, err := run(st, root, profile, Options{Requested: []string{"a"}, Keep: []string{"/usr/share/doc/a/html", "/usr/lib/b/*"}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "etc/alternatives/z etc/b/made etc/kept lib usr/lib/a.so usr/lib/b/b.so usr/share/doc/a/copyright usr/share/doc/a/html/index usr/share/shared var/lib/c"
	if got := files(after); got != want {
		t.Errorf("left are\n%s\nwant\n%s", got, want)
	}
	for _, dir := range []string{"usr/bin", "usr/share/doc/b", "var/lib/b"} {
		if _, ok := after.Lookup(dir); ok {
			t.Errorf("the empty directory %s is left", dir)
		}
	}
	if len(r.Paths) != 2 || r.Paths[0].Rule != "docs" || r.Paths[0].Files != 1 || r.Paths[0].Bytes != int64(len("/usr/share/doc/a/README")) || r.Paths[1].Rule != "b" {
		t.Errorf("paths: %+v", r.Paths)
	}
	// The recipe's own, through a link, and a package that loses all files.
	after, r, err = run(st, root, profiles.Profile{}, Options{Remove: []string{"/lib/**/*.so"}, Paths: []string{"/usr/share/**", "/usr/bin", "/etc"}, Exceptions: []guard.Exception{{Kind: "symlink"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := files(after); got != "lib var/lib/b/made var/lib/c" {
		t.Errorf("left are %s", got)
	}
	if p := r.Package("a"); !p.Kept || p.FilesAfter != 0 || p.After != 0 {
		t.Errorf("a: %+v", p)
	}
	var wrong *NotFoundError
	for _, element := range []string{"ap", "/usr/share/dox/**", "b.service"} {
		if _, _, err := run(st, root, profile, Options{Keep: []string{element}}); !errors.As(err, &wrong) || wrong.ExitStatus() != 2 || !strings.Contains(err.Error(), element) {
			t.Errorf("keep = [%q]: %v", element, err)
		}
	}
}

// TestGlobs matches globs with paths.
func TestGlobs(t *testing.T) {
	root := stagetest.Tree(t, stagetest.Link("lib", "usr/lib"), stagetest.Dir("usr/lib/modules/6"), stagetest.Link("usr/run", "/elsewhere"))
	for _, test := range []struct {
		glob, path string
		want       bool
	}{
		{"/usr/**", "usr/bin/a", true},
		{"/usr/**", "usr", false},
		{"/usr/*", "usr/bin", true},
		{"/usr/*", "usr/bin/a", true}, // what matches a directory means what is in it
		{"/usr/*/a", "usr/bin/b", false},
		{"/usr/**/a", "usr/a", true},
		{"/usr/**/a", "usr/x/y/a", true},
		{"/usr/**/a", "usr/x/y/a/z", true},
		{"/usr/**/a", "usr/x/ab", false},
		{"/us", "usr", false},
		{"/lib/modules/**", "usr/lib/modules/6", true},
		{"/lib", "lib", true},
		{"/lib", "usr/lib", false},
		{"/usr/run/x", "usr/run/x", false},
		{"/usr/[ab]*", "usr/abc", true},
		{`/usr/\*`, "usr/*", true},
		{`/usr/\*`, "usr/a", false},
	} {
		if _, got := newGlobs(root, []string{test.glob}).below(test.path); got != test.want {
			t.Errorf("%s matches %s: %v", test.glob, test.path, got)
		}
	}
}

// unit returns a unit file of a root.
func unit(t testing.TB, st *store.Store, name, text string) tree.Entry {
	return stagetest.File(t, st, "usr/lib/systemd/system/"+name, text)
}

// TestServices changes unit files, by the recipe and by the profile, and says why.
func TestServices(t *testing.T) {
	st := stagetest.Cache(t).Store
	install := "[Service]\nExecStart=/usr/bin/true\n[Install]\nWantedBy=multi-user.target\n"
	names := []string{"a.service", "b.service", "c.service", "d.service", "e.service", "f.service", "g.timer"}
	var shipped []string
	entries := []tree.Entry{stagetest.Link("etc/systemd/system/multi-user.target.wants/f.service", "/usr/lib/systemd/system/f.service"), stagetest.Mode(stagetest.File(t, st, "usr/bin/true", ""), 0o755)}
	for _, n := range names {
		shipped = append(shipped, "usr/lib/systemd/system/"+n)
		entries = append(entries, unit(t, st, n, install))
	}
	root := debian(t, st, []pkg{{"one", "", shipped[:5]}, {"two", "", shipped[5:]}}, entries...)
	edit := root.Edit()
	for _, e := range entries {
		edit.Put(e)
	}
	root, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	profile := profiles.Profile{
		Reachable: true, Links: []string{"/etc/systemd/**"},
		Services: []profiles.Services{
			{Name: "mask", Mask: []string{"?.service"}, Reason: "x"},
			{Name: "remove", Remove: []string{"d.service", "e.service"}, Unless: []string{"two"}, Reason: "y"},
		},
	}
	profile.Services[0].Mask = []string{"b.service", "c.service"}
	after, r, err := run(st, root, profile, Options{
		Requested: []string{"one"}, Keep: []string{"c.service"}, Remove: []string{"e.*", "e.service"}, Services: services.Changes{Enable: []string{"a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a.service": "disabled enabled: enabled by the recipe", "b.service": "disabled masked: masked by profile test (mask): x", "c.service": "disabled disabled: ",
		"d.service": "disabled : removed by profile test (remove): y", "e.service": "disabled : removed by the recipe", "f.service": "enabled : two was removed",
		"g.timer": "disabled : two was removed",
	}
	for _, s := range r.Services {
		if got := s.Before + " " + s.After + ": " + s.Reason; got != want[s.Name] {
			t.Errorf("%s: %q, want %q", s.Name, got, want[s.Name])
		}
		delete(want, s.Name)
	}
	for name := range want {
		t.Errorf("the report has no %s", name)
	}
	if r.Before.Services != 7 || r.After.Services != 3 || r.After.States["masked"] != 1 {
		t.Errorf("before %+v, after %+v", r.Before, r.After)
	}
	if _, ok := after.Lookup("etc/systemd/system/multi-user.target.wants/f.service"); ok {
		t.Error("the link that enabled f.service is left")
	}
	// Keeping a service keeps its package.
	if _, r, err = run(st, root, profile, Options{Keep: []string{"f.service"}}); err != nil || kept(r) != "two" {
		t.Errorf("kept are %s (%v)", kept(r), err)
	}
	_, _, err = run(st, root, profile, Options{Requested: []string{"one"}, Services: services.Changes{Enable: []string{"f"}}})
	if err == nil || !strings.Contains(err.Error(), `keep = ["f.service"]`) || !strings.Contains(err.Error(), "package two") {
		t.Errorf("enabling what went: %v", err)
	}
}

// TestGuard refuses a root that lacks what it needs, and says what to write.
func TestGuard(t *testing.T) {
	st := stagetest.Cache(t).Store
	script := stagetest.Mode(stagetest.File(t, st, "usr/bin/tool", "#!/usr/bin/perl\n"), 0o755)
	perl := stagetest.Mode(stagetest.File(t, st, "usr/bin/perl", "\x7fELF"), 0o755)
	root := debian(t, st, []pkg{{"tool", "", []string{"usr/bin/tool"}}, {"perl", "", []string{"usr/bin/perl"}}})
	edit := root.Edit()
	edit.Put(script)
	edit.Put(perl)
	root, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Requested: []string{"tool"}}
	_, _, err = run(st, root, profiles.Profile{Reachable: true}, o)
	var failed *GuardError
	if !errors.As(err, &failed) || failed.ExitStatus() != 4 || len(failed.Findings) != 1 {
		t.Fatalf("a script without its interpreter: %v", err)
	}
	for _, want := range []string{"interpreter: /usr/bin/tool (tool) needs /usr/bin/perl", "package perl", `keep = ["perl"]`, "nothing that is kept needs it", `remove = ["/usr/bin/tool"]`, `kind = "interpreter"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error has no %q: %v", want, err)
		}
	}
	o.Exceptions = []guard.Exception{{Kind: "interpreter", Path: "/usr/bin/tool"}}
	if _, _, err := run(st, root, profiles.Profile{Reachable: true}, o); err != nil {
		t.Errorf("with an exception: %v", err)
	}
	o.Exceptions = nil
	if _, _, err := run(st, root, profiles.Profile{Reachable: true, Exceptions: []profiles.Exception{{Kind: "interpreter", Path: "/usr/bin/*", Need: "*"}}}, o); err != nil {
		t.Errorf("with an exception of the profile: %v", err)
	}
	o.Keep = []string{"perl"}
	if _, _, err := run(st, root, profiles.Profile{Reachable: true}, o); err != nil {
		t.Errorf("with what it needs: %v", err)
	}
	_, _, err = run(st, root, profiles.Profile{}, Options{Paths: []string{"/usr/bin/perl"}})
	if err == nil || !strings.Contains(err.Error(), `keep = ["/usr/bin/perl"] (it went because of "/usr/bin/perl", recipe)`) {
		t.Errorf("what a path takes: %v", err)
	}
}

// TestBudget checks bounds.
func TestBudget(t *testing.T) {
	st := stagetest.Cache(t).Store
	_, r, err := run(st, debian(t, st, fields(world)), profiles.Profile{Reachable: true}, Options{Requested: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := (Budget{Packages: 6, Services: 1, Size: 1 << 20, ImageSize: 100}).Check(r, 100); err != nil {
		t.Errorf("within the budget: %v", err)
	}
	err = Budget{Packages: 5, Size: 60, ImageSize: 2 << 20}.Check(r, 3<<20)
	var over *BudgetError
	if !errors.As(err, &over) || over.ExitStatus() != 4 || len(over.Exceeded) != 3 {
		t.Fatalf("over the budget: %v", err)
	}
	for _, want := range []string{"packages = 5, and there are 6, 1 too much", "size = 60 bytes", "image_size = 2.0 MiB, and there are 3.0 MiB, 1.0 MiB too much", "setuplib 1 (17 bytes): app: the recipe installs it; app needs setup; setup needs setuplib"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error has no %q:\n%v", want, err)
		}
	}
}

// TestWhy explains packages, paths and services, kept and gone.
func TestWhy(t *testing.T) {
	st := stagetest.Cache(t).Store
	pkgs := append(fields(world), pkg{"srv", "Depends: lib\n", []string{"usr/lib/systemd/system/srv.service", "usr/share/doc/srv/README", "usr/share/doc/srv/keep"}})
	root := debian(t, st, pkgs, stagetest.Link("bin", "usr/bin"), stagetest.File(t, st, "etc/motd", ""),
		stagetest.Link("etc/systemd/system/multi-user.target.wants/srv.service", "/usr/lib/systemd/system/srv.service"))
	db, err := installed.Read(st, root)
	if err != nil {
		t.Fatal(err)
	}
	profile := profiles.Profile{Reachable: true, Paths: []profiles.PathRule{{Name: "docs", Globs: []string{"/usr/share/doc/**"}, Reason: "unread"}}}
	after, r, err := run(st, root, profile, Options{Requested: []string{"app", "srv"}, Remove: []string{"setup"}, Keep: []string{"/usr/share/doc/srv/keep"}})
	if err != nil {
		t.Fatal(err)
	}
	x := Explainer{Report: r, Database: db, Tree: after, Origin: func(path string) string {
		if path == "/etc/motd" {
			return `file "/etc/motd"`
		}
		return ""
	}}
	for what, want := range map[string]string{
		"deep":                      "package true: app: the recipe installs it | app needs lib | lib needs deep",
		"vim":                       "package false: vim was removed: nothing that is kept needs it",
		"setup":                     `package false: setup was removed: remove of the recipe has "setup" | app say that they need it`,
		"/bin/app":                  "path true: app: the recipe installs it | app owns /usr/bin/app",
		"/usr/bin/vim":              "path false: vim was removed: nothing that is kept needs it | vim owned /usr/bin/vim",
		"/usr/share/doc/srv/README": `path false: removed by profile test (docs), rule "/usr/share/doc/**": unread | srv owned it`,
		"/usr/share/doc/srv/keep":   "path true: srv: the recipe installs it | srv owns /usr/share/doc/srv/keep",
		"/etc/motd":                 `path true: /etc/motd comes from file "/etc/motd"`,
		"/bin":                      "path true: no package owns /bin: a maintainer script, or the recipe, made it | it is a symbolic link to usr/bin",
		"srv.service":               "service true: srv: the recipe installs it | srv owns /usr/lib/systemd/system/srv.service | its state is enabled | multi-user.target wants it: /etc/systemd/system/multi-user.target.wants/srv.service",
	} {
		e, err := x.Why(what)
		got := fmt.Sprintf("%s %v: %s", e.Kind, e.Kept, strings.Join(e.Lines, " | "))
		if err != nil || got != want {
			t.Errorf("%s (%v):\n%s\nwant\n%s", what, err, got, want)
		}
	}
	var unknown *UnknownError
	for _, what := range []string{"vin", "/no/such", "no.service"} {
		if _, err := x.Why(what); !errors.As(err, &unknown) || unknown.ExitStatus() != 2 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Why(r, db, after, "vin"); err == nil || !strings.Contains(err.Error(), `Did you mean "vim"?`) {
		t.Errorf("vin: %v", err)
	}
}

// TestRun stores the report, gives the same twice, and needs a database only where it asks it.
func TestRun(t *testing.T) {
	cache := stagetest.Cache(t)
	trim := func(root *tree.Tree, o Options) (Result, error) {
		result, _, err := stagetest.Run(t, cache, func(ctx context.Context, r *stages.Run) (Result, error) {
			return Run(ctx, r, rootfs.Root{Tree: stagetest.Save(t, cache.Store, root)}, o)
		})
		return result, err
	}
	root := debian(t, cache.Store, fields(world))
	o := Options{Profile: "minimal", Requested: []string{"app"}}
	first, err := trim(root, o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := trim(root, o); err != nil || again != first {
		t.Errorf("trimming again gives %v (%v), not %v", again, err, first)
	}
	r, err := LoadReport(cache.Store, first.Report)
	if err != nil || r.Profile != "minimal" || kept(r) != "app base deep lib nano setup setuplib" {
		t.Errorf("the report (%v): %s", err, kept(r))
	}
	if p, err := json.Marshal(r); err != nil || strings.Contains(string(p), "sha256:") {
		t.Errorf("the report refers to objects of the store (%v)", err)
	}
	bare := stagetest.Tree(t, stagetest.File(t, cache.Store, "usr/share/doc/x", ""))
	if _, err := trim(bare, o); !errors.Is(err, installed.ErrNoDatabase) {
		t.Errorf("a root without a database: %v", err)
	}
	result, err := trim(bare, Options{Profile: "none", Paths: []string{"/usr/share/doc/**"}})
	if err != nil {
		t.Fatal(err)
	}
	if left := stagetest.Load(t, cache.Store, result.Root.Tree); files(left) != "" {
		t.Errorf("left is %s", files(left))
	}
	var unknown *profiles.UnknownError
	if _, err := trim(bare, Options{Profile: "nome"}); !errors.As(err, &unknown) {
		t.Errorf("an unknown profile: %v", err)
	}
}

// TestKernels takes the directory of a kernel away with the last of its modules, with what depmod wrote there.
func TestKernels(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := debian(t, st, []pkg{
		{"kernel-1", "", []string{"boot/vmlinuz-1", "usr/lib/modules/1/kernel/a.ko", "usr/lib/modules/1/kernel/b.ko.xz"}},
		{"kernel-2", "", []string{"boot/vmlinuz-2", "usr/lib/modules/2/kernel/a.ko"}},
	}, stagetest.File(t, st, "usr/lib/modules/1/modules.dep", ""), stagetest.File(t, st, "usr/lib/modules/2/modules.dep", ""), stagetest.Link("lib", "usr/lib"))
	after, r, err := run(st, root, profiles.Profile{Reachable: true}, Options{Requested: []string{"kernel-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := files(after), "boot/vmlinuz-1 lib usr/lib/modules/1/kernel/a.ko usr/lib/modules/1/kernel/b.ko.xz usr/lib/modules/1/modules.dep"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	if r.Before.Modules != 3 || r.After.Modules != 2 {
		t.Errorf("%d modules, then %d", r.Before.Modules, r.After.Modules)
	}
	if _, ok := after.Lookup("usr/lib/modules/2"); ok {
		t.Error("the directory of the other kernel is left")
	}
	_, _, err = run(st, root, profiles.Profile{}, Options{Paths: []string{"/lib/modules/1/**/b.ko.xz"}})
	if err == nil || !strings.Contains(err.Error(), "there is another kernel") {
		t.Errorf("some modules of one of two kernels: %v", err)
	}
}
