package e2e

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// checkReproducible builds what b has built as another user, in another
// directory, with another umask, time zone, language and number of processors,
// and compares every byte.
func checkReproducible(t *testing.T, b *builder, recipe, out string, images ...string) {
	other := newBuilder(t)
	other.shareDownloads(t)
	elsewhere := filepath.Join(other.Home, "some where/else")
	other.copyTree(t, filepath.Join(b.Home, filepath.Dir(recipe)), elsewhere) // with its lock

	cmd := other.command(t, t.Context(), "build", "--locked", "--jobs", "1", "-o", "images", filepath.Base(recipe))
	cmd.Args = append([]string{"sh", "-c", `umask 077; exec "$@"`, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.Dir = elsewhere
	cmd.Env = append(cmd.Env, "TZ=Asia/Kathmandu", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "HOSTNAME=elsewhere.example.org")
	if r := finish(t, cmd); r.status != 0 {
		t.Fatalf("exit status %d\n%s", r.status, r.stderr)
	}
	for _, name := range images {
		compareFiles(t, filepath.Join(out, name), filepath.Join(elsewhere, "images", name))
	}
}

// compareFiles fails the test at the first byte that differs.
func compareFiles(t *testing.T, a, b string) {
	t.Helper()
	var readers [2]*bufio.Reader
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		readers[i] = bufio.NewReaderSize(f, 1<<20)
	}
	var blocks [2][1 << 16]byte
	for offset := int64(0); ; {
		n, errA := io.ReadFull(readers[0], blocks[0][:])
		m, errB := io.ReadFull(readers[1], blocks[1][:])
		if !bytes.Equal(blocks[0][:n], blocks[1][:m]) {
			at := 0
			for at < min(n, m) && blocks[0][at] == blocks[1][at] {
				at++
			}
			t.Errorf("%s and %s differ from byte %d on", a, b, offset+int64(at))
			return
		}
		if errA != nil || errB != nil {
			return // both have ended: the last blocks were equal
		}
		offset += int64(n)
	}
}
