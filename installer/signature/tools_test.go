package signature

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// sectors writes a length for sfdisk, rounded up.
func sectors(bytes int64) string { return fmt.Sprint((bytes + 511) / 512) }

// TestTools compares with blkid on what the tools of every Linux make.
func TestTools(t *testing.T) {
	for _, test := range []struct {
		name string
		size int64
		make []string
	}{
		{"ext2", 8 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext2", "-L", "two"}},
		{"ext3", 8 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext3", "-L", "three"}},
		{"ext4", 8 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-L", "ROOT-A"}},
		{"ext4 with a journal elsewhere", 8 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal"}},
		{"FAT12", 2 << 20, []string{"mkfs.fat", "-F", "12", "-n", "TWELVE"}},
		{"FAT16", 16 << 20, []string{"mkfs.fat", "-F", "16", "-n", "BOOT"}},
		{"FAT32", 64 << 20, []string{"mkfs.fat", "-F", "32", "-n", "EFI"}},
		{"FAT32 without a name", 64 << 20, []string{"mkfs.fat", "-F", "32"}},
		{"FAT with large sectors", 64 << 20, []string{"mkfs.fat", "-S", "4096", "-n", "LARGE"}},
		{"swap", 4 << 20, []string{"mkswap", "-q", "-L", "swap"}},
		{"swap of large pages", 4 << 20, []string{"mkswap", "-q", "-p", "65536"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			image := sparse(t, test.size, nil)
			run(t, "", test.make[0], append(test.make[1:], image)...)
			agree(t, image)
		})
	}
}

func TestGPT(t *testing.T) {
	image := sparse(t, 64<<20, nil)
	run(t, "", "sgdisk", "-n", "1:0:+4M", "-c", "1:BOOT", "-t", "1:ef00", "-n", "4:0:0", "-c", "4:PERSIST", "-u", "4:6f9f6f9e-1f2d-4b0f-9d3c-0f0e0d0c0b0a", image)
	found := agree(t, image)
	contents := scanFile(t, image)
	if len(contents.Partitions) != 2 {
		t.Fatalf("partitions %+v", contents.Partitions)
	}
	persist := contents.Partitions[1]
	if persist.Number != 4 || persist.Label != "PERSIST" || persist.GUID != "6f9f6f9e-1f2d-4b0f-9d3c-0f0e0d0c0b0a" ||
		persist.Type != "0fc63daf-8483-4772-8e79-3d69d8477de4" || persist.Start != 5<<20 {
		t.Errorf("%+v", persist)
	}

	t.Run("only the backup", func(t *testing.T) {
		overwrite(t, image, 512, 33*512)
		if backup := agree(t, image); !backup.Backup || backup.UUID != found.UUID {
			t.Fatalf("%+v", backup)
		}
		// libblkid wants the protective MBR; a disk whose beginning was erased has none.
		overwrite(t, image, 0, 512)
		backup := scanFile(t, image)
		if len(backup.Found) != 1 || !backup.Found[0].Backup || backup.Found[0].UUID != found.UUID {
			t.Fatalf("%+v", backup.Found)
		}
		if !slices.Equal(backup.Partitions, contents.Partitions) {
			t.Errorf("the backup has %+v", backup.Partitions)
		}
	})
}

func TestDamagedGPT(t *testing.T) {
	image := sparse(t, 64<<20, nil)
	run(t, "", "sgdisk", "-n", "1:0:0", "-c", "1:DATA", image)
	overwrite(t, image, 512+72, 8) // where the entries are: the checksum is wrong, and the backup counts
	contents := scanFile(t, image)
	if len(contents.Found) != 1 || contents.Found[0].Kind != "gpt" || len(contents.Partitions) != 1 || contents.Partitions[0].Label != "DATA" {
		t.Errorf("%+v", contents)
	}
}

// TestProtectiveMBR: when both copies of a GPT are gone, what protected it still says that there was one.
func TestProtectiveMBR(t *testing.T) {
	image := sparse(t, 64<<20, nil)
	run(t, "", "sgdisk", "-n", "1:0:0", image)
	overwrite(t, image, 512, 33*512)
	overwrite(t, image, 64<<20-33*512, 33*512)
	agree(t, image)
}

// TestLargeSectors: a GPT for sectors of 4096 bytes is found on a disk that has them, and behind a bridge that hides them.
func TestLargeSectors(t *testing.T) {
	image := sparse(t, 64<<20, nil)
	table := gpt.Table{LogicalSectorSize: 4096, PhysicalSectorSize: 4096, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Start: 256, End: 256 + 4095, Type: gpt.LinuxFilesystem, Name: "LARGE"},
	}}
	disk, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := table.Write(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	for _, sector := range []int{512, 4096} {
		file, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := Scan(file, 64<<20, sector)
		file.Close()
		if err != nil || len(contents.Partitions) != 1 || contents.Partitions[0].Size != 16<<20 || contents.Partitions[0].Start != 1<<20 {
			t.Errorf("sectors of %d: %+v, %v", sector, contents, err)
		}
	}
}

func TestDOS(t *testing.T) {
	image := sparse(t, 64<<20, nil)
	run(t, "label: dos\nlabel-id: 0x12345678\nsize=8MiB, type=83\nsize=32MiB, type=5\nsize=4MiB, type=83\nsize=4MiB, type=82\nsize=4MiB, type=c\n", "sfdisk", "-q", image)
	agree(t, image)
	contents := scanFile(t, image)
	var got []string
	for _, p := range contents.Partitions {
		got = append(got, fmt.Sprintf("%s%d : start=%12d, size=%12d, type=%s", image, p.Number, p.Start/512, p.Size/512, strings.TrimPrefix(strings.TrimPrefix(p.Type, "0x"), "0")))
	}
	var want []string
	for line := range strings.Lines(run(t, "", "sfdisk", "--dump", image)) {
		if strings.HasPrefix(line, image) {
			want = append(want, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nsfdisk says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestLabels: what other systems write at the beginning of a disk.
func TestLabels(t *testing.T) {
	for _, kind := range []string{"sun", "sgi"} {
		t.Run(kind, func(t *testing.T) {
			image := sparse(t, 64<<20, nil)
			run(t, "label: "+kind+"\nsize=8MiB\n", "sfdisk", "-q", image)
			agree(t, image)
		})
	}
}

// TestDirtyDisk: data of no known kind counts, wherever it is near an end.
func TestDirtyDisk(t *testing.T) {
	const size = 16 << 20
	for offset, unknown := range map[int64]bool{0: true, 4096: true, 1<<20 - 1: true, 1 << 20: false, size / 2: false, size - 1<<20 - 1: false, size - 1<<20: true, size - 1: true} {
		contents := scanFile(t, sparse(t, size, map[int64]string{offset: "x"}))
		if contents.Unknown != unknown || contents.Empty() == unknown {
			t.Errorf("a byte at %d: %+v", offset, contents)
		}
	}
	if contents := scanFile(t, sparse(t, size, nil)); !contents.Empty() || contents.String() != "empty" {
		t.Errorf("zeros: %v", contents)
	}
	erased := strings.Repeat("\xff", 1<<20)
	if contents := scanFile(t, sparse(t, size, map[int64]string{0: erased, size - 1<<20: erased})); !contents.Empty() {
		t.Errorf("erased flash: %v", contents)
	}
	if contents := scanFile(t, sparse(t, size, map[int64]string{0: erased[1:]})); contents.Empty() {
		t.Errorf("not quite erased flash is called empty")
	}
}

// TestLeftovers: a disk whose beginning was erased by hand still says what it was.
func TestLeftovers(t *testing.T) {
	t.Run("ext4", func(t *testing.T) {
		for _, block := range []string{"1024", "2048", "4096"} {
			image := sparse(t, 160<<20, nil)
			run(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-b", block, "-L", "precious", image)
			overwrite(t, image, 0, 64<<10)
			contents := scanFile(t, image)
			if len(contents.Found) != 1 || contents.Found[0].Label != "precious" || !contents.Found[0].Backup {
				t.Errorf("blocks of %s: %v", block, contents)
			}
		}
	})
	t.Run("btrfs", func(t *testing.T) {
		image := unpack(t, "testdata/btrfs.zst")
		overwrite(t, image, 0, 1<<20)
		contents := scanFile(t, image)
		if len(contents.Found) != 1 || contents.Found[0].Label != "butter" || !contents.Found[0].Backup {
			t.Errorf("%v", contents)
		}
	})
	t.Run("LUKS2", func(t *testing.T) {
		image := unpack(t, "testdata/luks2.zst")
		overwrite(t, image, 0, 4096)
		found := agree(t, image)
		if !found.Backup || found.Label != "secret" {
			t.Errorf("%+v", found)
		}
	})
	t.Run("nilfs2", func(t *testing.T) {
		image := unpack(t, "testdata/nilfs2.zst")
		overwrite(t, image, 0, 4096)
		if found := agree(t, image); !found.Backup {
			t.Errorf("%+v", found)
		}
	})
}

func overwrite(t *testing.T, image string, offset int64, length int) {
	t.Helper()
	file, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(make([]byte, length), offset); err != nil {
		t.Fatal(err)
	}
}
