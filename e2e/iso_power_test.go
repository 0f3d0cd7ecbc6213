package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/qemu"
)

// testPowerCuts ends the machine at random moments of an installation, and installs
// again: the second time all is well, though the policy is to take disks that hold nothing
// and this one holds half a system. No other disk is ever touched.
func testPowerCuts(t *testing.T, m *medium) {
	const cuts, size = 20, 256 << 20
	for n := range cuts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			random := rand.New(rand.NewPCG(4, uint64(n))) // the same moments in every run, as far as machines are equally fast
			target := named(blank(t, size), "TARGET", qemu.VirtIO)
			others := []qemu.Disk{
				named(filled(t, size, "mke2fs", "-q", "-F"), "DATA", qemu.VirtIO), named(blank(t, size+64<<20), "EMPTY", qemu.NVMe),
			}
			same := unchanged(t, others...)
			disks := append([]qemu.Disk{target}, append(others, m.cd())...)

			cut := install(t, m.installer("imagefactory.after=poweroff", disks...))
			moment := cut.moment(random)
			if err := cut.vm.Kill(); err != nil {
				t.Fatal(err)
			}
			t.Logf("power cut at %s", moment)
			same()
			if finished(t, target.Path) {
				// It came too late: to install again would be to take another disk.
				m.checkInstalled(t, target.Path)
				return
			}

			// The second attempt is as the first: nobody has to allow that half a system is overwritten.
			again := install(t, m.installer("imagefactory.after=poweroff", disks...))
			if e := again.next(); e.Event != "started" {
				t.Errorf("the first event is %q", e.Event)
			}
			again.succeeds()
			m.checkInstalled(t, target.Path)
			same()
		})
	}
}

// finished tells whether a disk holds a whole system: it has a partition table, and no mark of an installation that goes on.
func finished(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, start); err != nil {
		t.Fatal(err)
	}
	return bytes.HasPrefix(start[sector:], []byte("EFI PART")) && !bytes.Contains(start, []byte("imagefactory: this disk is being installed"))
}

// moment waits for a random moment of an installation, and describes it: a part of
// what it verifies, writes or reads back, or one of the steps that follow.
func (i *installation) moment(random *rand.Rand) string {
	i.t.Helper()
	phases := []string{"verify", "write", "write", "write", "write", "read-back", "grow"}
	phase := phases[random.IntN(len(phases))]
	part := random.Float64()
	for {
		e := i.until(phase)
		if float64(e.Done) >= part*float64(e.Total) {
			// Events are a second apart; the machine goes on for less than that.
			pause := time.Duration(random.Int64N(int64(time.Second)))
			time.Sleep(pause)
			return fmt.Sprintf("%s %.0f%% and %s", phase, part*100, pause.Round(time.Millisecond))
		}
	}
}
