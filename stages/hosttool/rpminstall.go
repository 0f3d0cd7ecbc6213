package hosttool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of the code of RunRPM and RunDeb; see stages.Stage.
const Version = 1

// Source is a locked package to fetch and install.
type Source struct {
	Name    string       `json:"name"`
	Version string       `json:"version"` // for rpm as rpm.EVR.String gives it
	Arch    string       `json:"arch"`
	Digest  store.Digest `json:"digest"` // of the package file
	Size    int64        `json:"-"`      // of the package file, in bytes
	URLs    []string     `json:"-"`      // where to get it
	Auto    bool         `json:"auto,omitempty"`

	// Repository names the keys that must have signed the package. Empty: it need not be
	// signed, because its repository is not verified.
	Repository string `json:"repository,omitempty"`
}

func (s *Source) String() string { return s.Name + "-" + s.Version + "." + s.Arch }

// rpmLeavings are what dnf and rpm leave in a root that belongs to the build.
var rpmLeavings = []string{
	"/run/**", "/tmp/**", "/var/tmp/**",
	"/var/log/dnf*.log*", "/var/log/hawkey.log*", "/var/lib/dnf/*.pid",
}

// RunRPM has the host's dnf install exactly sources into an empty root. keys are the
// OpenPGP keys, armored or not, of each repository by name.
//
// A package whose script fails does not fail the build where rpm goes on as well; what
// decides is that in the end the target's database holds each package of sources, and
// nothing else.
func RunRPM(ctx context.Context, run *stages.Run, pool *sandbox.Pool, client *fetch.Client, sources []Source, keys map[string][]byte, o RPMOptions) (rootfs.Root, error) {
	programs, err := checkDNF(ctx, o.Tool)
	if err != nil {
		return rootfs.Root{}, err
	}
	if o.Backend != rpmSQLite {
		return rootfs.Root{}, &sandbox.HostError{
			Problem: fmt.Sprintf("installer = %q cannot write the target's package database: rpm there reads the format %q, and the host's rpm writes %q", o.Tool, o.Backend, rpmSQLite),
			Remedy:  "use installer = \"native\"",
		}
	}
	keyFiles, err := armor(keys)
	if err != nil {
		return rootfs.Root{}, err
	}
	paths, err := fetchAll(ctx, run, client, sources)
	if err != nil {
		return rootfs.Root{}, err
	}
	if err := verifyAll(ctx, sources, paths, keys); err != nil {
		return rootfs.Root{}, err
	}
	files := map[string]string{}
	var all, signed []string
	for i, s := range sources {
		name := s.String() + ".rpm"
		files[name] = paths[i]
		all = append(all, path.Join(packagesDir, name))
		if s.Repository != "" {
			signed = append(signed, path.Join(packagesDir, name))
		}
	}
	dir, err := stage(run, files)
	if err != nil {
		return rootfs.Root{}, err
	}
	defer os.RemoveAll(dir)

	h := &host{run: run, pool: pool, tool: o.Tool, dirs: dnfDirs, files: append(o.config(len(signed) == len(all)), keyFiles...)}
	h.binds = []sandbox.Bind{{Source: dir, Target: packagesDir}}
	target, err := empty(o.Session.Epoch)
	if err != nil {
		return rootfs.Root{}, err
	}
	replaced, err := findReplaced(&o, sources, paths)
	if err != nil {
		return rootfs.Root{}, err
	}
	if target, err = replaced.prepare(target, o.Session.Epoch); err != nil {
		return rootfs.Root{}, err
	}
	inside := o.Session
	inside.Clean.Remove = slices.Concat(inside.Clean.Remove, rpmLeavings)
	after, err := h.do(ctx, target, inside, func(ctx context.Context, t *tools) error {
		rpm, rpmkeys := programs[1], programs[2]
		for _, k := range keyFiles {
			if err := t.run(ctx, session.Command{Name: "rpmkeys", Args: []string{rpmkeys, "--root=/" + targetDir, "--import", "/" + k.path}}); err != nil {
				return fmt.Errorf("import the repositories' keys: %w", err)
			}
		}
		if len(signed) > 0 {
			var verdicts limited
			args := append([]string{rpmkeys, "--root=/" + targetDir, "--define=_pkgverify_level all", "--checksig"}, signed...)
			if err := t.run(ctx, session.Command{Name: "rpmkeys", Args: args, Stdout: &verdicts}); err != nil {
				return fmt.Errorf("rpm refuses packages: %w\n%s", err, strings.Join(bad(verdicts.String()), "\n"))
			}
		}
		args := append(o.args(programs[0]), "--assumeyes", "install")
		if err := t.run(ctx, session.Command{Name: o.Tool, Args: append(args, all...)}); err != nil {
			return err
		}
		if err := markAuto(ctx, t, programs[0], sources, o); err != nil {
			return err
		}
		return compareRPM(ctx, t, rpm, sources)
	})
	if err != nil {
		return rootfs.Root{}, err
	}
	if after, err = replaced.restore(ctx, run.Cache.Store, after); err != nil {
		return rootfs.Root{}, err
	}
	if after, err = enableModules(run.Cache.Store, after, o); err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(run.Cache.Store, after)
}

// bad returns the lines of rpmkeys about packages that it refuses.
func bad(verdicts string) []string {
	var lines []string
	for line := range strings.Lines(verdicts) {
		if line = strings.TrimSpace(line); strings.Contains(line, "NOT OK") {
			lines = append(lines, strings.TrimPrefix(line, packagesDir+"/"))
		}
	}
	return lines
}

// fetchAll returns the paths of the verified files of sources.
func fetchAll(ctx context.Context, run *stages.Run, client *fetch.Client, sources []Source) ([]string, error) {
	paths := make([]string, len(sources))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16) // more than the client transfers at a time
	for i, s := range sources {
		group.Go(func() (err error) {
			paths[i], err = client.Get(ctx, fetch.Request{Name: s.Name + " " + s.Version, URLs: s.URLs, Size: s.Size, Digest: s.Digest})
			if err != nil {
				return fmt.Errorf("package %s: %w", &s, err)
			}
			return nil
		})
	}
	return paths, group.Wait()
}

// armor returns the keys as files in the one form that rpm imports, one a repository.
func armor(keys map[string][]byte) ([]file, error) {
	var files []file
	for i, name := range slices.Sorted(maps.Keys(keys)) {
		text, err := openpgp.Armor(keys[name])
		if err != nil {
			return nil, fmt.Errorf("the keys of the repository %s: %w", name, err)
		}
		files = append(files, file{path.Join(keysDir, fmt.Sprintf("%d.asc", i)), text})
	}
	return files, nil
}

// markAuto tells dnf which packages nobody asked for: it was given all of them.
func markAuto(ctx context.Context, t *tools, dnf string, sources []Source, o RPMOptions) error {
	var auto []string
	for _, s := range sources {
		if s.Auto {
			auto = append(auto, s.Name+"."+s.Arch)
		}
	}
	if len(auto) == 0 {
		return nil
	}
	args := append(o.args(dnf), "--assumeyes", "mark", "remove")
	return t.run(ctx, session.Command{Name: o.Tool, Args: append(args, auto...), Stdout: &limited{}})
}

// compareRPM compares the target's database with the lock.
func compareRPM(ctx context.Context, t *tools, rpm string, sources []Source) error {
	var out limited
	const format = `%{NAME}-%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}.%{ARCH}\n`
	args := []string{rpm, "--root=/" + targetDir, "--query", "--all", "--queryformat=" + format}
	if err := t.run(ctx, session.Command{Name: "rpm", Args: args, Stdout: &out}); err != nil {
		return fmt.Errorf("ask for the installed packages: %w", err)
	}
	installed := map[string]int{}
	for line := range strings.Lines(out.String()) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "gpg-pubkey-") {
			installed[strings.Replace(name, "-0:", "-", 1)]++
		}
	}
	want := map[string]int{}
	for _, s := range sources {
		want[s.String()]++
	}
	return compare(installed, want)
}

// compare says how what is installed differs from the lock.
func compare(installed, want map[string]int) error {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if installed[name] != want[name] {
			problems = append(problems, fmt.Sprintf("%s is locked and is not installed", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		if want[name] == 0 {
			problems = append(problems, fmt.Sprintf("%s is installed and is not locked", name))
		}
	}
	if len(problems) > 0 {
		return errors.New("the root does not have the packages of the lock: " + strings.Join(problems, "; "))
	}
	return nil
}

// enableModules writes down which module streams are enabled, as dnf does when it
// installs from a repository with modules (dnf 4, /etc/dnf/modules.d).
func enableModules(st *store.Store, t *tree.Tree, o RPMOptions) (*tree.Tree, error) {
	const dir = "etc/dnf/modules.d"
	if len(o.Modules) == 0 {
		return t, nil
	}
	edit := t.Edit()
	now := tree.Time{Sec: o.Session.Epoch}
	if err := edit.MkdirAll(dir, tree.Entry{Mode: 0o755, MTime: now}); err != nil {
		return nil, err
	}
	for _, m := range o.Modules {
		name, stream, _ := strings.Cut(m, ":")
		stream, _, _ = strings.Cut(stream, "/")
		var text bytes.Buffer
		fmt.Fprintf(&text, "[%[1]s]\nname=%[1]s\nstream=%[2]s\nprofiles=\nstate=enabled\n", name, stream)
		digest, err := st.Put(text.Bytes())
		if err != nil {
			return nil, err
		}
		edit.Put(tree.Entry{
			Path: tree.Join(dir, name+".module"), Type: tree.Regular, Mode: 0o644, MTime: now,
			Digest: digest, Size: int64(text.Len()),
		})
	}
	return edit.Tree()
}
