package filesystems

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const mebibyte = 1 << 20

var uuid = partition.GUID{0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x46, 0x78, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67}

type fixture struct {
	*testing.T
	cache *stages.Cache
}

func newFixture(t *testing.T) fixture { return fixture{t, stagetest.Cache(t)} }

func (f fixture) file(path, contents string) tree.Entry {
	return stagetest.File(f, f.cache.Store, path, contents)
}

// run writes partitions and returns where their images lie, by label, as files.
func (f fixture) run(root, esp *tree.Tree, partitions ...Partition) (map[string]string, Output, error) {
	f.Helper()
	out, _, err := stagetest.Run(f, f.cache, func(ctx context.Context, run *stages.Run) (Output, error) {
		return Run(ctx, run, root, esp, Options{Partitions: partitions, Epoch: stagetest.Epoch})
	})
	files := map[string]string{}
	for i, im := range out.Images {
		if err != nil {
			break
		}
		if im.Label != partitions[i].Label {
			f.Errorf("image %d is of %s, want the order of the partitions", i, im.Label)
		}
		files[im.Label] = f.export(im.Image, im.Size)
	}
	return files, out, err
}

// export writes an image to a file.
func (f fixture) export(digest store.Digest, size int64) string {
	f.Helper()
	image, err := disk.Load(f.cache.Store, digest)
	if err != nil {
		f.Fatal(err)
	}
	if image.Size != size {
		f.Errorf("an image has %d bytes, and its record says %d", image.Size, size)
	}
	r, err := image.Open(f.cache.Store)
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(f.TempDir(), "image")
	file, err := os.Create(path)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	if _, err := io.Copy(file, io.NewSectionReader(r, 0, image.Size)); err != nil {
		f.Fatal(err)
	}
	return path
}

// tool runs a program of the host and returns its standard output.
func (f fixture) tool(args ...string) string {
	f.Helper()
	program, err := exec.LookPath(args[0])
	if err != nil {
		program = filepath.Join("/usr/sbin", args[0]) // not in everybody's path
	}
	if _, err := os.Stat(program); err != nil {
		f.Fatalf("%s is not there: make test installs what the tests need", args[0])
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.Fatalf("%q: %v\n%s%s", args, err, out, stderr.String())
	}
	return string(out)
}

// ext4Files lists the paths in an ext4 image as debugfs finds them, once e2fsck has found
// nothing wrong.
func (f fixture) ext4Files(image string) string {
	f.Helper()
	f.tool("e2fsck", "-fn", image)
	var paths []string
	dirs := []string{""}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		// inode/mode/uid/gid/name/size
		for line := range strings.Lines(f.tool("debugfs", "-R", "ls -p "+dir+"/", image)) {
			fields := strings.Split(strings.TrimSpace(line), "/")
			if len(fields) < 6 || fields[5] == "." || fields[5] == ".." || fields[5] == "lost+found" {
				continue
			}
			path := dir + "/" + fields[5]
			if strings.HasPrefix(fields[2], "04") {
				dirs = append(dirs, path)
				path += "/"
			}
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return strings.Join(paths, " ")
}

// TestSplit puts one root on four partitions.
func TestSplit(t *testing.T) {
	f := newFixture(t)
	linked, other := f.file("boot/linked", "same"), f.file("etc/linked", "same")
	linked.Link, other.Link = 1, 1
	root := stagetest.Tree(t, f.file("etc/fstab", "x"), f.file("boot/vmlinuz", "kernel"), linked, other,
		stagetest.Mode(stagetest.Dir("boot/efi"), 0o700), f.file("boot/efi/startup.nsh", "recipe's"), f.file("boot/efi/EFI/BOOT/extra", "recipe's too"),
		f.file("srv/data/a/b", "data"), f.file("srv/database", "root's"), stagetest.Dir("mnt/empty"))
	esp := stagetest.Tree(t, f.file("EFI/BOOT/BOOTX64.EFI", "boot program"))
	images, _, err := f.run(root, esp,
		Partition{Label: "ESP", Filesystem: "vfat", UUID: uuid, Size: 16 * mebibyte, Mount: "/boot/efi", ESP: true},
		Partition{Label: "ROOT", Filesystem: "ext4", UUID: uuid, Size: 32 * mebibyte, Mount: "/"},
		Partition{Label: "BOOT", Filesystem: "ext4", UUID: uuid, Size: 16 * mebibyte, Mount: "/boot"},
		Partition{Label: "DATA", Filesystem: "ext4", UUID: uuid, Size: 16 * mebibyte, Mount: "/srv/data/"},
		Partition{Label: "EMPTY", Filesystem: "ext4", UUID: uuid, Size: 16 * mebibyte},
	)
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{
		"ROOT":  "/boot/ /etc/ /etc/fstab /etc/linked /mnt/ /mnt/empty/ /srv/ /srv/data/ /srv/database",
		"BOOT":  "/efi/ /linked /vmlinuz",
		"DATA":  "/a/ /a/b",
		"EMPTY": "",
	} {
		if got := f.ext4Files(images[label]); got != want {
			t.Errorf("%s has %s\nwant %s", label, got, want)
		}
	}
	if got := f.tool("debugfs", "-R", "cat /a/b", images["DATA"]); got != "data" {
		t.Errorf("/a/b of DATA is %q", got)
	}
	f.tool("fsck.fat", "-n", images["ESP"])
	got := strings.Fields(strings.ReplaceAll(f.tool("mdir", "-/", "-b", "-i", images["ESP"], "::"), "::", ""))
	slices.Sort(got)
	if want := "/EFI/ /EFI/BOOT/ /EFI/BOOT/BOOTX64.EFI /EFI/BOOT/extra /startup.nsh"; strings.Join(got, " ") != want {
		t.Errorf("ESP has %s\nwant %s", got, want)
	}
	for path, want := range map[string]string{"::EFI/BOOT/BOOTX64.EFI": "boot program", "::startup.nsh": "recipe's"} {
		if got := f.tool("mtype", "-i", images["ESP"], path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	// Identifiers are those of fstab.
	for label, filesystem := range map[string]string{"ROOT": "ext4", "ESP": "vfat"} {
		if got := strings.TrimSpace(f.tool("blkid", "-p", "-s", "UUID", "-o", "value", images[label])); got != UUIDText(filesystem, uuid) {
			t.Errorf("%s has the UUID %s, UUIDText says %s", label, got, UUIDText(filesystem, uuid))
		}
		if got := strings.TrimSpace(f.tool("blkid", "-p", "-s", "LABEL", "-o", "value", images[label])); got != label {
			t.Errorf("%s has the label %s", label, got)
		}
	}
}

func TestSizes(t *testing.T) {
	f := newFixture(t)
	big := stagetest.Tree(t, f.file("big", strings.Repeat("x", 20*mebibyte+1)))

	// Without a size a file system gets room for what the system writes before it grows.
	for _, filesystem := range []string{"ext4", "vfat"} {
		images, out, err := f.run(big, nil, Partition{Label: "AUTO", Filesystem: filesystem, UUID: uuid, Mount: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if size := out.Images[0].Size; size%mebibyte != 0 || size < 84*mebibyte || size > 110*mebibyte {
			t.Errorf("%s of 20 MiB has %d bytes", filesystem, size)
		}
		if filesystem == "ext4" {
			if got := f.ext4Files(images["AUTO"]); got != "/big" {
				t.Errorf("ext4 has %s", got)
			}
		} else {
			f.tool("fsck.fat", "-n", images["AUTO"])
		}
	}

	for _, filesystem := range []string{"ext4", "vfat"} {
		p := Partition{Label: "SMALL", Filesystem: filesystem, UUID: uuid, Mount: "/", Size: 16 * mebibyte}
		_, _, err := f.run(big, nil, p)
		var size *SizeError
		var status interface{ ExitStatus() int }
		if !errors.As(err, &size) || !errors.As(err, &status) || status.ExitStatus() != 2 || err.Error() != size.Error() {
			t.Errorf("%s too small: %v", filesystem, err)
			continue
		}
		// What it says is needed is enough.
		p.Size = mib(size.Need) * mebibyte
		if _, _, err := f.run(big, nil, p); err != nil {
			t.Errorf("%s with the %d MiB it asked for: %v", filesystem, mib(size.Need), err)
		}
	}
	err := &SizeError{Label: "X", Need: 20*mebibyte + 1, Have: 16 * mebibyte}
	if want := "partition X is too small: its contents need 21 MiB, it has 16 MiB, 5 MiB are missing; enlarge the partition or the disk, or install less"; err.Error() != want {
		t.Errorf("text %q\nwant %q", err, want)
	}
}

func TestErrors(t *testing.T) {
	f := newFixture(t)
	root := stagetest.Tree(t, f.file("file", ""))
	for want, p := range map[string]Partition{
		`partition P: the file system "xfs" cannot be written by this version`: {Label: "P", Filesystem: "xfs", Size: 16 * mebibyte},
		"partition P: there is no directory /data in the image":                {Label: "P", Filesystem: "ext4", Size: 16 * mebibyte, Mount: "/data"},
		"partition P: /file is a file in the image, and no directory":          {Label: "P", Filesystem: "ext4", Size: 16 * mebibyte, Mount: "/file"},
	} {
		if _, _, err := f.run(root, nil, p); err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	}
}

// TestOrder makes sure that an image does not depend on the partitions around it.
func TestOrder(t *testing.T) {
	f := newFixture(t)
	root := stagetest.Tree(t, f.file("a/b", "1"), f.file("boot/c", "2"))
	p := Partition{Label: "ROOT", Filesystem: "ext4", UUID: uuid, Size: 16 * mebibyte, Mount: "/"}
	q := Partition{Label: "BOOT", Filesystem: "vfat", UUID: uuid, Size: 16 * mebibyte, Mount: "/boot"}
	_, first, err := f.run(root, nil, p, q)
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := f.run(root, nil, q, p)
	if err != nil {
		t.Fatal(err)
	}
	if first.Images[0] != again.Images[1] || first.Images[1] != again.Images[0] {
		t.Errorf("%v\nthen %v", first, again)
	}
}
