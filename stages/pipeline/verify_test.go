package pipeline

import (
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestNotReproducibleError(t *testing.T) {
	fails(t, &NotReproducibleError{Stage: "script one", Detail: "/etc/x: time 1, then 2"}, 4,
		"the build is not reproducible: building again gave something else in stage script one: /etc/x: time 1, then 2")
}

func TestDifference(t *testing.T) {
	st := stagetest.Cache(t).Store
	file := func(path, contents string) tree.Entry { return stagetest.File(t, st, path, contents) }
	save := func(entries ...tree.Entry) store.Digest { return stagetest.Save(t, st, stagetest.Tree(t, entries...)) }
	moved := file("a", "1")
	moved.MTime = tree.Time{Sec: 5, Nsec: 6}
	device := tree.Entry{Path: "a", Type: tree.CharDevice, Major: 1, Mode: 0o644, MTime: file("a", "").MTime}
	otherDevice := device
	otherDevice.Minor = 3
	labelled := file("a", "1")
	labelled.Xattrs = []tree.Xattr{{Name: "user.x", Value: []byte("y")}}
	base := save(file("a", "1"))
	blob, blob2 := file("x", "no tree").Digest, file("x", "no tree either").Digest
	for _, test := range []struct {
		name string
		a, b []store.Digest
		want string
	}{
		{"only the second time", []store.Digest{base}, []store.Digest{save(file("a", "1"), file("b", ""))}, "/b is there only the second time"},
		{"only the first time", []store.Digest{base}, []store.Digest{save()}, "/a is there only the first time"},
		{"contents", []store.Digest{base}, []store.Digest{save(file("a", "2"))}, "/a: contents " + store.Sum([]byte("1")).String() + ", then " + store.Sum([]byte("2")).String()},
		{"mode and owner", []store.Digest{base}, []store.Digest{save(stagetest.Owner(stagetest.Mode(file("a", "1"), 0o4755), 7, 8))}, "/a: mode 0644, then 04755; owner 0:0, then 7:8"},
		{"time", []store.Digest{base}, []store.Digest{save(moved)}, "/a: time 1000000000.000000000, then 5.000000006"},
		{"type", []store.Digest{save(stagetest.Dir("a"))}, []store.Digest{save(stagetest.Link("a", "b"))}, "/a: type directory, then symlink; mode 0755, then 0777; target \"\", then \"b\""},
		{"device numbers", []store.Digest{save(device)}, []store.Digest{save(otherDevice)}, "/a: device 1:0, then 1:3"},
		{"attributes", []store.Digest{base}, []store.Digest{save(labelled)}, "/a: extended attributes differ"},
		{"more than one", []store.Digest{base}, []store.Digest{save(file("b", ""), file("c", ""))}, "/a is there only the first time (paths that differ: 3)"},
		{"the second reference", []store.Digest{blob, base}, []store.Digest{blob, save(file("a", "1"), file("b", ""))}, "/b is there only the second time"},
		{"objects that are no trees", []store.Digest{blob}, []store.Digest{blob2}, "object " + blob.String() + ", then " + blob2.String()},
		{"no references", nil, nil, "its result is recorded differently"},
	} {
		if got := difference(st, st, test.a, test.b); got != test.want {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
	}
	// Hard links are the same file under two names.
	x, y := file("x", "same"), file("y", "same")
	apart := save(x, y)
	x.Link, y.Link = 1, 1
	if got := difference(st, st, []store.Digest{apart}, []store.Digest{save(x, y)}); got != "/x: hard links differ (paths that differ: 2)" {
		t.Errorf("hard links: %s", got)
	}
}

// TestScratch makes sure that verification starts from nothing but the downloads, and
// leaves nothing.
func TestScratch(t *testing.T) {
	cache := stagetest.Cache(t)
	env := &Environment{Options: Options{Sink: stages.Serial(nil), OutputDir: "out"}, Cache: cache}
	s, err := env.scratch()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Cache.Dir, cache.Dir) || !strings.HasPrefix(s.Options.OutputDir, cache.Dir) || env.Options.OutputDir != "out" || env.Cache != cache {
		t.Errorf("cache %s, output %s", s.Cache.Dir, s.Options.OutputDir)
	}
	s.discard()
	again, err := env.scratch()
	if err != nil {
		t.Fatal(err)
	}
	again.discard()
}
