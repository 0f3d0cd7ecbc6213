package emit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
)

func TestDirectory(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	put := func(text string) store.Digest {
		digest, err := st.Put([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	path := filepath.Join(t.TempDir(), "out", "node-pxe")
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "of-an-older-build"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var told int64
	out, err := Directory(t.Context(), st, []DirectoryFile{{"kernel", put("linux")}, {"scripts/01-say", put("echo")}}, path, Options{Progress: func(done, total int64) {
		if told = done; total != 9 {
			t.Errorf("%d bytes in all", total)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if out.Path != path || out.Size != 9 || told != 9 {
		t.Errorf("output %+v, %d bytes told", out, told)
	}
	check := exec.Command("sha256sum", "--check", "--strict", SumsName)
	check.Dir = path
	if text, err := check.CombinedOutput(); err != nil || string(text) != "kernel: OK\nscripts/01-say: OK\n" {
		t.Errorf("sha256sum: %v\n%s", err, text)
	}
	if _, err := os.Stat(filepath.Join(path, "of-an-older-build")); !os.IsNotExist(err) {
		t.Errorf("the older directory is still there: %v", err)
	}

	// One that cannot be completed leaves what was there.
	if _, err := Directory(t.Context(), st, []DirectoryFile{{"kernel", store.Sum([]byte("missing"))}}, path, Options{}); err == nil {
		t.Error("a file that is nowhere was written")
	}
	for dir, want := range map[string]int{path: 3, filepath.Dir(path): 1} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != want {
			t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
}
