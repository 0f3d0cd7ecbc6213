package payload_test

import (
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk/disktest"
)

// loop makes a block device of a file until the test ends. It takes root.
func loop(t testing.TB, path string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a loop device")
	}
	device := strings.TrimSpace(disktest.Run(t, "losetup", "--find", "--show", path))
	t.Cleanup(func() { disktest.Run(t, "losetup", "--detach", device) })
	return device
}
