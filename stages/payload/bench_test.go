package payload_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	reading "github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/store"
)

// benchmarkImage is a disk of 1 GiB with some 400 MB of what systems consist of: the programs and libraries of this host.
func benchmarkImage(b *testing.B, st *store.Store) disk.Image {
	b.Helper()
	const size, most = 1 << 30, 400 * mib
	im := disk.Image{Size: size}
	batch, err := st.NewBatch()
	if err != nil {
		b.Fatal(err)
	}
	defer batch.Abort()
	random := rand.New(rand.NewPCG(1, 1))
	off, data := int64(mib), int64(0)
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/share"} {
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || data > most {
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer f.Close()
			d, n, err := batch.Add(io.LimitReader(f, 16*mib))
			if err != nil || n == 0 || off+n > size-mib {
				return err
			}
			im.Extents = append(im.Extents, disk.Extent{Offset: off, Length: n, Object: d})
			data += n
			off = (off + n + 4095) / 4096 * 4096
			if random.IntN(20) == 0 {
				off += random.Int64N(2*mib) / 4096 * 4096
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	return im
}

// cost is what some work took.
type cost struct{ wall, cpu time.Duration }

func (c *cost) add(d cost) { c.wall, c.cpu = c.wall+d.wall, c.cpu+d.cpu }

// compare reports what ours cost, as shares of what theirs did.
func (c cost) compare(b *testing.B, theirs cost, name string) {
	b.ReportMetric(c.wall.Seconds()/theirs.wall.Seconds(), "wall/"+name)
	b.ReportMetric(c.cpu.Seconds()/theirs.cpu.Seconds(), "cpu/"+name)
}

// measured runs work of this process.
func measured(work func()) cost {
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return 0
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start, before := time.Now(), cpu()
	work()
	return cost{time.Since(start), cpu() - before}
}

// against runs another program once.
func against(b *testing.B, name string, args ...string) cost {
	b.Helper()
	start := time.Now()
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return cost{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// BenchmarkWrite writes a payload, beside zstd compressing the whole raw disk with as many threads.
func BenchmarkWrite(b *testing.B) {
	st := disktest.Store(b)
	im := benchmarkImage(b, st)
	raw := disktest.WriteFile(b, st, im)
	r, err := im.Open(st)
	if err != nil {
		b.Fatal(err)
	}
	for _, level := range []int{1, 3} {
		b.Run(map[int]string{1: "level1", 3: "level3"}[level], func(b *testing.B) {
			b.SetBytes(im.DataSize())
			var ours, theirs cost
			var info payload.Info
			out := filepath.Join(b.TempDir(), "payload")
			compressed := filepath.Join(b.TempDir(), "raw.zst")
			for b.Loop() {
				f, err := os.Create(out)
				if err != nil {
					b.Fatal(err)
				}
				ours.add(measured(func() {
					if info, err = payload.Write(context.Background(), r, f, payload.Options{Level: level}, nil); err != nil {
						b.Fatal(err)
					}
				}))
				f.Close()
				b.StopTimer()
				theirs.add(against(b, "zstd", "-q", "-f", "-T2", map[int]string{1: "-1", 3: "-3"}[level], raw, "-o", compressed))
				b.StartTimer()
			}
			stat, err := os.Stat(compressed)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size)/1e6, "MB")
			b.ReportMetric(float64(stat.Size())/1e6, "zstd-MB")
			ours.compare(b, theirs, "zstd")
		})
	}
}

// BenchmarkRestore writes a payload to a file, which includes verifying and reading back, beside qemu-img converting a
// compressed image of the same disk to a raw file and syncing it.
func BenchmarkRestore(b *testing.B) {
	st := disktest.Store(b)
	im := benchmarkImage(b, st)
	raw := disktest.WriteFile(b, st, im)
	dir := b.TempDir()
	qcow2 := filepath.Join(dir, "disk.qcow2")
	against(b, "qemu-img", "convert", "-c", "-W", "-m", "8", "-O", "qcow2", "-o", "compression_type=zstd", raw, qcow2)
	r, err := im.Open(st)
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	info, err := payload.Write(context.Background(), r, &out, payload.Options{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "payload")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	target, converted := filepath.Join(dir, "target"), filepath.Join(dir, "converted")
	b.SetBytes(im.DataSize())
	var ours, theirs cost
	for b.Loop() {
		b.StopTimer()
		os.Remove(target)
		if err := os.WriteFile(target, nil, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Truncate(target, im.Size+mib); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		ours.add(measured(func() { install(b, file, info, target) }))
		b.StopTimer()
		os.Remove(converted)
		theirs.add(against(b, "qemu-img", "convert", "-W", "-m", "8", "-t", "writeback", "-O", "raw", qcow2, converted))
		theirs.add(against(b, "sync", converted))
		b.StartTimer()
	}
	ours.compare(b, theirs, "qemu-img")
}

// install does what the installer does with a payload.
func install(b *testing.B, file string, info payload.Info, target string) {
	f, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p, err := reading.Open(f, info.Size, info.IndexSHA256)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.VerifyAll(context.Background(), nil); err != nil {
		b.Fatal(err)
	}
	d, err := reading.OpenDevice(target)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := p.Restore(context.Background(), d, reading.Plan{}, nil); err != nil {
		b.Fatal(err)
	}
}
