package installer

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/report"
)

// cdromEject is CDROMEJECT, cdromLock CDROM_LOCKDOOR of the kernel's cdrom.h.
const (
	cdromEject = 0x5309
	cdromLock  = 0x5329
)

// drained bounds the wait for consoles before somebody else writes to them. A line of 9600 baud takes half of it to send what the
// kernel buffers; one that is held up for ever takes all of it.
const drained = 10 * time.Second

// done reports success and ends the machine.
func (m *machine) done() {
	m.report.Send(report.Done{Device: m.device, After: m.config.After})
	m.report.Flush(10 * time.Second)
	if m.source != nil {
		medium, isLocal := m.source.(localSource)
		m.source.Close()
		if isLocal && m.config.After == config.Reboot {
			eject(medium.Path)
		}
	}
	m.end(m.config.After)
}

// eject opens the tray of a CD drive, so that the machine does not start from it again. Other media have none.
func eject(path string) {
	if !strings.HasPrefix(filepath.Base(path), "sr") {
		return
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.IoctlSetInt(fd, cdromLock, 0)
	_ = unix.IoctlSetInt(fd, cdromEject, 0)
}

// end makes what is written durable and restarts, switches off or halts. It does not return.
func (m *machine) end(how string) {
	command, text := unix.LINUX_REBOOT_CMD_RESTART, "Restarting."
	switch how {
	case config.PowerOff:
		command, text = unix.LINUX_REBOOT_CMD_POWER_OFF, "Switching off."
	case config.Halt:
		command, text = unix.LINUX_REBOOT_CMD_HALT, "Halted."
	}
	m.say("%s", text)
	m.consoles.Flush(drained)
	unmountAll()
	unix.Sync()
	for {
		_ = unix.Reboot(command)
		// Process 1 must not end; and there is nothing to be done about a machine that does not obey.
		time.Sleep(time.Minute)
	}
}

// unmountAll unmounts every file system on a device, the innermost first, or makes it read-only.
func unmountAll() {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	var points []string
	scanner := bufio.NewScanner(bytes.NewReader(table))
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) >= 2 && strings.HasPrefix(fields[0], "/dev/") {
			points = append(points, unescape(fields[1]))
		}
	}
	for _, point := range slices.Backward(points) {
		if unix.Unmount(point, 0) != nil {
			_ = unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
}

// unescape undoes how /proc/self/mounts writes white space.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
