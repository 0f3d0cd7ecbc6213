package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/qemu"
)

// blank makes a disk of size bytes which holds nothing.
func blank(t *testing.T, size int64) qemu.Disk {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.raw")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return qemu.Disk{Path: f.Name(), Format: "raw", Writable: true}
}

// filled makes a disk of size bytes with something on it: the arguments of a program
// that is given its path at the end.
func filled(t *testing.T, size int64, make ...string) qemu.Disk {
	t.Helper()
	disk := blank(t, size)
	command(t, append(make, disk.Path)...)
	return disk
}

// recorded makes a disk of what other systems' tools made (package
// installer/signature).
func recorded(t *testing.T, name string, size int64) qemu.Disk {
	t.Helper()
	in, err := os.Open(filepath.Join(checkout, "installer/signature/testdata", name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	decoder, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	data, err := io.ReadAll(decoder)
	if err != nil {
		t.Fatal(err)
	}
	disk := blank(t, max(size, int64(len(data))))
	write(t, disk.Path, 0, data)
	return disk
}

// write changes a part of a file.
func write(t *testing.T, path string, offset int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
}

// noise returns bytes that mean nothing, the same ones every time.
func noise(length int) []byte {
	out := make([]byte, length)
	rand.NewChaCha8([32]byte{}).Read(out) // never fails
	return out
}

// command runs a program that has to succeed and returns what it printed.
func command(t *testing.T, args ...string) string {
	t.Helper()
	r := finish(t, exec.Command(args[0], args[1:]...))
	if r.status != 0 {
		t.Fatalf("%q: exit status %d: %s%s", args, r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// digest is that of a file, of which holes are not read: only blocks that hold something count, with their place.
func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	var block, zeros [4096]byte
	for at := int64(0); ; {
		data, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Sprintf("%x", h.Sum(nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		at = data - data%int64(len(block))
		n, err := f.ReadAt(block[:], at)
		if n == 0 {
			t.Fatal(err)
		}
		if !bytes.Equal(block[:n], zeros[:n]) {
			fmt.Fprintln(h, at, n)
			h.Write(block[:n])
		}
		at += int64(n)
	}
}

// unchanged notes what disks hold now; the function it returns compares.
func unchanged(t *testing.T, disks ...qemu.Disk) func() {
	t.Helper()
	before := make([]string, len(disks))
	for i, disk := range disks {
		before[i] = digest(t, disk.Path)
	}
	return func() {
		t.Helper()
		for i, disk := range disks {
			if digest(t, disk.Path) != before[i] {
				t.Errorf("disk %d (%s) is not as it was", i, disk.Serial)
			}
		}
	}
}

// partition is one of sfdisk's list.
type partition struct {
	Start, Size      int64 // sectors
	Type, UUID, Name string
}

// partitions reads a disk's table with sfdisk.
func partitions(t *testing.T, disk string) (id string, list []partition) {
	t.Helper()
	var listed struct {
		PartitionTable struct {
			Label, ID  string
			SectorSize int64
			Partitions []partition
		}
	}
	if err := json.Unmarshal([]byte(command(t, "sfdisk", "--json", disk)), &listed); err != nil {
		t.Fatal(err)
	}
	if table := listed.PartitionTable; table.Label != "gpt" || table.SectorSize != sector {
		t.Fatalf("%s: a partition table %q for sectors of %d bytes", disk, table.Label, table.SectorSize)
	}
	return listed.PartitionTable.ID, listed.PartitionTable.Partitions
}

// sector is the size of one in bytes.
const sector = 512

// tail is the most that may be left over at the end of a disk: the backup table, and
// what alignment costs.
const tail = 2 << 20

// checkInstalled checks that a disk is the medium's, fitted to its size: the table is
// whole, the last partition and its file system reach the end, and everything else is
// as it was built.
func (m *medium) checkInstalled(t *testing.T, disk string) {
	t.Helper()
	info, err := os.Stat(disk)
	if err != nil {
		t.Fatal(err)
	}
	if out := command(t, "sgdisk", "--verify", disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	wantID, want := partitions(t, m.raw)
	id, got := partitions(t, disk)
	if id != wantID || len(got) != len(want) {
		t.Fatalf("the disk %s has %d partitions, not %s with %d", id, len(got), wantID, len(want))
	}
	last := len(got) - 1
	for i, p := range got {
		size := p.Size
		if i == last {
			p.Size = want[i].Size
		}
		if p != want[i] {
			t.Errorf("partition %d is %+v, not %+v", i+1, p, want[i])
			continue
		}
		if i < last {
			compareRange(t, m.raw, disk, p.Start*sector, p.Size*sector)
			continue
		}
		if end := (p.Start + size) * sector; end < info.Size()-tail {
			t.Errorf("the last partition ends at %d on a disk of %d bytes", end, info.Size())
		}
		checkFilesystem(t, disk, p.Start*sector, size*sector)
		compareTrees(t, m.raw, disk, p.Start*sector)
	}
	if info.Size() == m.document.Payload.DiskSize {
		compareFiles(t, m.raw, disk)
	}
}

// compareTrees compares all that is in two file systems, but for what growing one
// changes, with debugfs and diff.
func compareTrees(t *testing.T, a, b string, offset int64) {
	t.Helper()
	var trees [2]string
	for i, disk := range []string{a, b} {
		trees[i] = t.TempDir()
		command(t, "debugfs", "-R", "rdump / "+trees[i], at(disk, offset))
	}
	command(t, "diff", "--recursive", "--no-dereference", trees[0], trees[1])
}

// at names a file system in a disk, as the programs of e2fsprogs take it.
func at(disk string, offset int64) string { return fmt.Sprintf("%s?offset=%d", disk, offset) }

var blockCount = regexp.MustCompile(`(?s)Block count: +(\d+).*Block size: +(\d+)`)

// checkFilesystem checks that an ext4 file system is sound and as large as its
// partition.
func checkFilesystem(t *testing.T, disk string, offset, size int64) {
	t.Helper()
	where := at(disk, offset)
	if r := finish(t, exec.Command("e2fsck", "-fn", where)); r.status != 0 {
		t.Errorf("e2fsck: exit status %d: %s%s", r.status, r.stdout, r.stderr)
	}
	match := blockCount.FindStringSubmatch(command(t, "dumpe2fs", "-h", where))
	if match == nil {
		t.Fatal("dumpe2fs does not say how large the file system is")
	}
	if has := atoi(t, match[1]) * atoi(t, match[2]); has < size-tail || has > size {
		t.Errorf("the last file system has %d bytes, its partition %d", has, size)
	}
}

// compareRange compares length bytes at offset of two files.
func compareRange(t *testing.T, a, b string, offset, length int64) {
	t.Helper()
	var readers [2]io.Reader
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		readers[i] = io.NewSectionReader(f, offset, length)
	}
	var blocks [2][1 << 20]byte
	for at := offset; ; {
		n, errA := io.ReadFull(readers[0], blocks[0][:])
		m, errB := io.ReadFull(readers[1], blocks[1][:])
		if !bytes.Equal(blocks[0][:n], blocks[1][:m]) {
			t.Errorf("%s and %s differ between bytes %d and %d", a, b, at, at+int64(max(n, m)))
			return
		}
		if errA != nil || errB != nil {
			return
		}
		at += int64(n)
	}
}

func atoi(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
