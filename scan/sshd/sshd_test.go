package sshd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/files/filestest"
)

func TestRead(t *testing.T) {
	r := filestest.Root(t, map[string]string{
		"etc/ssh/sshd_config": "# comment\nInclude /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\nX11Forwarding=yes # why\nMaxAuthTries 5\n" +
			"ChallengeResponseAuthentication no\nMatch User bob,\"al ice\" Address 10.0.0.0/8\n  PasswordAuthentication yes\n  Include matched.conf\nMatch all\nMaxAuthTries 3\nX11Forwarding no\n",
		"etc/ssh/sshd_config.d/10-a.conf":      "passwordauthentication no\nMatch Group wheel\nPermitRootLogin no\n",
		"etc/ssh/sshd_config.d/20-b.conf":      "PasswordAuthentication yes\nLoginGraceTime 1m30s\n",
		"etc/ssh/sshd_config.d/.hidden.conf":   "LogLevel QUIET\n",
		"etc/ssh/sshd_config.d/30-c.conf.save": "LogLevel QUIET\n",
		"etc/ssh/matched.conf":                 "AllowTcpForwarding no\n",
	})
	c, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ keyword, value, path string }{
		{"PasswordAuthentication", "no", "/etc/ssh/sshd_config.d/10-a.conf"},
		{"PermitRootLogin", "yes", "/etc/ssh/sshd_config"}, // the drop-in's Match ends with its file
		{"x11forwarding", "no", "/etc/ssh/sshd_config"},
		{"KbdInteractiveAuthentication", "no", "/etc/ssh/sshd_config"},
		{"LoginGraceTime", "1m30s", "/etc/ssh/sshd_config.d/20-b.conf"},
		{"MaxAuthTries", "3", "/etc/ssh/sshd_config"}, // Match all always holds, and comes first
		{"LogLevel", "", ""},
		{"AllowTcpForwarding", "", ""},
	} {
		s, ok := c.Global(test.keyword)
		if ok != (test.path != "") || s.Value != test.value || s.Path != test.path {
			t.Errorf("%s: %+v (%v)", test.keyword, s, ok)
		}
	}
	if m := c.Matches("AllowTcpForwarding"); len(m) != 1 || m[0].Match != "User bob,al ice Address 10.0.0.0/8" || m[0].Path != "/etc/ssh/matched.conf" {
		t.Errorf("AllowTcpForwarding in Match: %+v", m)
	}
	if m := c.Matches("PasswordAuthentication"); len(m) != 1 || m[0].Line != 8 {
		t.Errorf("PasswordAuthentication in Match: %+v", m)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, contents := range map[string]map[string]string{
		"there is no /etc/ssh/sshd_config":                             {},
		"/etc/ssh/sshd_config, line 2: a quote is not closed":          {"etc/ssh/sshd_config": "\nBanner \"/etc/issue\n"},
		"/etc/ssh/sshd_config: more than 16 files include each other":  {"etc/ssh/sshd_config": "Include /etc/ssh/sshd_config\n"},
		"line 1: Include /etc/* matches the directory /etc/ssh, which": {"etc/ssh/sshd_config": "Include /etc/*\n"},
	} {
		if _, err := Read(filestest.Root(t, contents)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
	if _, err := Read(filestest.Root(t, nil)); !errors.Is(err, ErrNoConfig) {
		t.Error(err)
	}
}

// server returns the program sshd, of the package openssh-server, which is unpacked
// and not installed: nothing is to listen on the host.
func server(t testing.TB) (program, libraries string) {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(base, "imagefactory-test-packages")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(cache, "lock")) // other tests keep packages there
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "sshd")
	if _, err := os.Stat(dir); err != nil {
		work, err := os.MkdirTemp(cache, "new-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(work)
		script := "apt-get download -q openssh-server libwrap0 && for deb in *.deb; do dpkg-deb -x $deb root; done && chmod 755 root"
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the package openssh-server, which this test needs: %v\n%s", err, out)
		}
		if err := os.Rename(filepath.Join(work, "root"), dir); err != nil {
			t.Fatal(err)
		}
	}
	// Out of the cache, which an ordinary user cannot reach below root's home.
	copied := t.TempDir()
	if out, err := exec.Command("cp", "-a", dir+"/.", copied).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(copied, "usr/lib/*/libwrap.so.0"))
	if err != nil || len(found) != 1 {
		t.Fatalf("libwrap: %v %v", found, err)
	}
	return filepath.Join(copied, "usr/sbin/sshd"), filepath.Dir(found[0])
}

// effective returns what sshd -T prints for a configuration, by keyword; the error is
// sshd's.
func effective(program, libraries, dir string) (map[string]string, error) {
	cmd := exec.Command(program, "-T", "-f", filepath.Join(dir, "etc/ssh/sshd_config"), "-h", filepath.Join(dir, "key"))
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
	if os.Geteuid() == 0 {
		// As root it wants an account sshd, which this host need not have.
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		values[keyword] = value
	}
	return values, nil
}

// reachable returns a directory which, like that of the libraries, an ordinary user
// reaches, with a host key of theirs.
func reachable(t testing.TB, libraries string) string {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{top, libraries} {
		for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := filepath.Join(top, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chown(key, 65534, 65534); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	return top
}

// The defaults of the rules are sshd's own, and it knows their keywords.
func TestDefaults(t *testing.T) {
	program, libraries := server(t)
	dir := reachable(t, libraries)
	config := filepath.Join(dir, "etc/ssh/sshd_config")
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	effectively := func(text string) map[string]string {
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		values, err := effective(program, libraries, dir)
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	defaults := effectively("")
	for _, name := range baselines.Names() {
		p, err := baselines.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Rules {
			if r.Kind != baselines.SSHD {
				continue
			}
			if got := Normal(r.Key, defaults[Canonical(r.Key)]); got != Normal(r.Key, r.Default) {
				t.Errorf("%s: the default of %s is %s, not %s", r.ID, r.Key, got, r.Default)
			}
			for _, value := range append([]string{r.Value}, r.Accept...) {
				if got := Normal(r.Key, effectively(r.Key + " " + value + "\n")[Canonical(r.Key)]); got != Normal(r.Key, value) || got != value {
					t.Errorf("%s: sshd makes %s of %s %s", r.ID, got, r.Key, value)
				}
			}
		}
	}
}

// What we find set is what sshd -T prints, for configurations with everything that
// the language has.
func TestAsSSHD(t *testing.T) {
	program, libraries := server(t)
	top := reachable(t, libraries)
	keywords := map[string][]string{
		"PermitRootLogin":                 {"yes", "no", "prohibit-password", "without-password", "forced-commands-only", "No"},
		"PasswordAuthentication":          {"yes", "no", "YES"},
		"ChallengeResponseAuthentication": {"yes", "no"},
		"KbdInteractiveAuthentication":    {"yes", "no"},
		"PermitEmptyPasswords":            {"yes", "no"},
		"X11Forwarding":                   {"yes", "no"},
		"MaxAuthTries":                    {"3", "6"},
		"LoginGraceTime":                  {"30", "2m", "1m30s", "0"},
		"LogLevel":                        {"INFO", "verbose"},
		"IgnoreRhosts":                    {"yes", "no", "shosts-only"},
		"StrictModes":                     {"yes", "no"},
		"ClientAliveInterval":             {"10m", "300"},
		"AllowTcpForwarding":              {"yes", "no", "local"},
		"Banner":                          {"/etc/issue", "\"/etc/issue net\""},
		"HostbasedAuthentication":         {"yes", "no"},
	}
	names := make([]string, 0, len(keywords))
	for name := range keywords {
		names = append(names, name)
	}
	slices.Sort(names)
	random := rand.New(rand.NewPCG(1, 2))
	setting := func() string {
		name := names[random.IntN(len(names))]
		value := keywords[name][random.IntN(len(keywords[name]))]
		switch random.IntN(5) {
		case 0:
			name = strings.ToUpper(name)
		case 1:
			return "\t" + name + "=" + value + "\n"
		case 2:
			return name + " = " + value + "  # a comment\n"
		case 3:
			if !strings.HasPrefix(value, "\"") {
				value = strconv.Quote(value)
			}
		}
		return name + " " + value + "\n"
	}
	text := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(setting())
			if random.IntN(4) == 0 {
				b.WriteString("# " + setting() + "\n")
			}
		}
		return b.String()
	}
	compared := 0
	for i := range 25 {
		dir := filepath.Join(top, strconv.Itoa(i))
		contents := map[string]string{
			"etc/ssh/sshd_config.d/50-b.conf": text(3), "etc/ssh/sshd_config.d/10-a.conf": text(2), "etc/ssh/sshd_config.d/.h.conf": text(2),
			"etc/ssh/other.conf": text(2),
		}
		if random.IntN(2) == 0 {
			contents["etc/ssh/sshd_config.d/20-m.conf"] = text(1) + "Match User nobody\nPasswordAuthentication yes\nX11Forwarding yes\n"
		}
		main := text(random.IntN(3)) + "Include /etc/ssh/sshd_config.d/*.conf\n" + text(4) + "Include /etc/ssh/other.conf\n"
		if random.IntN(2) == 0 {
			main += "Match Address 192.0.2.0/24\n  PermitRootLogin yes\n  Banner /x\nMatch all\n" + "MaxAuthTries 2\n"
		}
		contents["etc/ssh/sshd_config"] = main
		for path, text := range contents {
			path = filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/etc/ssh/", dir+"/etc/ssh/")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Link(filepath.Join(top, "key"), filepath.Join(dir, "key")); err != nil {
			t.Fatal(err)
		}
		want, err := effective(program, libraries, dir)
		if err != nil {
			t.Fatalf("sshd refuses %q: %v", contents, err)
		}
		c, err := Read(filestest.Root(t, contents))
		if err != nil {
			t.Fatalf("%v\n%q", err, contents)
		}
		for _, name := range names {
			s, ok := c.Global(name)
			if !ok {
				continue // the default, which the rules' data has
			}
			compared++
			if got, want := Normal(name, s.Value), Normal(name, want[Canonical(name)]); got != want {
				t.Errorf("%s is %q (%s:%d), but sshd says %q\n%q", name, got, s.Path, s.Line, want, contents)
			}
		}
	}
	if compared < 100 {
		t.Errorf("only %d settings were compared", compared)
	}
	t.Logf("%d settings compared", compared)
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "90": 90, "2m": 120, "1h30m": 5400, "1H": 3600, "1d1s": 86401, "": -1, "m": -1, "1x": -1, "99999999999999999999": -1} {
		got, ok := Seconds(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"A b", "A=b", " a = \"b c\" # d", "\"A\" b", "A 'b", `A \"b`, "a=\\", "=", "\"\" x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		keyword, arguments, err := Split(line)
		if err != nil {
			return
		}
		if keyword == "" && arguments != nil {
			t.Fatalf("%q has arguments and no keyword", line)
		}
		total := 0
		for _, a := range arguments {
			total += len(a)
		}
		if total > len(line) {
			t.Fatalf("%q gives more than it has: %q", line, arguments)
		}
		for _, a := range arguments {
			Normal(keyword, a)
		}
	})
}
