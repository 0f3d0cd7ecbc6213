package deb

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
)

// benchmarkPackages is the environment variable that names a directory of
// packages for the benchmarks: those of a minimal system, for instance.
const benchmarkPackages = "IMAGEFACTORY_BENCH_DEBS"

// benchDebs returns the packages, the largest first, as the packages stage
// unpacks them.
func benchDebs(b *testing.B) []string {
	b.Helper()
	dir := os.Getenv(benchmarkPackages)
	if dir == "" {
		b.Skipf("set %s to a directory of .deb files", benchmarkPackages)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) == 0 {
		b.Fatalf("no packages in %s (%v)", dir, err)
	}
	sizes := map[string]int64{}
	var total int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			b.Fatal(err)
		}
		sizes[f] = info.Size()
		total += info.Size()
	}
	slices.SortFunc(files, func(x, y string) int { return cmp.Compare(sizes[y], sizes[x]) })
	b.SetBytes(total)
	b.ReportMetric(float64(len(files)), "packages")
	return files
}

// parallel calls do for every file on all processors.
func parallel(files []string, do func(string)) {
	queue := make(chan string)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range queue {
				do(f)
			}
		})
	}
	for _, f := range files {
		queue <- f
	}
	close(queue)
	wg.Wait()
}

func BenchmarkUnpack(b *testing.B) {
	files := benchDebs(b)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		st, err := store.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		parallel(files, func(f string) {
			if _, err := Unpack(context.Background(), st, f); err != nil {
				b.Error(err)
			}
		})
		b.StopTimer()
		st.Close()
		os.RemoveAll(dir)
		b.StartTimer()
	}
}

// BenchmarkDpkgDeb is the yardstick: the same packages, decompressed by dpkg-deb
// (liblzma) to nowhere.
func BenchmarkDpkgDeb(b *testing.B) {
	tool(b, "dpkg-deb", "dpkg")
	files := benchDebs(b)
	for b.Loop() {
		parallel(files, func(f string) {
			cmd := exec.Command("dpkg-deb", "--fsys-tarfile", f)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil {
				b.Error(err)
			}
		})
	}
}
