package selinux

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Every entry of a labelled tree has its label in the file system that is made of it, as
// the tools of ext4 see it.
func TestLabelsOnExt4(t *testing.T) {
	st := stagetest.Cache(t).Store
	capable := stagetest.File(t, st, "usr/bin/capable", "x")
	capable.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")}}
	entries := []tree.Entry{
		capable, stagetest.Link("bin", "usr/bin"), stagetest.Link("usr/bin/long-link", strings.Repeat("x/", 60)+"x"), stagetest.Dir("lost+found"),
		{Path: "dev/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3}, {Path: "run/pipe", Type: tree.FIFO, Mode: 0o600}, {Path: "run/socket", Type: tree.Socket, Mode: 0o600},
	}
	for i := range 300 {
		entries = append(entries, stagetest.File(t, st, fmt.Sprintf("usr/lib/d%d/file", i), strings.Repeat("x", i)))
	}
	root, err := Label(st, policyRoot(t, st, "SELINUX=enforcing\nSELINUXTYPE=mine\n", copyPolicy(t, realPolicy(t), ""), entries...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	image, err := ext4.Write(t.Context(), st, root, ext4.Options{Size: 64 << 20, UUID: [16]byte{1}, Label: "root"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ext4.img")
	if err := save(st, image, path); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	var commands strings.Builder
	for _, e := range root.Entries() {
		fmt.Fprintf(&commands, "ea_list \"/%s\"\n", e.Path)
	}
	debugfs := exec.Command("debugfs", "-f", "-", path)
	debugfs.Stdin = strings.NewReader(commands.String())
	out, err := debugfs.Output()
	if err != nil {
		t.Fatalf("debugfs: %v", err)
	}
	answers := strings.Split(string(out), "debugfs: ea_list ")[1:]
	if len(answers) != root.Len() {
		t.Fatalf("debugfs answered for %d of %d entries", len(answers), root.Len())
	}
	labelled := 0
	for i, e := range root.Entries() {
		want := label(t, root, e.Path)
		if want == "" {
			continue // below /run, which has <<none>>
		}
		labelled++
		if line := fmt.Sprintf("  %s (%d) = \"%s\\000\"\n", xattr, len(want), strings.TrimSuffix(want, "\x00")); !strings.Contains(answers[i], line) {
			t.Errorf("/%s: no %q in\n%s", e.Path, line, answers[i])
		}
	}
	if labelled < root.Len()-3 {
		t.Errorf("%d of %d entries have a label", labelled, root.Len())
	}
}

// save writes an image to a file.
func save(st *store.Store, image disk.Image, path string) error {
	in, err := image.Open(st)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, io.NewSectionReader(in, 0, image.Size))
	return err
}
