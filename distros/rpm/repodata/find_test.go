package repodata

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/fetch"
)

// newKey makes a key that signs.
func newKey(t testing.TB) *pgp.Entity {
	t.Helper()
	key, err := pgp.NewEntity("Test", "", "test@example.com", &packet.Config{Time: func() time.Time { return time.Now().Add(-time.Hour) }, RSABits: 2048})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyringOf returns the public keys.
func keyringOf(t testing.TB, keys ...*pgp.Entity) openpgp.Keyring {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	keyring, err := openpgp.ParseKeyring(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

// A mirror serves a repository that a test may spoil.
type mirror struct {
	dir string
	url string
	// handler, when set, answers instead, and says that it did.
	handler func(w http.ResponseWriter, r *http.Request) bool
}

// newMirror serves a repository, signed unless key is nil.
func newMirror(t testing.TB, key *pgp.Entity) *mirror {
	t.Helper()
	m := &mirror{dir: copyPackages(t, "Packages")}
	// Equal for all mirrors of a test.
	createrepo(t, m.dir, "--revision=7", "--set-timestamp-to-revision")
	m.sign(t, key)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.handler == nil || !m.handler(w, r) {
			http.FileServer(http.Dir(m.dir)).ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	m.url = s.URL
	return m
}

func (m *mirror) sign(t testing.TB, key *pgp.Entity) {
	t.Helper()
	if key == nil {
		return
	}
	var b bytes.Buffer
	if err := pgp.ArmoredDetachSign(&b, key, bytes.NewReader(m.repomd(t)), nil); err != nil {
		t.Fatal(err)
	}
	m.write(t, "repodata/repomd.xml.asc", b.Bytes())
}

func (m *mirror) repomd(t testing.TB) []byte { return m.read(t, "repodata/repomd.xml") }

func (m *mirror) read(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (m *mirror) write(t testing.TB, name string, p []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), p, 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in repomd.xml.
func (m *mirror) edit(t testing.TB, old, new string) {
	t.Helper()
	p := m.repomd(t)
	if !bytes.Contains(p, []byte(old)) {
		t.Fatalf("repomd.xml has no %q", old)
	}
	m.write(t, "repodata/repomd.xml", bytes.ReplaceAll(p, []byte(old), []byte(new)))
}

// primary returns the path of the list of packages.
func (m *mirror) primary(t testing.TB) string {
	t.Helper()
	names, err := filepath.Glob(m.dir + "/repodata/*-primary.xml.*")
	if err != nil || len(names) != 1 {
		t.Fatalf("%q, %v", names, err)
	}
	return "repodata/" + filepath.Base(names[0])
}

// on answers requests of files whose names end so.
func (m *mirror) on(suffix string, handler http.HandlerFunc) {
	m.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		handler(w, r)
		return true
	}
}

func signedConfig(t testing.TB, key *pgp.Entity, urls ...string) Config {
	return Config{Name: "test", URLs: urls, Keyring: keyringOf(t, key), RequireSignature: true, Priority: 99}
}

// Whatever is wrong with a mirror is said so that a person understands, and the next
// mirror is used, unless somebody has forged what a trusted key signed.
func TestFindFailures(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	for name, test := range map[string]struct {
		spoil func(t *testing.T, m *mirror)
		want  string // %s is the mirror's URL
		final bool   // no further mirror is tried
	}{
		"is gone": {
			func(t *testing.T, m *mirror) { m.url = "http://127.0.0.1:1" },
			"cannot download repomd.xml.asc: %s/repodata/repomd.xml.asc: dial tcp 127.0.0.1:1: connect: connection refused (2 tries); check the network", false,
		},
		"has nothing": {
			func(t *testing.T, m *mirror) { os.RemoveAll(m.dir + "/repodata") },
			"%s/repodata/repomd.xml is not signed, and this repository must be: cannot download repomd.xml.asc: %[1]s/repodata/repomd.xml.asc: the server answers 404 Not Found", false,
		},
		"drops the connection": {
			func(t *testing.T, m *mirror) {
				m.on("repomd.xml", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
			},
			"cannot download repomd.xml: %s/repodata/repomd.xml: EOF (2 tries)", false,
		},
		"stalls": {
			func(t *testing.T, m *mirror) {
				m.on("repomd.xml", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			},
			"cannot download repomd.xml: %s/repodata/repomd.xml: nothing arrived for 200ms (2 tries)", false,
		},
		"is broken": {
			func(t *testing.T, m *mirror) {
				m.on("repomd.xml", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) })
			},
			"cannot download repomd.xml: %s/repodata/repomd.xml: the server answers 503 Service Unavailable (2 tries)", false,
		},
		"truncates repomd.xml": {
			func(t *testing.T, m *mirror) {
				m.on("repomd.xml", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", "5000")
					w.Write(m.repomd(t)[:1000])
				})
			},
			"cannot download repomd.xml: %s/repodata/repomd.xml: the connection broke after 1000 bytes: unexpected EOF (2 tries)", false,
		},
		"is not signed": {
			func(t *testing.T, m *mirror) { os.Remove(m.dir + "/repodata/repomd.xml.asc") },
			"%s/repodata/repomd.xml is not signed, and this repository must be: cannot download repomd.xml.asc: ", false,
		},
		"hides its signature": {
			func(t *testing.T, m *mirror) {
				m.on(".asc", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusForbidden) })
			},
			"%s/repodata/repomd.xml is not signed, and this repository must be: cannot download repomd.xml.asc: %[1]s/repodata/repomd.xml.asc: the server answers 403 Forbidden", false,
		},
		"answers with a web page": {
			func(t *testing.T, m *mirror) {
				m.on("", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>Please log in</html>") })
			},
			"%s/repodata/repomd.xml.asc holds no signature that names its key", false,
		},
		"is signed by an unknown key": {
			func(t *testing.T, m *mirror) { m.sign(t, stranger) },
			fmt.Sprintf("%%s/repodata/repomd.xml.asc: it has no valid signature: the key %016X is not in the keyring", stranger.PrimaryKey.KeyId), false,
		},
		"was tampered with": {
			func(t *testing.T, m *mirror) { m.edit(t, "<revision>7", "<revision>8") },
			fmt.Sprintf("%%s/repodata/repomd.xml.asc: it has no valid signature: the signature of %016X does not match what it signs", key.PrimaryKey.KeyId), true,
		},
		"has a signed document that is not repomd.xml": {
			func(t *testing.T, m *mirror) {
				m.write(t, "repodata/repomd.xml", []byte("<other/>"))
				m.sign(t, key)
			},
			"%s/repodata/repomd.xml is no repomd.xml that can be used: expected element type <repomd> but have <other>", false,
		},
		"has a repomd.xml that was cut off": {
			func(t *testing.T, m *mirror) {
				m.write(t, "repodata/repomd.xml", m.repomd(t)[:900])
				m.sign(t, key)
			},
			"%s/repodata/repomd.xml is no repomd.xml that can be used: XML syntax error on line ", false,
		},
		"has zchunk alone": {
			func(t *testing.T, m *mirror) {
				m.edit(t, `type="primary"`, `type="primary_zck"`)
				m.sign(t, key)
			},
			"%s/repodata/repomd.xml has its packages as zchunk (primary_zck) alone, which is not supported: make the metadata with createrepo_c without --zck-only", false,
		},
		"has no packages": {
			func(t *testing.T, m *mirror) {
				m.edit(t, `type="primary"`, `type="secondary"`)
				m.sign(t, key)
			},
			"%s/repodata/repomd.xml has no list of packages (primary)", false,
		},
		"has weak digests": {
			func(t *testing.T, m *mirror) {
				createrepo(t, m.dir, "--repomd-checksum=sha1")
				m.sign(t, key)
			},
			"%s/repodata/repomd.xml: primary has no checksum but sha1, which anybody can forge: ask for metadata with SHA-256 (createrepo_c --checksum sha256), or turn verification off with gpg_check = false", false,
		},
		"lacks the list of packages": {
			func(t *testing.T, m *mirror) { os.Remove(filepath.Join(m.dir, m.primary(t))) },
			"cannot download test/%[2]s: %[1]s/repodata/%[2]s: the server answers 404 Not Found", false,
		},
		"has another list of packages": {
			func(t *testing.T, m *mirror) {
				p := m.read(t, m.primary(t))
				p[len(p)/2]++
				m.write(t, m.primary(t), p)
			},
			"cannot download test/%[2]s: %[1]s/repodata/%[2]s: it sent ", false,
		},
		"truncates the list of packages": {
			func(t *testing.T, m *mirror) { m.write(t, m.primary(t), m.read(t, m.primary(t))[:200]) },
			"cannot download test/%[2]s: %[1]s/repodata/%[2]s: the server has 200 bytes there, but the file should have ", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := newMirror(t, key), newMirror(t, key)
			primary := filepath.Base(bad.primary(t))
			test.spoil(t, bad)
			_, err := Find(t.Context(), newClient(t), signedConfig(t, key, bad.url+"/"))
			want := test.want
			switch {
			case strings.Contains(want, "%[2]s"):
				want = fmt.Sprintf(want, bad.url, primary)
			case strings.Contains(want, "%s"):
				want = fmt.Sprintf(want, bad.url)
			}
			if err == nil || !strings.HasPrefix(err.Error(), "repository test: "+want) {
				t.Errorf("error %v\nwant repository test: %s", err, want)
			}
			r, err := Find(t.Context(), newClient(t), signedConfig(t, key, bad.url, good.url))
			switch {
			case test.final && err == nil:
				t.Error("the forged mirror was passed over in silence")
			case !test.final && err != nil:
				t.Error(err)
			case !test.final && r.URL != good.url && !strings.Contains(name, "list of packages"):
				t.Errorf("found at %s", r.URL)
			}
		})
	}
}

func TestFindSigned(t *testing.T) {
	key := newKey(t)
	m := newMirror(t, key)
	client := newClient(t)
	r := load(t, client, signedConfig(t, key, m.url))
	if want := fmt.Sprintf("%X", key.PrimaryKey.Fingerprint); r.SignedBy != want || len(r.Packages) != 3 || r.Date != 7 {
		t.Errorf("signed by %s, want %s; %d packages of %d", r.SignedBy, want, len(r.Packages), r.Date)
	}
	// A signature that is there must be good even where none is required.
	config := signedConfig(t, newKey(t), m.url)
	config.RequireSignature = false
	if _, err := Find(t.Context(), client, config); err == nil || !strings.Contains(err.Error(), "is not in the keyring") {
		t.Errorf("error %v", err)
	}
	// And with verification off nobody looks.
	if r := load(t, client, unverified(m.url)); r.SignedBy != "" {
		t.Error("a signature was looked at")
	}
	config = unverified(m.url)
	config.Unverified = false
	if _, err := Find(t.Context(), client, config); err == nil || err.Error() != "repository test has no key to verify its packages with: name one with gpg_key, or turn verification off with gpg_check = false" {
		t.Errorf("error %v", err)
	}
	os.Remove(m.dir + "/repodata/repomd.xml.asc")
	for _, dir := range []struct{ name, want string }{
		{"", "/repodata/repomd.xml is not signed, and this repository must be: not found"},
		{"/Packages", "/Packages has no repodata/repomd.xml that could be signed, and this repository must be"},
	} {
		_, err := Find(t.Context(), client, signedConfig(t, key, "file://"+m.dir+dir.name))
		if want := "repository test: file://" + m.dir + dir.want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := Find(t.Context(), client, signedConfig(t, key)); err == nil || err.Error() != "repository test has no URL" {
		t.Errorf("error %v", err)
	}
}

// While a mirror is being updated its signature may be of the next repomd.xml.
func TestFindDuringUpdate(t *testing.T) {
	key := newKey(t)
	m := newMirror(t, key)
	old := m.repomd(t)
	m.edit(t, "<revision>7", "<revision>8")
	m.sign(t, key)
	asked := 0
	m.on("repomd.xml", func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			w.Write(old)
		} else {
			w.Write(m.repomd(t))
		}
	})
	if _, err := Find(t.Context(), newClient(t), signedConfig(t, key, m.url)); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// What was loaded once can be loaded without the network, signed or not.
func TestFindOffline(t *testing.T) {
	key := newKey(t)
	for name, config := range map[string]Config{
		"signed":   signedConfig(t, key, newMirror(t, key).url),
		"unsigned": {Name: "test", URLs: []string{newMirror(t, nil).url}, Keyring: keyringOf(t, key)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			newClient := func(offline bool) *fetch.Client {
				c, err := fetch.New(fetch.Options{Dir: dir, Offline: offline})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			if _, err := Find(t.Context(), newClient(true), config); err == nil || !strings.Contains(err.Error(), "run once without --offline") {
				t.Errorf("error %v", err)
			}
			online := load(t, newClient(false), config)
			offline := load(t, newClient(true), config)
			if describe(online.Packages, true) != describe(offline.Packages, true) || online.Digest != offline.Digest {
				t.Error("another repository")
			}
		})
	}
}

// A file that one mirror lacks is fetched from another that has the same.
func TestLoadFromSeveralMirrors(t *testing.T) {
	first, second := newMirror(t, nil), newMirror(t, nil)
	os.RemoveAll(second.dir)
	if err := os.CopyFS(second.dir, os.DirFS(first.dir)); err != nil {
		t.Fatal(err)
	}
	r, err := Find(t.Context(), newClient(t), unverified(first.url, second.url))
	if err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(first.dir)
	client := newClient(t)
	if err := r.Load(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if err := r.LoadFiles(t.Context(), client, map[string]bool{"/opt/libsample": true}); err != nil {
		t.Error(err)
	}
	if r.URL != first.url || !slices.Equal(r.Mirrors, []string{second.url}) {
		t.Errorf("found at %s, mirrors %q", r.URL, r.Mirrors)
	}
	os.RemoveAll(second.dir)
	err = r.Load(t.Context(), newClient(t))
	if err == nil || !errors.Is(err, fetch.ErrNotFound) || !strings.Contains(err.Error(), first.url) || !strings.Contains(err.Error(), second.url) {
		t.Errorf("error %v", err)
	}
}

func TestMirrorList(t *testing.T) {
	m := newMirror(t, nil)
	var list string
	lists := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, list) }))
	defer lists.Close()
	config := unverified()
	config.MirrorList = lists.URL + "/list"
	list = "# repo = test\r\nftp://host/a\nrsync://host/a\r\n\nfile://" + m.dir + "\nhttp://127.0.0.1:1/\n  " + m.url + "/  \n"
	if r := load(t, newClient(t), config); r.URL != m.url || !slices.Equal(r.Mirrors, []string{"http://127.0.0.1:1"}) {
		t.Errorf("found at %s, mirrors %q", r.URL, r.Mirrors)
	}
	// The URLs come first, the list is not even fetched.
	config.URLs, config.MirrorList = []string{m.url}, "http://127.0.0.1:1/list"
	load(t, newClient(t), config)
	config.URLs = nil
	for text, want := range map[string]string{
		"":                                 "it names no http or https mirror",
		"# repo = x error: invalid arch\n": "it names no http or https mirror; it says: repo = x error: invalid arch",
		"ftp://host/a\n":                   "it names no http or https mirror",
		"<html>":                           "unexpected EOF",
		"file://" + m.dir:                  "it names no http or https mirror",
	} {
		list, config.MirrorList = text, lists.URL+"/list"
		_, err := Find(t.Context(), newClient(t), config)
		if want := "repository test: " + lists.URL + "/list is no list of mirrors that can be used: " + want; err == nil || !strings.HasPrefix(err.Error(), want[:len(want)-14]) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
	// A network that is down is noticed before a hundred mirrors were asked.
	list, config.MirrorList = "", lists.URL+"/list"
	for i := range 100 {
		list += fmt.Sprintf("http://127.0.0.1:1/%d\n", i)
	}
	if _, err := Find(t.Context(), newClient(t), config); err == nil || strings.Count(err.Error(), "connection refused") != maxTried {
		t.Errorf("error %v", err)
	}
	// A list on this machine may name directories of it.
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte("file://"+m.dir), 0o644); err != nil {
		t.Fatal(err)
	}
	config.MirrorList = "file://" + path
	load(t, newClient(t), config)
}

// metalinkFor writes a metalink for the repomd.xml that m has, and for older ones.
func metalinkFor(current []byte, timestamp int64, urls []string, older ...[]byte) string {
	version := func(p []byte, timestamp int64) string {
		return fmt.Sprintf(`<mm0:timestamp>%d</mm0:timestamp><size>%d</size><verification><hash type="md5">00</hash><hash type="sha256">%x</hash><hash type="sha512">%x</hash></verification>`,
			timestamp, len(p), sha256.Sum256(p), sha512.Sum512(p))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="http://fedorahosted.org/mirrormanager">
<files><file name="repomd.xml">%s`, version(current, timestamp))
	if len(older) > 0 {
		b.WriteString("<mm0:alternates>")
		for i, p := range older {
			fmt.Fprintf(&b, "<mm0:alternate>%s</mm0:alternate>", version(p, timestamp-int64(i)-1))
		}
		b.WriteString("</mm0:alternates>")
	}
	b.WriteString(`<resources maxconnections="1">`)
	for i, u := range urls {
		// The last is preferred, and then the one before it.
		fmt.Fprintf(&b, `<url protocol="http" type="http" location="DE" preference="%d">%s/repodata/repomd.xml</url>`, i+1, u)
	}
	b.WriteString(`<url protocol="rsync" preference="100">rsync://host/repodata/repomd.xml</url></resources></file></files></metalink>`)
	return b.String()
}

func TestMetalink(t *testing.T) {
	current, stale, other := newMirror(t, nil), newMirror(t, nil), newMirror(t, nil)
	createrepo(t, stale.dir, "--revision=5", "--set-timestamp-to-revision")
	createrepo(t, other.dir, "--revision=9", "--set-timestamp-to-revision")
	var link string
	links := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, link) }))
	defer links.Close()
	config := unverified()
	config.Metalink = links.URL + "/metalink?repo=test"

	link = metalinkFor(current.repomd(t), 7, []string{current.url, other.url, stale.url})
	if r := load(t, newClient(t), config); r.URL != current.url || r.Date != 7 {
		t.Errorf("found at %s, of %d", r.URL, r.Date)
	}
	link = metalinkFor(current.repomd(t), 7, []string{other.url, stale.url})
	_, err := Find(t.Context(), newClient(t), config)
	if err == nil || !strings.Contains(err.Error(), "repository test: "+stale.url+"/repodata/repomd.xml is out of date: it was made on Thu, 01 Jan 1970 00:00:05 UTC, and the metalink names one of Thu, 01 Jan 1970 00:00:07 UTC\n") ||
		!strings.Contains(err.Error(), other.url+"/repodata/repomd.xml is not what the metalink names: it has ") {
		t.Errorf("error %v", err)
	}
	// Mirrors may be a little late, as far as the metalink says so.
	link = metalinkFor(current.repomd(t), 7, []string{current.url, stale.url}, stale.repomd(t))
	if r := load(t, newClient(t), config); r.URL != current.url {
		t.Errorf("found at %s", r.URL)
	}
	link = metalinkFor(current.repomd(t), 7, []string{other.url, stale.url}, stale.repomd(t))
	if r := load(t, newClient(t), config); r.URL != stale.url {
		t.Errorf("found at %s", r.URL)
	}
	// A list of mirrors may be a metalink.
	config.Metalink, config.MirrorList = "", links.URL
	if r := load(t, newClient(t), config); r.URL != stale.url {
		t.Errorf("found at %s", r.URL)
	}
	config.Metalink, config.MirrorList = links.URL, ""
	for text, want := range map[string]string{
		"http://host/":    " is no metalink that can be used: the file ends too early",
		"<metalink/>":     " is no metalink that can be used: it does not describe a repomd.xml",
		"<metalink>":      " is no metalink that can be used: XML syntax error on line 1: unexpected EOF",
		"<html></html>":   " is no metalink that can be used: expected element type <metalink> but have <html>",
		"<metalink/><a/>": " is no metalink that can be used: there is a second root element",
		metalinkFor(nil, 7, []string{"ftp://host"}):                                                      " is no metalink that can be used: it names no http or https mirror",
		strings.ReplaceAll(metalinkFor(nil, 7, []string{current.url}), `type="sha`, `type="unknown-sha`): " is no metalink that can be used: it gives no SHA-256 or SHA-512 digest of repomd.xml",
	} {
		link = text
		_, err := Find(t.Context(), newClient(t), config)
		if want := "repository test: " + links.URL + want; err == nil || err.Error() != want {
			t.Errorf("%q: error %v\nwant %s", text, err, want)
		}
	}
}

// librepo's repositories have bad twins of their own metadata and signatures.
func TestRealSignatures(t *testing.T) {
	dir := realPath(t, "librepo/repo_yum_01/repodata")
	read := func(name string) []byte {
		p, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, test := range []struct {
		repomd, signature, key string
		want                   string // empty: the signature is good
	}{
		{"repomd.xml", "repomd.xml.asc", "repomd.xml.key", ""},
		{"repomd.xml_bad", "repomd.xml.asc", "repomd.xml.key", "does not match what it signs"},
		{"repomd.xml", "repomd.xml.asc", "repomd.xml_bad.key.asc", "is not in the keyring"},
		{"repomd.xml_bad", "repomd.xml_bad.sig", "repomd.xml_bad.key.asc", "uses the digest SHA-1, which no longer protects"},
		{"repomd.xml", "repomd.xml.key", "repomd.xml.key", "repomd.xml.asc holds no signature that names its key"},
	} {
		base := t.TempDir()
		for name, p := range map[string][]byte{"repomd.xml": read(test.repomd), "repomd.xml.asc": read(test.signature)} {
			if err := os.MkdirAll(base+"/repodata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(base+"/repodata/"+name, p, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		keyring, err := openpgp.ParseKeyring(read(test.key))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Find(t.Context(), newClient(t), Config{Name: "test", URLs: []string{"file://" + base}, Keyring: keyring, RequireSignature: true})
		if test.want == "" {
			// Signed, but with digests of SHA-1.
			test.want = "no checksum but sha1, which anybody can forge"
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %s, %s: error %v, want %s", test.repomd, test.signature, test.key, err, test.want)
		}
	}
}

func TestRealOldRepositories(t *testing.T) {
	for name, want := range map[string]int{"librepo/repo_yum_01": 1, "librepo/repo_yum_02": 1, "librepo/repo_yum_03": 21} {
		r := load(t, newClient(t), unverified(realURL(t, name)))
		var got []string
		for _, p := range r.Packages {
			got = append(got, withEpoch(p))
		}
		lines := oracle(t, "packages", realURL(t, name))
		var fromDNF []string
		for lines := range slices.Chunk(lines, 9) {
			nevra, _, _ := strings.Cut(lines[0], "|")
			fromDNF = append(fromDNF, nevra)
		}
		slices.Sort(got)
		slices.Sort(fromDNF)
		if !slices.Equal(got, fromDNF) || len(got) != want {
			t.Errorf("%s: %d packages, dnf reads %d:\n%s", name, len(got), len(fromDNF), difference(got, fromDNF))
		}
	}
	link, err := os.ReadFile(realPath(t, "librepo/repo_yum_01/metalink.xml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMetalink(link, false)
	if err != nil {
		t.Fatal(err)
	}
	repomd, err := os.ReadFile(realPath(t, "librepo/repo_yum_01/repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if version, err := m.version(repomd); version != 0 || err != nil || !slices.Equal(m.bases, []string{"http://127.0.0.1:5000/yum/static/01"}) || m.versions[0].timestamp != 1347459931 {
		t.Errorf("%+v, version %d, %v", m, version, err)
	}
	list, err := os.ReadFile(realPath(t, "librepo/repo_yum_02/mirrorlist"))
	if err != nil {
		t.Fatal(err)
	}
	if bases, err := parseMirrorList(list, false); err != nil || !slices.Equal(bases, []string{"http://127.0.0.1:5000/yum/static/01"}) {
		t.Errorf("%q, %v", bases, err)
	}
}
