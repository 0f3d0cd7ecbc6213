package rootfs

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// assemble unpacks and merges packages, given by the fields of their control files.
func assemble(t *testing.T, cache *stages.Cache, o Options, list map[string]map[string]string) (*tree.Tree, error) {
	t.Helper()
	client, err := fetch.New(fetch.Options{Dir: cache.Downloads()})
	if err != nil {
		t.Fatal(err)
	}
	var sources []packages.Source
	for control, files := range list {
		path := stagetest.Package(t, control+"Version: 1\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n", files)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, packages.Source{
			Name: path, Digest: store.Sum(data), Size: int64(len(data)), URLs: []string{"file://" + path}, Auto: strings.HasPrefix(control, "Package: old\n"),
		})
	}
	root, _, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (Root, error) {
		out, err := packages.Run(ctx, run, client, packages.Deb{}, sources)
		if err != nil {
			return Root{}, err
		}
		return Run(ctx, run, out.Packages, o)
	})
	if err != nil {
		return nil, err
	}
	return stagetest.Load(t, cache.Store, root.Tree), nil
}

// paths lists the files and links of a tree.
func paths(t *tree.Tree) string {
	var list []string
	for _, e := range t.Entries() {
		if e.Type != tree.Directory {
			list = append(list, e.Path)
		}
	}
	return strings.Join(list, " ")
}

func TestRun(t *testing.T) {
	cache := stagetest.Cache(t)
	list := map[string]map[string]string{
		"Package: new\nReplaces: old\n": {"usr/bin/tool": "new", "var/lib/apt/keep": ""},
		"Package: old\n":                {"bin/tool": "old", "bin/other": "old"},
	}
	o := Options{Arch: "amd64", Links: map[string]string{"/bin": "usr/bin"}, Epoch: stagetest.Epoch, Database: true}
	root, err := assemble(t, cache, o, list)
	if err != nil {
		t.Fatal(err)
	}
	contents := func(path string) string {
		t.Helper()
		e, ok := root.Lookup(path)
		if !ok {
			t.Errorf("there is no /%s", path)
			return ""
		}
		return stagetest.Contents(t, cache.Store, e)
	}
	for path, want := range map[string]string{
		"usr/bin/tool":                "new",
		"var/lib/dpkg/info/old.list":  "/.\n/bin\n/bin/other\n",
		"var/lib/dpkg/info/new.list":  "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/var\n/var/lib\n/var/lib/apt\n/var/lib/apt/keep\n",
		"var/lib/dpkg/arch":           "amd64\n",
		"var/lib/apt/extended_states": "Package: old\nArchitecture: amd64\nAuto-Installed: 1\n\n",
	} {
		if got := contents(path); got != want {
			t.Errorf("/%s is %q, want %q", path, got, want)
		}
	}
	if n := strings.Count(contents("var/lib/dpkg/status"), "Status: install ok unpacked\n"); n != 2 {
		t.Errorf("%d packages are unpacked", n)
	}
	for _, dir := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/alternatives"} {
		if e, ok := root.Lookup(dir); !ok || e.Type != tree.Directory || e.MTime.Sec != stagetest.Epoch {
			t.Errorf("/%s is %+v", dir, e)
		}
	}

	// Tools have no database, and without apt there is no record for it.
	delete(list, "Package: new\nReplaces: old\n")
	if root, err = assemble(t, cache, o, list); err != nil {
		t.Fatal(err)
	}
	if _, ok := root.Lookup("var/lib/apt"); ok {
		t.Error("a root without apt has /var/lib/apt")
	}
	o.Database = false
	if root, err = assemble(t, cache, o, list); err != nil {
		t.Fatal(err)
	}
	if got, want := paths(root), "bin usr/bin/other usr/bin/tool"; got != want {
		t.Errorf("tools have %s, want %s", got, want)
	}

	list["Package: other\n"] = map[string]string{"usr/bin/tool": "other"}
	_, err = assemble(t, cache, o, list)
	if err == nil || !strings.HasPrefix(err.Error(), "the packages old:amd64 and other:amd64 both ship /usr/bin/tool, with different contents, and ") {
		t.Errorf("conflict: %v", err)
	}
}
