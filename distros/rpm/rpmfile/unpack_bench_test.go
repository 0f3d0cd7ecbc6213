package rpmfile

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/stages/store"
)

// BenchmarkUnpack verifies and unpacks a package of some thousand files, a part of
// the sources of Go, and compares with `rpm2cpio | cpio` into an empty directory, which
// verifies nothing.
func BenchmarkUnpack(b *testing.B) {
	tool(b, "cpio", "cpio")
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	spec := `
Name: sample
Version: 1.0
Release: 1
Summary: A package of many files
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
%{summary}.
%install
mkdir -p %{buildroot}/usr/share/sample
cp -r '` + strings.TrimSpace(string(goroot)) + `/src/cmd' %{buildroot}/usr/share/sample/
%files
/usr/share/sample
`
	for _, payload := range []string{"w6.gzdio", "w2.xzdio", "w3.zstdio"} {
		path := rpmbuild(b, spec, "_binary_payload "+payload, "__brp_mangle_shebangs %{nil}")
		b.Run(payload[strings.IndexByte(payload, '.')+1:], func(b *testing.B) {
			var ours, theirs time.Duration
			for b.Loop() {
				b.StopTimer()
				st, err := store.Open(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				start := time.Now()
				f, err := Open(path)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Verify(context.Background(), nil, openpgp.Options{}); err != nil {
					b.Fatal(err)
				}
				if _, err := f.Unpack(context.Background(), st); err != nil {
					b.Fatal(err)
				}
				ours += time.Since(start)
				b.StopTimer()
				b.SetBytes(f.size)
				f.Close()
				st.Close()
				start = time.Now()
				cmd := exec.Command("sh", "-c", `rpm2cpio "$0" | cpio -idm --quiet`, path)
				cmd.Dir = b.TempDir()
				cmd.Stderr = os.Stderr
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
				theirs += time.Since(start)
				b.StartTimer()
			}
			b.ReportMetric(theirs.Seconds()/float64(b.N), "s-rpm2cpio/op")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-faster")
		})
	}
}
