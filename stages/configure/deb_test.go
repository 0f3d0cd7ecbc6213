package configure

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// noted is a maintainer script that notes that it ran, with what arguments and
// environment.
const noted = "#!/bin/sh\nset -e\necho \"$DPKG_MAINTSCRIPT_PACKAGE:$DPKG_MAINTSCRIPT_ARCH $DPKG_MAINTSCRIPT_NAME $*\" >>/var/noted\n"

// result is what the stages before and this one make of packages.
type result struct {
	cache *stages.Cache
	tree  *tree.Tree
	log   string
}

// configure unpacks, merges and configures packages, given by control file and files,
// with the host's dpkg.
func configure(t *testing.T, list map[string]map[string]string, o session.Options) (result, error) {
	t.Helper()
	cache := stagetest.Cache(t)
	pool := stagetest.Pool(t, cache)
	client, err := fetch.New(fetch.Options{Dir: cache.Downloads()})
	if err != nil {
		t.Fatal(err)
	}
	var sources []packages.Source
	for control, files := range list {
		path := stagetest.Package(t, control+"Architecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n", files)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, packages.Source{Name: path, Digest: store.Sum(data), Size: int64(len(data)), URLs: []string{"file://" + path}})
	}
	var r result
	r.cache = cache
	root, log, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		out, err := packages.Run(ctx, run, client, packages.Deb{}, sources)
		if err != nil {
			return rootfs.Root{}, err
		}
		merged, err := rootfs.Run(ctx, run, out.Packages, rootfs.Options{Arch: "amd64", Epoch: stagetest.Epoch, Database: true, Links: map[string]string{"/etc/d": "d.real"}})
		if err != nil {
			return rootfs.Root{}, err
		}
		edit := stagetest.Load(t, cache.Store, merged.Tree).Edit()
		entries := stagetest.Programs(t, cache.Store, "sh", "dpkg", "dpkg-deb", "dpkg-split", "dpkg-query", "dpkg-divert", "tar", "diff", "rm", "cat")
		for _, name := range []string{"ldconfig", "start-stop-daemon"} {
			// dpkg insists on them.
			entries = append(entries, stagetest.Mode(stagetest.File(t, cache.Store, "usr/bin/"+name, "#!/bin/sh\n"), 0o755))
		}
		for _, e := range append(entries, stagetest.Dir("var/log"), stagetest.Dir("tmp")) {
			if err := edit.MkdirAll(tree.Parent(e.Path), stagetest.Dir("")); err != nil {
				return rootfs.Root{}, err
			}
			edit.Put(e)
		}
		complete, err := edit.Tree()
		if err != nil {
			return rootfs.Root{}, err
		}
		return Run(ctx, run, pool, rootfs.Root{Tree: stagetest.Save(t, cache.Store, complete)}, out.Packages, "amd64", o)
	})
	r.log = log
	if err == nil {
		r.tree = stagetest.Load(t, cache.Store, root.Tree)
	}
	return r, err
}

// contents returns the contents of a file of the result.
func (r result) contents(t *testing.T, path string) string {
	t.Helper()
	e, ok := r.tree.Lookup(path)
	if !ok {
		t.Errorf("there is no /%s", path)
		return ""
	}
	return stagetest.Contents(t, r.cache.Store, e)
}

func TestRun(t *testing.T) {
	r, err := configure(t, map[string]map[string]string{
		"Package: base\nVersion: 1\nEssential: yes\n":   {"DEBIAN/postinst": noted + "dpkg-divert --package base --no-rename --divert /etc/d.diverted --add /etc/d >/dev/null\n", "etc/base.conf": "as shipped\n", "DEBIAN/conffiles": "/etc/base.conf\n"},
		"Package: app\nVersion: 2\nDepends: lib\n":      {"DEBIAN/preinst": noted, "DEBIAN/postinst": noted + "cat /policy >>/var/noted\n", "usr/share/app/file": "", "etc/d/file": ""},
		"Package: lib\nVersion: 3\nMulti-Arch: same\n":  {"DEBIAN/postinst": noted, "DEBIAN/triggers": "interest-noawait /usr/share/app\n"},
		"Package: late\nVersion: 4\nPre-Depends: lib\n": {"DEBIAN/preinst": noted},
	}, session.Options{
		Epoch: stagetest.Epoch, Env: map[string]string{"DEBIAN_FRONTEND": "noninteractive"},
		Files: []session.File{{Path: "/policy", Content: "temporary\n", Mode: 0o644}},
		Clean: session.Rules{Remove: []string{"/var/log/*", "/var/lib/dpkg/*-old"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `app:amd64 preinst install
base:amd64 postinst configure 
lib:amd64 postinst configure 
late:amd64 preinst install
app:amd64 postinst configure 
temporary
`
	if got := r.contents(t, "var/noted"); got != want {
		t.Errorf("scripts ran as\n%swant\n%s", got, want)
	}
	status := r.contents(t, "var/lib/dpkg/status")
	if n := strings.Count(status, "Status: install ok installed\n"); n != 4 || strings.Count(status, "Status:") != 4 {
		t.Errorf("the status is\n%s", status)
	}
	if got := r.contents(t, "etc/base.conf"); got != "as shipped\n" {
		t.Errorf("the configuration file is %q", got)
	}
	// Packages guard links of merged /usr that way, and `dpkg --verify` expects it.
	if e, ok := r.tree.Lookup("etc/d.diverted"); !ok || e.Type != tree.Directory {
		t.Errorf("the directory that a diversion calls for is %+v", e)
	}
	for _, gone := range []string{"policy", "etc/base.conf.dpkg-new", "etc/base.conf.dpkg-dist", "var/lib/dpkg/status-old", "var/log/dpkg.log"} {
		if _, ok := r.tree.Lookup(gone); ok {
			t.Errorf("/%s is in the image", gone)
		}
	}
	for _, line := range []string{"preinst scripts: Running the preinst script of app\n", "preinst scripts: Running the preinst script of late\n", "dpkg --configure -a: Setting up app (2) ...\n"} {
		if !strings.Contains(r.log, line) {
			t.Errorf("the log has no %q:\n%s", line, r.log)
		}
	}
}

func TestRunFails(t *testing.T) {
	for want, list := range map[string]map[string]map[string]string{
		"dpkg --configure -a: dpkg failed with exit status 1; it printed last:\nSetting up bad (1) ...\nwhat went wrong\ndpkg: error processing package bad (--configure):\n": {
			"Package: bad\nVersion: 1\n": {"DEBIAN/postinst": "#!/bin/sh\necho what went wrong >&2\nexit 9\n"},
		},
		"preinst scripts: /bin/sh failed with exit status 9; it printed last:\nRunning the preinst script of bad\nwhat went wrong": {
			"Package: bad\nVersion: 1\n": {"DEBIAN/preinst": "#!/bin/sh\necho what went wrong >&2\nexit 9\n"},
		},
	} {
		_, err := configure(t, list, session.Options{Epoch: stagetest.Epoch})
		var failed *session.CommandError
		if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	}
}
