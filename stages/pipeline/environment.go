package pipeline

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
)

// Options says how to build, apart from the recipe.
type Options struct {
	Cache       string      // directory
	OutputDir   string      // where the images go
	Mirrors     []string    // "URL" or "REPOSITORY=URL", tried before what apt and the distribution say
	Offline     bool        // no network
	Locked      bool        // refuse to resolve packages: there must be a lock that fits
	AllowSingle bool        // build with one user id where there is no range of subordinate ones
	Only        []string    // outputs to make; empty: all
	Sink        stages.Sink // of events; nil: none
	Tool        string      // version of this program, for the manifest
}

// Environment is what a build uses of the machine. Close it.
type Environment struct {
	Options     Options
	Cache       *stages.Cache
	Pool        *sandbox.Pool
	SandboxMode string // part of keys where a mode's results may differ; empty for those that give the same

	client     *fetch.Client
	aptSources []deb.AptSource
	now        time.Time
}

// RecipeError is a mistake that only shows when the recipe is built: exit status 2.
type RecipeError struct{ Err error }

func (e *RecipeError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RecipeError) Unwrap() error { return e.Err }

// ExitStatus is 2: the recipe is wrong.
func (e *RecipeError) ExitStatus() int { return 2 }

// HostError says what the host lacks: exit status 3.
type HostError struct{ Text string }

func (e *HostError) Error() string { return e.Text }

// ExitStatus is 3: the host lacks something.
func (e *HostError) ExitStatus() int { return 3 }

// Open prepares a build. The error names what the host lacks.
func Open(o Options) (*Environment, error) {
	o.Sink = stages.Serial(o.Sink)
	env := &Environment{Options: o, now: time.Now()}
	for _, m := range o.Mirrors {
		if _, _, err := parseMirror(m); err != nil {
			return nil, &RecipeError{err}
		}
	}
	if _, _, err := epochOverride(); err != nil {
		return nil, &RecipeError{err}
	}
	var err error
	if env.Cache, err = stages.OpenCache(o.Cache); err != nil {
		return nil, err
	}
	if err := env.open(); err != nil {
		env.Cache.Close()
		return nil, err
	}
	return env, nil
}

func (env *Environment) open() (err error) {
	env.client, err = fetch.New(fetch.Options{
		Dir: env.Cache.Downloads(), Offline: env.Options.Offline,
		Progress: func(p fetch.Progress) {
			env.Options.Sink(stages.Event{Kind: stages.Progress, Stage: "download", Item: p.Name, Done: p.Done, Total: p.Total, Unit: stages.Bytes})
		},
	})
	if err != nil {
		return err
	}
	if env.aptSources, err = deb.ReadAptSources("/"); err != nil {
		env.warn("apt's configuration on this host is not understood everywhere, mirrors may be missing: %v", err)
	}
	if env.Pool, err = sandbox.NewPool(env.Cache.Store, env.Cache.Roots(), sandbox.Options{AllowSingle: env.Options.AllowSingle}); err != nil {
		return err
	}
	mode, reason := env.Pool.Mode()
	if limits := mode.Limits(); len(limits) > 0 {
		env.SandboxMode = string(mode)
		env.warn("the sandbox runs in mode %q (%s): %s", mode, reason, strings.Join(limits, " "))
	}
	return nil
}

// Close releases what Open took.
func (env *Environment) Close() error { return env.Cache.Close() }

func (env *Environment) warn(format string, args ...any) {
	env.Options.Sink(stages.Event{Kind: stages.Warning, Text: fmt.Sprintf(format, args...)})
}

// parseMirror splits a mirror option.
func parseMirror(s string) (repository, address string, err error) {
	address = s
	if name, rest, ok := strings.Cut(s, "="); ok && name != "" && !strings.Contains(name, "/") {
		repository, address = name, rest
	}
	if file, _, ok := distros.SplitISO(address); ok && strings.HasPrefix(file, "/") {
		return repository, address, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" || u.Scheme != "file" && u.Host == "" {
		return "", "", fmt.Errorf("the mirror %q is not [REPOSITORY=]URL with an http, https or file URL, or iso:FILE[!/DIRECTORY] with an absolute path", s)
	}
	return repository, strings.TrimRight(address, "/"), nil
}

// epochOverride returns SOURCE_DATE_EPOCH, and whether it is set
// (reproducible-builds.org/specs/source-date-epoch).
func epochOverride() (int64, bool, error) {
	const variable = "SOURCE_DATE_EPOCH"
	text, ok := os.LookupEnv(variable)
	if !ok || text == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, false, fmt.Errorf("%s is %q, not a number of seconds since 1970", variable, text)
	}
	return n, true, nil
}

// epoch returns the time that everything in the image has at most.
func (env *Environment) epoch(lock *recipes.Lock) int64 {
	if n, ok, _ := epochOverride(); ok { // checked by Open
		return n
	}
	return lock.Epoch
}

// mirrors returns where a repository's suite may be, the likeliest first.
//
// A mirror given for this repository by name is the only one. One given without a
// name, for the first repository, is the only one as well; for the others, which
// may lie elsewhere, it comes first. Then come the mirrors the host's apt uses,
// where the distribution allows that, and last the distribution's own URL.
func (env *Environment) mirrors(r *recipes.Recipe, index int, suite string) []string {
	repo := r.Rootfs.Repositories[index]
	var general []string
	for _, m := range env.Options.Mirrors {
		name, address, _ := parseMirror(m) // checked by Open
		switch name {
		case repo.Name:
			return []string{address}
		case "":
			general = append(general, address)
		}
	}
	if len(general) > 0 && index == 0 {
		return general
	}
	uris := slices.Clone(general)
	if repo.AptOrigin != "" {
		arch, _ := r.Distro.Architecture(r.Arch)
		uris = append(uris, deb.AptMirrors(env.aptSources, suite, repo.Components, arch.PackageArch, repo.Keyrings)...)
	}
	if repo.URL != "" {
		uris = append(uris, repo.URL)
	}
	return uris
}

// redirected reports whether a mirror given for the repository is the only one.
func (env *Environment) redirected(r *recipes.Recipe, index int) bool {
	return slices.ContainsFunc(env.Options.Mirrors, func(m string) bool {
		name, _, _ := parseMirror(m) // checked by Open
		return name == r.Rootfs.Repositories[index].Name || name == "" && index == 0
	})
}

// checkMirrors makes sure that mirrors which name a repository name one of the recipe's.
func (env *Environment) checkMirrors(r *recipes.Recipe) error {
	var known []string
	for _, repo := range r.Rootfs.Repositories {
		known = append(known, repo.Name)
	}
	for _, m := range env.Options.Mirrors {
		if name, _, _ := parseMirror(m); name != "" && !slices.Contains(known, name) {
			return &RecipeError{fmt.Errorf("--mirror %s: the recipe has no repository %q; it has %s", m, name, strings.Join(known, ", "))}
		}
	}
	return nil
}

// packageURLs returns where a locked package may be.
func (env *Environment) packageURLs(r *recipes.Recipe, lock *recipes.Lock, p recipes.LockedPackage) []string {
	var urls []string
	for _, locked := range lock.Repositories {
		if locked.Name == p.Repository {
			urls = append(urls, locked.URL+"/"+p.Filename)
			break
		}
	}
	for i, repo := range r.Rootfs.Repositories {
		if repo.Name != p.Repository {
			continue
		}
		for _, uri := range env.mirrors(r, i, "") {
			if u := strings.TrimRight(uri, "/") + "/" + p.Filename; !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
	}
	return urls
}
