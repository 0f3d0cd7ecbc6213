package pipeline

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
)

// date of the repository.
var date = time.Unix(1_750_000_000, 0).UTC()

// index is the package index of a repository that has more than the packages of newMini.
const index = `Package: mini-lib
Version: 2
Architecture: amd64
Filename: pool/mini-lib.deb
Size: 7
SHA256: 1111111111111111111111111111111111111111111111111111111111111111

Package: mini-kernel
Version: 1
Architecture: amd64
Depends: mini-lib (>= 1)
Filename: pool/mini-kernel.deb
Size: 5
SHA256: 2222222222222222222222222222222222222222222222222222222222222222

Package: mini-kernel
Version: 0.9
Architecture: amd64
Filename: pool/mini-kernel-old.deb
Size: 5
SHA256: 3333333333333333333333333333333333333333333333333333333333333333

Package: mini-base
Version: 1
Architecture: amd64
Filename: pool/mini-base.deb
Size: 6
SHA256: 4444444444444444444444444444444444444444444444444444444444444444
`

// publish writes a repository, without a signature, to dir.
func publish(t *testing.T, dir, index string) {
	t.Helper()
	release := fmt.Sprintf("Suite: stable\nCodename: stable\nDate: %s\nArchitectures: amd64\nComponents: main\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		date.Format(time.RFC1123), sha256.Sum256([]byte(index)), len(index))
	for path, text := range map[string]string{"dists/stable/InRelease": release, "dists/stable/main/binary-amd64/Packages": index} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, index)
	r := load(t, strings.NewReplacer("REPOSITORY", dir, "SCRIPT", "true").Replace(miniText))
	var warnings, told []string
	env, err := Open(Options{Cache: t.TempDir(), Sink: func(e stages.Event) {
		switch {
		case e.Kind == stages.Warning:
			warnings = append(warnings, e.Text)
		case e.Stage == "lock":
			told = append(told, string(e.Kind))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer env.Close()
	lock, found, err := env.Lock(t.Context(), r)
	if err != nil || found {
		t.Fatalf("found %v, %v", found, err)
	}
	var list []string
	for _, p := range append(lock.Packages, lock.Tools...) {
		list = append(list, fmt.Sprintf("%s %s %s %s %d %s %v", p.Name, p.Version, p.Arch, p.Repository, p.Size, p.Filename, p.Auto))
	}
	want := `mini-base 1 amd64 main 6 pool/mini-base.deb false
mini-kernel 1 amd64 main 5 pool/mini-kernel.deb false
mini-lib 2 amd64 main 7 pool/mini-lib.deb true
mini-base 1 amd64 main 6 pool/mini-base.deb false`
	if got := strings.Join(list, "\n"); got != want {
		t.Errorf("packages and tools\n%s\nwant\n%s", got, want)
	}
	repo := lock.Repositories[0]
	if len(lock.Repositories) != 1 || repo.Name != "main" || repo.URL != "file://"+dir || repo.Suite != "stable" || repo.Date != date.Unix() || lock.Epoch != date.Unix() || len(repo.Indexes) != 1 || repo.Indexes[0].Path != "main/binary-amd64/Packages" {
		t.Errorf("lock of %d, repositories %+v", lock.Epoch, lock.Repositories)
	}
	if want := "repository main is not verified (gpg_check = false): whoever answers at its address decides what is in the image"; len(warnings) == 0 || warnings[len(warnings)-1] != want {
		t.Errorf("warnings %q, want %s", warnings, want)
	}
	if got, want := strings.Join(told, " "), "stage-started stage-done"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}

	// It fits the recipe: written, it is a lock.
	path := recipes.LockPath(r.Path)
	if err := lock.Write(path); err != nil {
		t.Fatal(err)
	}
	again, found, err := env.Lock(t.Context(), r)
	if err != nil || !found || string(again.Encode()) != string(lock.Encode()) {
		t.Errorf("the lock that was written: %v, %v\n%s", found, err, again.Encode())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	for want, text := range map[string]string{
		"package mini-base 1: the index of main stable has no SHA-256 of it, so a download could not be verified": strings.Replace(index, "SHA256: 4", "MD5: 4", 1),
		"mini-lib": strings.Replace(index, "mini-lib (>= 1)", "mini-lib (>= 3)", 1),
	} {
		publish(t, dir, text)
		_, err := env.Resolve(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	}
	publish(t, dir, index)
	if _, err := env.Resolve(t.Context(), r); err != nil {
		t.Errorf("mended: %v", err)
	}
	if got := told[len(told)-4:]; got[1] != "stage-failed" || got[3] != "stage-done" {
		t.Errorf("events %q", got)
	}
}
