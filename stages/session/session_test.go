package session

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// fixture is a root in which shell scripts run.
type fixture struct {
	*testing.T
	cache    *stages.Cache
	pool     *sandbox.Pool
	programs []tree.Entry
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, cache: stagetest.Cache(t)}
	f.pool = stagetest.Pool(t, f.cache)
	f.programs = stagetest.Programs(t, f.cache.Store, "sh", "rm", "mv", "ln", "mkdir", "cat", "touch", "printenv")
	return f
}

func (f *fixture) file(path, contents string) tree.Entry {
	return stagetest.File(f, f.cache.Store, path, contents)
}

func (f *fixture) tree(entries ...tree.Entry) *tree.Tree {
	return stagetest.Tree(f, append(entries, f.programs...)...)
}

// text shows a tree without the programs.
func (f *fixture) text(t *tree.Tree) string {
	edit := t.Edit()
	for _, dir := range []string{"usr/bin", "usr/lib", "bin", "lib", "lib64"} {
		edit.Remove(dir)
	}
	rest, err := edit.Tree()
	if err != nil {
		f.Fatal(err)
	}
	return stagetest.Text(f, f.cache.Store, rest)
}

// run runs a shell script in a session and returns the tree and the log.
func (f *fixture) run(t *tree.Tree, o Options, script string) (*tree.Tree, string, error) {
	f.Helper()
	if o.Epoch == 0 {
		o.Epoch = stagetest.Epoch
	}
	return stagetest.Run(f, f.cache, func(ctx context.Context, run *stages.Run) (*tree.Tree, error) {
		return Run(ctx, run, f.pool, t, o, func(ctx context.Context, s *Session) error {
			return s.Run(ctx, Command{Name: "the script", Args: []string{"/bin/sh", "-e", "-c", script}, Env: map[string]string{"OWN": "1", "BOTH": "command"}})
		})
	})
}

func TestRunTakesChangesBack(t *testing.T) {
	f := newFixture(t)
	before := f.tree(f.file("etc/old", "old\n"), f.file("etc/changed", "before\n"), f.file("etc/kept", "kept\n"))
	after, log, err := f.run(before, Options{Env: map[string]string{"BOTH": "a session", "SESSION": "2"}}, `
		rm /etc/old
		echo after >/etc/changed
		mkdir -p /srv/new; ln -s ../etc/kept /srv/new/link
		printenv OWN BOTH SESSION SOURCE_DATE_EPOCH >/srv/env
		echo one; echo two >&2; printf three`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.text(after), `etc/
etc/changed "after\n"
etc/kept "kept\n"
srv/
srv/env "1\ncommand\n2\n1000000000\n"
srv/new/
srv/new/link -> ../etc/kept
usr/
`; got != want {
		t.Errorf("the tree is\n%s\nwant\n%s", got, want)
	}
	if want := "the script: one\nthe script: two\nthe script: three\n"; log != want {
		t.Errorf("log %q, want %q", log, want)
	}
}

// TestFilesOfTheSession is about files that exist while scripts run: whatever those do
// to them, the result has at their paths what was there before.
func TestFilesOfTheSession(t *testing.T) {
	f := newFixture(t)
	policy := File{Path: "/sbin/policy", Content: "#!/bin/sh\nexit 101\n", Mode: 0o755}
	unchanged := []string{
		"true", "echo other >/sbin/policy; mv /sbin/policy /sbin/.policy; mv /sbin/.policy /sbin/policy", "rm /sbin/policy", "rm /sbin/policy; mkdir -p /sbin/policy/dir; touch /sbin/policy/dir/file",
		"rm /sbin/policy; ln -s /etc/passwd /sbin/policy",
	}
	own := stagetest.Owner(stagetest.Mode(f.file("sbin/policy", "the image's own\n"), 0o4750), 0, 7)
	for _, before := range []*tree.Tree{
		f.tree(f.file("sbin/init", ""), own),
		f.tree(f.file("sbin/init", ""), stagetest.Link("sbin/policy", "nowhere")),
	} {
		for _, script := range unchanged {
			after, _, err := f.run(before, Options{Files: []File{policy}}, "/sbin/policy || [ $? = 101 ]; "+script)
			if err != nil {
				t.Errorf("%s: %v", script, err)
			} else if got, want := f.text(after), f.text(before); got != want && !onlyTimes(before, after) {
				t.Errorf("%s: the tree is\n%s\nwant\n%s", script, got, want)
			}
		}
	}
}

// onlyTimes reports whether trees differ in nothing but the times of directories.
func onlyTimes(a, b *tree.Tree) bool {
	for _, c := range tree.Diff(a, b) {
		if c.Before == nil || c.After == nil || c.Before.Type != tree.Directory {
			return false
		}
		after := *c.After
		after.MTime = c.Before.MTime
		if !after.Equal(c.Before) {
			return false
		}
	}
	return true
}

func TestFilesOfTheSessionMove(t *testing.T) {
	f := newFixture(t)
	policy := File{Path: "/sbin/policy", Content: "temporary", Mode: 0o755}
	own := f.file("sbin/policy", "own")
	for _, test := range []struct {
		name, script string
		before       *tree.Tree
		want         string
	}{
		{"the directory is removed", "rm -r /sbin", f.tree(own), "usr/\n"},
		{"the directory becomes a file", "rm -r /sbin; echo >/sbin", f.tree(own), "sbin \"\\n\"\nusr/\n"},
		{"the directory moves and a link stays", "mv /sbin /usr/sbin; ln -s usr/sbin /sbin", f.tree(own), "sbin -> usr/sbin\nusr/\nusr/sbin/\nusr/sbin/policy \"own\"\n"},
		{"the same, with nothing of the image's", "mv /sbin /usr/sbin; ln -s usr/sbin /sbin", f.tree(stagetest.Dir("sbin")), "sbin -> usr/sbin\nusr/\nusr/sbin/\n"},
		{"a link from the start", "cat /sbin/policy", f.tree(stagetest.Link("sbin", "usr/sbin"), f.file("usr/sbin/x", "")), "sbin -> usr/sbin\nusr/\nusr/sbin/\nusr/sbin/x \"\"\n"},
		{"no such directory", "[ ! -e /sbin/policy ]", f.tree(), "usr/\n"},
	} {
		after, _, err := f.run(test.before, Options{Files: []File{policy}}, test.script)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := f.text(after); got != test.want {
			t.Errorf("%s: the tree is\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

func TestCommandError(t *testing.T) {
	f := newFixture(t)
	_, log, err := f.run(f.tree(), Options{}, `i=1; while [ $i -le 30 ]; do echo "line $i"; i=$((i+1)); done; printf 'the end \377\r\n'; exit 7`)
	var failed *CommandError
	var exit *sandbox.ExitError
	if !errors.As(err, &failed) || !errors.As(err, &exit) || exit.Status != 7 {
		t.Fatalf("error %v", err)
	}
	if want := "the script: /bin/sh failed with exit status 7; it printed last:\nline 12\n"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want it to begin with %q", err, want)
	}
	if want := "line 30\nthe end \uFFFD"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %q, want it to end with %q", err, want)
	}
	if n := strings.Count(log, "\n"); n != 31 {
		t.Errorf("the log has %d lines, want all 31", n)
	}

	_, _, err = f.run(f.tree(), Options{}, "exit 1")
	if want := "the script: /bin/sh failed with exit status 1"; err == nil || err.Error() != want {
		t.Errorf("without output: %v, want %s", err, want)
	}
	_, _, err = f.run(stagetest.Tree(t, f.file("x", "")), Options{}, "")
	if err == nil || !strings.HasPrefix(err.Error(), "the script: ") || errors.As(err, &failed) {
		t.Errorf("without a shell: %v", err)
	}
}

// What a command prints can be had besides the log, or instead of it.
func TestRunStreams(t *testing.T) {
	f := newFixture(t)
	var stdout, stderr strings.Builder
	_, log, err := stagetest.Run(f, f.cache, func(ctx context.Context, run *stages.Run) (*tree.Tree, error) {
		return Run(ctx, run, f.pool, f.tree(), Options{Epoch: stagetest.Epoch}, func(ctx context.Context, s *Session) error {
			return s.Run(ctx, Command{Name: "it", Args: []string{"/bin/sh", "-c", "echo out; echo err >&2"}, Stdout: &stdout, Stderr: &stderr})
		})
	})
	if err != nil || stdout.String() != "out\n" || stderr.String() != "err\n" || log != "it: err\n" {
		t.Errorf("%q, %q, %q, %v", stdout.String(), stderr.String(), log, err)
	}
}
