package e2e

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
)

// TestBadInput breaks one thing after the other. Each gives one clear error
// and the right exit status, leaves no image, and is forgotten as soon as it is
// mended.
func TestBadInput(t *testing.T) {
	b := newBuilder(t)
	for _, c := range []struct {
		name   string
		recipe tinyRecipe
		args   []string
		// prepare breaks something and returns what mends it.
		prepare func(t *testing.T, b *builder, r *repository) (mend func())
		status  int
		says    string // a regular expression
	}{
		{
			name: "unreachable mirror", status: 1, says: `127\.0\.0\.1:1/.*connection refused`,
			recipe: tinyRecipe{url: "http://127.0.0.1:1/debian"},
		},
		{
			name: "missing repository", status: 1, says: `404|not found`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				return broken(r, func(w http.ResponseWriter, request *http.Request) bool {
					http.NotFound(w, request)
					return true
				})
			},
		},
		{
			name: "wrong signature", status: 1, says: `sign`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				right := r.key
				r.key = newKey(t)
				r.sign(t)
				return func() { r.key = right; r.sign(t) }
			},
		},
		{
			name: "changed Release file", status: 1, says: `sign`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				return changed(r, "dists/stable/InRelease", func(p []byte) []byte {
					return bytes.Replace(p, []byte("Codename: stable"), []byte("Codename: forged"), 1)
				})
			},
		},
		{
			name: "expired Release file", status: 1, says: `expired`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				now := r.now
				r.now = now.Add(-2 * validity)
				r.sign(t)
				return func() { r.now = now; r.sign(t) }
			},
		},
		{
			name: "digest mismatch", status: 1, says: `tiny-app.*(SHA-256|sha256|digest)`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				return changed(r, r.path(t, "tiny-app"), func(p []byte) []byte {
					p = bytes.Clone(p)
					p[len(p)/2] ^= 1
					return p
				})
			},
		},
		{
			name: "wrong index", status: 1, says: `Packages`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				return changed(r, "dists/stable/main/binary-amd64/Packages.gz", func(p []byte) []byte { return append(p[:len(p):len(p)], 0) })
			},
		},
		{
			name: "truncated download", status: 1, says: `tiny-app`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				path := r.path(t, "tiny-app")
				return changed(r, path, func(p []byte) []byte { return p[:len(p)/2] })
			},
		},
		{
			name: "connection that breaks off", status: 1, says: `tiny-app`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				return broken(r, func(w http.ResponseWriter, request *http.Request) bool {
					if !strings.HasPrefix(request.URL.Path, "/pool/tiny-app") {
						return false
					}
					if request.Header.Get("Range") == "" {
						w.Header().Set("Content-Length", "82112")
						w.Write(make([]byte, 1000))
					}
					panic(http.ErrAbortHandler)
				})
			},
		},
		{
			name: "unsatisfiable package", status: 2, says: `tiny-needs-broken.*tiny-broken.*tiny-missing \(>= 2\.0\)`,
			recipe: tinyRecipe{packages: []string{"tiny-needs-broken"}},
		},
		{
			name: "unknown package", status: 2, says: `tiny-ap\b`,
			recipe: tinyRecipe{packages: []string{"tiny-ap"}},
		},
		{
			name: "disk too small", status: 2, says: `ROOT.*MiB`,
			recipe: tinyRecipe{packages: []string{"tiny-big"}, rootSize: "8MiB"},
		},
		{
			name: "nothing locked", status: 2, says: `--locked needs .*imagefactory lock`,
			args: []string{"--locked"},
		},
		{
			name: "offline with an empty cache", status: 1, says: `offline`,
			args: []string{"--offline"},
		},
		{
			name: "unknown output", status: 2, says: `--only iso: .*raw, qcow2`,
			args: []string{"--only", "iso"},
		},
		{
			name: "unwritable cache", status: 3, says: `cache`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				b.mkdir(t, b.cache)
				return mode(t, b.cache, 0o500)
			},
		},
		{
			name: "read-only output", status: 3, says: `out`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				out := filepath.Join(b.Home, "out")
				b.mkdir(t, out)
				return mode(t, out, 0o500)
			},
		},
		{
			name: "full disk under the cache", status: 3, says: `no space left on device`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				b.mkdir(t, b.cache)
				return small(t, b, b.cache, 1<<20)
			},
		},
		{
			name: "full disk under the output", status: 3, says: `no space left on device`,
			prepare: func(t *testing.T, b *builder, r *repository) func() {
				out := filepath.Join(b.Home, "out")
				b.mkdir(t, out)
				return small(t, b, out, 256<<10)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepository(t)
			fresh(t, b)
			recipe := c.recipe
			if recipe.packages == nil {
				recipe.packages = []string{"tiny-app"}
			}
			b.writeTiny(t, r, recipe)
			mend := func() {}
			if c.prepare != nil {
				mend = c.prepare(t, b, r)
			}
			checkFailure(t, b.run(t, t.Context(), append([]string{"build", "tiny.hcl"}, c.args...)...), c.status, c.says)
			checkNoImages(t, filepath.Join(b.Home, "out"))

			mend()
			b.writeTiny(t, r, tinyRecipe{packages: []string{"tiny-app"}})
			b.must(t, t.Context(), "build", "tiny.hcl")
		})
	}
}

// TestMissingRange builds as a user without subordinate ids.
func TestMissingRange(t *testing.T) {
	b := newBuilder(t, usertest.WithoutRange)
	b.writeTiny(t, newRepository(t), tinyRecipe{})
	checkFailure(t, b.run(t, t.Context(), "build", "tiny.hcl"), 3, `subordinate|subuid`)
	checkNoImages(t, filepath.Join(b.Home, "out"))
	checkFailure(t, b.run(t, t.Context(), "doctor"), 3, `cannot build images`)
	b.must(t, t.Context(), "build", "--allow-single-id", "tiny.hcl")
}

// TestInterrupt presses Ctrl-C in the middle of things that would never end by
// themselves. That the program ends at all is what is tested; how long it takes
// is logged.
func TestInterrupt(t *testing.T) {
	for _, c := range []struct {
		name     string
		packages []string
		until    string // what the program prints before it is interrupted
		fault    func(w http.ResponseWriter, r *http.Request) bool
	}{
		{name: "while a maintainer script runs", packages: []string{"tiny-hang"}, until: "hanging"},
		{
			name: "while it downloads", packages: []string{"tiny-app"}, until: "packages: started",
			fault: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, "/pool/tiny-app") {
					return false
				}
				w.Header().Set("Content-Length", "100000")
				w.Write(make([]byte, 1000))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return true
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t)
			r := newRepository(t)
			b.writeTiny(t, r, tinyRecipe{packages: c.packages})
			r.breakWith(c.fault)
			ctx, interrupt := context.WithTimeout(t.Context(), patience)
			defer interrupt()
			cmd := b.command(t, ctx, "build", "tiny.hcl")
			output := &watcher{until: c.until, seen: interrupt}
			cmd.Stderr = output
			err := cmd.Run()
			took := time.Since(output.at)
			if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(output.text.String(), "imagefactory: interrupted\n") {
				t.Fatalf("%v\n%s", err, output.text.String())
			}
			t.Logf("from Ctrl-C to the end: %s", took)
			checkNoImages(t, filepath.Join(b.Home, "out"))
			checkNoProcesses(t, b)
			b.must(t, t.Context(), "cache", "verify")

			r.breakWith(nil)
			b.writeTiny(t, r, tinyRecipe{packages: []string{"tiny-app"}})
			b.must(t, t.Context(), "build", "tiny.hcl")
		})
	}
}

// watcher collects output and tells when it holds a text.
type watcher struct {
	text  bytes.Buffer
	until string
	seen  func()
	at    time.Time // when it was seen
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.text.Write(p)
	if w.at.IsZero() && strings.Contains(w.text.String(), w.until) {
		w.at = time.Now()
		w.seen()
	}
	return n, err
}

// checkFailure checks the exit status, and that there is one error which says
// what is wrong.
func checkFailure(t *testing.T, r result, status int, says string) {
	t.Helper()
	if r.status != status {
		t.Errorf("exit status %d, want %d\n%s", r.status, status, r.stderr)
	}
	_, message, found := strings.Cut("\n"+r.stderr, "\nimagefactory: ")
	if !found || strings.Contains(message, "\nimagefactory: ") {
		t.Errorf("not exactly one error:\n%s", r.stderr)
	}
	if !regexp.MustCompile(`(?s)` + says).MatchString(message) {
		t.Errorf("the error does not say %q: %s", says, message)
	}
	t.Logf("%s", strings.TrimSpace(message))
}

// checkNoImages checks that there is nothing in the output directory, not even
// half written.
func checkNoImages(t *testing.T, out string) {
	t.Helper()
	names, err := os.ReadDir(out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Errorf("%s is left behind", filepath.Join(out, name.Name()))
	}
}

// checkNoProcesses checks that no process of the user's, or of the ids that
// are subordinate to the user, is left.
func checkNoProcesses(t *testing.T, b *builder) {
	t.Helper()
	out, err := exec.Command("ps", "-e", "-o", "uid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), b.Home) || strings.Contains(string(out), programPath) {
		t.Errorf("processes are left:\n%s", out)
	}
}

// fresh gives the builder an empty cache and no output.
func fresh(t *testing.T, b *builder) {
	t.Helper()
	for _, path := range []string{"cache", "out", "tiny.hcl.lock"} {
		// As the user's sandboxes may have left files of subordinate ids, as root.
		if err := os.RemoveAll(filepath.Join(b.Home, path)); err != nil {
			t.Fatal(err)
		}
	}
}

// broken has the server answer with fault until it is mended.
func broken(r *repository, fault func(http.ResponseWriter, *http.Request) bool) func() {
	r.breakWith(fault)
	return func() { r.breakWith(nil) }
}

// changed has the server give another version of a file until it is mended.
func changed(r *repository, path string, change func([]byte) []byte) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	right := r.files[path]
	r.files[path] = change(right)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.files[path] = right
	}
}

// mode changes a directory's permissions until it is mended.
func mode(t *testing.T, path string, mode os.FileMode) func() {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// small puts a file system of some bytes over a directory until it is mended.
func small(t *testing.T, b *builder, path string, size int) func() {
	t.Helper()
	options := "size=" + strconv.Itoa(size)
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatalf("mounting a small file system: %v", err)
	}
	mounted := true
	mend := func() {
		if mounted {
			mounted = false
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(mend)
	b.Chown(t, path)
	return mend
}
