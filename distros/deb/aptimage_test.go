package deb

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/distros"
)

// TestSourcesFiles holds apt's configuration for an image, and has our own reader of
// such files, which is tested against apt, find in it what went in.
func TestSourcesFiles(t *testing.T) {
	files := SourcesFiles("demo-1", []distros.Repository{
		{Name: "main", URL: "http://deb.example.org/demo", Suites: []string{"stable", "stable-updates"}, Components: []string{"main", "extra"},
			Keyrings: []string{"/usr/share/keyrings/demo.gpg", "/elsewhere/demo.gpg"}, GPGCheck: true},
		{Name: "own key", URL: "https://example.org/own", Suites: []string{"x"}, Components: []string{"main"}, Keyrings: []string{"/k.gpg"}, KeyFile: "/home/me/key.asc", GPGCheck: true},
		{Name: "host", URL: "file:///home/me/mirror", Suites: []string{"x"}, Components: []string{"main"}, GPGCheck: true},
		{Name: "unverified", URL: "https://example.org/any", Suites: []string{"x"}, Components: []string{"main"}, Keyrings: []string{"/k.gpg"}, AllowExpired: true},
	})
	want := `Types: deb
URIs: http://deb.example.org/demo
Suites: stable stable-updates
Components: main extra
Signed-By: /usr/share/keyrings/demo.gpg

Types: deb
URIs: https://example.org/own
Suites: x
Components: main

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
	if files := SourcesFiles("demo-1", []distros.Repository{{URL: "file:///mirror"}}); len(files) != 0 {
		t.Errorf("from a directory of the host: %+v", files)
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
