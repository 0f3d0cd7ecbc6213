package hosttool

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
)

// DebOptions is what apt has to know of the target. It is part of the key of RunDeb's
// stage.
type DebOptions struct {
	Arch    string            `json:"arch"`            // Debian's name, "amd64"
	Links   map[string]string `json:"links,omitempty"` // symbolic links that come before any package
	Session session.Options   `json:"session"`
}

// DebSuite is a suite of a repository whose indexes have been fetched and verified.
type DebSuite struct {
	Name       string // for messages
	Suite      string // "bookworm"
	Components []string
	Release    *deb.Release
	Indexes    []DebIndex
	Packages   []*deb.Package // those that the indexes list
}

// DebIndex is one index of a suite.
type DebIndex struct {
	Name   string       // below the suite's directory: "main/binary-amd64/Packages.xz"
	Path   string       // of the verified file on this host
	Digest store.Digest // of the file as it is
	Size   int64        // bytes
}

// DebRequest is what to install.
type DebRequest struct {
	Packages   []string // names
	Exclude    []string // names
	Recommends bool
}

// ChosenDeb is a package that apt would install.
type ChosenDeb struct {
	*deb.Package
	Auto bool // nobody asked for it
}

const aptConfig = "etc/apt/apt.conf"

// ResolveDeb has the host's apt decide which packages of suites to install into an
// empty root. The order is that in which apt would install them.
func ResolveDeb(ctx context.Context, run *stages.Run, pool *sandbox.Pool, suites []DebSuite, request DebRequest, o DebOptions) ([]ChosenDeb, error) {
	programs, err := find(Apt)
	if err != nil {
		return nil, err
	}
	h := &host{run: run, pool: pool, tool: Apt, dirs: aptDirs}
	var sources strings.Builder
	for i, s := range suites {
		dir, err := stageSuite(run, s, o.Arch)
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", s.Name, err)
		}
		defer os.RemoveAll(dir)
		at := path.Join(metadataDir, repoID(i))
		h.binds = append(h.binds, sandbox.Bind{Source: dir, Target: at})
		// The signature was verified when the Release file was fetched.
		fmt.Fprintf(&sources, "deb [trusted=yes arch=%s] file:%s %s %s\n", o.Arch, at, s.Suite, strings.Join(s.Components, " "))
	}
	h.files = append(o.config("/", request.Recommends),
		file{"etc/apt/sources.list", sources.String()},
		file{"etc/apt/preferences", preferences(request.Exclude)},
	)
	target, err := empty(o.Session.Epoch)
	if err != nil {
		return nil, err
	}
	var out, problems limited
	_, err = h.do(ctx, target, session.Options{Epoch: o.Session.Epoch}, func(ctx context.Context, t *tools) error {
		if err := t.run(ctx, session.Command{Name: "apt-get update", Args: []string{programs[0], "--quiet=1", "update"}}); err != nil {
			return err
		}
		args := append([]string{programs[0], "--quiet=1", "--simulate", "install", "--"}, request.Packages...)
		if err := t.run(ctx, session.Command{Name: "apt-get install", Args: args, Stdout: &out, Stderr: &problems}); err != nil {
			text := strings.TrimSpace(problems.String() + "\n" + out.String())
			return errors.Join(&RequestError{Tool: Apt, Output: text}, context.Cause(ctx))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lookUpDebs(out.Bytes(), suites, request)
}

// config returns apt's configuration for a system whose root is dir.
func (o *DebOptions) config(dir string, recommends bool) []file {
	conf := []string{
		`APT::Architecture "` + o.Arch + `";`, `APT::Architectures { "` + o.Arch + `"; };`,
		`APT::Install-Recommends "` + fmt.Sprint(recommends) + `";`, `APT::Install-Suggests "false";`,
		`APT::Sandbox::User "root";`, `APT::Color "false";`, `Acquire::Languages "none";`,
		`Dpkg::Use-Pty "false";`, `DPkg::Options { "--force-confdef"; "--force-confold"; };`,
		`APT::Get::Assume-Yes "true";`, `APT::Keep-Downloaded-Packages "false";`,
	}
	if dir != "/" {
		// The configuration stays that of the tool's root: hooks of the target's are for
		// the time when it runs.
		conf = append(conf,
			`Dir "`+dir+`";`, `Dir::Etc "/etc/apt";`, `DPkg::Chroot-Directory "`+dir+`";`,
			`Dir::Log "/var/log/apt";`, `Dir::Cache "/var/cache/apt";`, `Dir::State::lists "/var/lib/apt/lists";`)
	}
	return []file{
		{aptConfig, strings.Join(conf, "\n") + "\n"},
		{"var/lib/dpkg/status", ""}, {"etc/apt/sources.list", ""},
	}
}

// aptDirs are directories that apt wants to be there.
var aptDirs = []string{
	"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d",
	"var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log/apt",
}

// preferences keeps apt from installing packages (apt_preferences(5)).
func preferences(exclude []string) string {
	var b strings.Builder
	for _, name := range exclude {
		fmt.Fprintf(&b, "Package: %s\nPin: release *\nPin-Priority: -1\n\n", name)
	}
	return b.String()
}

// stageSuite makes a repository without packages: the verified indexes, decompressed,
// with a Release file that lists no more.
func stageSuite(run *stages.Run, s DebSuite, arch string) (dir string, err error) {
	if dir, err = run.Cache.Scratch(); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	base := filepath.Join(dir, "dists", s.Suite)
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: %s\nLabel: %s\nSuite: %s\nCodename: %s\n", s.Release.Origin, s.Release.Label, s.Release.Suite, s.Release.Codename)
	fmt.Fprintf(&release, "Date: %s\nArchitectures: %s all\nComponents: %s\nSHA256:\n",
		s.Release.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 MST"), arch, strings.Join(s.Components, " "))
	for _, x := range s.Indexes {
		name := strings.TrimSuffix(x.Name, path.Ext(x.Name))
		digest, size, err := decompress(x, filepath.Join(base, filepath.FromSlash(name)))
		if err != nil {
			return "", fmt.Errorf("%s: %w", x.Name, err)
		}
		fmt.Fprintf(&release, " %s %d %s\n", digest.Hex(), size, name)
	}
	return dir, os.WriteFile(filepath.Join(base, "Release"), release.Bytes(), 0o644)
}

// decompress writes an index as it is when it is not compressed.
func decompress(x DebIndex, to string) (digest store.Digest, size int64, err error) {
	in, err := os.Open(x.Path)
	if err != nil {
		return digest, 0, err
	}
	defer in.Close()
	plain, release, err := compress.NewReader(path.Ext(x.Name), in)
	if err != nil {
		return digest, 0, err
	}
	defer release()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return digest, 0, err
	}
	out, err := os.Create(to)
	if err != nil {
		return digest, 0, err
	}
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(out, h), plain)
	return store.Digest(h.Sum(nil)), size, errors.Join(err, out.Close())
}

// instLine is a line of apt-get --simulate: the package, the version that would be
// replaced, and the new one with where it is from and its architecture.
var instLine = regexp.MustCompile(`^Inst ([^ :]+)(?::[^ ]+)?(?: \[[^\]]*\])? \(([^ ]+) .*\[([^\]]+)\]\)`)

// countLine is its summary.
var countLine = regexp.MustCompile(`^0 upgraded, (\d+) newly installed, 0 to remove and 0 not upgraded\.$`)

// lookUpDebs finds the packages that apt named in the indexes.
func lookUpDebs(out []byte, suites []DebSuite, request DebRequest) ([]ChosenDeb, error) {
	type key struct{ name, version, arch string }
	known := map[key][]*deb.Package{}
	for _, s := range suites {
		for _, p := range s.Packages {
			k := key{p.Name, p.Version, p.Arch}
			known[k] = append(known[k], p)
		}
	}
	var chosen []ChosenDeb
	counted := "" // as apt says at the end
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		verb, _, _ := strings.Cut(lines.Text(), " ")
		if m := countLine.FindStringSubmatch(lines.Text()); m != nil {
			counted = m[1]
		}
		if verb == "Remv" {
			return nil, fmt.Errorf("apt-get printed %q, which an empty root gives no reason for", lines.Text())
		}
		if verb != "Inst" {
			continue
		}
		m := instLine.FindStringSubmatch(lines.Text())
		if m == nil {
			return nil, fmt.Errorf("apt-get printed %q, which is not understood", lines.Text())
		}
		found := known[key{m[1], m[2], m[3]}]
		switch {
		case len(found) == 0:
			return nil, fmt.Errorf("apt would install %s %s for %s, which no index has", m[1], m[2], m[3])
		case slices.ContainsFunc(found, func(p *deb.Package) bool { return p.SHA256 != found[0].SHA256 }):
			return nil, fmt.Errorf("the repositories have different packages %s %s for %s, and apt does not say which it would install; use installer = \"native\"", m[1], m[2], m[3])
		case found[0].SHA256.IsZero():
			return nil, fmt.Errorf("package %s %s: the index has no SHA-256 of it, so a download could not be verified", m[1], m[2])
		}
		chosen = append(chosen, ChosenDeb{found[0], !slices.Contains(request.Packages, m[1])})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(chosen) == 0 {
		return nil, errors.New("apt would install nothing")
	}
	if counted != fmt.Sprint(len(chosen)) {
		return nil, fmt.Errorf("apt-get lists %d packages to install and counts %q", len(chosen), counted)
	}
	return chosen, nil
}
