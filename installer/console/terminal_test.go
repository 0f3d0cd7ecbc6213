package console

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// unlockTerminal returns the name of the other end of a pseudoterminal, below /dev/pts.
func unlockTerminal(t *testing.T, master *os.File) string {
	t.Helper()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(number)
}
