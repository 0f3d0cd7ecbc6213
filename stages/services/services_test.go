package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// fixture has a unit of every kind that systemd tells apart.
func fixture(t testing.TB, st *store.Store) *tree.Tree {
	service := func(path, install string) tree.Entry {
		return stagetest.File(t, st, path, "[Service]\nExecStart=/bin/true\n"+install)
	}
	const usr, etc = "usr/lib/systemd/system/", "etc/systemd/system/"
	wanted := "[Install]\nWantedBy=multi-user.target\n"
	entries := []tree.Entry{
		stagetest.Link("lib", "usr/lib"),
		stagetest.Link("bin", "usr/bin"),
		stagetest.File(t, st, "usr/bin/true", "x"),
		stagetest.File(t, st, usr+"multi-user.target", "[Unit]\nDescription=x\n"),
		stagetest.File(t, st, usr+"graphical.target", "[Unit]\nDescription=x\n"),
		stagetest.Link(usr+"default.target", "graphical.target"),
		service(usr+"static.service", ""),
		service(usr+"disabled.service", wanted),
		service(usr+"enabled.service", wanted),
		stagetest.Link(etc+"multi-user.target.wants/enabled.service", "/lib/systemd/system/enabled.service"),
		service(usr+"aliased.service", "[Install]\nAlias=other.service dbus-org.x.service\nWantedBy=multi-user.target\n"),
		stagetest.Link(etc+"dbus-org.x.service", "/lib/systemd/system/aliased.service"),
		service(usr+"byname.service", "[Install]\nAlias=one.service\n"),
		stagetest.Link(etc+"unknown.service", "/usr/lib/systemd/system/byname.service"),
		service(usr+"masked.service", wanted),
		stagetest.Link(etc+"masked.service", "/dev/null"),
		service(usr+"empty.service", wanted),
		stagetest.File(t, st, etc+"empty.service", ""),
		stagetest.Link(usr+"vendor-masked.service", "/dev/null"),
		stagetest.Link("run/systemd/system/run-masked.service", "/dev/null"),
		service(usr+"run-masked.service", wanted),
		service(usr+"runtime.service", wanted),
		stagetest.Link("run/systemd/system/multi-user.target.wants/runtime.service", "/usr/lib/systemd/system/runtime.service"),
		service(usr+"also.service", "[Install]\nAlso=also.socket\n"),
		stagetest.File(t, st, usr+"also.socket", "[Socket]\nListenStream=/run/x\n[Install]\nWantedBy=sockets.target\nAlso=also.service\n"),
		stagetest.File(t, st, usr+"sockets.target", "[Unit]\n"),
		service(usr+"getty@.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n"),
		stagetest.File(t, st, usr+"getty.target", "[Unit]\n"),
		stagetest.Link(etc+"getty.target.wants/getty@tty1.service", "/lib/systemd/system/getty@.service"),
		service(usr+"serial@.service", "[Install]\nWantedBy=getty.target\n"),
		stagetest.Link(etc+"getty.target.wants/serial@ttyS0.service", "/lib/systemd/system/serial@.service"),
		service(usr+"plain@.service", wanted),
		service(usr+"inst@.service", ""),
		stagetest.Link(usr+"multi-user.target.wants/inst@a.service", "../inst@.service"),
		stagetest.Link(usr+"inst@b.service", "inst@.service"),
		service("opt/app/linked.service", wanted),
		stagetest.Link(etc+"linked.service", "/opt/app/linked.service"),
		service("opt/app/linked2.service", wanted),
		stagetest.Link(etc+"linked2.service", "/opt/app/linked2.service"),
		stagetest.Link(etc+"multi-user.target.wants/linked2.service", "/opt/app/linked2.service"),
		service("opt/app/runlinked.service", wanted),
		stagetest.Link("run/systemd/system/runlinked.service", "/opt/app/runlinked.service"),
		stagetest.Link(etc+"dangling.service", "/usr/lib/systemd/system/nowhere.service"),
		stagetest.Link(etc+"wrongkind.service", "/usr/lib/systemd/system/also.socket"),
		stagetest.Link(etc+"loop1.service", "loop2.service"),
		stagetest.Link(etc+"loop2.service", "loop1.service"),
		service("run/systemd/generator/generated.service", wanted),
		service("run/systemd/generator.late/late.service", wanted),
		service("run/systemd/transient/transient.service", wanted),
		service(etc+"override.service", wanted),
		service(usr+"override.service", ""),
		service(usr+"dropin.service", ""),
		stagetest.File(t, st, etc+"dropin.service.d/install.conf", "[Install]\nWantedBy=multi-user.target\n"),
		service(usr+"reset.service", "[Install]\nWantedBy=graphical.target\nWantedBy=\n"),
		service("usr/local/lib/systemd/system/local.service", wanted),
		service(usr+"required.service", "[Install]\nRequiredBy=multi-user.target\nWantedBy=%p-%j.target\n"),
		service(usr+"continued.service", "[Install]\nWantedBy=multi-user.target \\\n# a comment\n  graphical.target\n"),
		stagetest.File(t, st, usr+"var-x.mount", "[Mount]\nWhat=/x\nWhere=/var/x\n[Install]\nWantedBy=local-fs.target\nAlias=no.mount\n"),
		stagetest.File(t, st, usr+"not-a-unit.txt", "x"),
		stagetest.File(t, st, usr+"bad name.service", "x"),
		stagetest.File(t, st, usr+"system.slice", "[Slice]\n"),
		service(usr+"tmpl-alias@.service", "[Install]\nAlias=ta@.service\nWantedBy=multi-user.target\n"),
		stagetest.File(t, st, "etc/systemd/system-preset/10-x.preset", "# c\nenable static.service\ndisable ma*.service\nenable getty@.service tty1 tty2\n disable getty@*\nnonsense\n"),
		stagetest.File(t, st, "usr/lib/systemd/system-preset/10-x.preset", "disable enabled.service\n"),
		stagetest.File(t, st, "usr/lib/systemd/system-preset/90-default.preset", "enable enabled.service\ndisable *\n"),
	}
	return stagetest.Tree(t, entries...)
}

// extract writes links, directories and files of a tree to a directory of the host.
func extract(t testing.TB, st *store.Store, root *tree.Tree) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range root.Entries() {
		p := filepath.Join(dir, e.Path)
		var err error
		switch e.Type {
		case tree.Directory:
			err = os.MkdirAll(p, 0o755)
		case tree.Symlink:
			err = os.Symlink(e.Target, p)
		case tree.Regular:
			err = os.WriteFile(p, []byte(stagetest.Contents(t, st, e)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// systemctl runs the real one on a directory.
func systemctl(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("systemctl", append([]string{"--root=" + dir, "--no-pager"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SYSTEMD_LOG_LEVEL=info", "LC_ALL=C"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("this test needs systemctl (package systemd)")
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), err
}

// reported is what the real systemctl lists, one unit a line.
func reported(t testing.TB, dir string) []string {
	t.Helper()
	out, err := systemctl(t, dir, "list-unit-files", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var units []struct {
		File   string  `json:"unit_file"`
		State  string  `json:"state"`
		Preset *string `json:"preset"`
	}
	if err := json.Unmarshal([]byte(out), &units); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []string
	for _, u := range units {
		preset := ""
		if u.Preset != nil {
			preset = *u.Preset
		}
		lines = append(lines, u.File+" "+u.State+" "+preset)
	}
	slices.Sort(lines)
	return lines
}

func listed(t testing.TB, st *store.Store, root *tree.Tree) []string {
	t.Helper()
	units, err := List(st, root)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, u := range units {
		lines = append(lines, u.Name+" "+u.State+" "+u.Preset)
	}
	slices.Sort(lines)
	return lines
}

func compare(t testing.TB, what string, got, want []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: systemctl has, and we do not: %s", what, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: we have, and systemctl does not: %s", what, line)
		}
	}
}

func TestListAsSystemctl(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := fixture(t, st)
	want := reported(t, extract(t, st, root))
	compare(t, "list", listed(t, st, root), want)
	states := map[string]bool{}
	for _, line := range want {
		states[strings.Fields(line)[1]] = true
	}
	for _, s := range []string{Enabled, EnabledRuntime, Linked, LinkedRuntime, Alias, Masked, MaskedRuntime, Static, Disabled, Indirect, Generated, Transient, Bad} {
		if !states[s] {
			t.Errorf("the fixture has no unit that is %s", s)
		}
	}
}

// hostUnits are the units of the machine the test runs on, as a tree.
func hostUnits(t testing.TB, st *store.Store) *tree.Tree {
	t.Helper()
	entries := []tree.Entry{stagetest.Link("lib", "usr/lib")}
	for _, dir := range []string{"etc/systemd", "usr/lib/systemd/system", "usr/lib/systemd/system-preset", "usr/local/lib/systemd"} {
		err := filepath.WalkDir("/"+dir, func(p string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case d.Type()&fs.ModeSymlink != 0:
				target, err := os.Readlink(p)
				entries = append(entries, stagetest.Link(p[1:], target))
				return err
			case d.Type().IsRegular():
				contents, err := os.ReadFile(p)
				entries = append(entries, stagetest.File(t, st, p[1:], string(contents)))
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return stagetest.Tree(t, entries...)
}

func TestListOfRealUnits(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := hostUnits(t, st)
	want := reported(t, extract(t, st, root))
	if len(want) < 100 {
		t.Fatalf("systemctl lists %d units of this machine; is systemd installed?", len(want))
	}
	compare(t, "list", listed(t, st, root), want)
}

// links are the symbolic links and unit files below /etc and /usr, one a line.
func links(root *tree.Tree) []string {
	var lines []string
	for _, e := range root.Entries() {
		switch e.Type {
		case tree.Symlink:
			lines = append(lines, e.Path+" → "+e.Target)
		case tree.Regular, tree.Directory:
			lines = append(lines, e.Path)
		}
	}
	return lines
}

func linksOf(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(p)
			lines = append(lines, rel+" → "+target)
			return err
		}
		lines = append(lines, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestChangesAsSystemctl makes the same changes with the real systemctl and compares all files and links.
func TestChangesAsSystemctl(t *testing.T) {
	st := stagetest.Cache(t).Store
	e := fixture(t, st).Edit()
	e.Remove("etc/systemd/system/loop1.service") // with a loop anywhere, systemctl disables nothing without an error
	e.Remove("etc/systemd/system/loop2.service")
	root, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ verb, unit string }{
		{"enable", "disabled.service"},
		{"enable", "disabled"},
		{"enable", "enabled.service"},
		{"enable", "static.service"},
		{"enable", "aliased.service"},
		{"enable", "byname.service"},
		{"enable", "unknown.service"},
		{"enable", "masked.service"},
		{"enable", "vendor-masked.service"},
		{"enable", "also.service"},
		{"enable", "also.socket"},
		{"enable", "getty@.service"},
		{"enable", "getty@tty5.service"},
		{"enable", "serial@.service"},
		{"enable", "serial@ttyS1.service"},
		{"enable", "plain@.service"},
		{"enable", "plain@x.service"},
		{"enable", "linked.service"},
		{"enable", "nowhere.service"},
		{"enable", "dangling.service"},
		{"enable", "wrongkind.service"},
		{"enable", "generated.service"},
		{"enable", "override.service"},
		{"enable", "dropin.service"},
		{"enable", "reset.service"},
		{"enable", "local.service"},
		{"enable", "required.service"},
		{"enable", "continued.service"},
		{"enable", "var-x.mount"},
		{"enable", "default.target"},
		{"enable", "tmpl-alias@i.service"},
		{"enable", "inst@b.service"},
		{"disable", "enabled.service"},
		{"disable", "disabled.service"},
		{"disable", "aliased.service"},
		{"disable", "dbus-org.x.service"},
		{"disable", "unknown.service"},
		{"disable", "byname.service"},
		{"disable", "getty@.service"},
		{"disable", "getty@tty1.service"},
		{"disable", "serial@ttyS0.service"},
		{"disable", "linked.service"},
		{"disable", "linked2.service"},
		{"disable", "masked.service"},
		{"disable", "also.service"},
		{"disable", "nowhere.service"},
		{"disable", "dangling.service"},
		{"disable", "static.service"},
		{"mask", "enabled.service"},
		{"mask", "masked.service"},
		{"mask", "override.service"},
		{"mask", "linked.service"},
		{"mask", "nowhere.service"},
		{"mask", "getty@tty1.service"},
		{"mask", "serial@.service"},
	} {
		t.Run(c.verb+" "+c.unit, func(t *testing.T) {
			dir := extract(t, st, root)
			_, wantErr := systemctl(t, dir, c.verb, c.unit)
			var changes Changes
			switch c.verb {
			case "enable":
				changes.Enable = []string{c.unit}
			case "disable":
				changes.Disable = []string{c.unit}
			case "mask":
				changes.Mask = []string{c.unit}
			}
			changed, err := Apply(st, root, changes, stagetest.Epoch)
			// A unit without anything to link is no error for systemctl, which prints why; for a recipe it is one.
			nothing := err != nil && strings.Contains(err.Error(), "[Install] section says nothing")
			if nothing {
				changed, err = root, nil
			}
			if (err != nil) != (wantErr != nil) {
				t.Fatalf("we: %v; systemctl: %v", err, wantErr)
			}
			if err != nil {
				t.Logf("we: %v; systemctl: %v", err, wantErr)
				return
			}
			compare(t, c.verb, normal(links(changed)), normal(linksOf(t, dir)))
			compare(t, c.verb, listed(t, st, changed), reported(t, dir))
		})
	}
}

// normal calls the directory of units by one name: which of its two names systemd writes was decided when it was built.
func normal(lines []string) []string {
	for i := range lines {
		lines[i] = strings.Replace(lines[i], "→ /lib/systemd/system", "→ /usr/lib/systemd/system", 1)
	}
	return lines
}

func TestRemove(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := fixture(t, st)
	changed, err := Apply(st, root, Changes{Remove: []string{"aliased", "getty@.service", "override.service", "dropin.service"}}, stagetest.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"usr/lib/systemd/system/aliased.service", "etc/systemd/system/dbus-org.x.service", "usr/lib/systemd/system/getty@.service",
		"etc/systemd/system/getty.target.wants/getty@tty1.service", "etc/systemd/system/override.service", "usr/lib/systemd/system/override.service",
		"etc/systemd/system/dropin.service.d",
	} {
		if _, ok := changed.Lookup(name); ok {
			t.Errorf("/%s is still there", name)
		}
	}
	// Others in the same directory stay.
	if _, ok := changed.Lookup("etc/systemd/system/getty.target.wants/serial@ttyS0.service"); !ok {
		t.Error("the link of another unit is gone")
	}
	compare(t, "list", listed(t, st, changed), reported(t, extract(t, st, changed)))

	// The last link of a directory takes the directory with it.
	changed, err = Apply(st, changed, Changes{Remove: []string{"serial@.service"}}, stagetest.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := changed.Lookup("etc/systemd/system/getty.target.wants"); ok {
		t.Error("an empty directory is left")
	}
}

func TestRefused(t *testing.T) {
	st := stagetest.Cache(t).Store
	e := fixture(t, st).Edit()
	e.Put(stagetest.File(t, st, "usr/lib/systemd/system/host.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=%H.target\n"))
	root, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		changes Changes
		text    string
		missing bool
	}{
		{Changes{Enable: []string{"none"}}, "cannot enable none.service: there is no such unit file", true},
		{Changes{Remove: []string{"none.timer"}}, "cannot remove none.timer: there is no such unit file", true},
		{Changes{Disable: []string{"none"}}, "cannot disable none.service: there is no such unit file", true},
		{Changes{Enable: []string{"masked"}}, "cannot enable masked.service: it is masked by /etc/systemd/system/masked.service; remove the mask first", false},
		{Changes{Enable: []string{"a/b"}}, `cannot enable a/b: "a/b" is not the name of a unit`, false},
		{Changes{Enable: []string{"disabled"}, Mask: []string{"disabled.service"}}, "cannot mask disabled.service: enable names it too; leave it in one of them", false},
		{Changes{Enable: []string{"disabled"}, Disable: []string{"disabled"}}, "cannot disable disabled.service: enable names it too; leave it in one of them", false},
		{Changes{Mask: []string{"override"}}, "cannot mask override.service: /etc/systemd/system/override.service is already there, and is a file", false},
		{Changes{Enable: []string{"host"}}, `cannot enable host.service: "%H.target" has the specifier %H, which only the running machine knows; write what it should be`, false},
		{Changes{Enable: []string{"serial@"}}, `cannot enable serial@.service: it is a template without DefaultInstance=, and getty.target can only want an instance; name one, as in serial@NAME.service`, false},
	} {
		_, err := Apply(st, root, c.changes, stagetest.Epoch)
		if err == nil || err.Error() != c.text || errors.Is(err, ErrNotFound) != c.missing {
			t.Errorf("%+v: %v", c.changes, err)
		}
	}
}

// TestPresetIgnore is about what systemctl knows since version 254.
func TestPresetIgnore(t *testing.T) {
	rules := presetRules{{"ignored", "also.*"}, {"disabled", "[!a]*"}, {"enabled", `x\x2dy.service`}}
	for name, want := range map[string]string{"also.socket": "ignored", "b.service": "disabled", "a.service": "enabled"} {
		if got := rules.query(name); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	got := Parse("A=outside\n[Install]\n; comment\nB = 1 \\\n# inside\n  2\nnonsense\n[X]\nC=a\\\\\nD=\n")
	want := []Assignment{{"", "A", "outside", 1}, {"Install", "B", "1    2", 4}, {"X", "C", `a\\`, 9}, {"X", "D", "", 10}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := Words(`a "b c" 'd'e  ""`); !slices.Equal(got, []string{"a", "b c", "de", ""}) {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[Install]\nWantedBy=a.target \\\n b.target\nAlias=%p-%i.service\nDefaultInstance=x\nAlso=%n\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"a.service", "a@.service", "a@b.service"} {
			var i install
			_ = i.parse(name, text)
			for _, list := range [][]string{i.aliases, i.wantedBy, i.requiredBy} {
				for _, word := range list {
					_, _ = i.expand(name, word)
				}
			}
		}
	})
}

func BenchmarkList(b *testing.B) {
	st := stagetest.Cache(b).Store
	root := hostUnits(b, st)
	units, err := List(st, root)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d units", len(units))
	for b.Loop() {
		if _, err := List(st, root); err != nil {
			b.Fatal(err)
		}
	}
}
