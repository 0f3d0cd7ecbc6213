package ext4

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// headerFields reads what dumpe2fs -h prints.
func headerFields(t *testing.T, image string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(run(t, "e2fsprogs", "dumpe2fs", "-h", image)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// TestSameGeometryAsMke2fs compares the superblocks of empty file systems with those of
// mke2fs.
func TestSameGeometryAsMke2fs(t *testing.T) {
	st := openStore(t)
	for _, test := range []struct {
		size      int64
		blockSize int
		ratio     int
	}{
		{64 << 20, 4096, 16384}, {100<<20 + 12345, 1024, 16384}, {300 << 20, 2048, 16384}, {1 << 30, 4096, 16384}, {1<<30 + 1<<20, 4096, 16384},
		{8<<30 + 5<<20, 4096, 16384}, {20 << 30, 4096, 16384}, {100 << 30, 4096, 16384}, {130<<20 + 4096*60, 4096, 16384}, {600 << 30, 4096, 65536},
	} {
		for _, features := range [][]string{DefaultFeatures(), without("64bit metadata_csum resize_inode")} {
			t.Run(fmt.Sprintf("%d, %d, %d features", test.size, test.blockSize, len(features)), func(t *testing.T) {
				o := options(test.size)
				o.BlockSize, o.InodeRatio, o.Features = test.blockSize, int64(test.ratio), features
				ours := headerFields(t, write(t, st, tree.Empty(tree.Time{}), o))
				image := filepath.Join(t.TempDir(), "image")
				run(t, "e2fsprogs", "mke2fs", "-q", "-O", "none,"+strings.Join(features, ","), "-b", fmt.Sprint(test.blockSize), "-i", fmt.Sprint(test.ratio),
					"-m", "5", "-I", "256", image, fmt.Sprintf("%dk", test.size/1024))
				theirs := headerFields(t, image)
				for name, want := range theirs {
					switch name {
					case "Filesystem volume name", "Filesystem UUID", "Filesystem created", "Last write time", "Last checked", "Directory Hash Seed", "Checksum",
						"Default mount options", "Lifetime writes", // a default of mke2fs.conf; a statistic
						"Overhead clusters",          // left to the kernel, which recounts
						"Free blocks", "Free inodes": // lost+found of 16 KiB needs a block or some more or less
						continue
					}
					if got := ours[name]; got != want {
						t.Errorf("%s: we have %q, mke2fs %q", name, got, want)
					}
				}
			})
		}
	}
}
