package finish_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
)

func TestPartitionPath(t *testing.T) {
	for disk, want := range map[string]string{"/dev/sda": "/dev/sda12", "/dev/vdb": "/dev/vdb12", "/dev/nvme0n1": "/dev/nvme0n1p12", "/dev/mmcblk0": "/dev/mmcblk0p12", "/dev/loop7": "/dev/loop7p12"} {
		if got := finish.PartitionPath(disk, 12); got != want {
			t.Errorf("partition 12 of %s is %s, want %s", disk, got, want)
		}
	}
}

// TestRereadWhilePartitionsAreInUse holds that a mounted partition stays while others come, go and grow.
func TestRereadWhilePartitionsAreInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	sparse(t, path, 400*mib)
	device := loop(t, path)
	disktest.Run(t, "sgdisk", "-n", "1:2048:+320M", "-n", "2:0:+10M", "-n", "3:0:+10M", device)
	reread := func() error {
		f := open(t, device)
		defer f.Close()
		table, err := partition.ReadTable(f, 400*mib)
		if err != nil {
			t.Fatal(err)
		}
		return finish.Reread(device, table.Partitions)
	}
	sizes := func() string {
		t.Helper()
		var all []string
		for n := 1; n <= 4; n++ {
			p, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(finish.PartitionPath(device, n)), "size"))
			if err == nil {
				all = append(all, strings.TrimSpace(string(p)))
			} else {
				all = append(all, "none")
			}
		}
		return strings.Join(all, " ")
	}
	if err := reread(); err != nil || sizes() != "655360 20480 20480 none" {
		t.Fatalf("the kernel knows the sizes %s, error %v", sizes(), err)
	}
	disktest.Run(t, "mkfs.xfs", "-q", finish.PartitionPath(device, 1))
	_, unmount := mount(t, finish.PartitionPath(device, 1))
	disktest.Run(t, "sgdisk", "-d", "2", "-d", "3", "-n", "3:0:+20M", "-n", "4:0:+5M", path)
	if err := reread(); err != nil || sizes() != "655360 none 40960 10240" {
		t.Errorf("with partition 1 in use the kernel knows the sizes %s, error %v", sizes(), err)
	}
	disktest.Run(t, "sgdisk", "-o", "-n", "1:4096:+320M", path)
	if err := reread(); err == nil || !strings.Contains(err.Error(), "partition 1 is in use") || !strings.Contains(err.Error(), device) {
		t.Errorf("moving the partition in use gives %v", err)
	}
	unmount()
	if err := reread(); err != nil || sizes() != "655360 none none none" {
		t.Errorf("the kernel knows the sizes %s, error %v", sizes(), err)
	}
}
