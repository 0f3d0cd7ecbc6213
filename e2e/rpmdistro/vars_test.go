package rpmdistro

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// That firmware takes the variables for its own and enforces them is what the
// tests show that boot with them. Here are those that are refused.
func TestEnrollRefuses(t *testing.T) {
	firmware, err := qemu.FindFirmware(qemu.UEFI)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := os.ReadFile(firmware.Vars)
	if err != nil {
		t.Fatal(err)
	}
	certificate := bytes.Repeat([]byte{0x30}, 700)
	enrolled, err := Enroll(empty, certificate)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(enrolled, certificate); n != 3 {
		t.Errorf("the certificate is in the store %d times, not as PK, KEK and db", n)
	}
	if len(enrolled) != len(empty) {
		t.Errorf("the store has %d bytes, the empty one %d", len(enrolled), len(empty))
	}
	for name, c := range map[string]struct {
		vars, certificate []byte
		says              string
	}{
		"enrolled before": {enrolled, certificate, "not empty"},
		"no volume":       {make([]byte, 1<<16), certificate, "no firmware volume"},
		"truncated":       {empty[:100], certificate, "damaged"},
		"no store":        {bytes.Replace(empty, authenticatedStore[:], make([]byte, 16), 1), certificate, "no store"},
		"no room":         {empty, make([]byte, len(empty)), "no room"},
	} {
		if _, err := Enroll(c.vars, c.certificate); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, which does not say %q", name, err, c.says)
		}
	}
}
