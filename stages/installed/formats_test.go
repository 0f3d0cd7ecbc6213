package installed

import (
	"os"
	"slices"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// realdata has databases of real systems (see its README); it is not part of the project.
const realdata = "/work/shared/realdata/go-rpmdb"

func TestDecodeRealDatabases(t *testing.T) {
	for _, test := range []struct {
		file     string
		decode   func([]byte) ([]*header.Header, error)
		least    int
		package_ string
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
			if len(headers) < test.least || !slices.ContainsFunc(headers, func(h *header.Header) bool { return h.Name() == test.package_ }) {
				t.Errorf("%d packages were read, at least %d and %s expected", len(headers), test.least, test.package_)
			}
			for _, h := range headers {
				t.Log(h.NEVRA(), len(h.Files()))
			}
		})
	}
}
