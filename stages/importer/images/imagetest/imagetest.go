// Package imagetest makes container images for tests, and a registry that has them.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Need fails the test where a program is missing.
func Need(t testing.TB, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("this test needs %s: install the package %s", program, pkg)
	}
}

// Shell runs a script of the test's own in dir; $1, … are args.
func Shell(t testing.TB, dir, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-eu", "-c", script, "sh"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// Members makes a tar archive: directories end in a slash, "a -> b" is a symbolic link,
// other names have themselves as contents.
func Members(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(name))}
		contents := name
		if from, to, ok := strings.Cut(name, " -> "); ok {
			h = tar.Header{Typeflag: tar.TypeSymlink, Name: from, Linkname: to, Mode: 0o777}
			contents = ""
		}
		if strings.HasSuffix(name, "/") {
			h = tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
			contents = ""
		}
		if err := errors.Join(w.WriteHeader(&h), writeAll(w, contents)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeAll(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

// Layout writes an OCI layout (OCI Image Format Specification).
type Layout struct {
	testing.TB
	Dir string
}

// Descriptor refers to a blob.
type Descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int               `json:"size"`
	Platform  map[string]string `json:"platform,omitempty"`
	Names     map[string]string `json:"annotations,omitempty"`
}

// NewLayout returns an empty layout.
func NewLayout(t testing.TB) *Layout {
	l := &Layout{t, t.TempDir()}
	if err := errors.Join(os.MkdirAll(filepath.Join(l.Dir, "blobs/sha256"), 0o755), os.WriteFile(filepath.Join(l.Dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	return l
}

// Blob writes a blob.
func (l *Layout) Blob(kind string, p []byte) Descriptor {
	d := store.Sum(p)
	if err := os.WriteFile(filepath.Join(l.Dir, "blobs/sha256", d.Hex()), p, 0o644); err != nil {
		l.Fatal(err)
	}
	return Descriptor{MediaType: kind, Digest: d.String(), Size: len(p)}
}

// JSON writes v as a blob.
func (l *Layout) JSON(kind string, v any) Descriptor {
	p, err := json.Marshal(v)
	if err != nil {
		l.Fatal(err)
	}
	return l.Blob(kind, p)
}

// OCIPrefix begins the media types of OCI.
const OCIPrefix = "application/vnd.oci.image."

// ManifestType is the media type of an image's manifest.
const ManifestType = OCIPrefix + "manifest.v1+json"

// Image writes an image of layers, which are compressed in turn: not, gzip, zstd.
func (l *Layout) Image(arch string, layers ...[]byte) Descriptor {
	l.Helper()
	return l.ImageOf(arch, nil, layers...)
}

// ImageOf is Image with what the configuration says about running it ("config").
func (l *Layout) ImageOf(arch string, config map[string]any, layers ...[]byte) Descriptor {
	l.Helper()
	var descriptors []Descriptor
	var diffs []string
	for i, p := range layers {
		diffs = append(diffs, store.Sum(p).String())
		var b bytes.Buffer
		kind := OCIPrefix + "layer.v1.tar"
		switch i % 3 {
		case 0:
			b.Write(p)
		case 1:
			kind += "+gzip"
			w := gzip.NewWriter(&b)
			if err := errors.Join(writeAll(w, string(p)), w.Close()); err != nil {
				l.Fatal(err)
			}
		case 2:
			kind += "+zstd"
			w, err := zstd.NewWriter(&b)
			if err := errors.Join(err, writeAll(w, string(p)), w.Close()); err != nil {
				l.Fatal(err)
			}
		}
		descriptors = append(descriptors, l.Blob(kind, b.Bytes()))
	}
	document := map[string]any{"architecture": arch, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}}
	if config != nil {
		document["config"] = maps.Clone(config)
	}
	return l.Manifest(l.JSON(OCIPrefix+"config.v1+json", document), descriptors)
}

// Manifest writes the manifest of an image.
func (l *Layout) Manifest(config Descriptor, layers []Descriptor) Descriptor {
	return l.JSON(ManifestType, map[string]any{"schemaVersion": 2, "mediaType": ManifestType, "config": config, "layers": layers})
}

// List writes an index of images by their architectures.
func (l *Layout) List(images map[string]Descriptor) Descriptor {
	var list []Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		if d, ok := images[arch]; ok {
			d.Platform = map[string]string{"architecture": arch, "os": "linux"}
			list = append(list, d)
		}
	}
	kind := OCIPrefix + "index.v1+json"
	return l.JSON(kind, map[string]any{"schemaVersion": 2, "mediaType": kind, "manifests": list})
}

// Tag writes the layout's index with one name, and returns the reference.
func (l *Layout) Tag(d Descriptor) string {
	d.Names = map[string]string{"org.opencontainers.image.ref.name": "it"}
	p, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []Descriptor{d}})
	if err == nil {
		err = os.WriteFile(filepath.Join(l.Dir, "index.json"), p, 0o644)
	}
	if err != nil {
		l.Fatal(err)
	}
	return "oci:" + l.Dir + ":it"
}

// Three are layers with whiteouts, and the names that remain.
func Three(t testing.TB) (layers [][]byte, remain string) {
	return [][]byte{
		Members(t, "etc/", "etc/a", "etc/b", "gone/", "gone/x", "opaque/", "opaque/x", "bin -> usr/bin", "usr/bin/", "usr/bin/sh"),
		Members(t, "etc/.wh.a", ".wh.gone", "opaque/", "opaque/new", "opaque/.wh..wh..opq"),
		Members(t, "gone/again", "bin/.wh.sh", "usr/bin/ls"),
	}, "bin etc/ etc/b gone/ gone/again opaque/ opaque/new usr/ usr/bin/ usr/bin/ls"
}

// Policy writes a signature policy that counts for the test.
func Policy(t *testing.T, text string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	dir := filepath.Join(home, ".config/containers")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "policy.json"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// Anything is a policy that accepts every image.
const Anything = `{"default": [{"type": "insecureAcceptAnything"}]}`

// Registry is a registry on the loopback interface.
type Registry struct {
	*httptest.Server
	Host string // and port
	// Blobs counts the layers that were asked for, Manifests the manifests.
	Blobs, Manifests atomic.Int32
	Breaks           atomic.Int32 // so many answers with a blob break off
	Lies             atomic.Bool  // blobs are wrong
}

// Serve starts a registry that wants the user "user" to say the password "secret".
func Serve(t *testing.T) *Registry {
	t.Helper()
	s := &Registry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "user" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			s.Manifests.Add(1)
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.Blobs.Add(1)
			if s.Breaks.Add(-1) >= 0 {
				w.Header().Set("Content-Length", "1000000")
				w.WriteHeader(http.StatusOK)
				return // less than was promised
			}
			if s.Lies.Load() {
				fmt.Fprint(w, "something else")
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	s.Host = strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	auth := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, s.Host, base64.StdEncoding.EncodeToString([]byte("user:secret")))
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.Host)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "auth.json"), []byte(auth), 0o600), os.WriteFile(filepath.Join(dir, "registries.conf"), []byte(conf), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "auth.json"))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(dir, "registries.conf"))
	return s
}

// Push copies a layout's image to the registry, lists with all of their images.
func (s *Registry) Push(t *testing.T, from, name string) string {
	t.Helper()
	Need(t, "skopeo", "skopeo")
	to := "docker://" + s.Host + "/" + name
	Shell(t, "/", `skopeo --insecure-policy copy --all --preserve-digests --dest-tls-verify=false --dest-creds user:secret "$1" "$2"`, from, to)
	return to
}
