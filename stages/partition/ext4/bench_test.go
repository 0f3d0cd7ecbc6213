package ext4

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Limits of the part of the host's /usr that the benchmark copies.
const (
	benchEntries = 20000
	benchBytes   = 500 << 20
)

// hostTree copies part of the host's /usr into a directory, for mke2fs, and into a
// store, for Write.
func hostTree(b *testing.B, st *store.Store) (*tree.Tree, string) {
	b.Helper()
	dir := b.TempDir()
	tb := newBuilder(b, st)
	var total int64
	err := filepath.WalkDir("/usr", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "/usr" {
			return err
		}
		if len(tb.entries) >= benchEntries || total >= benchBytes {
			return fs.SkipAll
		}
		rel := path[len("/usr/"):]
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := tree.Entry{Path: rel, Mode: uint32(info.Mode().Perm()), MTime: tree.Time{Sec: info.ModTime().Unix(), Nsec: uint32(info.ModTime().Nanosecond())}}
		to := filepath.Join(dir, rel)
		switch {
		case d.IsDir():
			e.Type = tree.Directory
			tb.add(e)
			return os.Mkdir(to, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			e.Type = tree.Symlink
			if e.Target, err = os.Readlink(path); err != nil {
				return err
			}
			tb.add(e)
			return os.Symlink(e.Target, to)
		case d.Type().IsRegular():
			p, err := os.ReadFile(path)
			if err != nil || total+int64(len(p)) > benchBytes {
				return err
			}
			total += int64(len(p))
			tb.contents(e, p)
			return os.WriteFile(to, p, 0o644)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d entries, %d MiB", len(tb.entries), total>>20)
	return tb.tree(), dir
}

// cpuTime is the processor time of this process, or of its children that have ended.
func cpuTime(b *testing.B, who int) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWriteAgainstMke2fs makes the same file system with Write, including the
// sparse file, and with mke2fs -d.
func BenchmarkWriteAgainstMke2fs(b *testing.B) {
	st := openStore(b)
	tr, dir := hostTree(b, st)
	image := filepath.Join(b.TempDir(), "image")
	size := int64(1 << 30)
	var ours, theirs, metadata, oursCPU, theirsCPU time.Duration
	for b.Loop() {
		start, cpu := time.Now(), cpuTime(b, syscall.RUSAGE_SELF)
		im, err := Write(context.Background(), st, tr, options(size))
		if err != nil {
			b.Fatal(err)
		}
		metadata += time.Since(start)
		if err := materializeTo(st, im, image); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		oursCPU += cpuTime(b, syscall.RUSAGE_SELF) - cpu
		if err := os.Remove(image); err != nil {
			b.Fatal(err)
		}
		start, cpu = time.Now(), cpuTime(b, syscall.RUSAGE_CHILDREN)
		run(b, "e2fsprogs", "mke2fs", "-q", "-O", "none,"+strings.Join(DefaultFeatures(), ","), "-b", "4096", "-d", dir, image, "1G")
		theirs += time.Since(start)
		theirsCPU += cpuTime(b, syscall.RUSAGE_CHILDREN) - cpu
		if err := os.Remove(image); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N)
	b.ReportMetric(ours.Seconds()/n, "ours-s")
	b.ReportMetric(metadata.Seconds()/n, "ours-metadata-s")
	b.ReportMetric(oursCPU.Seconds()/n, "ours-cpu-s")
	b.ReportMetric(theirs.Seconds()/n, "mke2fs-s")
	b.ReportMetric(theirsCPU.Seconds()/n, "mke2fs-cpu-s")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// BenchmarkWrite measures Write alone.
func BenchmarkWrite(b *testing.B) {
	st := openStore(b)
	tr, _ := hostTree(b, st)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(context.Background(), st, tr, options(1<<30)); err != nil {
			b.Fatal(err)
		}
	}
}
