package finish_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
)

func TestTableFitsTheDisk(t *testing.T) {
	l := planned(t, 40*mib, "one")
	for _, size := range []int64{
		l.Size, l.Size + 512, l.Size + mib - 512, l.Size + mib, 300*mib + 1536, 3 << 40,
	} {
		for _, grow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, grow %v", size, grow), func(t *testing.T) {
				path := imageFile(t, l, size)
				f := open(t, path)
				settled, err := finish.SettleTable(f, size, nil, grow)
				if err != nil {
					t.Fatal(err)
				}
				judge(t, path)
				persist, _ := l.Partition("PERSIST")
				first, last := sectors(t, path, 1)
				want := persist.End()
				if usable := size - 33*512; grow && usable/mib*mib > want {
					want = usable / mib * mib
				}
				if first*512 != persist.Start || (last+1)*512 != want {
					t.Errorf("the last partition covers sectors %d to %d, want bytes %d to %d", first, last, persist.Start, want)
				}
				if grown := settled.Grown; (grown != nil) != (want != persist.End()) || grown != nil && (grown.Number != 1 || grown.Before != persist.Size || grown.After != want-persist.Start) {
					t.Errorf("it says that it grew %+v", grown)
				}
				if len(settled.Partitions) != 3 || settled.Partitions[0].End() != want {
					t.Errorf("it returns %+v", settled.Partitions)
				}
				mbr := make([]byte, 512)
				if _, err := f.ReadAt(mbr, 0); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(mbr[:440], bytes.Repeat([]byte{0x90}, 440)) {
					t.Error("the boot code is gone")
				}
				if n, want := int64(binary.LittleEndian.Uint32(mbr[458:])), min(size/512-1, 0xffffffff); n != want {
					t.Errorf("the protective partition has %d sectors, want %d", n, want)
				}
				// No header is left where the image ended.
				old := make([]byte, 512)
				if _, err := f.ReadAt(old, l.Size-512); err != nil {
					t.Fatal(err)
				}
				if left := bytes.HasPrefix(old, []byte("EFI PART")); left != (size == l.Size) {
					t.Errorf("where the image ends there is a header: %v", left)
				}
				again, err := finish.SettleTable(f, size, nil, grow)
				if err != nil || again.Grown != nil {
					t.Errorf("repeated, it grows %+v, error %v", again.Grown, err)
				}
			})
		}
	}
}

// dyingDisk loses power after so many writes.
type dyingDisk struct {
	*os.File
	writes int
}

var errPowerCut = errors.New("power cut")

func (d *dyingDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.writes--; d.writes < 0 {
		return 0, errPowerCut
	}
	return d.File.WriteAt(p, off)
}

func TestTableSurvivesPowerCuts(t *testing.T) {
	l := planned(t, 40*mib, "one")
	const size = 200 * mib
	for writes := 0; ; writes++ {
		path := imageFile(t, l, size)
		f := open(t, path)
		_, err := finish.SettleTable(&dyingDisk{f, writes}, size, nil, true)
		if err == nil {
			if writes < 6 {
				t.Errorf("it took only %d writes", writes)
			}
			break
		}
		if !errors.Is(err, errPowerCut) || !strings.Contains(err.Error(), path) {
			t.Fatalf("after %d writes the error is %v", writes, err)
		}
		now, err := partition.ReadTable(f, size)
		if err != nil || len(now.Partitions) != 3 {
			t.Fatalf("after %d writes no table can be read: %v", writes, err)
		}
		if _, err := finish.SettleTable(f, size, nil, true); err != nil {
			t.Fatalf("after %d writes it cannot be repeated: %v", writes, err)
		}
		judge(t, path)
	}
}

func TestTableRefuses(t *testing.T) {
	l := planned(t, 40*mib, "one")
	for name, test := range map[string]struct {
		size   int64
		damage func(f *os.File)
		want   string
	}{
		"no table":         {l.Size, func(f *os.File) { f.WriteAt(make([]byte, 512), 512); f.WriteAt(make([]byte, 512), l.Size-512) }, "no GUID partition table"},
		"a damaged header": {l.Size * 2, func(f *os.File) { f.WriteAt([]byte{1}, 512+50) }, "checksum of its header"},
		"damaged entries":  {l.Size * 2, func(f *os.File) { f.WriteAt([]byte{1}, 1024+60) }, "checksum of its entries"},
		"a smaller disk":   {l.Size - mib, func(*os.File) {}, "behind the last usable one"},
		"a tiny disk":      {1000, func(*os.File) {}, "too small"},
	} {
		t.Run(name, func(t *testing.T) {
			path := imageFile(t, l, test.size)
			f := open(t, path)
			test.damage(f)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = finish.SettleTable(f, test.size, nil, true)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("the error is %v, want %q and the path in it", err, test.want)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, before) {
				t.Errorf("the disk was changed, or cannot be read: %v", err)
			}
		})
	}
}

// TestForeignTableKeepsWhatIsNotUnderstood settles a table of sgdisk's with more entries than usual and attributes.
func TestForeignTableKeepsWhatIsNotUnderstood(t *testing.T) {
	path := imageFile(t, planned(t, 40*mib, "one"), 100*mib)
	disktest.Run(t, "sgdisk", "-Z", path)
	disktest.Run(t, "sgdisk", "-o", "-S", "256", "-n", "200:4096:20479", "-A", "200:set:2", "-A", "200:set:60", "-c", "200:far", path)
	if err := os.Truncate(path, 180*mib); err != nil {
		t.Fatal(err)
	}
	before := entry(t, path, 200)
	if err := finish.MoveBackupGPT(open(t, path), 180*mib); err != nil {
		t.Fatal(err)
	}
	judge(t, path)
	if after := entry(t, path, 200); after != before || !strings.Contains(before, "1000000000000004") {
		t.Errorf("sgdisk saw\n%s\nand now\n%s", before, after)
	}
}

// entry returns a partition as sgdisk prints it, without warnings about the rest of the table.
func entry(t testing.TB, path string, number int) string {
	t.Helper()
	out := disktest.Run(t, "sgdisk", "-i", strconv.Itoa(number), path)
	i := strings.Index(out, "Partition GUID code")
	if i < 0 {
		t.Fatalf("sgdisk knows no partition %d:\n%s", number, out)
	}
	return out[i:]
}

func FuzzSettleTable(f *testing.F) {
	l := planned(f, 2*mib, "one")
	path := imageFile(f, l, l.Size)
	image, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image[:34*512], image[len(image)-33*512:])
	f.Fuzz(func(t *testing.T, start, end []byte) {
		const size = 4 * mib
		p := make([]byte, size)
		copy(p, start)
		copy(p[max(0, size-len(end)):], end)
		d := &memoryDisk{p}
		settled, err := finish.SettleTable(d, size, nil, true)
		if err != nil {
			return
		}
		now, err := partition.ReadTable(d, size)
		if err != nil || len(now.Partitions) != len(settled.Partitions) {
			t.Errorf("what was settled cannot be read: %v", err)
		}
	})
}

// memoryDisk is a disk in memory.
type memoryDisk struct{ p []byte }

func (d *memoryDisk) Name() string { return "memory" }
func (d *memoryDisk) Sync() error  { return nil }
func (d *memoryDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.p).ReadAt(p, off)
}
func (d *memoryDisk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(d.p)) {
		return 0, fmt.Errorf("%d bytes at %d are beyond the end", len(p), off)
	}
	return copy(d.p[off:], p), nil
}
