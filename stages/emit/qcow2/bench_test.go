package qcow2_test

import (
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
)

// realData makes a raw image of 1.1 GB with up to 430 MB of this machine's programs and libraries, each on a 4 KiB block as
// file systems lay them out.
func realData(b *testing.B) *fileSource {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "real.raw"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	const limit = 430_000_000
	var end int64
	for _, dir := range []string{"/usr/bin", "/usr/lib", "/usr/share", "/usr/sbin"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || end >= limit {
				return nil // what cannot be read is left out
			}
			in, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer in.Close()
			n, err := io.Copy(io.NewOffsetWriter(f, end), io.LimitReader(in, limit-end))
			end += (n + 4095) &^ 4095
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	s := &fileSource{f, 1100 << 20, end}
	if err := f.Truncate(s.size); err != nil {
		b.Fatal(err)
	}
	return s
}

// fileSource is a raw file with data at its start.
type fileSource struct {
	*os.File
	size, data int64
}

func (s *fileSource) Size() int64 { return s.size }

func (s *fileSource) Data() iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) { yield(0, s.data) }
}

// cost is what runs took, in seconds.
type cost struct{ wall, cpu float64 }

func (c *cost) measure(b *testing.B, who int, run func()) {
	b.Helper()
	used := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	before, start := used(), time.Now()
	run()
	c.wall += time.Since(start).Seconds()
	c.cpu += used() - before
}

// BenchmarkAgainstQEMU converts the same data with this package and with qemu-img, one after the other, and reports our
// figures and their ratio to qemu-img's; below 1 ours is faster, cheaper or smaller.
func BenchmarkAgainstQEMU(b *testing.B) {
	src := realData(b)
	convert := func(path string, args ...string) func() {
		return func() {
			disktest.Run(b, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2", "-c", "-m", "8"}, args...), src.Name(), path)...)
		}
	}
	dir := b.TempDir()
	for _, test := range []struct {
		name    string
		options qcow2.Options
		qemu    []string
	}{
		{"zstd-fastest", qcow2.Options{Level: 1}, []string{"-W", "-o", "compression_type=zstd"}},
		{"zstd-3", qcow2.Options{Level: 3}, []string{"-W", "-o", "compression_type=zstd"}},
		{"zstd-default", qcow2.Options{}, []string{"-W", "-o", "compression_type=zstd"}},
		{"deflate", qcow2.Options{Compression: qcow2.Deflate}, []string{"-W"}},
	} {
		b.Run(test.name, func(b *testing.B) {
			ourPath, qemuPath := filepath.Join(dir, test.name), filepath.Join(dir, "qemu-"+test.name)
			var ours, qemu cost
			for b.Loop() {
				ours.measure(b, syscall.RUSAGE_SELF, func() {
					f, err := os.Create(ourPath)
					if err != nil {
						b.Fatal(err)
					}
					defer f.Close()
					if _, err := qcow2.Write(b.Context(), f, src, test.options); err != nil {
						b.Fatal(err)
					}
				})
				qemu.measure(b, syscall.RUSAGE_CHILDREN, convert(qemuPath, test.qemu...))
			}
			size := func(path string) float64 {
				info, err := os.Stat(path)
				if err != nil {
					b.Fatal(err)
				}
				return float64(info.Size())
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ours.wall/n, "wall-s")
			b.ReportMetric(ours.cpu/n, "cpu-s")
			b.ReportMetric(size(ourPath)/1e6, "MB")
			b.ReportMetric(ours.wall/qemu.wall, "wall/qemu")
			b.ReportMetric(ours.cpu/qemu.cpu, "cpu/qemu")
			b.ReportMetric(size(ourPath)/size(qemuPath), "size/qemu")
		})
	}
}
