package packages

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

const control = "Version: 1.0\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n"

// source makes a package and returns it as the lock would name it.
func source(t *testing.T, name string, files map[string]string) Source {
	t.Helper()
	path := stagetest.Package(t, "Package: "+name+"\n"+control, files)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Name: name, Version: "1.0", Arch: "amd64", Digest: store.Sum(data), Size: int64(len(data)), URLs: []string{"file://" + path}}
}

// run runs the stage.
func run(t *testing.T, cache *stages.Cache, sources ...Source) (Output, string, error) {
	t.Helper()
	return runFormat(t, cache, Deb{}, sources...)
}

func runFormat(t *testing.T, cache *stages.Cache, format Format, sources ...Source) (Output, string, error) {
	t.Helper()
	client, err := fetch.New(fetch.Options{Dir: cache.Downloads()})
	if err != nil {
		t.Fatal(err)
	}
	return stagetest.Run(t, cache, func(ctx context.Context, r *stages.Run) (Output, error) { return Run(ctx, r, client, format, sources) })
}

func TestRun(t *testing.T) {
	cache := stagetest.Cache(t)
	a := source(t, "a", map[string]string{"etc/a.conf": "a\n", "DEBIAN/conffiles": "/etc/a.conf\n", "DEBIAN/postinst": "#!/bin/sh\n"})
	b := source(t, "b", map[string]string{"usr/b": strings.Repeat("large", 10000)})
	b.Auto = true
	out, log, err := run(t, cache, a, b)
	if err != nil {
		t.Fatal(err)
	}
	if want := "unpack: 1 of 2 packages\nunpack: 2 of 2 packages\n"; log != want {
		t.Errorf("progress %q, want %q", log, want)
	}
	if p := out.Packages[1]; p.Name != "b" || p.Version != "1.0" || p.Arch != "amd64" || !p.Auto || p.Archive != b.Digest.Hex() {
		t.Errorf("package %+v", p)
	}
	shipped := stagetest.Load(t, cache.Store, out.Packages[0].Tree)
	if e, _ := shipped.Lookup("etc/a.conf"); e.Mode != 0o644 || stagetest.Contents(t, cache.Store, e) != "a\n" {
		t.Errorf("the file is %+v", e)
	}
	files, err := out.Packages[0].LoadControl(cache.Store)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"conffiles", "control", "md5sums", "postinst"}; !slices.Equal(names, want) || string(files["control"]) != "Package: a\n"+control {
		t.Errorf("metadata %q: %q", names, files["control"])
	}
	installed, err := LoadDeb(t.Context(), cache.Store, out.Packages)
	if err != nil {
		t.Fatal(err)
	}
	if installed[0].Name() != "a" || installed[1].Arch() != "amd64" || installed[0].Auto || !installed[1].Auto {
		t.Errorf("loaded %+v", installed)
	}

	// Once per digest ever: neither where it is, nor the archive, is needed again.
	for i, s := range []*Source{&a, &b} {
		if err := os.Remove(strings.TrimPrefix(s.URLs[0], "file://")); err != nil {
			t.Fatal(i, err)
		}
		s.URLs = nil
	}
	if err := os.RemoveAll(cache.Downloads()); err != nil {
		t.Fatal(err)
	}
	again, _, err := run(t, cache, b, a)
	if err != nil {
		t.Fatal(err)
	}
	if again.Packages[1] != out.Packages[0] || again.Packages[0] != out.Packages[1] {
		t.Errorf("again %+v\nafter %+v", again, out)
	}
}

func TestRunErrors(t *testing.T) {
	good := source(t, "good", nil)
	wrong := source(t, "wrong", nil)
	wrong.Digest = store.Sum([]byte("something else"))
	missing := source(t, "missing", nil)
	missing.URLs = []string{"file:///nowhere/missing.deb"}
	broken := source(t, "broken", nil)
	path := strings.TrimPrefix(broken.URLs[0], "file://")
	if err := os.WriteFile(path, []byte("no archive at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken.Digest, broken.Size = store.Sum([]byte("no archive at all")), 17
	for _, s := range []Source{wrong, missing, broken} {
		cache := stagetest.Cache(t)
		_, _, err := run(t, cache, good, s)
		if err == nil || !strings.HasPrefix(err.Error(), "package "+s.Name+" 1.0: ") {
			t.Errorf("%s: %v", s.Name, err)
		}
		// A good run succeeds afterwards.
		if _, _, err := run(t, cache, good); err != nil {
			t.Errorf("after %s: %v", s.Name, err)
		}
	}
	cache := stagetest.Cache(t)
	stopped := errors.New("stopped")
	_, _, err := stagetest.Run(t, cache, func(ctx context.Context, r *stages.Run) (Output, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(stopped)
		client, err := fetch.New(fetch.Options{Dir: cache.Downloads()})
		if err != nil {
			return Output{}, err
		}
		return Run(ctx, r, client, Deb{}, []Source{good})
	})
	if !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}
