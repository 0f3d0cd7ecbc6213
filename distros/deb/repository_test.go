package deb

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

const testPackages = `Package: sample
Version: 1.0
Architecture: amd64
Filename: pool/sample_1.0_amd64.deb
Size: 4
SHA256: ` + testDigest + `
`

// A testRepository is a repository on disk that a test may spoil.
type testRepository struct {
	root string // the directory that holds dists
	key  *openpgp.Entity
}

// newRepository makes a repository with the suite "sample" and the component
// "main", signed by key.
func newRepository(t *testing.T, key *openpgp.Entity) *testRepository {
	t.Helper()
	r := &testRepository{root: t.TempDir(), key: key}
	index := gzipped([]byte(testPackages))
	r.write(t, "main/binary-amd64/Packages.gz", index)
	r.write(t, "main/binary-amd64/by-hash/SHA256/"+hexSum(index), index)
	r.sign(t, r.releaseText())
	return r
}

// releaseText describes the files as they should be.
func (r *testRepository) releaseText() string {
	index := gzipped([]byte(testPackages))
	return fmt.Sprintf("Origin: Example\nLabel: Main\nSuite: stable\nCodename: sample\nDate: Fri, 20 Nov 2026 00:12:41 UTC\n"+
		"Valid-Until: Fri, 27 Nov 2026 00:12:41 UTC\nAcquire-By-Hash: yes\nArchitectures: amd64\nComponents: main\nSHA256:\n %s %d main/binary-amd64/Packages.gz\n",
		hexSum(index), len(index))
}

// hexSum is the SHA-256 of p as Release files write it.
func hexSum(p []byte) string { return strings.TrimPrefix(store.Sum(p).String(), "sha256:") }

func (r *testRepository) write(t *testing.T, name string, p []byte) {
	t.Helper()
	path := filepath.Join(r.root, "dists/sample", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r *testRepository) sign(t *testing.T, text string) {
	t.Helper()
	r.write(t, "InRelease", clearSign(t, text, nil, r.key))
}

func (r *testRepository) serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(r.root)))
	t.Cleanup(s.Close)
	return s.URL
}

func newFetchClient(t *testing.T) *fetch.Client {
	t.Helper()
	c, err := fetch.New(fetch.Options{Dir: t.TempDir(), Attempts: 2, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testConfig(t *testing.T, key *openpgp.Entity, uris ...string) RepositoryConfig {
	return RepositoryConfig{
		Name: "test", URIs: uris, Suite: "sample", Components: []string{"main"}, Arch: "amd64",
		Keyring: parseKeyring(t, publicKeys(t, key)), Origin: "Example", Label: "Main", Now: testNow,
	}
}

func TestLoadIndexes(t *testing.T) {
	key := newKey(t, 24*time.Hour, 0)
	repo := newRepository(t, key)
	for name, uri := range map[string]string{"http": repo.serve(t) + "/", "file": "file://" + repo.root} {
		t.Run(name, func(t *testing.T) {
			got, err := LoadIndexes(t.Context(), newFetchClient(t), testConfig(t, key, uri))
			if err != nil {
				t.Fatal(err)
			}
			in, err := os.ReadFile(filepath.Join(repo.root, "dists/sample/InRelease"))
			if err != nil {
				t.Fatal(err)
			}
			if got.URI != strings.TrimRight(uri, "/") || got.ReleaseDigest != store.Sum(in) || got.Release.Codename != "sample" {
				t.Errorf("%+v", got)
			}
			index := gzipped([]byte(testPackages))
			want := IndexFile{Path: "main/binary-amd64/Packages.gz", Digest: store.Sum(index), Size: int64(len(index))}
			if len(got.Files) != 1 || got.Files[0] != want {
				t.Errorf("files %+v, want %+v", got.Files, want)
			}
			if p := got.Indexes[0].Packages; len(p) != 1 || p[0].Name != "sample" || p[0].SHA256 != store.Sum([]byte("test")) {
				t.Errorf("packages %v", p)
			}
		})
	}
}

// While a mirror is being updated the index under its plain name is already
// another one.
func TestLoadIndexesByHash(t *testing.T) {
	key := newKey(t, 24*time.Hour, 0)
	repo := newRepository(t, key)
	repo.write(t, "main/binary-amd64/Packages.gz", []byte("the next version"))
	if _, err := LoadIndexes(t.Context(), newFetchClient(t), testConfig(t, key, repo.serve(t))); err != nil {
		t.Error(err)
	}
}

// Candidates that are something else are passed over.
func TestLoadIndexesPassesOver(t *testing.T) {
	key, stranger := newKey(t, 24*time.Hour, 0), newKey(t, 24*time.Hour, 0)
	good := newRepository(t, key)
	foreign := newRepository(t, stranger)
	security := newRepository(t, key)
	security.sign(t, strings.Replace(security.releaseText(), "Label: Main", "Label: Security", 1))
	older := newRepository(t, key)
	older.sign(t, strings.NewReplacer("Codename: sample", "Codename: older", "Suite: stable", "Suite: oldstable").Replace(older.releaseText()))
	noArch := newRepository(t, key)
	noArch.sign(t, strings.ReplaceAll(noArch.releaseText(), "amd64", "riscv64"))
	empty := &testRepository{root: t.TempDir()}
	unsigned := newRepository(t, key)
	unsigned.write(t, "InRelease", []byte(unsigned.releaseText()))
	wrong := []string{empty.serve(t), "http://127.0.0.1:1/debian", foreign.serve(t), security.serve(t), older.serve(t), noArch.serve(t), unsigned.serve(t)}

	client := newFetchClient(t)
	got, err := LoadIndexes(t.Context(), client, testConfig(t, key, append(wrong, good.serve(t))...))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Indexes[0].Packages) != 1 {
		t.Errorf("%+v", got)
	}
	_, err = LoadIndexes(t.Context(), client, testConfig(t, key, wrong...))
	for _, want := range []string{
		"repository test: cannot download InRelease: " + wrong[0] + "/dists/sample/InRelease: the server answers 404 Not Found\n",
		"http://127.0.0.1:1/debian/dists/sample/InRelease: dial tcp 127.0.0.1:1: connect: connection refused (2 tries)",
		wrong[2] + "/dists/sample/InRelease has no valid signature: the key ",
		wrong[3] + `/dists/sample/InRelease is of the repository "Example" labelled "Security", not "Example" labelled "Main"`,
		wrong[4] + `/dists/sample/InRelease is the Release file of suite "oldstable" (older), not of "sample"`,
		wrong[5] + `/dists/sample/InRelease lists no packages of component "main" for architecture "amd64"; it has the components main and the architectures riscv64`,
		wrong[6] + "/dists/sample/InRelease is not a signed Release file",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error:\n%v\nlacks %s", err, want)
		}
	}
}

// Where a trusted key is involved and something is wrong, nothing else is tried.
func TestLoadIndexesFailsClosed(t *testing.T) {
	key := newKey(t, 24*time.Hour, 0)
	good := newRepository(t, key)
	expired := newRepository(t, key)
	expired.sign(t, strings.Replace(expired.releaseText(), "27 Nov 2026", "20 Nov 2026", 1))
	tampered := newRepository(t, key)
	p := clearSign(t, tampered.releaseText(), nil, key)
	tampered.write(t, "InRelease", bytes.Replace(p, []byte("Label"), []byte("Lable"), 1))
	unsigned := newRepository(t, key)
	unsigned.write(t, "InRelease", []byte(unsigned.releaseText()))
	damaged := newRepository(t, key)
	os.RemoveAll(filepath.Join(damaged.root, "dists/sample/main/binary-amd64/by-hash"))
	damaged.write(t, "main/binary-amd64/Packages.gz", bytes.Repeat([]byte("x"), len(gzipped([]byte(testPackages)))))
	incomplete := newRepository(t, key)
	os.RemoveAll(filepath.Join(incomplete.root, "dists/sample/main"))
	malformed := newRepository(t, key)
	index := gzipped([]byte("Package without colon\n"))
	malformed.write(t, "main/binary-amd64/Packages.gz", index)
	malformed.sign(t, fmt.Sprintf("Origin: Example\nLabel: Main\nCodename: sample\nDate: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n %s %d main/binary-amd64/Packages.gz\n", hexSum(index), len(index)))

	for name, test := range map[string]struct {
		repo *testRepository
		want string
	}{
		"expired":    {expired, "InRelease expired on Fri, 20 Nov 2026 00:12:41 UTC"},
		"tampered":   {tampered, "does not match what it signs"},
		"malformed":  {malformed, "Packages: line 1: "},
		"incomplete": {incomplete, "cannot download sample/main/binary-amd64/Packages.gz: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadIndexes(t.Context(), newFetchClient(t), testConfig(t, key, test.repo.serve(t), good.serve(t)))
			if err == nil || !strings.HasPrefix(err.Error(), "repository test: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\nwant   %s", err, test.want)
			}
		})
	}
	client := newFetchClient(t)
	_, err := LoadIndexes(t.Context(), client, testConfig(t, key, damaged.serve(t)))
	if err == nil || !strings.Contains(err.Error(), "with the digest sha256:") {
		t.Errorf("error %v", err)
	}
	// A later good run succeeds, with the same cache.
	if _, err := LoadIndexes(t.Context(), client, testConfig(t, key, good.serve(t))); err != nil {
		t.Error(err)
	}
	config := testConfig(t, key, expired.serve(t))
	config.AllowExpired = true
	if _, err := LoadIndexes(t.Context(), client, config); err != nil {
		t.Error(err)
	}
	config = testConfig(t, key, unsigned.serve(t))
	config.Unverified = true
	if _, err := LoadIndexes(t.Context(), client, config); err != nil {
		t.Error(err)
	}
}
