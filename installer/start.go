package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/console"
	"github.com/imagefactory/imagefactory/installer/hotplug"
	"github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/installer/network"
	"github.com/imagefactory/imagefactory/installer/report"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// machine is the computer we run on, and how far we are with it.
type machine struct {
	life     context.Context
	consoles *console.Consoles
	report   *report.Reporter
	line     string   // the kernel's command line
	words    []string // of it
	printk   int      // the kernel's console log level before we lowered it

	loader         *modules.Loader
	monitor        *hotplug.Monitor
	loading        sync.Mutex
	driverProblems []string

	arguments  config.Arguments
	config     *config.Config // nil until the medium is found
	source     source
	connection *network.Connection
	present    map[partition.GUID]bool // partitions of all disks; nil when not all are known

	// For messages about a failure:
	stage   string
	device  string // the disk that is installed on
	written string // what was changed, as a sentence; empty for nothing
}

// mount is one file system of the initramfs.
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
	optional             bool
}

// baseMounts is what the kernel offers, where everybody expects it.
var baseMounts = []mount{
	{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
	{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755", false},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", false},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5", true},
}

// efiVariables is where the firmware's variables are, on machines that have some.
const efiVariables = "/sys/firmware/efi/efivars"

func newMachine() *machine {
	m := &machine{life: context.Background(), consoles: console.New(), printk: -1, stage: "start"}
	m.report = report.New(m.consoles.Event)
	return m
}

// start makes the surroundings in which the rest can work. Errors of single parts are returned together: with one console,
// they can be told.
func (m *machine) start() error {
	var errs []error
	for _, fs := range baseMounts {
		if err := fs.mount(); err != nil && !fs.optional {
			errs = append(errs, err)
		}
	}
	// Programs in the installed root expect these; devtmpfs does not make them.
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		_ = os.Symlink(target, "/dev/"+name)
	}
	var err error
	if m.line, err = commandLine(); err != nil {
		errs = append(errs, fmt.Errorf("reading the kernel's command line: %w", err))
	}
	m.words = config.SplitCommandLine(m.line)
	// What is wrong with the arguments is said when there are consoles.
	m.arguments, _ = config.ParseArguments(m.line)
	m.openConsoles()
	m.quieten()
	return errors.Join(errs...)
}

func (f mount) mount() error {
	if err := os.MkdirAll(f.target, 0o755); err != nil {
		return err
	}
	err := unix.Mount(f.source, f.target, f.kind, f.flags, f.data)
	if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel may have mounted /dev itself
		return fmt.Errorf("mounting %s on %s: %w", f.kind, f.target, err)
	}
	return nil
}

// openConsoles opens every console the kernel has. Which those are, its own command line says; a serial one named there for
// hardware that does not exist is not among them.
func (m *machine) openConsoles() {
	list, _ := os.ReadFile("/proc/consoles")
	for _, name := range console.Active(list) {
		// One that cannot be opened is the kernel's alone.
		_ = m.consoles.Open("/dev", name)
	}
	if len(m.consoles.Names()) == 0 {
		_ = m.consoles.Open("/dev", "console")
	}
}

// quietLevel lets through what kernels print before they die, and nothing else.
const quietLevel = 3

// quieten keeps kernel messages from tearing up the progress; they stay in the log.
func (m *machine) quieten() {
	data, err := os.ReadFile("/proc/sys/kernel/printk")
	if err != nil {
		return
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return
	}
	level, err := strconv.Atoi(fields[0])
	if err != nil || level <= quietLevel {
		return
	}
	if m.printk < 0 {
		m.printk = level
	}
	m.setLogLevel(quietLevel)
}

// loudly undoes quieten.
func (m *machine) loudly() {
	if m.printk >= 0 {
		m.setLogLevel(m.printk)
	}
}

func (m *machine) setLogLevel(level int) {
	_ = os.WriteFile("/proc/sys/kernel/printk", []byte(strconv.Itoa(level)), 0o644)
}

// run does everything, again when somebody at the prompt wants so, and never returns.
func (m *machine) run() {
	defer func() {
		// The death of process 1 is a panic of the kernel, in which nobody can read the reason.
		if problem := recover(); problem != nil {
			m.stage = "internal error"
			m.fail(fmt.Errorf("the installer has a defect: %v", problem))
			m.end(config.Halt)
		}
	}()
	err := m.start()
	m.say("imagefactory installer")
	for {
		if err == nil {
			err = m.session()
		}
		if !errors.Is(err, errRetry) {
			m.fail(err)
		}
		// Somebody wants another try.
		m.quieten()
		err = nil
	}
}

// session is one try, from finding the medium to the end. A try that goes well ends the machine, so it returns only when
// something failed.
func (m *machine) session() error {
	m.device, m.written, m.config, m.source = "", "", nil, nil
	ctx, cancel := context.WithCancel(m.life)
	defer cancel()
	m.stage = "command line"
	if _, err := config.ParseArguments(m.line); err != nil {
		return fmt.Errorf("the kernel's command line: %w", err)
	}
	m.startReportEarly()
	if m.monitor == nil {
		m.stage = "drivers"
		if err := m.startDrivers(); err != nil {
			return err
		}
	}
	if m.arguments.Mode != nil && *m.arguments.Mode == config.ModeRescue {
		m.say("No installation, as the kernel's command line asks.")
		m.loudly()
		m.prompt()
		m.arguments.Mode = nil // "retry" means: do it after all
		return errRetry
	}
	if err := m.findSource(ctx); err != nil {
		return err
	}
	defer m.source.Close()
	if m.config.Mode == config.ModeLive {
		return m.live()
	}
	return m.install(ctx)
}

// say prints what happens next.
func (m *machine) say(format string, args ...any) { m.consoles.Printf(format, args...) }

// settleQuiet and settleMost bound the wait for quiet among the devices. Loading a driver waits for what it finds on PCI, SATA and
// SCSI buses; USB does not, and lets a second pass before it looks at a disk.
const (
	settleQuiet = 3 * time.Second
	settleMost  = 60 * time.Second
)

// settle waits until no more devices appear: the smallest disk can only be known when all are there.
func (m *machine) settle(ctx context.Context) {
	if !hotplug.Settle(ctx, m.monitor.Changes(), settleQuiet, settleMost) && ctx.Err() == nil {
		m.say("Devices still come and go after %.0f seconds; going on with those that are there.", settleMost.Seconds())
	}
}
