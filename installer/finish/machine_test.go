package finish_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/installer/internal/testkernel"
	"github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// TestMain is also the init of the virtual machine that TestInAMachine starts.
func TestMain(m *testing.M) {
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	report := guest()
	encoded, err := json.Marshal(report)
	fmt.Printf("\nREPORT %s %v\n", encoded, err)
	// The terminal still holds most of the report, and the kernel's last words would be sent in the middle of it.
	_ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// guestReport is what happened in the machine.
type guestReport struct {
	Err    string
	Grown  []finish.FilesystemGrowth
	Busy   []partition.Placed // of a disk of which one partition was mounted
	First  finish.BootResult
	Second finish.BootResult
	Third  finish.BootResult
	Order  []byte
	Entry  []byte
}

// guest does with real disks and real firmware what follows an installation.
func guest() (r guestReport) {
	err := func() error {
		for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
			if err := os.MkdirAll(m[1], 0o755); err != nil {
				return err
			}
			if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && err != unix.EBUSY {
				return err
			}
		}
		index, err := modules.Read(os.DirFS("/modules"))
		if err != nil {
			return err
		}
		loader := modules.NewLoader(index, nil)
		for _, name := range guestModules {
			if err := loader.Load(name); err != nil {
				return err
			}
		}
		for _, disk := range []string{"/dev/vda", "/dev/vdb"} {
			for range 100 {
				if _, err = os.Stat(disk); err == nil {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			settled, err := settleGuest(disk)
			if err != nil {
				return err
			}
			g, err := finish.GrowFilesystem(finish.PartitionPath(disk, settled.Grown.Number))
			if err != nil {
				return err
			}
			r.Grown = append(r.Grown, g)
		}
		if r.Busy, err = rereadBusy("/dev/vda"); err != nil {
			return err
		}
		v, absent, err := finish.EFIVariables()
		if err != nil || absent != "" {
			return fmt.Errorf("no firmware variables: %s, %w", absent, err)
		}
		present := finish.PartitionGUIDs()
		if len(present) != 6 {
			return fmt.Errorf("the machine has the partitions %v", present)
		}
		gone := machineEntry("vanished")
		if r.First, err = finish.SetBootEntry(v, gone, nil); err != nil {
			return err
		}
		e := machineEntry("ext4")
		if r.Second, err = finish.SetBootEntry(v, e, present); err != nil {
			return err
		}
		if r.Third, err = finish.SetBootEntry(v, e, present); err != nil {
			return err
		}
		if r.Order, err = v.Read("BootOrder"); err != nil {
			return err
		}
		r.Entry, err = v.Read(r.Third.Name)
		return err
	}()
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

func settleGuest(disk string) (finish.Settled, error) {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return finish.Settled{}, err
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		return finish.Settled{}, err
	}
	settled, err := finish.SettleTable(f, size, nil, true)
	if err != nil {
		return settled, err
	}
	if err := f.Close(); err != nil {
		return settled, err
	}
	if settled.Grown == nil {
		return settled, fmt.Errorf("%s did not grow", disk)
	}
	return settled, finish.Reread(disk, settled.Partitions)
}

// rereadBusy reads a table again while one of its partitions is mounted and another is gone from it, and returns what the
// kernel knows then.
func rereadBusy(disk string) (known []partition.Placed, err error) {
	f, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	table, err := partition.ReadTable(f, size)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll("/busy", 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount(finish.PartitionPath(disk, 1), "/busy", "ext4", 0, ""); err != nil {
		return nil, err
	}
	defer unix.Unmount("/busy", 0)
	wanted := slices.DeleteFunc(table.Partitions, func(p partition.Placed) bool { return p.Number == 3 })
	if err := finish.Reread(disk, wanted); err != nil {
		return nil, err
	}
	for n := 1; n <= 4; n++ {
		if _, err := os.Stat(finish.PartitionPath(disk, n)); err == nil {
			known = append(known, partition.Placed{Number: n})
		}
	}
	return known, nil
}

var guestModules = []string{"virtio_pci", "virtio_blk", "ext4", "xfs", "efivarfs", "crc32c_generic"}

// machineEntry is a boot entry for the ESP of a system.
func machineEntry(build string) finish.BootEntry {
	specs := []partition.Spec{{Number: 2, Label: "BOOT", Type: partition.TypeESP, Size: 10 * mib, GUID: partition.UUID(seed, build+"/BOOT")}}
	l, err := partition.Plan(0, partition.UUID(seed, build), specs)
	if err != nil {
		panic(err)
	}
	return finish.BootEntry{Label: "machine", Partition: l.Partitions[0], Loader: `\EFI\BOOT\BOOTX64.EFI`}
}

// machineInitramfs packs this test's program with modules and returns its path.
func machineInitramfs(t *testing.T, k testkernel.Kernel) string {
	t.Helper()
	root := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, program, filepath.Join(root, "init"))
	index, err := modules.Read(os.DirFS(k.Modules()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin"} {
		copyFile(t, filepath.Join(k.Modules(), name), filepath.Join(root, "modules", name))
	}
	wanted := map[string]bool{}
	for _, name := range guestModules {
		for _, found := range index.Lookup(name) {
			order, err := index.Order(found)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range order {
				wanted[m] = true
			}
		}
	}
	err = filepath.WalkDir(k.Modules(), func(path string, _ os.DirEntry, err error) error {
		base, _, _ := strings.Cut(filepath.Base(path), ".ko")
		if err == nil && strings.Contains(filepath.Base(path), ".ko") && wanted[strings.ReplaceAll(base, "-", "_")] {
			below, _ := filepath.Rel(k.Modules(), path)
			copyFile(t, path, filepath.Join(root, "modules", below))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "initramfs")
	pack := exec.Command("sh", "-c", `find . | cpio --quiet -o -H newc > "$1"`, "sh", path)
	pack.Dir = root
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("this test needs cpio: %v\n%s", err, out)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	p, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, p, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// machineDisk writes a system's disk whose last partition has the given contents, and makes it larger.
func machineDisk(t *testing.T, build string, persist int64, contents func(st string) string) string {
	t.Helper()
	path := imageFile(t, planned(t, persist, build), 3<<30)
	p, _ := planned(t, persist, build).Partition("PERSIST")
	disktest.Run(t, "dd", "if="+contents(t.TempDir()), "of="+path, "bs=1M", fmt.Sprintf("seek=%d", p.Start/mib), "conv=notrunc,sparse", "status=none")
	return path
}

// TestInAMachine does in a virtual machine what a test cannot do here: a kernel that reads partition tables, a mounted ext4
// that grows, and firmware with a boot menu.
func TestInAMachine(t *testing.T) {
	k := testkernel.Get(t)
	ext4Disk := machineDisk(t, "ext4", 60*mib, func(string) string {
		st := disktest.Store(t)
		return disktest.WriteFile(t, st, ext4Image(t, st, 60*mib, partition.UUID(seed, "fs"), "file", "content"))
	})
	xfsDisk := machineDisk(t, "xfs", 320*mib, func(dir string) string {
		path := filepath.Join(dir, "xfs")
		sparse(t, path, 320*mib)
		disktest.Run(t, "mkfs.xfs", "-q", path)
		return path
	})
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "imagefactory-e2e-qemu.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// The bound is only there so that a defect does not hang the tests.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	vm, err := qemu.Machine{
		Firmware: qemu.UEFI, Memory: 512 << 20, NoNetwork: true, NoReboot: true,
		Kernel: k.Image(), Initrd: machineInitramfs(t, k), Cmdline: "console=ttyS0 quiet panic=-1",
		Disks: []qemu.Disk{{Path: ext4Disk, Format: "raw", Writable: true}, {Path: xfsDisk, Format: "raw", Writable: true}},
	}.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Kill()
	match, err := vm.Console.Expect(ctx, regexp.MustCompile(`REPORT (\{.*\}) <nil>`))
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Wait(); err != nil {
		t.Fatal(err)
	}
	var r guestReport
	if err := json.Unmarshal([]byte(match[1]), &r); err != nil || r.Err != "" {
		t.Fatalf("in the machine: %s %v", r.Err, err)
	}

	if len(r.Grown) != 2 || r.Grown[0].Type != "ext4" || r.Grown[1].Type != "xfs" {
		t.Errorf("it grew %+v", r.Grown)
	}
	for i, path := range []string{ext4Disk, xfsDisk} {
		judge(t, path)
		first, last := sectors(t, path, 1)
		if g := r.Grown[i]; g.After < (last+1-first)*512-128*mib || g.After > (last+1-first)*512 || (last+1)*512 != 3<<30-mib {
			t.Errorf("partition 1 covers sectors %d to %d, and its file system %+v", first, last, g)
		}
		device := strings.TrimSpace(disktest.Run(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(first*512), "--sizelimit", fmt.Sprint((last+1-first)*512), path))
		defer disktest.Run(t, "losetup", "--detach", device)
		disktest.Run(t, [][]string{{"e2fsck"}, {"xfs_repair"}}[i][0], [][]string{{"-f", "-n", device}, {"-n", device}}[i]...)
	}
	if want := []partition.Placed{{Number: 1}, {Number: 2}}; !slices.Equal(r.Busy, want) {
		t.Errorf("with a mounted partition the kernel knows %+v, want %+v", r.Busy, want)
	}
	if r.First.Reused || len(r.First.Removed) > 0 || r.Second.Reused || !slices.Equal(r.Second.Removed, []string{r.First.Name}) || !r.Third.Reused || r.Third.Name != r.Second.Name {
		t.Errorf("the boot entries were set as %+v, %+v, %+v", r.First, r.Second, r.Third)
	}
	if len(r.Order) < 4 || fmt.Sprintf("Boot%02X%02X", r.Order[1], r.Order[0]) != r.Third.Name {
		t.Errorf("the firmware's order is % x, without %s first, or without its own entries", r.Order, r.Third.Name)
	}
	// What efibootmgr shows of the entry that the firmware gave back.
	dir := t.TempDir() + "/"
	t.Setenv("EFIVARFS_PATH", dir)
	if err := finish.EFIVarFS(dir).Write(r.Third.Name, r.Entry); err != nil {
		t.Fatal(err)
	}
	if out := disktest.Run(t, "efibootmgr", "-v"); !strings.Contains(out, machineEntry("ext4").Partition.GUID.String()) || !strings.Contains(out, `File(\EFI\BOOT\BOOTX64.EFI)`) {
		t.Errorf("efibootmgr shows\n%s", out)
	}
}
