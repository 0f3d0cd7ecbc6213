package cpio

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sample writes an archive with every type of entry.
func sample(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, e := range []struct {
		Entry
		contents string
	}{
		{Entry{Path: "dev", Mode: Directory | 0o755, Time: 1e9}, ""},
		{Entry{Path: "dev/console", Mode: CharDevice | 0o600, Time: 1e9, Major: 5, Minor: 1}, ""},
		{Entry{Path: "empty", Mode: Regular | 0o644, Time: 1e9}, ""},
		{Entry{Path: "init", Mode: Regular | 0o755, Time: 1e9}, "four"},
		{Entry{Path: "link", Mode: Symlink | 0o777, Time: 1e9}, "init"},
		{Entry{Path: "odd name\n*", Mode: Regular | 0o4711, Time: 0xffffffff}, "12345"},
	} {
		e.Size = int64(len(e.contents))
		if err := w.Add(e.Entry); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.contents); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func cpio(t *testing.T, archive []byte, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("cpio")
	if err != nil {
		t.Fatal("cpio is missing: make test installs what the tests need")
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = bytes.NewReader(archive)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio %v: %v\n%s", args, err, stderr.Bytes())
	}
	return string(out)
}

// TestArchive has GNU cpio read what was written.
func TestArchive(t *testing.T) {
	archive := sample(t)
	if len(archive)%blockSize != 0 {
		t.Errorf("the archive has %d bytes", len(archive))
	}
	if again := sample(t); !bytes.Equal(archive, again) {
		t.Error("the same entries give other bytes")
	}
	want := `drwxr-xr-x   2 root     root            0 Sep  9  2001 dev
crw-------   1 root     root       5,   1 Sep  9  2001 dev/console
-rw-r--r--   1 root     root            0 Sep  9  2001 empty
-rwxr-xr-x   1 root     root            4 Sep  9  2001 init
lrwxrwxrwx   1 root     root            4 Sep  9  2001 link -> init
-rws--x--x   1 root     root            5 Feb  7  2106 odd name
*
`
	if got := cpio(t, archive, "-t", "-v", "--quiet"); got != want {
		t.Errorf("cpio lists\n%swant\n%s", got, want)
	}
	dir := t.TempDir()
	cpio(t, archive, "-i", "--quiet", "-D", dir, "init", "link", "odd*")
	for name, want := range map[string]string{"init": "four", "link": "four", "odd name\n*": "12345"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	directory := Entry{Path: "d", Mode: Directory | 0o755}
	for _, test := range []struct {
		entries []Entry
		want    string
	}{
		{[]Entry{{Path: "/init", Mode: Regular}}, "cpio archive: //init: an archive cannot hold this path"},
		{[]Entry{{Path: "", Mode: Regular}}, "cpio archive: /: an archive cannot hold this path"},
		{[]Entry{{Path: trailer, Mode: Regular}}, "cpio archive: /TRAILER!!!: an archive cannot hold this path"},
		{[]Entry{{Path: "a\x00b", Mode: Regular}}, "cpio archive: /a\x00b: an archive cannot hold this path"},
		{[]Entry{directory, directory}, "cpio archive: /d: it is twice there"},
		{[]Entry{{Path: "d/f", Mode: Regular}, directory}, "cpio archive: /d/f: it comes before its directory, /d"},
		{[]Entry{{Path: "f", Mode: Regular, Size: 1 << 32}}, "cpio archive: /f: 4294967296 bytes do not fit an archive's 32-bit sizes"},
		{[]Entry{{Path: "f", Mode: Regular, Time: -1}}, "cpio archive: /f: the time -1 does not fit 32 bits"},
		{[]Entry{{Path: "d", Mode: Directory, Size: 1}}, "cpio archive: /d: it is no file and cannot have contents"},
		{[]Entry{{Path: "s", Mode: 0o140644}}, "cpio archive: /s: the mode 0140644 is of no type written here"},
		{[]Entry{{Path: "f", Mode: Regular, Size: 7}, directory}, "cpio archive: /f lacks 7 bytes of its contents"},
	} {
		w := NewWriter(io.Discard)
		var err error
		for _, e := range test.entries {
			if err = w.Add(e); err != nil {
				break
			}
		}
		if err == nil || err.Error() != test.want {
			t.Errorf("error %v\nwant  %s", err, test.want)
		}
	}
	w := NewWriter(io.Discard)
	if err := w.Add(Entry{Path: "f", Mode: Regular, Size: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "123"); err == nil || !strings.HasSuffix(err.Error(), "/f has more contents than was said") {
		t.Errorf("too much: %v", err)
	}
	if err := w.Close(); err == nil || !strings.HasSuffix(err.Error(), "/f lacks 2 bytes of its contents") {
		t.Errorf("too little: %v", err)
	}
}
