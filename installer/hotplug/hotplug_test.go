package hotplug

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestParse(t *testing.T) {
	e, ok := Parse([]byte("add@/devices/pci0000:00/0000:00:03.0\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:03.0\x00SUBSYSTEM=pci\x00MODALIAS=pci:v00001AF4\x00SEQNUM=5\x00"))
	want := Event{"add", "/devices/pci0000:00/0000:00:03.0", "pci", "pci:v00001AF4"}
	if !ok || e != want {
		t.Errorf("%+v %v", e, ok)
	}
	for _, message := range []string{"", "libudev\x00\xfe\xed\xca\xfe", "add\x00", "add@/x"} {
		if e, ok := Parse([]byte(message)); ok {
			t.Errorf("%q is %+v", message, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/x\x00SUBSYSTEM=block\x00=\x00MODALIAS"))
	f.Fuzz(func(t *testing.T, message []byte) { Parse(message) })
}

func TestAliases(t *testing.T) {
	sys := t.TempDir()
	for file, alias := range map[string]string{
		"devices/pci0/a/modalias": "pci:a\n", "devices/pci0/b/modalias": "pci:b", "devices/z/modalias": "pci:a", "devices/empty/modalias": "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(sys, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, file), []byte(alias), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// As in sysfs, where links lead round in circles.
	if err := os.Symlink("../..", filepath.Join(sys, "devices/pci0/up")); err != nil {
		t.Fatal(err)
	}
	got, err := Aliases(sys)
	if err != nil || !slices.Equal(got, []string{"pci:a", "pci:b"}) {
		t.Errorf("%q %v", got, err)
	}
}

func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := make(chan struct{})
		start := time.Now()
		go func() {
			for range 3 {
				time.Sleep(time.Second)
				changes <- struct{}{}
			}
		}()
		if quiet := Settle(t.Context(), changes, 2*time.Second, time.Minute); !quiet || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", quiet, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				time.Sleep(time.Second)
				select {
				case changes <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}()
		start = time.Now()
		if quiet := Settle(ctx, changes, 2*time.Second, 10*time.Second); quiet || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", quiet, time.Since(start))
		}
		cancel()
		if Settle(ctx, nil, time.Second, time.Minute) {
			t.Error("quiet though told to end")
		}
	})
}
