package session

import (
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// clean cleans the tree of entries and returns it as text.
func clean(t *testing.T, st *store.Store, rules Rules, entries ...tree.Entry) string {
	t.Helper()
	cleaned, err := Clean(st, stagetest.Tree(t, entries...), rules, stagetest.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return stagetest.Text(t, st, cleaned)
}

func TestCleanRemoves(t *testing.T) {
	st := stagetest.Cache(t).Store
	file := func(path string) tree.Entry { return stagetest.File(t, st, path, "") }
	all := []tree.Entry{
		file("etc/ssh/ssh_host_rsa_key"), file("etc/ssh/ssh_host_rsa_key.pub"), file("etc/ssh/sshd_config"),
		file("var/log/a.log"), file("var/log/b.log"), file("var/log/sub/c.log"), file("run/x/y"), file("run/z"),
		stagetest.Link("link", "run"),
	}
	const (
		ssh = "etc/\netc/ssh/\n"
		key = "etc/ssh/ssh_host_rsa_key \"\"\netc/ssh/ssh_host_rsa_key.pub \"\"\n"
		cfg = "etc/ssh/sshd_config \"\"\nlink -> run\n"
		run = "run/\nrun/x/\nrun/x/y \"\"\nrun/z \"\"\n"
		log = "var/\nvar/log/\nvar/log/a.log \"\"\nvar/log/b.log \"\"\nvar/log/sub/\nvar/log/sub/c.log \"\"\n"
	)
	for _, test := range []struct {
		patterns []string
		want     string
	}{
		{nil, ssh + key + cfg + run + log},
		{[]string{"/etc/ssh/ssh_host_*"}, ssh + cfg + run + log},
		{[]string{"/etc/ssh/ssh_host_rsa_key.???", "/etc/ssh/ssh_host_rsa_key"}, ssh + cfg + run + log},
		{[]string{"/etc/ssh/ssh_host_[rd]*", "/run/**"}, ssh + cfg + "run/\n" + log},
		{[]string{"/run"}, ssh + key + cfg + log},
		{[]string{"/*/*/*.log"}, ssh + key + cfg + run + "var/\nvar/log/\nvar/log/sub/\nvar/log/sub/c.log \"\"\n"},
		{[]string{"/var/log/**", "/nowhere/**", "/etc/ssh/sshd_config/**", "/var/log/a.log"}, ssh + key + cfg + run + "var/\nvar/log/\n"},
		{[]string{"/link/**", "/link/x/y"}, ssh + key + cfg + run + log}, // never through links
		{[]string{"/link"}, ssh + key + "etc/ssh/sshd_config \"\"\n" + run + log},
	} {
		if got := clean(t, st, Rules{Remove: test.patterns}, all...); got != test.want {
			t.Errorf("%q:\n%s\nwant\n%s", test.patterns, got, test.want)
		}
	}
	_, err := Clean(st, stagetest.Tree(t, all...), Rules{Remove: []string{"/etc/[x"}}, 0)
	if want := "pattern /etc/[x: syntax error in pattern"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestCleanTruncates(t *testing.T) {
	st := stagetest.Cache(t).Store
	rules := Rules{Truncate: []string{"/etc/machine-id"}}
	for name, test := range map[string]struct {
		entries []tree.Entry
		want    string
	}{
		"made where it is missing": {[]tree.Entry{stagetest.Dir("etc")}, "etc/\netc/machine-id \"\"\n"},
		"no directory for it":      {nil, ""},
		"emptied, mode kept":       {[]tree.Entry{stagetest.Mode(stagetest.File(t, st, "etc/machine-id", "abc\n"), 0o444)}, "etc/\netc/machine-id 0444 \"\"\n"},
		"a link stays":             {[]tree.Entry{stagetest.Link("etc/machine-id", "/run/machine-id")}, "etc/\netc/machine-id -> /run/machine-id\n"},
	} {
		if got := clean(t, st, rules, test.entries...); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	// The other names of the file keep its contents.
	a, b, c := stagetest.File(t, st, "etc/machine-id", "id"), stagetest.File(t, st, "etc/other", "id"), stagetest.File(t, st, "etc/third", "id")
	a.Link, b.Link, c.Link = 1, 1, 1
	if got, want := clean(t, st, rules, a, b, c), "etc/\netc/machine-id \"\"\netc/other link1 \"id\"\netc/third link1 \"id\"\n"; got != want {
		t.Errorf("hard links: %q, want %q", got, want)
	}
}

func TestCleanClampsTimes(t *testing.T) {
	st := stagetest.Cache(t).Store
	at := func(e tree.Entry, sec int64, nsec uint32) tree.Entry {
		e.MTime = tree.Time{Sec: sec, Nsec: nsec}
		return e
	}
	a, b := at(stagetest.File(t, st, "d/a", ""), stagetest.Epoch+5, 0), at(stagetest.File(t, st, "d/b", ""), stagetest.Epoch+5, 0)
	a.Link, b.Link = 1, 1
	got := clean(t, st, Rules{}, at(stagetest.Dir("d"), stagetest.Epoch, 1), a, b,
		at(stagetest.File(t, st, "old", ""), 5, 999999999), at(stagetest.Link("link", "x"), 1<<40, 3), stagetest.File(t, st, "same", ""))
	if want := "d/\nd/a link1 \"\"\nd/b link1 \"\"\nlink -> x\nold @5.999999999 \"\"\nsame \"\"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCleanClampsPasswordChanges(t *testing.T) {
	st := stagetest.Cache(t).Store
	const day = stagetest.Epoch / 86400 // 11574
	shadow := func(text string) tree.Entry {
		return stagetest.Owner(stagetest.Mode(stagetest.File(t, st, "etc/shadow", text), 0o640), 0, 42)
	}
	got := clean(t, st, Rules{}, shadow("root:*:20000:0:99999:7:::\nold:!:11573:0:99999:7:::\nexact:!:11574::::::\nnever:!::0:99999:7:::\n+::::\n\nlast:*:99999999:::"))
	want := "etc/\netc/shadow 0640 0:42 \"root:*:11574:0:99999:7:::\\nold:!:11573:0:99999:7:::\\nexact:!:11574::::::\\nnever:!::0:99999:7:::\\n+::::\\n\\nlast:*:11574:::\"\n"
	if got != want || day != 11574 {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for _, e := range []tree.Entry{shadow(""), stagetest.Link("etc/shadow", "nowhere"), stagetest.Dir("etc/shadow")} {
		if got, want := clean(t, st, Rules{}, e), stagetest.Text(t, st, stagetest.Tree(t, e)); got != want {
			t.Errorf("%s changed to %s", want, got)
		}
	}
}
