package doctor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/stages/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

func TestWorst(t *testing.T) {
	for _, test := range []struct {
		verdicts []Verdict
		want     Verdict
	}{
		{nil, Good},
		{[]Verdict{Good, Limited, Good}, Limited},
		{[]Verdict{Blocking, Limited}, Blocking},
		{[]Verdict{Limited, Blocking, Good}, Blocking},
	} {
		var findings []Finding
		for _, v := range test.verdicts {
			findings = append(findings, Finding{Verdict: v})
		}
		if got := Worst(findings); got != test.want {
			t.Errorf("%v: %s, want %s", test.verdicts, got, test.want)
		}
	}
}

// TestEveryShortcomingHasRemedy looks at the real host.
func TestEveryShortcomingHasRemedy(t *testing.T) {
	for _, f := range Examine(t.Context(), Options{Cache: filepath.Join(t.TempDir(), "not/yet")}) {
		if f.About == "" || f.Found == "" {
			t.Errorf("%+v says nothing", f)
		}
		if (f.Verdict == Good) != (f.Remedy == "") {
			t.Errorf("%s is %s, and its remedy is %q", f.About, f.Verdict, f.Remedy)
		}
	}
}

func TestCacheDir(t *testing.T) {
	dir := t.TempDir()
	if f := cacheDir(filepath.Join(dir, "not/yet")); f.Verdict != Good {
		t.Errorf("a cache that can be made: %+v", f)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := cacheDir(filepath.Join(file, "cache")); f.Verdict != Blocking || !strings.Contains(f.Remedy, "--cache") {
		t.Errorf("a cache below a file: %+v", f)
	}
}

func TestInstallationMedia(t *testing.T) {
	in := func(path string) func() (string, error) { return func() (string, error) { return path, nil } }
	if f := installationMedia(in("/bin/sh")); f.Verdict != Limited || !strings.Contains(f.Found, "/bin/sh") || !strings.Contains(f.Remedy, "CGO_ENABLED=0") {
		t.Errorf("a program that needs libraries: %+v", f)
	}
	program := filepath.Join(t.TempDir(), "imagefactory")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/imagefactory/imagefactory/cmd/installer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if f := installationMedia(in(program)); f.Verdict != Good || !strings.Contains(f.Found, program) {
		t.Errorf("a static program: %+v", f)
	}
}

func TestKeyringOf(t *testing.T) {
	keyring := filepath.Join(t.TempDir(), "keyring.gpg")
	d := &distros.Distro{Name: "some", Repositories: []distros.Repository{
		{Name: "unsigned"},
		{Name: "main", GPGCheck: true, Keyrings: []string{"/nonexistent.gpg", keyring}, KeyringPackage: "some-keyring"},
	}}
	if f := keyringOf(d); f.Verdict != Limited || !strings.Contains(f.Remedy, "install the package some-keyring") || !strings.Contains(f.Found, "main") {
		t.Errorf("without the keyring: %+v", f)
	}
	if err := os.WriteFile(keyring, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := keyringOf(d); f.Verdict != Good || f.Found != keyring {
		t.Errorf("with the keyring: %+v", f)
	}
	d.Repositories = []distros.Repository{{Name: "pinned", GPGCheck: true, Keyrings: []string{"/nonexistent.gpg"}, KeyURL: "https://example.com/key"}}
	if f := keyringOf(d); f.Verdict != Good || !strings.Contains(f.Found, "https://example.com/key") {
		t.Errorf("with a key that can be downloaded: %+v", f)
	}
	d.Repositories = []distros.Repository{{Name: "foreign", GPGCheck: true, KeySource: "in a safe"}}
	if f := keyringOf(d); f.Verdict != Good || !strings.Contains(f.Found, "come with the recipe") || !strings.Contains(f.Found, "in a safe") {
		t.Errorf("with a key that must come with the recipe: %+v", f)
	}
}

func TestReach(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debian/dists/stable/InRelease" && r.URL.Path != "/rpm/repodata/repomd.xml" {
			http.NotFound(w, r)
		}
	}))
	repo := distros.Repository{URL: server.URL + "/debian", Suites: []string{"stable"}}
	if f := reach(t.Context(), "some", repo); f.Verdict != Good {
		t.Errorf("a mirror that answers: %+v", f)
	}
	if f := reach(t.Context(), "some", distros.Repository{URL: server.URL + "/rpm"}); f.Verdict != Good {
		t.Errorf("a mirror of packages that answers: %+v", f)
	}
	repo.Suites = []string{"unstable"}
	if f := reach(t.Context(), "some", repo); f.Verdict != Limited || !strings.Contains(f.Found, "404") {
		t.Errorf("a mirror without the suite: %+v", f)
	}
	server.Close()
	if f := reach(t.Context(), "some", repo); f.Verdict != Limited || !strings.Contains(f.Remedy, "--mirror") {
		t.Errorf("a mirror that does not answer: %+v", f)
	}
}
