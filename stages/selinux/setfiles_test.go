package selinux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// setfiles itself labels files on disk, and they have what the tree has: to the byte, on
// links and on all names of an inode.
func TestLabelAsSetfiles(t *testing.T) {
	st := stagetest.Cache(t).Store
	contextsPath := copyPolicy(t, realPolicy(t), "/srv/local(/.*)?  system_u:object_r:bin_t:s0\n")
	hard := func(path string, link uint32) tree.Entry {
		e := stagetest.File(t, st, path, "same")
		e.Link = link
		return e
	}
	entries := []tree.Entry{
		stagetest.Link("bin", "usr/bin"), stagetest.Link("etc/mtab", "../proc/mounts"), stagetest.Link("usr/bin/sh", "bash"), stagetest.File(t, st, "usr/bin/bash", "x"),
		stagetest.Dir("proc"), stagetest.Dir("sys"), stagetest.Dir("lost+found"), {Path: "run/pipe", Type: tree.FIFO, Mode: 0o600}, {Path: "dev/initctl", Type: tree.FIFO, Mode: 0o600},
		// Two names of one label; one that is to have none, and comes first.
		hard("usr/bin/one", 1), hard("usr/bin/two", 1), hard("tmp/first", 2), hard("usr/bin/second", 2),
	}
	for _, path := range []string{
		"boot/vmlinuz", "etc/passwd", "etc/shadow", "etc/ssh/sshd_config", "etc/ssh/ssh_host_rsa_key", "etc/systemd/system/x.service", "home/me/.ssh/authorized_keys", "root/.bashrc",
		"srv/local/x", "tmp/file", "usr/lib/libx.so.1", "usr/lib/systemd/systemd", "usr/lib64/libx.so", "usr/sbin/sshd", "usr/share/doc/x", "var/lib/x", "var/log/messages", "var/log/audit/audit.log", "var/tmp/x", "usr/share/ä\xff",
	} {
		entries = append(entries, stagetest.File(t, st, path, path))
	}
	root := policyRoot(t, st, "SELINUX=enforcing\nSELINUXTYPE=mine\n", contextsPath, entries...)
	labelled, err := Label(st, root, Options{})
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	inodes := map[uint32]string{}
	for _, e := range root.Entries() {
		path := filepath.Join(dir, e.Path)
		var err error
		switch {
		case e.Path == tree.Root:
		case e.Type == tree.Directory:
			err = os.Mkdir(path, 0o755)
		case e.Type == tree.Symlink:
			err = os.Symlink(e.Target, path)
		case e.Type == tree.FIFO:
			err = unix.Mkfifo(path, e.Mode)
		case inodes[e.Link] != "":
			err = os.Link(inodes[e.Link], path)
		default:
			err = os.WriteFile(path, nil, 0o644)
			if e.Link != 0 {
				inodes[e.Link] = path
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	program := "setfiles"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/setfiles"
	}
	if out, err := exec.Command(program, "-F", "-r", dir, contextsPath, dir).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("setfiles (make test installs what the tests need; it needs root): %v\n%s", err, out)
	}
	for _, e := range root.Entries() {
		got := label(t, labelled, e.Path)
		want, err := diskLabel(filepath.Join(dir, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("/%s: label %q, setfiles gives it %q", e.Path, got, want)
		}
	}
	if got := label(t, labelled, "tmp/first"); got != label(t, labelled, "usr/bin/one") {
		t.Errorf("/tmp/first has the label %q", got)
	}
}

// diskLabel returns the label of a file on disk.
func diskLabel(path string) (string, error) {
	value := make([]byte, 256)
	n, err := unix.Lgetxattr(path, xattr, value)
	if errors.Is(err, unix.ENODATA) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(value[:n]), nil
}
