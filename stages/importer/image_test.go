package importer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

// members makes a tar archive: directories end in a slash, "a -> b" is a symbolic link,
// other names have themselves as contents.
func members(t testing.TB, names ...string) []byte {
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

// layoutWriter writes an OCI layout (OCI Image Format Specification).
type layoutWriter struct {
	testing.TB
	dir string
}

type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int               `json:"size"`
	Platform  map[string]string `json:"platform,omitempty"`
	Names     map[string]string `json:"annotations,omitempty"`
}

func newLayout(t testing.TB) *layoutWriter {
	l := &layoutWriter{t, t.TempDir()}
	if err := errors.Join(os.MkdirAll(filepath.Join(l.dir, "blobs/sha256"), 0o755), os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *layoutWriter) blob(kind string, p []byte) descriptor {
	d := store.Sum(p)
	if err := os.WriteFile(filepath.Join(l.dir, "blobs/sha256", d.Hex()), p, 0o644); err != nil {
		l.Fatal(err)
	}
	return descriptor{MediaType: kind, Digest: d.String(), Size: len(p)}
}

func (l *layoutWriter) json(kind string, v any) descriptor {
	p, err := json.Marshal(v)
	if err != nil {
		l.Fatal(err)
	}
	return l.blob(kind, p)
}

const ociPrefix = "application/vnd.oci.image."

// image writes an image of layers, which are compressed in turn: not, gzip, zstd.
func (l *layoutWriter) image(arch string, layers ...[]byte) descriptor {
	l.Helper()
	var descriptors []descriptor
	var diffs []string
	for i, p := range layers {
		diffs = append(diffs, store.Sum(p).String())
		var b bytes.Buffer
		kind := ociPrefix + "layer.v1.tar"
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
		descriptors = append(descriptors, l.blob(kind, b.Bytes()))
	}
	return l.manifest(l.json(ociPrefix+"config.v1+json", map[string]any{
		"architecture": arch, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	}), descriptors)
}

func (l *layoutWriter) manifest(config descriptor, layers []descriptor) descriptor {
	return l.json(ociManifest, map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "config": config, "layers": layers})
}

func (l *layoutWriter) list(images map[string]descriptor) descriptor {
	var list []descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		if d, ok := images[arch]; ok {
			d.Platform = map[string]string{"architecture": arch, "os": "linux"}
			list = append(list, d)
		}
	}
	kind := ociPrefix + "index.v1+json"
	return l.json(kind, map[string]any{"schemaVersion": 2, "mediaType": kind, "manifests": list})
}

// tag writes the layout's index with one name.
func (l *layoutWriter) tag(d descriptor) string {
	d.Names = map[string]string{"org.opencontainers.image.ref.name": "it"}
	p, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{d}})
	if err == nil {
		err = os.WriteFile(filepath.Join(l.dir, "index.json"), p, 0o644)
	}
	if err != nil {
		l.Fatal(err)
	}
	return "oci:" + l.dir + ":it"
}

// three are layers with whiteouts, and the names that remain.
func three(t testing.TB) (layers [][]byte, remain string) {
	return [][]byte{
		members(t, "etc/", "etc/a", "etc/b", "gone/", "gone/x", "opaque/", "opaque/x", "bin -> usr/bin", "usr/bin/", "usr/bin/sh"),
		members(t, "etc/.wh.a", ".wh.gone", "opaque/", "opaque/new", "opaque/.wh..wh..opq"),
		members(t, "gone/again", "bin/.wh.sh", "usr/bin/ls"),
	}, "bin etc/ etc/b gone/ gone/again opaque/ opaque/new usr/ usr/bin/ usr/bin/ls"
}

// policy writes a signature policy that counts for the test.
func policy(t *testing.T, text string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	dir := filepath.Join(home, ".config/containers")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "policy.json"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

const anything = `{"default": [{"type": "insecureAcceptAnything"}]}`

// pull resolves an image and makes a root of it. It returns the paths in it.
func pull(t testing.TB, c *stages.Cache, o ImageOptions) (string, error) {
	t.Helper()
	pinned, err := ResolveImage(t.Context(), o)
	if err != nil {
		return "", err
	}
	return pullPinned(t, c, o, pinned.Digest)
}

func pullPinned(t testing.TB, c *stages.Cache, o ImageOptions, digest store.Digest) (string, error) {
	t.Helper()
	root, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Image(ctx, run, o, digest, c.Downloads())
	})
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range stagetest.Load(t, c.Store, root.Tree).Entries()[1:] {
		name := e.Path
		if e.Type.String() == "directory" {
			name += "/"
		}
		names = append(names, name)
	}
	return strings.Join(names, " "), nil
}

func TestImageOfLayout(t *testing.T) {
	policy(t, anything)
	c := stagetest.Cache(t)
	l := newLayout(t)
	layers, want := three(t)
	o := ImageOptions{Reference: l.tag(l.image("amd64", layers...)), Arch: "x86_64"}
	if got, err := pull(t, c, o); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	// A list: one image per architecture.
	o.Reference = l.tag(l.list(map[string]descriptor{"amd64": l.image("amd64", layers...), "arm64": l.image("arm64", members(t, "arm"))}))
	if got, err := pull(t, c, o); err != nil || got != want {
		t.Errorf("of a list: %s, %v; want %s", got, err, want)
	}
	o.Arch = "aarch64"
	if got, err := pull(t, c, o); err != nil || got != "arm" {
		t.Errorf("of a list, for aarch64: %s, %v", got, err)
	}
	o.Reference = l.tag(l.list(map[string]descriptor{"amd64": l.image("amd64", layers...)}))
	if _, err := pull(t, c, o); err == nil || !strings.Contains(err.Error(), "it has none for the architecture arm64") {
		t.Errorf("of a list without the architecture: %v", err)
	}
}

func TestImageRefuses(t *testing.T) {
	policy(t, anything)
	c := stagetest.Cache(t)
	l := newLayout(t)
	layer := members(t, "a")
	config := func(v map[string]any) descriptor { return l.json(ociPrefix+"config.v1+json", v) }
	plain := l.blob(ociPrefix+"layer.v1.tar", layer)
	good := map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{store.Sum(layer).String()}}}
	with := func(key string, value any) map[string]any {
		m := map[string]any{}
		for k, v := range good {
			m[k] = v
		}
		m[key] = value
		return m
	}
	damaged := newLayout(t)
	broken := damaged.image("amd64", layer)
	shell(t, damaged.dir, `printf X | dd of="blobs/sha256/$1" bs=1 seek=20 conv=notrunc status=none`, store.Sum(layer).Hex())
	check := func(name, reference, want string) {
		t.Helper()
		if _, err := pull(t, c, ImageOptions{Reference: reference, Arch: "x86_64"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
	check("another architecture", l.tag(l.image("arm64", layer)), "it is for linux on arm64, not for linux on amd64")
	check("another system", l.tag(l.manifest(config(with("os", "windows")), []descriptor{plain})), "it is for windows")
	check("another layer", l.tag(l.manifest(config(with("rootfs", map[string]any{"type": "layers", "diff_ids": []string{store.Sum(nil).String()}})), []descriptor{plain})),
		"and the image's configuration says sha256:"+store.Sum(nil).Hex())
	check("layers missing", l.tag(l.manifest(config(good), []descriptor{plain, plain})), "its manifest has 2 layers and its configuration 1")
	check("no layers", l.tag(l.manifest(config(with("rootfs", map[string]any{"type": "layers"})), nil)), "it has no layers")
	check("an artifact", l.tag(l.manifest(l.json("application/x", 1), []descriptor{plain})), "")
	check("damaged", damaged.tag(broken), "its digest is")
	check("hostile", l.tag(l.image("amd64", members(t, "../x"))), `has the element ".."`)
	check("no such tag", strings.TrimSuffix(l.tag(l.image("amd64", layer)), "it")+"other", "other")

	reference := l.tag(l.image("amd64", layer))
	pinned, err := ResolveImage(t.Context(), ImageOptions{Reference: reference, Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	l.tag(l.image("amd64", members(t, "b")))
	if _, err := pullPinned(t, c, ImageOptions{Reference: reference, Arch: "x86_64"}, pinned.Digest); err == nil || !strings.Contains(err.Error(), "it has changed since it was locked") {
		t.Errorf("a layout that has changed: %v", err)
	}
	var wrong *ReferenceError
	for _, reference := range []string{"", "x", "containers-storage:x", "docker:x", "docker://", "docker://UPPER", "oci:"} {
		if err := CheckReference(reference); !errors.As(err, &wrong) || wrong.ExitStatus() != 2 {
			t.Errorf("%q: %v", reference, err)
		}
	}
}

// TestImageOfSkopeo reads what skopeo makes of a layout.
func TestImageOfSkopeo(t *testing.T) {
	need(t, "skopeo", "skopeo")
	policy(t, anything)
	c := stagetest.Cache(t)
	l := newLayout(t)
	layers, all := three(t)
	dir := t.TempDir()
	for to, n := range map[string]int{"oci-archive:" + dir + "/oci.tar:it": 3, "docker-archive:" + dir + "/docker.tar:example.org/it:1": 2} {
		want := all
		if n == 2 { // there is no zstd in Docker's format
			want = "bin etc/ etc/b opaque/ opaque/new usr/ usr/bin/ usr/bin/sh"
		}
		shell(t, dir, `skopeo --insecure-policy copy "$1" "$2"`, l.tag(l.image("amd64", layers[:n]...)), to)
		if got, err := pull(t, c, ImageOptions{Reference: to, Arch: "x86_64"}); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", to, got, err, want)
		}
	}
}

// server is a registry on the loopback interface.
type server struct {
	*httptest.Server
	host string
	// blobs counts the layers that were asked for, manifests the manifests.
	blobs, manifests atomic.Int32
	breaks           atomic.Int32 // so many answers with a blob break off
	lies             atomic.Bool  // blobs are wrong
}

// serve starts a registry that wants the user "user" to say the password "secret".
func serve(t *testing.T) *server {
	t.Helper()
	s := &server{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "user" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			s.manifests.Add(1)
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.blobs.Add(1)
			if s.breaks.Add(-1) >= 0 {
				w.Header().Set("Content-Length", "1000000")
				w.WriteHeader(http.StatusOK)
				return // less than was promised
			}
			if s.lies.Load() {
				fmt.Fprint(w, "something else")
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	s.host = strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	auth := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, s.host, base64.StdEncoding.EncodeToString([]byte("user:secret")))
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.host)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "auth.json"), []byte(auth), 0o600), os.WriteFile(filepath.Join(dir, "registries.conf"), []byte(conf), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "auth.json"))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(dir, "registries.conf"))
	return s
}

// push copies a layout's image to the registry, lists with all of their images.
func (s *server) push(t *testing.T, from, name string) string {
	t.Helper()
	need(t, "skopeo", "skopeo")
	to := "docker://" + s.host + "/" + name
	shell(t, "/", `skopeo --insecure-policy copy --all --preserve-digests --dest-tls-verify=false --dest-creds user:secret "$1" "$2"`, from, to)
	return to
}

func TestImageOfRegistry(t *testing.T) {
	policy(t, anything)
	c, s, l := stagetest.Cache(t), serve(t), newLayout(t)
	layers, want := three(t)
	image := l.image("amd64", layers...)
	tagged := s.push(t, l.tag(l.list(map[string]descriptor{"amd64": image, "arm64": l.image("arm64", members(t, "arm"))})), "base/it:1")
	o := ImageOptions{Reference: tagged, Arch: "x86_64"}
	pinned, err := ResolveImage(t.Context(), o)
	if err != nil || pinned.Digest.String() != image.Digest {
		t.Fatalf("%+v, %v; want %s", pinned, err, image.Digest)
	}
	s.breaks.Store(2)
	if got, err := pullPinned(t, c, o, pinned.Digest); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	// The tag means another image by now; the pinned one is still there.
	s.push(t, l.tag(l.image("amd64", members(t, "new"))), "base/it:1")
	if got, err := pullPinned(t, stagetest.Cache(t), o, pinned.Digest); err != nil || got != want {
		t.Errorf("after the tag has moved: %s, %v", got, err)
	}
	// Everything is in the cache now, and the network is not used.
	s.blobs.Store(0)
	s.manifests.Store(0)
	o.Offline = true
	fresh := stagetest.Cache(t)
	shell(t, "/", `mkdir -p "$2"; cp -r "$1/objects" "$2/"`, c.Downloads(), fresh.Downloads())
	if got, err := pullPinned(t, fresh, o, pinned.Digest); err != nil || got != want {
		t.Errorf("offline: %s, %v", got, err)
	}
	if s.blobs.Load()+s.manifests.Load() != 0 {
		t.Errorf("%d blobs and %d manifests were asked for", s.blobs.Load(), s.manifests.Load())
	}
	if _, err := pullPinned(t, stagetest.Cache(t), o, pinned.Digest); err == nil || !strings.Contains(err.Error(), "may not use the network") {
		t.Errorf("offline, nothing in the cache: %v", err)
	}
	if _, err := ResolveImage(t.Context(), o); err == nil || !strings.Contains(err.Error(), "may not use the network") {
		t.Errorf("resolving offline: %v", err)
	}
	o.Offline = false

	s.lies.Store(true)
	if _, err := pullPinned(t, stagetest.Cache(t), o, pinned.Digest); err == nil {
		t.Error("wrong blobs are taken")
	}
	s.lies.Store(false)
	if _, err := pullPinned(t, c, o, store.Sum(nil)); err == nil {
		t.Error("a manifest that is not there")
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "none.json"))
	if _, err := ResolveImage(t.Context(), o); err == nil {
		t.Error("without a password")
	}
}

func TestPolicy(t *testing.T) {
	s, l := serve(t), newLayout(t)
	image := l.image("amd64", members(t, "a"))
	tagged := s.push(t, l.tag(image), "base/it:1")
	byDigest := "docker://" + s.host + "/base/it@" + image.Digest
	local := l.tag(image)
	scope := func(transport, name, requirement string) string {
		return fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {%q: {%q: [%s]}}}`, transport, name, requirement)
	}
	const ok = `{"type": "insecureAcceptAnything"}`
	for name, test := range map[string]struct {
		policy, reference, want string
	}{
		"anything":                 {anything, tagged, ""},
		"rejected":                 {`{"default": [{"type": "reject"}]}`, byDigest, "rejects it"},
		"its transport":            {scope("docker", "", ok), tagged, ""},
		"another transport":        {scope("oci", "", ok), tagged, "rejects it"},
		"its registry":             {scope("docker", s.host, ok), tagged, ""},
		"its name":                 {scope("docker", s.host+"/base/it", ok), byDigest, ""},
		"its tag":                  {scope("docker", s.host+"/base/it:1", ok), tagged, ""},
		"the narrowest":            {fmt.Sprintf(`{"default": [%[1]s], "transports": {"docker": {"": [%[1]s], %[2]q: [%[1]s], %[3]q: [{"type": "reject"}]}}}`, ok, s.host, s.host+"/base"), tagged, "rejects it"},
		"signed":                   {scope("docker", s.host, `{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}`), byDigest, "demands a signature (signedBy)"},
		"both":                     {scope("docker", s.host, ok+`, {"type": "sigstoreSigned", "keyPath": "/k"}`), tagged, "demands a signature (sigstoreSigned)"},
		"no default":               {`{"transports": {}}`, local, `no member "default"`},
		"an unknown member":        {`{"default": [{"type": "insecureAcceptAnything"}], "deny": {}}`, local, `"deny" is not known`},
		"nonsense":                 {`all your base`, local, "cannot be read"},
		"no requirements":          {fmt.Sprintf(`{"default": [%s], "transports": {"docker": {%q: []}}}`, ok, s.host), tagged, "is empty"},
		"an unknown requirement":   {`{"default": [{"type": "new"}]}`, local, "demands a signature (new)"},
		"a layout's own directory": {scope("oci", l.dir, ok), local, ""},
	} {
		policy(t, test.policy)
		_, err := ResolveImage(t.Context(), ImageOptions{Reference: test.reference, Arch: "x86_64"})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v; want %s", name, err, test.want)
		}
		var refused *PolicyError
		if err != nil && (!errors.As(err, &refused) || refused.ExitStatus() != 3) {
			t.Errorf("%s: %T", name, err)
		}
	}
	// Without any policy.
	none := &decision{}
	for reference, want := range map[string]string{tagged: "name it by digest, which today is image = \"" + byDigest + "\"", byDigest: "", local: ""} {
		ref, err := parseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := store.ParseDigest(image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(none.check(ref), none.checkUnpinned(ref, digest))
		if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s without a policy: %v; want %s", reference, err, want)
		}
	}
}

// FuzzPolicy reads any policy: what it accepts must be JSON that says so.
func FuzzPolicy(f *testing.F) {
	f.Add(anything)
	f.Add(`{"default": [{"type": "reject"}], "transports": {"docker": {"example.org": [{"type": "insecureAcceptAnything"}]}}}`)
	ref, err := parseReference("docker://example.org/a/b:1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		requirements, err := parsePolicy([]byte(text), ref)
		if err != nil {
			return
		}
		d := &decision{path: "p", requirements: requirements}
		if len(requirements) == 0 || d.check(ref) == nil && !strings.Contains(text, "insecureAcceptAnything") && !strings.Contains(text, `\u`) {
			t.Errorf("accepted: %q", text)
		}
	})
}
