// Package usertest lets tests that run as root do something really as an ordinary
// user: it creates one, with a home directory and ranges of subordinate ids as
// useradd gives them out, and removes it when the test has ended.
package usertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// User is an ordinary user of the host.
type User struct {
	Name     string
	UID, GID uint32
	Home     string // a directory of the user's own
}

// Option changes how New makes a user.
type Option int

// WithoutRange makes a user without subordinate ids.
const WithoutRange Option = 1

// namePrefix begins the names of all users that New makes; the process id of the
// test follows.
const namePrefix = "iftest"

// count tells the users of one process from each other.
var count atomic.Int32

// New creates a user for the time of the test. The test fails when it does not run
// as root or the host lacks useradd.
func New(t testing.TB, options ...Option) *User {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("only root can create a user: run this test as root")
	}
	removeStale(t)
	name := fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), count.Add(1))
	run(t, "useradd", "--create-home", "--no-log-init", "--shell", "/bin/sh", name)
	t.Cleanup(func() { run(t, "userdel", "--remove", name) })
	found, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	u := &User{Name: name, Home: found.HomeDir, UID: number(t, found.Uid), GID: number(t, found.Gid)}
	without := false
	for _, o := range options {
		without = without || o == WithoutRange
	}
	for _, f := range []struct{ path, add, del string }{
		{"/etc/subuid", "--add-subuids", "--del-subuids"},
		{"/etc/subgid", "--add-subgids", "--del-subgids"},
	} {
		first, n := subordinate(t, f.path, name)
		switch {
		case without && n > 0:
			run(t, "usermod", f.del, fmt.Sprintf("%d-%d", first, first+n-1), name)
		case !without && n < 1<<16:
			// Far above what useradd gives out, and apart from each other.
			first := 1<<30 + int(u.UID)<<16
			run(t, "usermod", f.add, fmt.Sprintf("%d-%d", first, first+1<<16-1), name)
		}
	}
	return u
}

// removeStale removes the users of tests that were killed.
func removeStale(t testing.TB) {
	t.Helper()
	p, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(p)) {
		name, _, _ := strings.Cut(line, ":")
		rest, ours := strings.CutPrefix(name, namePrefix)
		pid, _, numbered := strings.Cut(rest, "-")
		if _, err := strconv.ParseUint(pid, 10, 32); !ours || !numbered || err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); !os.IsNotExist(err) {
			continue
		}
		// Another test may be removing it as well.
		if out, err := exec.Command("/usr/sbin/userdel", "--remove", name).CombinedOutput(); err != nil {
			t.Logf("userdel %s: %v: %s", name, err, out)
		}
	}
}

// run runs an administrator's program, found even where PATH has no sbin.
func run(t testing.TB, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path = filepath.Join("/usr/sbin", program)
	}
	cmd := exec.Command(path, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s(the packages passwd and uidmap, or shadow-utils, have these programs)", cmd, err, out)
	}
}

func number(t testing.TB, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// subordinate returns the user's first range in the file.
func subordinate(t testing.TB, path, name string) (first, n int) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(p)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 3 && fields[0] == name {
			return int(number(t, fields[1])), int(number(t, fields[2]))
		}
	}
	return 0, 0
}

// Command returns a command that runs as the user, in the user's home, with the
// environment of a fresh login and nothing of the test's.
func (u *User) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = u.Home
	cmd.Env = []string{
		"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name, "SHELL=/bin/sh",
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "TMPDIR=" + u.Home,
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID},
		Setsid:     true,
	}
	return cmd
}

// Chown gives files that the test has made to the user.
func (u *User) Chown(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Chown(path, int(u.UID), int(u.GID)); err != nil {
			t.Fatal(err)
		}
	}
}

// Run runs the tests of the calling test binary whose names match pattern again,
// as the user, and reports their result as the test's own. Additional environment
// variables are "NAME=value".
func (u *User) Run(t *testing.T, pattern string, env ...string) {
	t.Helper()
	// Through /proc: the go tool's temporary directory is closed to others.
	cmd := u.Command(t.Context(), "/proc/self/exe", "-test.run="+pattern, "-test.v", "-test.count=1")
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Logf("as %s:\n%s", u.Name, out.Bytes())
	if err != nil {
		t.Errorf("%s as %s: %v", pattern, u.Name, err)
	}
	if !bytes.Contains(out.Bytes(), []byte("--- PASS")) && err == nil {
		t.Errorf("%s as %s: no test ran", pattern, u.Name)
	}
}
