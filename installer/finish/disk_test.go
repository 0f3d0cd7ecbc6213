package finish_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

const mib = 1 << 20

var seed = store.Sum([]byte("a build's key"))

// planned is the partition table of a system with an ESP, a root and a PERSIST of 40 MiB, which is the first by number and lies last.
func planned(t testing.TB, persist int64, build string) partition.Layout {
	t.Helper()
	specs := []partition.Spec{
		{Number: 2, Label: "BOOT", Type: partition.TypeESP, Size: 10 * mib},
		{Number: 3, Label: "ROOT", Type: partition.TypeLinuxRootX86_64, Size: 20 * mib},
		{Number: 1, Label: "PERSIST", Type: partition.TypeLinuxVar, Size: persist},
	}
	for i := range specs {
		specs[i].GUID = partition.UUID(seed, build+"/"+specs[i].Label)
	}
	l, err := partition.Plan(0, partition.UUID(seed, build), specs)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asConfig returns a table as the medium's document has it.
func asConfig(l partition.Layout) config.Layout {
	c := config.Layout{DiskGUID: l.GUID.String()}
	for _, p := range l.Partitions {
		c.Partitions = append(c.Partitions, config.Partition{
			Number: p.Number, Label: p.Label, TypeGUID: strings.ToUpper(p.Type.String()), GUID: p.GUID.String(), Start: p.Start, Size: p.Size,
		})
	}
	return c
}

// imageFile writes a disk with a table and nothing else, followed by zeros up to size, and returns its path.
func imageFile(t testing.TB, l partition.Layout, size int64) string {
	t.Helper()
	st := disktest.Store(t)
	im, err := partition.Compose(st, l, partition.Contents{BootCode: bytes.Repeat([]byte{0x90}, 440)})
	if err != nil {
		t.Fatal(err)
	}
	path := disktest.WriteFile(t, st, im)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// loop makes a block device with partitions of a file until the test ends.
func loop(t testing.TB, path string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a loop device")
	}
	device := strings.TrimSpace(disktest.Run(t, "losetup", "--find", "--show", "--partscan", path))
	t.Cleanup(func() { disktest.Run(t, "losetup", "--detach", device) })
	return device
}

// mayResize reports whether this process may enlarge a mounted ext4: containers take that right from root. The test in a
// virtual machine does it there.
func mayResize(t testing.TB) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// judge has sgdisk and sfdisk look at a table.
func judge(t testing.TB, path string) {
	t.Helper()
	out := disktest.Run(t, "sgdisk", "-v", path)
	if !strings.Contains(out, "No problems found") || strings.Contains(out, "Caution") || strings.Contains(out, "Warning") {
		t.Errorf("sgdisk -v is not content:\n%s", out)
	}
	if out := disktest.Run(t, "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify is not content:\n%s", out)
	}
}

// sectors returns the first and last sector of a partition as sgdisk reads them.
func sectors(t testing.TB, path string, number int) (first, last int64) {
	t.Helper()
	out := disktest.Run(t, "sgdisk", "-i", strconv.Itoa(number), path)
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		n, _ := strconv.ParseInt(fields[2], 10, 64)
		switch strings.Join(fields[:2], " ") {
		case "First sector:":
			first = n
		case "Last sector:":
			last = n
		}
	}
	return first, last
}

// mount mounts a device until the test ends or the returned function is called, and returns where.
func mount(t testing.TB, device string) (dir string, unmount func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, "mount", device, dir)
	mounted := true
	unmount = func() {
		if mounted {
			disktest.Run(t, "umount", dir)
			mounted = false
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// keep is finish.Keep of a file.
func keep(t testing.TB, path string, layout config.Layout, labels ...string) ([]finish.Kept, error) {
	t.Helper()
	f := open(t, path)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return finish.Keep(f, info.Size(), layout, labels)
}
