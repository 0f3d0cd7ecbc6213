package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine describes a virtual x86_64 computer. The zero value of every field
// but Firmware is usable.
type Machine struct {
	Firmware Firmware    // required
	Accel    Accelerator // "": DetectAccelerator decides
	Memory   int64       // bytes of memory; 0: 1 GiB
	Disks    []Disk      // in boot order
	Vars     string      // variable store the machine gets a copy of; "": the one that belongs to Firmware
	SSHPort  int         // TCP port on 127.0.0.1 that leads to the guest's port 22; 0: none

	// Terminal connects the guest's serial port with this process's standard
	// input and output (Ctrl-A X ends QEMU). Otherwise VM.Console drives it.
	Terminal bool

	// Kernel, when set, is booted directly instead of a disk, with Initrd and
	// Cmdline.
	Kernel, Initrd, Cmdline string

	// NoReboot ends the machine where the guest would have rebooted.
	NoReboot bool

	// NoNetwork leaves out the network device.
	NoNetwork bool

	// Isolated gives the guest an address, but lets it reach nothing; SSHPort works all the same.
	Isolated bool

	// Netboot, when set, lets firmware start from the network after it has tried the disks.
	Netboot *Netboot
}

// Netboot is a network that machines start from.
type Netboot struct {
	Dir  string // what TFTP serves
	File string // what DHCP tells firmware to start: a path below Dir, or a URL for iPXE
}

// defaultMemory is enough for a Debian host to boot.
const defaultMemory = 1 << 30

// quitLimit is how long QEMU has to end itself before it is killed.
const quitLimit = 5 * time.Second

// scratchDir is where a machine keeps what its guest writes: on a disk, as
// /tmp is in memory on many hosts.
func scratchDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/var/tmp"
}

// VM is a running machine.
type VM struct {
	// Console drives the guest's serial port; nil when the Machine has
	// Terminal set.
	Console *Console

	accel  Accelerator
	disks  []Disk // of the machine, with their interfaces chosen
	mu     sync.Mutex
	taken  map[int]bool // disks that were taken out
	dir    string       // where its files are
	qmp    *qmp
	stop   context.CancelFunc
	kill   func() error
	stderr bytes.Buffer
	failed chan error    // why this package ended the machine, if it did
	done   chan struct{} // closed when the process has ended
	err    error         // why, valid after done
}

// Start starts the machine. It ends with ctx, by Quit, or when its guest
// powers off; Wait tells. It returns a *MissingError when QEMU or the firmware
// is not installed.
func (m Machine) Start(ctx context.Context) (*VM, error) {
	program, err := findProgram("qemu-system-x86_64", "qemu-system-x86", "qemu-kvm")
	if err != nil {
		return nil, err
	}
	if m.Accel == "" {
		m.Accel, _ = DetectAccelerator()
	}
	if m.Disks, err = connected(m.Disks); err != nil {
		return nil, fmt.Errorf("a virtual machine: %w", err)
	}
	dir, err := os.MkdirTemp(scratchDir(), "imagefactory-vm-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	vm := &VM{accel: m.Accel, dir: dir, disks: m.Disks, taken: map[int]bool{}, stop: cancel, failed: make(chan error, 1), done: make(chan struct{})}
	if err := m.start(ctx, vm, program, dir); err != nil {
		cancel()
		os.RemoveAll(dir)
		return nil, fmt.Errorf("starting a virtual machine: %w", err)
	}
	return vm, nil
}

func (m Machine) start(ctx context.Context, vm *VM, program, dir string) (err error) {
	args, err := m.arguments(ctx, dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	// An end that QEMU knows of leaves the terminal as it was.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = quitLimit
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // where QEMU keeps its snapshots
	cmd.Stderr = &vm.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	// Sockets are inherited instead of named, so that nothing of them is left
	// behind and no other user can reach them. Descriptor 3 is QMP, 4 the
	// serial port.
	control, err := inherit(cmd)
	if err != nil {
		return err
	}
	var serial net.Conn
	if m.Terminal {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	} else if serial, err = inherit(cmd); err != nil {
		control.Close()
		return err
	}

	err = vm.run(cmd, func() { os.RemoveAll(dir) })
	// Only QEMU may hold its ends, or nobody would notice when it is gone.
	closeFiles(cmd.ExtraFiles)
	if err != nil {
		control.Close()
		if serial != nil {
			serial.Close()
		}
		return err
	}
	if serial != nil {
		vm.Console = newConsole(serial)
	}
	if vm.qmp, err = dialQMP(control); err != nil {
		vm.stop()
		return errors.Join(err, vm.Wait())
	}
	if m.takesOut() {
		go vm.takeOutAtReboot()
	}
	return nil
}

// run starts cmd and watches it until it has ended.
//
// The parent death signal is tied to the thread that starts the child, not to
// the process: that thread must live for as long as the child does.
func (vm *VM) run(cmd *exec.Cmd, cleanup func()) error {
	started := make(chan error)
	vm.kill = func() error { return cmd.Process.Kill() }
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		cleanup()
		if err != nil {
			if text := strings.TrimSpace(vm.stderr.String()); text != "" {
				err = fmt.Errorf("%w: %s", err, text)
			}
			err = fmt.Errorf("QEMU: %w", err)
		}
		select {
		case failure := <-vm.failed:
			err = errors.Join(failure, err)
		default:
		}
		vm.err = err
		close(vm.done)
	}()
	return <-started
}

// arguments is the command line for the machine; it puts the files it needs
// into dir.
func (m Machine) arguments(ctx context.Context, dir string) ([]string, error) {
	memory := m.Memory
	if memory == 0 {
		memory = defaultMemory
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
		"-accel", string(m.Accel), "-smp", "1", "-m", strconv.FormatInt(memory>>20, 10),
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
	}
	if m.Accel == KVM {
		args = append(args, "-cpu", "host")
	}
	switch {
	case m.NoReboot && m.takesOut():
		return nil, errors.New("a machine that ends where its guest reboots has no time to take anything out")
	case m.NoReboot:
		args = append(args, "-no-reboot")
	case m.takesOut():
		args = append(args, takeOutArguments...)
	}
	if m.Terminal {
		args = append(args, "-serial", "mon:stdio")
	} else {
		args = append(args, "-chardev", "socket,id=serial,fd=4", "-serial", "chardev:serial")
	}

	firmware, err := m.firmwareArguments(dir)
	if err != nil {
		return nil, err
	}
	args = append(args, firmware...)

	disks, err := diskArguments(ctx, m.Disks, dir)
	if err != nil {
		return nil, err
	}
	args = append(append(args, m.networkArguments()...), disks...)
	if m.Kernel != "" {
		args = append(args, "-kernel", m.Kernel, "-append", m.Cmdline)
		if m.Initrd != "" {
			args = append(args, "-initrd", m.Initrd)
		}
	}
	return args, nil
}

// networkArguments are those of a network that QEMU is the gateway of.
func (m Machine) networkArguments() []string {
	if m.NoNetwork {
		return nil
	}
	network := "user,id=net"
	if m.Isolated {
		network += ",restrict=on"
	}
	if m.SSHPort != 0 {
		network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:22", m.SSHPort)
	}
	// No option ROM where nothing boots from the network: it is in a package of its own.
	device := "virtio-net-pci,netdev=net,romfile="
	if m.Netboot != nil {
		network += ",tftp=" + escape(m.Netboot.Dir) + ",bootfile=" + escape(m.Netboot.File)
		device = fmt.Sprintf("virtio-net-pci,netdev=net,bootindex=%d", 2*len(m.Disks))
	}
	return []string{"-netdev", network, "-device", device}
}

// firmwareArguments choose the board and its flash. Secure Boot needs system
// management mode, so that only the firmware can write the variable store.
func (m Machine) firmwareArguments(dir string) ([]string, error) {
	switch m.Firmware {
	case BIOS:
		return []string{"-machine", "q35"}, nil
	case UEFI, UEFISecure:
	case "":
		return nil, errNoFirmware
	default:
		_, err := ParseFirmware(string(m.Firmware))
		return nil, err
	}
	files, err := FindFirmware(m.Firmware)
	if err != nil {
		return nil, err
	}
	if m.Vars != "" {
		files.Vars = m.Vars
	}
	vars, err := files.copyVars(dir)
	if err != nil {
		return nil, err
	}
	args := []string{"-machine", "q35"}
	if m.Firmware == UEFISecure {
		args = []string{"-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"}
	}
	return append(args,
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(files.Code),
		"-drive", "if=pflash,unit=1,format=raw,file="+escape(vars)), nil
}

// findProgram finds a program of QEMU.
func findProgram(name, debian, el string) (string, error) {
	// EL keeps its only system emulator out of the way of users.
	const elKVM = "/usr/libexec/qemu-kvm"
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if _, err := os.Stat(elKVM); err == nil && strings.HasPrefix(name, "qemu-system-") {
		return elKVM, nil
	}
	return "", &MissingError{What: "the program " + name, Debian: debian, EL: el}
}

// CheckInstalled returns a *MissingError when the programs Machine needs are
// not installed.
func CheckInstalled() error {
	if _, err := findProgram("qemu-system-x86_64", "qemu-system-x86", "qemu-kvm"); err != nil {
		return err
	}
	_, err := findProgram("qemu-img", "qemu-utils", "qemu-img")
	return err
}

// inherit makes a connected pair of sockets: one end goes to cmd as its next
// descriptor, the other is returned.
func inherit(cmd *exec.Cmd) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket for QEMU: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer ours.Close() // FileConn has its own descriptor
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("making a socket for QEMU: %w", err)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	return conn, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Accel tells what executes the guest.
func (vm *VM) Accel() Accelerator { return vm.accel }

// Wait waits until the machine has ended and returns nil when it did so of
// its own accord or by Quit.
func (vm *VM) Wait() error {
	<-vm.done
	return vm.err
}

// Done is closed when the machine has ended.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Powerdown presses the power button and waits until the guest has shut
// itself down. When ctx ends first the machine is still running.
func (vm *VM) Powerdown(ctx context.Context) error {
	if err := vm.qmp.execute(ctx, "system_powerdown", nil); err != nil {
		return vm.gone(err)
	}
	select {
	case <-vm.done:
		return vm.err
	case <-ctx.Done():
		return fmt.Errorf("the guest did not shut down: %w", context.Cause(ctx))
	}
}

// Quit ends the machine at once, as if its power failed, and waits until it is
// gone. It may be called more than once.
func (vm *VM) Quit() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // an answer may never come once QEMU is gone
		<-vm.done
		cancel()
	}()
	if err := vm.qmp.execute(ctx, "quit", nil); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
		vm.stop()
	}
	<-vm.done
	vm.stop()
	return vm.err
}

// Kill ends QEMU in the middle of whatever it is doing, as a power cut ends a
// machine, and waits until it is gone. What the guest has written to Writable
// disks so far is in their images.
func (vm *VM) Kill() error {
	if err := vm.kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("QEMU: %w", err)
	}
	<-vm.done
	vm.stop()
	return nil
}

// gone adds the reason why the machine ended, if it has, to err.
func (vm *VM) gone(err error) error {
	select {
	case <-vm.done:
		return errors.Join(err, vm.err)
	default:
		return err
	}
}
