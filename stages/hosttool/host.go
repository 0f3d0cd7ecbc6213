package hosttool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// targetDir is where the target lies in the root in which the tool runs.
const targetDir = "sysroot"

// hostDirs are bound from the host, or made like its symbolic links of merged /usr.
var hostDirs = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// hostConfig is what programs below /usr need of the host's /etc to run at all.
var hostConfig = []string{
	"etc/alternatives", "etc/crypto-policies", "etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d",
	"etc/pki/tls/openssl.cnf", "etc/python3", "etc/ssl/openssl.cnf",
}

// hostAccounts are the accounts that programs of the host find.
var hostAccounts = []file{
	{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"},
	{"etc/group", "root:x:0:\n"},
	{"etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"},
	{"etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
}

// file is a file of the tool's root.
type file struct{ path, content string }

// host is the root in which the tool runs.
type host struct {
	run   *stages.Run
	pool  *sandbox.Pool
	tool  string // for messages
	files []file
	dirs  []string       // empty directories
	binds []sandbox.Bind // besides the host's programs
}

// do runs commands with target in place and returns what they make of it. Rules and
// files of o are those of the target.
func (h *host) do(ctx context.Context, target *tree.Tree, o session.Options, do func(context.Context, *tools) error) (*tree.Tree, error) {
	st := h.run.Cache.Store
	around, binds, err := h.skeleton(st, o.Epoch)
	if err != nil {
		return nil, err
	}
	whole, err := below(around, target, targetDir)
	if err != nil {
		return nil, err
	}
	inside := session.Options{Env: o.Env, Epoch: o.Epoch}
	for _, f := range o.Files {
		f.Path = path.Join("/", targetDir, f.Path)
		inside.Files = append(inside.Files, f)
	}
	whole, err = session.Run(ctx, h.run, h.pool, whole, inside, func(ctx context.Context, s *session.Session) error {
		if err := checkMode(h.tool, s.Mode()); err != nil {
			return err
		}
		return do(ctx, &tools{session: s, binds: append(binds, h.binds...)})
	})
	if err != nil {
		return nil, err
	}
	after, err := subtree(whole, targetDir)
	if err != nil {
		return nil, err
	}
	return session.Clean(st, after, o.Clean, o.Epoch)
}

// checkMode refuses modes of the sandbox in which the tool cannot do its work.
func checkMode(tool string, mode sandbox.Mode) error {
	problem := ""
	switch mode {
	case sandbox.Plain:
		problem = "nothing can be mounted, and the tool would have to see the host's programs beside the target"
	case sandbox.Single:
		problem = "only one user id exists, and packages own files by several"
	default:
		return nil
	}
	return &sandbox.HostError{
		Problem: fmt.Sprintf("installer = %q does not work in the sandbox's mode %q: %s", tool, mode, problem),
		Remedy:  "build as an ordinary user with a range of subordinate ids, or as root where namespaces are allowed (imagefactory doctor says more), or use installer = \"native\"",
	}
}

// skeleton returns the tree of the tool's root and what of the host belongs in it.
func (h *host) skeleton(st *store.Store, epoch int64) (*tree.Tree, []sandbox.Bind, error) {
	now := tree.Time{Sec: epoch}
	edit := tree.Empty(now).Edit()
	binds := []sandbox.Bind{{Source: "/usr", Target: "/usr"}}
	template := tree.Entry{Mode: 0o755, MTime: now}
	for _, dir := range slices.Concat([]string{targetDir, "etc", "root", "usr", "var/tmp"}, h.dirs) {
		if err := edit.MkdirAll(dir, template); err != nil {
			return nil, nil, err
		}
	}
	for _, dir := range hostDirs {
		info, err := os.Lstat("/" + dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink("/" + dir)
			if err != nil {
				return nil, nil, err
			}
			edit.Put(tree.Entry{Path: dir, Type: tree.Symlink, Mode: 0o777, MTime: now, Target: link})
		default:
			binds = append(binds, sandbox.Bind{Source: "/" + dir, Target: "/" + dir})
		}
	}
	for _, p := range hostConfig {
		if _, err := os.Stat("/" + p); err == nil {
			binds = append(binds, sandbox.Bind{Source: "/" + p, Target: "/" + p})
		}
	}
	for _, f := range slices.Concat(hostAccounts, h.files) {
		digest, err := st.Put([]byte(f.content))
		if err != nil {
			return nil, nil, err
		}
		if err := edit.MkdirAll(tree.Parent(f.path), template); err != nil {
			return nil, nil, err
		}
		edit.Put(tree.Entry{Path: f.path, Type: tree.Regular, Mode: 0o644, MTime: now, Digest: digest, Size: int64(len(f.content))})
	}
	t, err := edit.Tree()
	return t, binds, err
}

// below returns around with target at the directory dir.
func below(around, target *tree.Tree, dir string) (*tree.Tree, error) {
	entries := make([]tree.Entry, 0, around.Len()+target.Len())
	for _, e := range around.Entries() {
		if e.Path != dir {
			entries = append(entries, e) // none of these is a hard link
		}
	}
	for _, e := range target.Entries() {
		if e.Path == tree.Root {
			e.Path = dir
		} else {
			e.Path = tree.Join(dir, e.Path)
		}
		entries = append(entries, e)
	}
	return tree.New(entries)
}

// subtree returns what lies at and below dir as a tree of its own.
func subtree(t *tree.Tree, dir string) (*tree.Tree, error) {
	entries := slices.Clone(t.Subtree(dir))
	for i := range entries {
		if entries[i].Path == dir {
			entries[i].Path = tree.Root
		} else {
			entries[i].Path = strings.TrimPrefix(entries[i].Path, dir+"/")
		}
	}
	return tree.New(entries)
}

// empty is the target before anything is installed: the directories that are mounted
// over, so that they are not found to be missing.
func empty(epoch int64) (*tree.Tree, error) {
	now := tree.Time{Sec: epoch}
	entries := []tree.Entry{{Path: tree.Root, Type: tree.Directory, Mode: 0o755, MTime: now}}
	for name, mode := range map[string]uint32{"dev": 0o755, "proc": 0o555, "sys": 0o555} {
		entries = append(entries, tree.Entry{Path: name, Type: tree.Directory, Mode: mode, MTime: now})
	}
	return tree.New(entries)
}

// tools runs programs of the host.
type tools struct {
	session *session.Session
	binds   []sandbox.Bind
}

// run runs a program of the host, which may change its root to the target.
func (t *tools) run(ctx context.Context, c session.Command) error {
	c.Binds = append(slices.Clone(t.binds), c.Binds...)
	c.Chroots = []string{targetDir}
	return t.session.Run(ctx, c)
}

// stage puts files of the cache into a new directory of the build's own, under the
// names that the tool wants them to have.
func stage(run *stages.Run, files map[string]string) (dir string, err error) {
	if dir, err = run.Cache.Scratch(); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	for name, source := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return "", err
		}
		// A file of the cache is never changed, so it can have another name. Where it lies
		// on another file system it is copied.
		if os.Link(source, at) == nil {
			continue
		}
		if err := copyFile(source, at); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func copyFile(source, to string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
