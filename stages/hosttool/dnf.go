package hosttool

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
)

// RPMOptions is what dnf has to know of the target. It is part of the key of RunRPM's
// stage.
type RPMOptions struct {
	Tool           string          `json:"tool"`                      // DNF or Yum
	Arch           string          `json:"arch"`                      // base architecture, "x86_64"
	Release        string          `json:"release"`                   // $releasever, "9"
	ModulePlatform string          `json:"module_platform,omitempty"` // "platform:el9"; empty: none
	Modules        []string        `json:"modules,omitempty"`         // streams to enable, "nodejs:18"
	Database       string          `json:"database"`                  // the target's %_dbpath, "/var/lib/rpm"
	Backend        string          `json:"backend"`                   // the target's %_db_backend; "sqlite" is the only one that can be written
	Docs           bool            `json:"docs"`                      // install documentation
	Languages      []string        `json:"languages,omitempty"`       // locales of %lang files to install; nil: all
	Session        session.Options `json:"session"`
}

// RPMRepository is a repository whose metadata has been fetched and verified.
type RPMRepository struct {
	Name     string
	Metadata []RPMMetadata  // files that its repomd.xml lists; others are unknown to dnf
	Packages []*rpm.Package // those that the metadata describes
	Priority int            // 1 to 99, the lower the better
	Exclude  []string       // names and patterns
}

// RPMMetadata is one file of a repository's metadata.
type RPMMetadata struct {
	Kind   string       // as in repomd.xml: "primary", "filelists", "group", "modules"
	Name   string       // file name; its suffix tells the compression
	Path   string       // of the verified file on this host
	Digest store.Digest // of the file as it is
	Size   int64        // bytes
}

// RPMRequest is what to install, as dnf's command line takes it.
type RPMRequest struct {
	Packages   []string // "bash", "@core", "@^minimal-environment"
	Exclude    []string
	Recommends bool // weak dependencies
}

// Chosen is a package that the tool would install.
type Chosen struct {
	*rpm.Package
	Auto bool // nobody asked for it
}

// RequestError says why the tool cannot do what was asked: exit status 2 would be
// wrong, because it may as well be the repositories' fault.
type RequestError struct {
	Tool   string
	Output string // what it printed last
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("%s finds no way to install these packages:\n%s", e.Tool, e.Output)
}

// outside is the tool's own /tmp, whose files are gone when the tool has ended, as dnf
// needs it: dnf puts the target's directory before the path.
const outside = "/../tmp"

// Paths in the tool's root.
const (
	dnfConfig     = "etc/imagefactory/dnf.conf"
	reposDir      = "etc/imagefactory/repos.d"
	noDir         = "etc/imagefactory/none"
	rpmMacros     = "root/.rpmmacros"
	packagesDir   = "/packages"
	metadataDir   = "/repositories"
	keysDir       = "etc/imagefactory/keys"
	rpmSQLite     = "sqlite"
	maxOutputSize = 64 << 20
)

// dnfDirs are empty directories where dnf and rpm look for what they shall not find.
var dnfDirs = []string{noDir, reposDir}

// ResolveRPM has the host's dnf decide which packages of repos to install. The order is
// that of dnf.
func ResolveRPM(ctx context.Context, run *stages.Run, pool *sandbox.Pool, repos []RPMRepository, request RPMRequest, o RPMOptions) ([]Chosen, error) {
	programs, err := checkDNF(ctx, o.Tool)
	if err != nil {
		return nil, err
	}
	h := &host{run: run, pool: pool, tool: o.Tool, dirs: dnfDirs, files: o.config(false)}
	for i, r := range repos {
		dir, err := stageMetadata(run, r)
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", r.Name, err)
		}
		defer os.RemoveAll(dir)
		h.binds = append(h.binds, sandbox.Bind{Source: dir, Target: path.Join(metadataDir, repoID(i))})
		h.files = append(h.files, file{path.Join(reposDir, repoID(i)+".repo"), repoFile(i, r)})
	}
	target, err := empty(o.Session.Epoch)
	if err != nil {
		return nil, err
	}
	var out, problems limited
	_, err = h.do(ctx, target, session.Options{Epoch: o.Session.Epoch}, func(ctx context.Context, t *tools) error {
		if len(o.Modules) > 0 {
			args := append(o.args(programs[0]), "--assumeyes", "module", "enable")
			if err := t.run(ctx, session.Command{Name: o.Tool, Args: append(args, o.Modules...)}); err != nil {
				return err
			}
		}
		args := append(o.args(programs[0]), "--assumeno", fmt.Sprintf("--setopt=install_weak_deps=%t", request.Recommends))
		for _, x := range request.Exclude {
			args = append(args, "--exclude="+x)
		}
		args = append(args, "install")
		for _, p := range request.Packages {
			// The circumflex of environments is kickstart's; dnf 4.14 does not know it.
			args = append(args, strings.Replace(p, "@^", "@", 1))
		}
		err := t.run(ctx, session.Command{Name: o.Tool, Args: args, Stdout: &out, Stderr: &problems})
		if problem := problems.String(); err != nil && !bytes.Contains(out.Bytes(), []byte(summaryHeading)) {
			return errors.Join(&RequestError{Tool: o.Tool, Output: strings.TrimSpace(problem)}, context.Cause(ctx))
		}
		return nil // with --assumeno it never succeeds
	})
	if err != nil {
		return nil, err
	}
	rows, err := parseTransaction(out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("what %s printed is not understood: %w", o.Tool, err)
	}
	return lookUp(rows, repos)
}

// checkDNF returns the paths of the programs that the installer needs.
func checkDNF(ctx context.Context, tool string) ([]string, error) {
	programs, err := find(tool)
	if err != nil {
		return nil, err
	}
	if _, err := Check(ctx, tool); err != nil {
		return nil, err
	}
	return programs, nil
}

// args begins a command line of dnf for the target.
func (o *RPMOptions) args(dnf string) []string {
	args := []string{dnf, "--config=/" + dnfConfig, "--installroot=/" + targetDir, "--releasever=" + o.Release, "--noplugins", "--color=never"}
	if o.Arch != "" {
		args = append(args, "--forcearch="+o.Arch)
	}
	return args
}

// config returns the configuration of dnf and rpm. checked says whether packages are
// verified: resolving looks at none.
func (o *RPMOptions) config(checked bool) []file {
	kept := append([]string{"/dev", "/proc", "/sys"}, o.replaced()...)
	conf := []string{
		"[main]", "reposdir=/" + reposDir, "varsdir=/" + noDir, "pluginconfpath=/" + noDir, "plugins=0",
		"cachedir=" + outside + "/dnf", "logdir=" + outside, "persistdir=/var/lib/dnf", "keepcache=0",
		"best=1", "strict=1", "obsoletes=1", "skip_if_unavailable=0", "zchunk=0", "deltarpm=0", "install_weak_deps=0",
		"installonly_limit=0", "protected_packages=", "countme=0", "diskspacecheck=0",
		fmt.Sprintf("gpgcheck=%t", checked), fmt.Sprintf("localpkg_gpgcheck=%t", checked),
	}
	if o.ModulePlatform != "" {
		conf = append(conf, "module_platform_id="+o.ModulePlatform)
	}
	if !o.Docs {
		conf = append(conf, "tsflags=nodocs")
	}
	macros := []string{
		"%_dbpath " + o.Database, "%_db_backend " + rpmSQLite, "%__plugindir /" + noDir,
		"%_netsharedpath " + strings.Join(kept, ":"), "%_pkgverify_flags 0x0", "%_tmppath /var/tmp",
	}
	if o.Languages != nil {
		macros = append(macros, "%_install_langs "+strings.Join(append([]string{"C"}, o.Languages...), ":"))
	}
	return []file{
		{dnfConfig, strings.Join(conf, "\n") + "\n"},
		{rpmMacros, strings.Join(macros, "\n") + "\n"},
	}
}

// repoID is a repository's name for dnf, which allows few characters.
func repoID(i int) string { return fmt.Sprintf("repository-%d", i) }

func repoFile(i int, r RPMRepository) string {
	text := fmt.Sprintf("[%[1]s]\nname=%[1]s\nbaseurl=file://%[2]s\nenabled=1\npriority=%[3]d\n", repoID(i), path.Join(metadataDir, repoID(i)), r.Priority)
	if len(r.Exclude) > 0 {
		text += "excludepkgs=" + strings.Join(r.Exclude, ",") + "\n"
	}
	return text
}

// stageMetadata makes a repository without packages: what was verified of the
// metadata, with a repomd.xml that lists no more.
func stageMetadata(run *stages.Run, r RPMRepository) (dir string, err error) {
	type location struct {
		Href string `xml:"href,attr"`
	}
	type checksum struct {
		Type  string `xml:"type,attr"`
		Value string `xml:",chardata"`
	}
	type data struct {
		Type     string   `xml:"type,attr"`
		Checksum checksum `xml:"checksum"`
		Location location `xml:"location"`
		Size     int64    `xml:"size"`
	}
	doc := struct {
		XMLName  xml.Name `xml:"http://linux.duke.edu/metadata/repo repomd"`
		Revision string   `xml:"revision"`
		Data     []data   `xml:"data"`
	}{Revision: "1"}
	files := map[string]string{}
	hasPrimary := false
	for _, m := range r.Metadata {
		hasPrimary = hasPrimary || m.Kind == "primary"
		name := "repodata/" + m.Digest.Hex() + "-" + path.Base(m.Name)
		files[name] = m.Path
		doc.Data = append(doc.Data, data{m.Kind, checksum{"sha256", m.Digest.Hex()}, location{name}, m.Size})
	}
	if !hasPrimary {
		return "", &sandbox.HostError{
			Problem: "it has no metadata that dnf could read, it is a directory of packages",
			Remedy:  "run createrepo_c in it, or use installer = \"native\"",
		}
	}
	text, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return "", err
	}
	if dir, err = stage(run, files); err != nil {
		return "", err
	}
	if err := os.WriteFile(path.Join(dir, "repodata/repomd.xml"), append([]byte(xml.Header), text...), 0o644); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// lookUp finds the packages that dnf named in the metadata it has them from.
func lookUp(rows []row, repos []RPMRepository) ([]Chosen, error) {
	type key struct{ name, evr, arch string }
	byRepo := make([]map[key][]*rpm.Package, len(repos))
	for i, r := range repos {
		byRepo[i] = make(map[key][]*rpm.Package, len(r.Packages))
		for _, p := range r.Packages {
			k := key{p.Name, p.EVR.String(), p.Arch}
			byRepo[i][k] = append(byRepo[i][k], p)
		}
	}
	ids := map[string]int{}
	for i := range repos {
		ids[repoID(i)] = i
	}
	var chosen []Chosen
	for _, r := range rows {
		i, ok := ids[r.repo]
		if !ok {
			return nil, fmt.Errorf("dnf would take %s from the repository %s, which it was not given", r.name, r.repo)
		}
		found := byRepo[i][key{r.name, r.evr, r.arch}]
		switch digests := digestsOf(found); {
		case len(found) == 0:
			return nil, fmt.Errorf("dnf would install %s-%s.%s from the repository %s, whose metadata does not have it", r.name, r.evr, r.arch, repos[i].Name)
		case len(digests) > 1:
			return nil, fmt.Errorf("the repository %s has %d different packages %s-%s.%s, and dnf does not say which it would install; use installer = \"native\"", repos[i].Name, len(digests), r.name, r.evr, r.arch)
		case found[0].SHA256.IsZero():
			return nil, fmt.Errorf("package %s: the metadata of %s has no SHA-256 of it, so a download could not be verified", found[0], repos[i].Name)
		}
		chosen = append(chosen, Chosen{found[0], r.auto})
	}
	return chosen, nil
}

func digestsOf(pkgs []*rpm.Package) []store.Digest {
	seen := map[store.Digest]bool{}
	for _, p := range pkgs {
		seen[p.SHA256] = true
	}
	return slices.Collect(maps.Keys(seen))
}

// limited keeps what a program prints, up to a size that no honest one reaches.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxOutputSize {
		return 0, fmt.Errorf("it printed more than %d bytes", maxOutputSize)
	}
	return l.Buffer.Write(p)
}
