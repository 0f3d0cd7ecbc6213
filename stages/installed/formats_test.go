package installed

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// realdata has databases of real systems (see its README); it is not part of the project.
const realdata = "/work/shared/realdata/go-rpmdb"

func TestDecodeRealDatabases(t *testing.T) {
	for _, test := range []struct {
		file   string
		decode func([]byte) ([]*header.Header, error)
		least  int
		name   string
	}{
		{"sle15-bci/Packages.db", decodeNDB, 30, "bash"},
		{"libuuid/Packages", decodeBDB, 1, "libuuid"},
	} {
		t.Run(test.file, func(t *testing.T) {
			p, err := os.ReadFile(realdata + "/" + test.file)
			if os.IsNotExist(err) {
				t.Skip("the real databases are not on this machine")
			}
			headers, err := test.decode(p)
			if err != nil {
				t.Fatal(err)
			}
			if len(headers) < test.least || !slices.ContainsFunc(headers, func(h *header.Header) bool { return h.Name() == test.name }) {
				t.Errorf("%d packages were read, at least %d and %s expected", len(headers), test.least, test.name)
			}
			for _, h := range headers {
				t.Log(h.NEVRA(), len(h.Files()))
			}
		})
	}
}

// TestOtherFormats reads a database that is not in SQLite's format, leaves it as it is when nothing changes, and says
// what to do when something would.
func TestOtherFormats(t *testing.T) {
	st := stagetest.Cache(t).Store
	blob, err := header.Build([]header.Entry{
		header.StringEntry(header.TagName, "demo"), header.StringEntry(header.TagVersion, "1"), header.StringEntry(header.TagRelease, "2"),
		header.StringEntry(header.TagArch, "noarch"),
	}, header.TagHeaderImmutable)
	if err != nil {
		t.Fatal(err)
	}
	root := stagetest.Tree(t, stagetest.File(t, st, "var/lib/rpm/Packages", string(bdb(blob))))
	d, err := Read(st, root)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Packages) != 1 || d.Packages[0].Name != "demo" || d.Packages[0].Version != "1-2" {
		t.Errorf("the packages are %+v", d.Packages)
	}
	if same, err := d.Remove(st, root, nil); err != nil || same.Digest() != root.Digest() {
		t.Errorf("removing nothing: %v", err)
	}
	if _, err := d.Remove(st, root, []string{"demo"}); err == nil || !strings.Contains(err.Error(), "/var/lib/rpm/Packages") {
		t.Errorf("removing a package: %v", err)
	}
	if dropped, err := d.Drop(root); err != nil || dropped.Len() != 3 {
		t.Errorf("dropping it: %v", err)
	}
}
