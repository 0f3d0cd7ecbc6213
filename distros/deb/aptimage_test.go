package deb

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/distros"
)

// TestSourcesFiles holds apt's configuration for an image, and has our own reader of
// such files, which is tested against apt, find in it what went in.
func TestSourcesFiles(t *testing.T) {
	keyFile := writeFile(t, "key.gpg", publicKeys(t, newKey(t, time.Hour, 0)))
	files, err := SourcesFiles("demo-1", []distros.Repository{
		{Name: "main", URL: "http://deb.example.org/demo", Suites: []string{"stable", "stable-updates"}, Components: []string{"main", "extra"},
			Keyrings: []string{"/usr/share/keyrings/demo.gpg", "/elsewhere/demo.gpg"}, GPGCheck: true},
		{Name: "distribution's, key from the recipe", URL: "http://deb.example.org/security", Suites: []string{"s"}, Components: []string{"main"},
			Keyrings: []string{"/usr/share/keyrings/demo.gpg"}, KeyFiles: []string{keyFile}, AptOrigin: "Demo", GPGCheck: true},
		{Name: "own key", URL: "https://example.org/own", Suites: []string{"x"}, Components: []string{"main"}, Keyrings: []string{"/k.gpg"}, KeyFiles: []string{keyFile}, GPGCheck: true},
		{Name: "host", URL: "file:///home/me/mirror", Suites: []string{"x"}, Components: []string{"main"}, GPGCheck: true},
		{Name: "unverified", URL: "https://example.org/any", Suites: []string{"x"}, Components: []string{"main"}, Keyrings: []string{"/k.gpg"}, AllowExpired: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := armoredKeys([]string{keyFile})
	if err != nil {
		t.Fatal(err)
	}
	indented := " " + strings.ReplaceAll(strings.Replace(strings.TrimSpace(key), "\n\n", "\n.\n", 1), "\n", "\n ")
	want := `Types: deb
URIs: http://deb.example.org/demo
Suites: stable stable-updates
Components: main extra
Signed-By: /usr/share/keyrings/demo.gpg

Types: deb
URIs: http://deb.example.org/security
Suites: s
Components: main
Signed-By: /usr/share/keyrings/demo.gpg

Types: deb
URIs: https://example.org/own
Suites: x
Components: main
Signed-By:
` + indented + `

Types: deb
URIs: https://example.org/any
Suites: x
Components: main
Check-Valid-Until: no
Trusted: yes
`
	if len(files) != 1 || files[0].Path != "/etc/apt/sources.list.d/demo-1.sources" || files[0].Mode != 0o644 || string(files[0].Content) != want {
		t.Fatalf("%+v\n%s", files, files[0].Content)
	}
	if files, err := SourcesFiles("demo-1", []distros.Repository{{URL: "file:///mirror"}}); len(files) != 0 || err != nil {
		t.Errorf("from a directory of the host: %+v, %v", files, err)
	}
	wrong := writeFile(t, "key", []byte("no key"))
	_, err = SourcesFiles("demo-1", []distros.Repository{{Name: "own", KeyFiles: []string{wrong}, GPGCheck: true}})
	if err == nil || !strings.HasPrefix(err.Error(), "repository own: key "+wrong+": ") {
		t.Errorf("a wrong key: %v", err)
	}
	root := t.TempDir()
	path := filepath.Join(root, files[0].Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, files[0].Content, 0o644); err != nil {
		t.Fatal(err)
	}
	sources, err := ReadAptSources(root)
	if err != nil {
		t.Fatal(err)
	}
	mirrors := AptMirrors(sources, "stable-updates", []string{"extra"}, "amd64", []string{"/usr/share/keyrings/demo.gpg"})
	if len(mirrors) != 1 || mirrors[0] != "http://deb.example.org/demo" {
		t.Errorf("mirrors %q of %+v", mirrors, sources)
	}
}

// TestSourcesFilesKey has the real apt verify a repository with the key in the file.
func TestSourcesFilesKey(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("no apt on this host: it is what reads the file")
	}
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return time.Now().Add(-time.Hour) }}
	var keys []*openpgp.Entity
	for range 3 {
		key, err := openpgp.NewEntity("Archive", "", "archive@example.com", config)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	release := clearSign(t, "Suite: stable\nDate: "+time.Now().Add(-time.Hour).UTC().Format(time.RFC1123)+"\nArchitectures: amd64\nComponents: main\nSHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n", config, keys[1])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/dists/stable/InRelease":
			w.Write(release)
		case "/dists/stable/main/binary-amd64/Packages": // empty
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for name, test := range map[string]struct {
		file []byte
		good bool
	}{
		"binary, several keys": {publicKeys(t, keys...), true},
		"armored":              {armored(t, publicKeys(t, keys[1])), true},
		"armored one by one":   {append(armored(t, publicKeys(t, keys[0])), armored(t, publicKeys(t, keys[1]))...), true},
		"the key of others":    {publicKeys(t, keys[2]), false},
	} {
		files, err := SourcesFiles("demo", []distros.Repository{{
			Name: "own", URL: server.URL, Suites: []string{"stable"}, Components: []string{"main"}, GPGCheck: true, KeyFiles: []string{writeFile(t, "key", test.file)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		for _, dir := range []string{"etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for path, text := range map[string][]byte{files[0].Path: files[0].Content, "etc/apt/sources.list": nil, "var/lib/dpkg/status": nil} {
			if err := os.WriteFile(filepath.Join(root, path), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		update := exec.Command("apt-get", "-q", "update", "-o", "Dir="+root, "-o", "Dir::State::status="+root+"/var/lib/dpkg/status", "-o", "Dir::Bin::methods=/usr/lib/apt/methods",
			"-o", "APT::Sandbox::User=root", "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64", "-o", "Acquire::http::Proxy=DIRECT", "-o", "APT::Update::Error-Mode=any",
			"-o", "APT::Update::Post-Invoke::=", "-o", "APT::Update::Post-Invoke-Success::=")
		update.Env = append(os.Environ(), "LC_ALL=C", "http_proxy=")
		out, err := update.CombinedOutput()
		if (err == nil) != test.good || !test.good && !strings.Contains(string(out), "NO_PUBKEY") {
			t.Errorf("%s: apt-get update: %v\n%s", name, err, out)
		}
	}
}
