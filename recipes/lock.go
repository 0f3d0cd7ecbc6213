package recipes

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
)

// LockVersion is the version of the lock file format this program reads and writes.
const LockVersion = 1

// LockPath is where the lock of a recipe file lies: beside it, with ".lock" appended.
func LockPath(recipe string) string { return recipe + ".lock" }

// Lock pins everything a build takes from repositories. The file format is described in the package documentation.
type Lock struct {
	Version      int                `json:"version"`              // LockVersion
	Distro       string             `json:"distro"`               // name of the distribution
	Arch         string             `json:"arch"`                 // canonical
	Epoch        int64              `json:"epoch"`                // seconds since 1970: newest Date of the repositories; the image's timestamps
	Request      Request            `json:"request"`              // what the recipe asked for
	Image        *LockedImage       `json:"image,omitempty"`      // the container image the root comes from; nil: it does not
	Containers   []LockedContainer  `json:"containers,omitempty"` // the container images of the recipe, each once, sorted by reference
	Repositories []LockedRepository `json:"repositories"`
	Packages     []LockedPackage    `json:"packages"` // of the image, sorted by name, architecture, version; empty where the root comes whole
	Tools        []LockedPackage    `json:"tools"`    // of the tools tree and signed boot programs, sorted likewise
}

// LockedImage is a container image as it was when the lock was made.
type LockedImage struct {
	Reference string `json:"reference"` // as the recipe has it
	Digest    string `json:"digest"`    // of the manifest for the architecture: "sha256:<hex>"
}

// LockedContainer is a container image for a runtime as it was when the lock was made.
type LockedContainer struct {
	Reference string `json:"reference"` // where it is taken from, as the recipe has it
	Digest    string `json:"digest"`    // of the list of manifests, or of the manifest where there is no list: "sha256:<hex>"
	Manifest  string `json:"manifest"`  // of the manifest for the architecture; the same where there is no list
}

// LockedRepository is a repository as it was when the lock was made; for deb one suite of it.
type LockedRepository struct {
	Name       string        `json:"name"` // the repository's name in the recipe or distribution
	URL        string        `json:"url"`
	Suite      string        `json:"suite,omitempty"`      // deb only
	Components []string      `json:"components,omitempty"` // deb only
	Release    string        `json:"release"`              // SHA-256 of the signed Release document, for rpm of repomd.xml, hex
	Date       int64         `json:"date"`                 // of that document, seconds since 1970
	Indexes    []LockedIndex `json:"indexes"`
}

// LockedIndex is one package index of a repository.
type LockedIndex struct {
	Path   string `json:"path"` // below the suite's directory: "main/binary-amd64/Packages.xz"; for rpm below the URL
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// LockedPackage is one package file.
type LockedPackage struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Arch       string `json:"arch"` // the package manager's name: "amd64", "noarch"
	SHA256     string `json:"sha256"`
	Size       int64  `json:"size"`       // bytes
	Repository string `json:"repository"` // name of a locked repository
	Filename   string `json:"filename"`   // below the repository's URL

	// Auto marks a package nobody asked for, which is there because others need it.
	Auto bool `json:"auto,omitempty"`
}

// Request is what of a recipe decides which packages a build takes. It is kept in the lock, so that a lock which no
// longer fits can be recognized and what changed be named.
type Request struct {
	Distro       string            `json:"distro"`
	Arch         string            `json:"arch"`
	Repositories []RepositoryAsked `json:"repositories"`
	Packages     []string          `json:"packages"` // sorted, groups as the recipe names them
	Tools        []string          `json:"tools"`    // sorted; tools and signed boot programs
	Exclude      []string          `json:"exclude"`  // sorted
	Priorities   []string          `json:"priorities"`
	Essential    bool              `json:"essential"`
	Recommends   bool              `json:"recommends"`

	Installer      string   `json:"installer,omitempty"`       // empty: "native"
	Modules        []string `json:"modules,omitempty"`         // sorted
	ModulePlatform string   `json:"module_platform,omitempty"` // the distribution's
	Archive        string   `json:"archive,omitempty"`         // SHA-256 of the archive the root comes from, hex
	Image          string   `json:"image,omitempty"`           // the container image it comes from, as the recipe has it

	Containers []string `json:"containers,omitempty"` // sources of the container images, as the recipe has them; sorted
}

// RepositoryAsked is a repository as the recipe means it. The URL is empty where the build host's apt configuration may
// supply a mirror: another mirror of the same archive does not make a lock stale. The file of an iso URL is relative to the
// recipe.
type RepositoryAsked struct {
	Name         string   `json:"name"`
	URL          string   `json:"url,omitempty"`
	MirrorList   string   `json:"mirrorlist,omitempty"`
	Metalink     string   `json:"metalink,omitempty"`
	Suites       []string `json:"suites,omitempty"`
	Components   []string `json:"components,omitempty"`
	Priority     int      `json:"priority,omitempty"`         // rpm only
	Exclude      []string `json:"exclude,omitempty"`          // rpm only
	Key          string   `json:"key,omitempty"`              // SHA-256 of the keys the recipe names, hex
	Fingerprints []string `json:"key_fingerprints,omitempty"` // of keys to download; not where Key is
	GPGCheck     bool     `json:"gpg_check"`
	RepoGPGCheck bool     `json:"repo_gpg_check,omitempty"`
	Legacy       bool     `json:"legacy_signatures,omitempty"`
}

// Request returns what the recipe asks of repositories.
func (r *Recipe) Request() Request {
	q := Request{
		Distro:     r.Distro.Name,
		Arch:       r.Arch,
		Packages:   sorted(r.ImagePackages()),
		Tools:      sorted(append(r.ToolPackages(), r.SignedPackages()...)),
		Exclude:    sorted(r.Rootfs.Exclude),
		Priorities: sorted(r.Distro.Base.Priorities),
		Essential:  r.Distro.Base.Essential,
		Recommends: r.Rootfs.Recommends,

		ModulePlatform: r.Distro.RPM.ModulePlatform,
		Archive:        strings.TrimPrefix(r.Rootfs.ArchiveDigest, "sha256:"),
		Image:          r.Rootfs.ImageReference,
	}
	if r.Rootfs.Installer != InstallerNative {
		q.Installer = r.Rootfs.Installer
	}
	if len(r.Rootfs.Modules) > 0 {
		q.Modules = sorted(r.Rootfs.Modules)
	}
	for _, repo := range r.Rootfs.Repositories {
		q.Repositories = append(q.Repositories, r.asked(repo))
	}
	for _, c := range r.Containers {
		q.Containers = append(q.Containers, c.SourceReference)
	}
	slices.Sort(q.Containers)
	q.Containers = slices.Compact(q.Containers)
	return q
}

func (r *Recipe) asked(repo distros.Repository) RepositoryAsked {
	a := RepositoryAsked{
		Name: repo.Name, MirrorList: repo.MirrorList, Metalink: repo.Metalink, Suites: repo.Suites, Components: repo.Components,
		Priority: repo.Priority, Exclude: repo.Exclude, Key: strings.TrimPrefix(repo.KeyDigest, "sha256:"),
		GPGCheck: repo.GPGCheck, RepoGPGCheck: repo.RepoGPGCheck, Legacy: repo.LegacySignatures,
	}
	if repo.AptOrigin == "" {
		a.URL = r.portable(repo.URL)
	}
	if a.Key == "" {
		a.Fingerprints = repo.KeyFingerprints
	}
	return a
}

// portable makes the file of an iso URL relative to the recipe, so that it means the same on every machine.
func (r *Recipe) portable(url string) string {
	file, dir, ok := distros.SplitISO(url)
	if !ok {
		return url
	}
	base, err := filepath.Abs(filepath.Dir(r.Path))
	if err != nil {
		return url
	}
	rel, err := filepath.Rel(base, file)
	if err != nil {
		return url
	}
	return distros.JoinISO(filepath.ToSlash(rel), dir)
}

// sorted returns a sorted copy which is never nil, so that JSON has [] and not null.
func sorted(list []string) []string {
	out := append([]string{}, list...)
	sort.Strings(out)
	return out
}

// Difference names the first thing in which the request differs from the one a lock was made for, as the end of a
// sentence: `packages: "curl" was added`. It is empty when the lock fits.
func (q Request) Difference(locked Request) string {
	for _, f := range []struct{ name, now, then string }{
		{"distro", q.Distro, locked.Distro}, {"arch", q.Arch, locked.Arch},
		{"installer", cmp.Or(q.Installer, InstallerNative), cmp.Or(locked.Installer, InstallerNative)},
		{"module platform", q.ModulePlatform, locked.ModulePlatform},
		{"image", cmp.Or(q.Image, "none"), cmp.Or(locked.Image, "none")},
		{"recommends", fmt.Sprint(q.Recommends), fmt.Sprint(locked.Recommends)},
		{"essential", fmt.Sprint(q.Essential), fmt.Sprint(locked.Essential)},
	} {
		if f.now != f.then {
			return fmt.Sprintf("%s: %s became %s", f.name, f.then, f.now)
		}
	}
	if q.Archive != locked.Archive {
		return "archive: its contents changed"
	}
	for _, f := range []struct {
		name      string
		now, then []string
	}{
		{"packages", q.Packages, locked.Packages}, {"exclude", q.Exclude, locked.Exclude}, {"modules", q.Modules, locked.Modules},
		{"containers", q.Containers, locked.Containers},
		{"tools", q.Tools, locked.Tools}, {"priorities", q.Priorities, locked.Priorities},
		{"repositories", repositoryNames(q), repositoryNames(locked)},
	} {
		if d := listDifference(f.now, f.then); d != "" {
			return f.name + ": " + d
		}
	}
	for i, now := range q.Repositories { // names and their order are the same
		then := locked.Repositories[i]
		for _, f := range []struct{ name, now, then string }{
			{"url", now.URL, then.URL}, {"mirrorlist", now.MirrorList, then.MirrorList}, {"metalink", now.Metalink, then.Metalink},
			{"priority", fmt.Sprint(now.Priority), fmt.Sprint(then.Priority)},
			{"gpg_key", now.Key, then.Key}, {"gpg_check", fmt.Sprint(now.GPGCheck), fmt.Sprint(then.GPGCheck)},
			{"repo_gpg_check", fmt.Sprint(now.RepoGPGCheck), fmt.Sprint(then.RepoGPGCheck)},
			{"legacy_signatures", fmt.Sprint(now.Legacy), fmt.Sprint(then.Legacy)},
		} {
			if f.now != f.then {
				return fmt.Sprintf("repository %q: %s changed", now.Name, f.name)
			}
		}
		for _, f := range []struct {
			name      string
			now, then []string
		}{
			{"suites", now.Suites, then.Suites}, {"components", now.Components, then.Components},
			{"exclude", now.Exclude, then.Exclude}, {"key_fingerprints", now.Fingerprints, then.Fingerprints},
		} {
			if d := listDifference(f.now, f.then); d != "" {
				return fmt.Sprintf("repository %q: %s: %s", now.Name, f.name, d)
			}
		}
	}
	return ""
}

func repositoryNames(q Request) []string {
	var out []string
	for _, r := range q.Repositories {
		out = append(out, r.Name)
	}
	return out
}

func listDifference(now, then []string) string {
	for _, s := range now {
		if !slices.Contains(then, s) {
			return fmt.Sprintf("%q was added", s)
		}
	}
	for _, s := range then {
		if !slices.Contains(now, s) {
			return fmt.Sprintf("%q was removed", s)
		}
	}
	if !slices.Equal(now, then) {
		return "the order changed"
	}
	return ""
}

// LockError says what is wrong with a lock file. Its exit status is 2.
type LockError struct {
	Path string
	Line int    // 0: not known
	Text string // a sentence without the place
}

func (e *LockError) Error() string {
	place := e.Path
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", e.Path, e.Line)
	}
	return fmt.Sprintf("%s: %s; run imagefactory lock to make it anew", place, e.Text)
}

// ExitStatus tells the command that its input is wrong.
func (e *LockError) ExitStatus() int { return 2 }

// ReadLock reads and checks a lock file. A missing file is fs.ErrNotExist, a wrong one a *LockError.
func ReadLock(path string) (*Lock, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	return ParseLock(path, src)
}

// ParseLock checks the contents of a lock file; path is for messages. Errors are a *LockError.
func ParseLock(path string, src []byte) (*Lock, error) {
	fail := func(offset int64, format string, args ...any) (*Lock, error) {
		line := 0
		if offset >= 0 {
			line = 1 + bytes.Count(src[:min(int(offset), len(src))], []byte("\n"))
		}
		return nil, &LockError{Path: path, Line: line, Text: fmt.Sprintf(format, args...)}
	}
	// The version first: another one has other fields.
	var version struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(src, &version); err == nil && version.Version != nil && *version.Version != LockVersion {
		return fail(-1, "it has version %d, this imagefactory reads version %d", *version.Version, LockVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.DisallowUnknownFields()
	var l Lock
	if err := dec.Decode(&l); err != nil {
		var syntax *json.SyntaxError
		var typ *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return fail(syntax.Offset, "it is not valid JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
		case errors.As(err, &typ):
			return fail(typ.Offset, "the field %s cannot be a %s", typ.Field, typ.Value)
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return fail(int64(len(src)), "it ends too early")
		}
		return fail(dec.InputOffset(), "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); err != io.EOF {
		return fail(dec.InputOffset(), "there is something behind the end of it")
	}
	if err := l.check(); err != nil {
		return fail(-1, "%s", err)
	}
	return &l, nil
}

// check validates everything a later stage relies on. Errors name the field.
func (l *Lock) check() error {
	if l.Version != LockVersion {
		return fmt.Errorf("the field version is missing")
	}
	for _, f := range []struct{ name, value string }{{"distro", l.Distro}, {"arch", l.Arch}} {
		if f.value == "" {
			return fmt.Errorf("the field %s is missing", f.name)
		}
	}
	if l.Epoch <= 0 {
		return fmt.Errorf("the field epoch must be a time after 1970")
	}
	known := map[string]bool{}
	for i, r := range l.Repositories {
		field := fmt.Sprintf("repositories[%d]", i)
		known[r.Name] = true
		switch {
		case r.Name == "" || r.URL == "":
			return fmt.Errorf("%s needs name and url", field)
		case !isSHA256(r.Release):
			return fmt.Errorf("%s.release is not a SHA-256 in hexadecimal", field)
		}
		for j, x := range r.Indexes {
			if !isSHA256(x.SHA256) || x.Size < 0 || !isBelow(x.Path) {
				return fmt.Errorf("%s.indexes[%d] needs a path, a size and a SHA-256 in hexadecimal", field, j)
			}
		}
	}
	whole := l.Request.Installer == InstallerArchive || l.Request.Installer == InstallerImage
	if len(l.Packages) == 0 && !whole {
		return fmt.Errorf("the field packages is empty")
	}
	if l.Request.Installer == InstallerImage {
		if l.Image == nil || l.Image.Reference == "" {
			return fmt.Errorf("the field image is missing")
		}
		if !isImageDigest(l.Image.Digest) {
			return fmt.Errorf("image.digest is not \"sha256:\" and a SHA-256 in hexadecimal")
		}
	}
	if err := l.checkContainers(); err != nil {
		return err
	}
	if err := checkPackages("packages", l.Packages, known); err != nil {
		return err
	}
	return checkPackages("tools", l.Tools, known)
}

// checkContainers checks that every container image the recipe asked for is pinned, and no other.
func (l *Lock) checkContainers() error {
	var pinned []string
	for i, c := range l.Containers {
		field := fmt.Sprintf("containers[%d]", i)
		switch {
		case c.Reference == "":
			return fmt.Errorf("%s needs a reference", field)
		case !isImageDigest(c.Digest), !isImageDigest(c.Manifest):
			return fmt.Errorf("%s (%s): digest and manifest must be \"sha256:\" and a SHA-256 in hexadecimal", field, c.Reference)
		case i > 0 && l.Containers[i-1].Reference >= c.Reference:
			return fmt.Errorf("%s (%s) is a duplicate or out of order", field, c.Reference)
		}
		pinned = append(pinned, c.Reference)
	}
	if d := listDifference(pinned, l.Request.Containers); d != "" {
		return fmt.Errorf("the field containers does not fit request.containers: %s", d)
	}
	return nil
}

// Container returns what the source of a container image meant when the lock was made; the zero value where the lock does
// not have it.
func (l *Lock) Container(reference string) LockedContainer {
	for _, c := range l.Containers {
		if c.Reference == reference {
			return c
		}
	}
	return LockedContainer{}
}

func isImageDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && isSHA256(hex)
}

func checkPackages(list string, packages []LockedPackage, repositories map[string]bool) error {
	for i, p := range packages {
		field := fmt.Sprintf("%s[%d]", list, i)
		switch {
		case p.Name == "" || p.Version == "" || p.Arch == "":
			return fmt.Errorf("%s needs name, version and arch", field)
		case !isSHA256(p.SHA256):
			return fmt.Errorf("%s (%s): sha256 is not a SHA-256 in hexadecimal", field, p.Name)
		case p.Size <= 0:
			return fmt.Errorf("%s (%s): size must be positive", field, p.Name)
		case !repositories[p.Repository]:
			return fmt.Errorf("%s (%s): there is no repository %q in the lock", field, p.Name, p.Repository)
		case !isBelow(p.Filename):
			return fmt.Errorf("%s (%s): filename must be a relative path without \"..\"", field, p.Name)
		case i > 0 && comparePackages(packages[i-1], p) >= 0:
			return fmt.Errorf("%s (%s) is a duplicate or out of order", field, p.Name)
		}
	}
	return nil
}

func isSHA256(s string) bool {
	p, err := hex.DecodeString(s)
	return err == nil && len(p) == 32 && s == strings.ToLower(s)
}

// isBelow reports whether a path stays below the directory or URL it is joined to.
func isBelow(p string) bool { return fs.ValidPath(p) && p != "." && path.Clean(p) == p }

func comparePackages(a, b LockedPackage) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if c := strings.Compare(a.Arch, b.Arch); c != 0 {
		return c
	}
	return strings.Compare(a.Version, b.Version)
}

// Encode returns the lock as a file: sorted, with one package or index per line, so that a change of one package is a
// change of one line.
func (l *Lock) Encode() []byte {
	c := *l
	c.Version = LockVersion
	c.Packages = sortedPackages(l.Packages)
	c.Tools = sortedPackages(l.Tools)
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"version\": %s,\n  \"distro\": %s,\n  \"arch\": %s,\n  \"epoch\": %s,\n", compact(c.Version), compact(c.Distro), compact(c.Arch), compact(c.Epoch))
	fmt.Fprintf(&b, "  \"request\": %s,\n", indented(c.Request, "  "))
	if c.Image != nil {
		fmt.Fprintf(&b, "  \"image\": %s,\n", compact(c.Image))
	}
	if len(c.Containers) > 0 {
		containers := slices.Clone(c.Containers)
		slices.SortFunc(containers, func(a, b LockedContainer) int { return strings.Compare(a.Reference, b.Reference) })
		writeLines(&b, "containers", containers)
		b.WriteString(",\n")
	}
	repositories := c.Repositories
	if repositories == nil {
		repositories = []LockedRepository{}
	}
	fmt.Fprintf(&b, "  \"repositories\": %s,\n", indented(repositories, "  "))
	writeLines(&b, "packages", c.Packages)
	b.WriteString(",\n")
	writeLines(&b, "tools", c.Tools)
	b.WriteString("\n}\n")
	return b.Bytes()
}

func sortedPackages(list []LockedPackage) []LockedPackage {
	out := slices.Clone(list)
	slices.SortFunc(out, comparePackages)
	return out
}

// writeLines writes a member of the lock with one element per line.
func writeLines[T any](b *bytes.Buffer, name string, elements []T) {
	fmt.Fprintf(b, "  %q: [", name)
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "\n    %s", compact(e))
	}
	if len(elements) > 0 {
		b.WriteString("\n  ")
	}
	b.WriteByte(']')
}

func compact(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // only plain structs of strings and numbers come here
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func indented(v any, prefix string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(compact(v)), prefix, "  "); err != nil {
		panic(err) // compact made it
	}
	return b.String()
}

// Write replaces the lock file at path, all of it or nothing.
func (l *Lock) Write(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write lock file %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(l.Encode())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write lock file %s: %w", path, err)
	}
	return nil
}
