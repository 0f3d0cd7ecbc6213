package repodata

import (
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Reading CentOS Stream 9's AppStream, 17,649 packages, out of the cache, and the same
// by libsolv, which dnf uses. Neither has a cache of its own form to use. What counts is
// processor time, so that it does not matter what else the machine does.
func BenchmarkLoad(b *testing.B) {
	url := realURL(b, "osbuild-cs9/appstream")
	client := newClient(b)
	load(b, client, unverified(url)) // downloads
	var fromDNF float64
	for range 3 {
		lines := oracle(b, "time", url)
		seconds, err := strconv.ParseFloat(lines[len(lines)-1], 64)
		if err != nil {
			b.Fatal(err)
		}
		if fromDNF == 0 || seconds < fromDNF {
			fromDNF = seconds
		}
	}
	b.ReportAllocs()
	var best time.Duration
	for b.Loop() {
		start := processorTime(b)
		load(b, client, unverified(url))
		if d := processorTime(b) - start; best == 0 || d < best {
			best = d
		}
	}
	b.ReportMetric(best.Seconds(), "cpu-s")
	b.ReportMetric(fromDNF, "dnf-cpu-s")
	b.ReportMetric(fromDNF/best.Seconds(), "times-dnf")
}

// processorTime returns what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
