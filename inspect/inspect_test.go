package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tool runs a program of another project's.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name) // administrators' programs are not in everybody's path
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v (`make deps-test` installs it)\n%s", name, err, out)
	}
}

const (
	espStart, espSize   = 1 << 20, 8 << 20
	rootStart, rootSize = espStart + espSize, 16 << 20
	emptyStart          = rootStart + rootSize
	diskSize            = emptyStart + 2<<20
)

// makeDisk makes a disk with sgdisk, mkfs.fat, mtools, mke2fs and debugfs.
func makeDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	esp, root := filepath.Join(dir, "esp"), filepath.Join(dir, "root")
	hello := filepath.Join(dir, "hello")
	if err := os.WriteFile(hello, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int64{disk: diskSize, esp: espSize, root: rootSize} {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "mkfs.fat", "-F", "12", "-n", "EFISYS", "-i", "1234abcd", esp)
	tool(t, "mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
	tool(t, "mcopy", "-i", esp, hello, "::/EFI/BOOT/a long file name.efi")
	tool(t, "mke2fs", "-q", "-t", "ext4", "-L", "SYSTEM", "-U", "12345678-1234-1234-1234-123456789abc", root)
	commands := filepath.Join(dir, "commands")
	err := os.WriteFile(commands, []byte(fmt.Sprintf(`mkdir etc
cd etc
write %[1]s hello
set_inode_field hello mode 0104755
set_inode_field hello uid 12
set_inode_field hello gid 34
set_inode_field hello mtime @1700000000
ea_set hello user.note something
symlink link hello
cd /
symlink link-to-etc etc
symlink absolute /etc/../etc
symlink loop loop
mknod null c 1 3
`, hello)), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "debugfs", "-w", "-f", commands, root)
	tool(t, "sgdisk", "--new=1:2048:+8M", "--typecode=1:ef00", "--change-name=1:ESP",
		"--new=2:0:+16M", "--typecode=2:8304", "--change-name=2:ROOT", "--new=5:0:+1M", "--change-name=5:NOTHING", disk)
	for path, offset := range map[string]int64{esp: espStart, root: rootStart} {
		tool(t, "dd", "if="+path, "of="+disk, "conv=notrunc", "bs=1M", fmt.Sprintf("seek=%d", offset>>20))
	}
	return disk
}

func open(t *testing.T, path string) *Image {
	t.Helper()
	im, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

func TestSummary(t *testing.T) {
	raw := makeDisk(t)
	qcow2 := raw + ".qcow2"
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-c", raw, qcow2)
	for path, format := range map[string]string{raw: "raw", qcow2: "qcow2"} {
		s := open(t, path).Summary()
		if s.Format != format || s.Size != diskSize || s.Table != "gpt" || len(s.Partitions) != 3 {
			t.Fatalf("%s: %+v", path, s)
		}
		var got []string
		for _, p := range s.Partitions {
			text := fmt.Sprintf("%d %s %s %d %d", p.Number, p.Label, p.TypeName, p.Start, p.Size)
			if f := p.FileSystem; f != nil {
				text += fmt.Sprintf(" %s %s %s", f.Type, f.Label, f.UUID)
			}
			got = append(got, text)
		}
		want := []string{
			fmt.Sprintf("1 ESP EFI system %d %d fat12 EFISYS 1234-ABCD", espStart, espSize),
			fmt.Sprintf("2 ROOT Linux root (x86-64) %d %d ext4 SYSTEM 12345678-1234-1234-1234-123456789abc", rootStart, rootSize),
			fmt.Sprintf("5 NOTHING Linux %d %d", emptyStart, 1<<20),
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestFiles(t *testing.T) {
	im := open(t, makeDisk(t))
	for _, name := range []string{
		"/etc/hello", "/link-to-etc/hello", "/absolute/hello", "/../etc/./hello", "ROOT:/etc/hello", "2:/etc/hello",
		"ESP:/EFI/BOOT/a long file name.efi", "1:/efi/boot/A LONG FILE NAME.EFI",
	} {
		f, err := im.File(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text, err := io.ReadAll(r); err != nil || string(text) != "hello\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}

	f, err := im.File("/etc/hello")
	if err != nil {
		t.Fatal(err)
	}
	if f.Path != "/etc/hello" || f.Type != "file" || f.Mode != "4755" || f.UID != 12 || f.GID != 34 || f.Size != 6 || f.MTime.Unix() != 1700000000 {
		t.Errorf("attributes: %+v", f)
	}
	if len(f.Xattrs) != 1 || f.Xattrs[0].Name != "user.note" || string(f.Xattrs[0].Value) != "something" {
		t.Errorf("extended attributes: %q", f.Xattrs)
	}
	link, err := im.File("/etc/link")
	if err != nil || link.Type != "symlink" || link.Target != "hello" {
		t.Errorf("a symlink at the end: %+v, %v", link, err)
	}
	null, err := im.File("/null")
	if err != nil || null.Type != "character device" || null.Major != 1 || null.Minor != 3 {
		t.Errorf("a device: %+v, %v", null, err)
	}
	if _, err := null.Open(); err == nil || !strings.Contains(err.Error(), "has no contents") {
		t.Errorf("opening a device: %v", err)
	}
}

func TestWalk(t *testing.T) {
	im := open(t, makeDisk(t))
	for name, want := range map[string]string{
		"/":     "/ /absolute /etc /etc/hello /etc/link /link-to-etc /loop /lost+found /null",
		"ESP:/": "/ /EFI /EFI/BOOT /EFI/BOOT/a long file name.efi",
	} {
		top, err := im.File(name)
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		err = top.Walk(func(f *File) error {
			paths = append(paths, f.Path)
			return nil
		})
		if got := strings.Join(paths, " "); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestMissingFiles(t *testing.T) {
	im := open(t, makeDisk(t))
	for name, says := range map[string]string{
		"/no/such":       "file does not exist",
		"/etc/hello/x":   "",
		"/loop/x":        "too many symlinks",
		"etc/hello":      "is not a path in an image",
		"HOME:/x":        `there is no partition "HOME"`,
		"NOTHING:/":      "partition 5 holds no file system",
		"ESP:/EFI/BOOTX": "file does not exist",
	} {
		_, err := im.File(name)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := im.File("/no/such"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is not fs.ErrNotExist: %v", err)
	}
}

func TestNoPartitionTable(t *testing.T) {
	disk := makeDisk(t)
	im := open(t, filepath.Join(filepath.Dir(disk), "root"))
	s := im.Summary()
	if s.Table != "none" || len(s.Partitions) != 1 || s.Partitions[0].FileSystem == nil || s.Partitions[0].FileSystem.Label != "SYSTEM" {
		t.Errorf("a bare file system: %+v", s)
	}
	if _, err := im.File("/etc/hello"); err != nil {
		t.Error(err)
	}
	zeros := filepath.Join(t.TempDir(), "zeros")
	if err := os.WriteFile(zeros, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(zeros); err == nil || !strings.Contains(err.Error(), "neither a GUID partition table nor a file system") {
		t.Errorf("zeros: %v", err)
	}
}
