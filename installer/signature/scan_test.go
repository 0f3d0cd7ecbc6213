package signature

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func patch(t *testing.T, path string, offset int64, data string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte(data), offset); err != nil {
		t.Fatal(err)
	}
}

// badDisk fails where a disk has an unreadable sector.
type badDisk struct {
	size, bad int64
	reads     int64
}

var errMedium = errors.New("input/output error")

func (d *badDisk) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset+int64(len(p)) > d.size {
		return 0, errors.New("read beyond the end")
	}
	if offset <= d.bad && d.bad < offset+int64(len(p)) {
		return 0, errMedium
	}
	clear(p)
	d.reads += int64(len(p))
	return len(p), nil
}

// TestUnreadable: nobody may think a disk empty that cannot be read, wherever that is.
func TestUnreadable(t *testing.T) {
	const size = 1 << 30
	for _, bad := range []int64{0, 512, 64 << 10, 1<<20 - 1, size - 1<<20, size - 512, size - 1} {
		contents, err := Scan(&badDisk{size: size, bad: bad}, size, 512)
		if !errors.Is(err, errMedium) || !strings.Contains(err.Error(), "cannot be read") || len(contents.Found) != 0 {
			t.Errorf("a bad sector at %d: %+v, %v", bad, contents, err)
		}
	}
	disk := &badDisk{size: size, bad: -1}
	if contents, err := Scan(disk, size, 512); err != nil || !contents.Empty() {
		t.Errorf("a good disk: %+v, %v", contents, err)
	}
	if disk.reads > 16<<20 {
		t.Errorf("%d bytes read of an empty disk", disk.reads)
	}
}

// TestSmall: nothing is read beyond the end of disks of any length.
func TestSmall(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, 513, 1023, 1024, 4095, 4096, 32 << 10, 64<<10 - 1, 256 << 10, 256<<10 + 1, 1<<20 + 513} {
		for _, sector := range []int{512, 4096} {
			if contents, err := Scan(&badDisk{size: size, bad: -1}, size, sector); err != nil || !contents.Empty() {
				t.Errorf("%d bytes in sectors of %d: %+v, %v", size, sector, contents, err)
			}
		}
	}
	for _, sector := range []int{0, -512, 100, 513} {
		if _, err := Scan(&badDisk{size: 1 << 20, bad: -1}, 1<<20, sector); err == nil {
			t.Errorf("sectors of %d bytes are accepted", sector)
		}
	}
}

// head and tail of a disk with zeros between them.
type ends struct {
	head, tail []byte
	size       int64
}

func (d ends) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset+int64(len(p)) > d.size {
		return 0, errors.New("read beyond the end")
	}
	clear(p)
	if offset < int64(len(d.head)) {
		copy(p, d.head[offset:])
	}
	if start := d.size - int64(len(d.tail)); offset+int64(len(p)) > start {
		if offset < start {
			copy(p[start-offset:], d.tail)
		} else {
			copy(p, d.tail[offset-start:])
		}
	}
	return len(p), nil
}

// FuzzScan: whatever a disk holds, Scan ends, reads nothing outside, and calls nothing empty that is not.
func FuzzScan(f *testing.F) {
	const most = 160 << 10
	add := func(image []byte) {
		f.Add(image[:min(len(image), most)], image[max(0, len(image)-8<<10):], uint32(len(image)), false)
	}
	recorded, _ := filepath.Glob("testdata/*.zst")
	for _, name := range recorded {
		f.Add(beginning(f, name, most), []byte{}, uint32(128<<20), false)
	}
	add(make(image, 1<<20).md0(1<<20 - 64<<10))
	add(make(image, 1<<20).zfs(0))
	add(make(image, 1<<20).silicon())
	add(make(image, 1<<20).put(510, "\x55\xaa").put(450, "\x05").le32(454, 1).le32(458, 100).put(1022, "\x55\xaa").put(466+512, "\x05"))
	add(make(image, 1<<20).put(512, gptMagic).le32(524, 92).le64(512+72, 2).le32(512+80, 128).le32(512+84, 128).put(1024, testUUID).le64(1056, 64).le64(1064, 128))
	f.Fuzz(func(t *testing.T, head, tail []byte, size uint32, large bool) {
		disk := ends{head, tail, max(int64(size), int64(len(head)+len(tail)))}
		sector := 512
		if large {
			sector = 4096
		}
		contents, err := Scan(disk, disk.size, sector)
		if err != nil {
			t.Fatal(err)
		}
		_ = contents.String()
		for _, p := range contents.Partitions {
			if p.Number < 1 || p.Start < 0 || p.Size <= 0 || p.Start+p.Size > disk.size {
				t.Errorf("a partition outside of the disk: %+v", p)
			}
		}
		for _, found := range contents.Found {
			if found.Offset < 0 || found.Offset >= disk.size || found.Kind == "" || found.Usage == "" {
				t.Errorf("%+v", found)
			}
		}
		const mebibyte = 1 << 20
		first, last := head[:min(len(head), mebibyte)], tail[max(0, len(tail)-mebibyte):]
		if contents.Empty() && (len(bytes.Trim(first, "\x00\xff")) > 0 || len(bytes.Trim(last, "\x00\xff")) > 0) {
			t.Errorf("called empty, but it is not")
		}
	})
}
