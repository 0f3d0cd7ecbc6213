package target

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/accounts"
)

// accountsRoot makes a root with databases that already have some accounts.
func accountsRoot(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// databases returns what a root's databases say, the password file first.
func databases(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"} {
		p, err := os.ReadFile(filepath.Join(root, path))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		b.WriteString(path + ":\n" + string(p))
	}
	return b.String()
}

// TestAddAccounts compares the databases with those that systemd-sysusers leaves.
func TestAddAccounts(t *testing.T) {
	program, err := exec.LookPath("systemd-sysusers")
	if err != nil {
		t.Fatalf("%v: make test installs what the tests need", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	base := map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\ntaken:x:998:997::/:/bin/sh\n", "etc/group": "root:x:0:\nwheel:x:10:adam\ntaken:x:997:\nonly:x:600:\n",
		"etc/shadow": "root:!:::::::\n", "etc/gshadow": "root:*::\nwheel:*::adam\n", "owned/file": "",
	}
	for _, lines := range []string{
		`u dnsmasq - "Dnsmasq DHCP and DNS server" /var/lib/dnsmasq`,
		`u fixed 77 - - /bin/bash`,
		"g groups -\ng another 55\ng root -",
		"u one -\nu two -\nu three - 'The third'\n",
		`u root 0 "Super User" /root`,
		"u with 80:wheel\nu number 81:600\n",
		`u only - "a group has the name"`,
		"m adam wheel\nm eve wheel\nm eve only",
		"u taken 5\nu other 998\ng third 997",
		"u owner /owned/file\ng ownergroup /owned/file",
		"u missing /no/such/file",
		"# a comment\n\nu spaced \t -   \"with 'quotes'\"\n",
		"r - 500-900\n",
	} {
		mine, theirs := accountsRoot(t, base), accountsRoot(t, base)
		if err := addAccounts(mine, strings.Split(lines, "\n")); err != nil {
			t.Errorf("%q: %v", lines, err)
			continue
		}
		cmd := exec.Command(program, "--root="+theirs, "-")
		cmd.Stdin = strings.NewReader(lines + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", lines, err, out)
		}
		if got, want := databases(t, mine), databases(t, theirs); got != want {
			t.Errorf("%q gives\n%swith systemd-sysusers\n%s", lines, got, want)
		}
	}
}

// TestAddAccountsToNothing is about a root without databases, and about lines that
// systemd of some hosts does not know.
func TestAddAccountsToNothing(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	root := accountsRoot(t, map[string]string{"etc/shadow": ""})
	if err := addAccounts(root, []string{"u! locked -", "g more -"}); err != nil {
		t.Fatal(err)
	}
	const want = `etc/passwd:
locked:x:998:998::/:/usr/sbin/nologin
etc/group:
more:x:999:
locked:x:998:
etc/shadow:
locked:!*:11574:::::1:
etc/gshadow:
`
	if got := databases(t, root); got != want {
		t.Errorf("databases\n%swant\n%s", got, want)
	}
}

func TestAddAccountsFails(t *testing.T) {
	for line, want := range map[string]string{
		`u a:b -`:        `"a:b" holds a colon or a control character`,
		`u a/b -`:        `"a/b" is not a name`,
		`u a - "b:c"`:    `"b:c" holds a colon or a control character`,
		"u a - b\nroot":  `"b\nroot" holds a colon or a control character`,
		`u`:              `"" is not a name`,
		`u a x`:          `"x" is not the number of a user or group`,
		`g a 4294967295`: `"4294967295" is not the number of a user or group`,
		`u a 5:nonsense`: `there is no group "nonsense"`,
		`m a`:            `"" is not the name of a group`,
		`u a - "unended`: `a quotation mark is missing`,
	} {
		want = fmt.Sprintf("the line %q of sysusers.d(5): %s", line, want)
		if err := addAccounts(t.TempDir(), []string{line}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// FuzzAddAccounts feeds lines of packages. Whatever they are, the databases stay
// readable, and nobody becomes root.
func FuzzAddAccounts(f *testing.F) {
	for _, seed := range []string{"u a 5:6 \"x y\" /home /bin/sh", "g b /etc/passwd\nm a b", "u! 'q' -", "r - 1-5", "u \" -", "m x y\nm x y", "u a -:0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		root := accountsRoot(t, map[string]string{"etc/shadow": "", "etc/gshadow": ""})
		a := &adder{root: root, db: &accounts.Database{Users: []accounts.User{{Name: "root"}}, Groups: []accounts.Group{{Name: "root"}}}}
		for line := range strings.SplitSeq(text, "\n") {
			if fields, err := splitFields(line); err == nil && len(fields) > 0 {
				_ = a.add(fields)
			}
		}
		if err := a.save(); err != nil {
			t.Fatal(err)
		}
		after, err := accounts.Read(a.root)
		if err != nil {
			t.Fatal(err)
		}
		if len(after.Users) != len(a.users) || len(after.Groups) != len(a.groups) {
			t.Errorf("%q: the files have %d users and %d groups, %d and %d were added", text, len(after.Users), len(after.Groups), len(a.users), len(a.groups))
		}
		for _, u := range after.Users {
			if u.UID == 0 {
				t.Errorf("%q: %s is root", text, u.Name)
			}
		}
	})
}
