package iso_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/emit/iso"
)

// installMedium adds the parts of a medium as a build makes it: 400 MB of payload, kernel, initramfs, some hundred modules of
// GRUB and the boot images. It writes the same files below dir.
func (f *fixture) installMedium(b *testing.B, dir string) iso.Options {
	b.Helper()
	add := func(path string, data []byte) {
		f.file(b, path, 0o644, data)
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	add("imagefactory/payload", random(1, 400e6))
	add("imagefactory/vmlinuz", random(2, 12e6))
	add("imagefactory/initramfs.img", random(3, 50e6))
	for i := range 300 {
		add(fmt.Sprintf("boot/grub/i386-pc/module%d.mod", i), random(uint64(i), 1000+40*i))
	}
	add("boot/grub/eltorito.img", random(4, 60e3))
	add("boot/grub/efi.img", random(5, 4*mib))
	return iso.Options{
		VolumeID: "BENCH", Epoch: epoch, Seed: seed, EFI: "boot/grub/efi.img",
		BIOS: &iso.BIOS{Image: "boot/grub/eltorito.img", HybridMBR: bootHybrid(b)},
	}
}

// cost is what runs took.
type cost struct{ wall, cpu time.Duration }

func (c *cost) measure(b *testing.B, who int, run func()) {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, start := used(), time.Now()
	run()
	c.wall += time.Since(start)
	c.cpu += used() - before
}

// BenchmarkAgainstXorriso writes the same parts as a hybrid image with this package and with xorriso -as mkisofs, one after
// the other, and reports our figures and their ratio to xorriso's; below 1 ours is faster or cheaper. Ours include what
// xorriso does not do: the image is on the disk when they end, for which xorriso is followed by sync in a second ratio, and
// its SHA-256 is known.
func BenchmarkAgainstXorriso(b *testing.B) {
	f := &fixture{st: disktest.Store(b), want: map[string]found{".": {mode: fs.ModeDir}}}
	dir := b.TempDir()
	o := f.installMedium(b, dir)
	f.compose(b, iso.Options{}) // puts the contents into the store
	mbr := filepath.Join(b.TempDir(), "boot_hybrid.img")
	if err := os.WriteFile(mbr, o.BIOS.HybridMBR, 0o644); err != nil {
		b.Fatal(err)
	}
	syscall.Sync()
	ourPath, theirPath := filepath.Join(b.TempDir(), "ours.iso"), filepath.Join(b.TempDir(), "theirs.iso")
	var compose, ours, bare, synced cost
	run := []func(){func() {
		ours.measure(b, syscall.RUSAGE_SELF, func() {
			var im disk.Image
			compose.measure(b, syscall.RUSAGE_SELF, func() {
				var err error
				if im, err = iso.Compose(f.st, f.files, o); err != nil {
					b.Fatal(err)
				}
			})
			if _, err := emit.ISO(b.Context(), f.st, im, ourPath, emit.Options{}); err != nil {
				b.Fatal(err)
			}
		})
	}, func() {
		bare.measure(b, syscall.RUSAGE_CHILDREN, func() {
			disktest.Run(b, "xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "BENCH", "-iso-level", "3", "--grub2-mbr", mbr,
				"-b", o.BIOS.Image, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info",
				"--protective-msdos-label", "-eltorito-alt-boot", "-e", o.EFI, "-no-emul-boot", "-isohybrid-gpt-basdat",
				"-o", theirPath, dir)
		})
		synced.measure(b, syscall.RUSAGE_CHILDREN, func() { disktest.Run(b, "sync", theirPath) })
	}}
	for turn := 0; b.Loop(); turn++ {
		for i := range run {
			syscall.Sync() // so that nobody waits for the other's data
			run[(turn+i)%2]()
		}
		for _, path := range []string{ourPath, theirPath} {
			if err := os.Remove(path); err != nil {
				b.Fatal(err)
			}
		}
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(compose.wall.Seconds()*1000/n, "compose-ms")
	b.ReportMetric(ours.wall.Seconds()/n, "wall-s")
	b.ReportMetric(ours.cpu.Seconds()/n, "cpu-s")
	b.ReportMetric(bare.wall.Seconds()/n, "xorriso-s")
	b.ReportMetric((bare.wall+synced.wall).Seconds()/n, "xorriso+sync-s")
	b.ReportMetric(ours.wall.Seconds()/bare.wall.Seconds(), "wall/xorriso")
	b.ReportMetric(ours.wall.Seconds()/(bare.wall+synced.wall).Seconds(), "wall/xorriso+sync")
	b.ReportMetric(ours.cpu.Seconds()/(bare.cpu+synced.cpu).Seconds(), "cpu/xorriso+sync")
}
