package repodata

import (
	"strconv"
	"testing"
	"time"
)

// Reading CentOS Stream 9's AppStream, 17,649 packages, out of the cache, and the same
// by libsolv, which dnf uses. Neither has a cache of its own form to use.
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
		start := time.Now()
		load(b, client, unverified(url))
		if d := time.Since(start); best == 0 || d < best {
			best = d
		}
	}
	b.ReportMetric(best.Seconds(), "best-s")
	b.ReportMetric(fromDNF, "dnf-best-s")
	b.ReportMetric(fromDNF/best.Seconds(), "times-dnf")
}
