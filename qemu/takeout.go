package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// TakeOut takes the disk with this number in Machine.Disks out of the running machine: it opens the drive of a CD and
// takes the CD, or pulls out a USB device. The guest is not asked. What is out already stays out.
func (vm *VM) TakeOut(ctx context.Context, number int) error {
	if number < 0 || number >= len(vm.disks) {
		return fmt.Errorf("the machine has no disk %d", number)
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	disk := vm.disks[number]
	var err error
	switch {
	case vm.taken[number]:
		return nil
	case disk.CD && disk.Interface != USB:
		err = vm.qmp.execute(ctx, "eject", map[string]any{"id": deviceID(number), "force": true})
	case disk.Interface == USB:
		err = vm.qmp.execute(ctx, "device_del", map[string]any{"id": deviceID(number)})
	default:
		return fmt.Errorf("%s: only a CD or a disk on usb can be taken out of a running machine", disk.Path)
	}
	if err != nil {
		return vm.gone(fmt.Errorf("taking out %s: %w", disk.Path, err))
	}
	vm.taken[number] = true
	return nil
}

// takesOut reports whether something is taken out when the guest reboots.
func (m Machine) takesOut() bool {
	return slices.ContainsFunc(m.Disks, func(d Disk) bool { return d.TakeOut })
}

// takeOutArguments make QEMU stop where the guest reboots or powers off, so that there is no moment in which firmware
// could look for what is about to be taken out.
var takeOutArguments = []string{"-action", "reboot=shutdown,shutdown=pause"}

// takeOutAtReboot waits until the guest reboots, takes out what is to be taken out and lets the machine start again.
// From then on reboots are nothing special. A guest that powers off ends the machine, as without all this.
func (vm *VM) takeOutAtReboot() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // answers and events may never come once QEMU is gone
		<-vm.done
		cancel()
	}()
	if err := vm.restartWithout(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
		vm.failed <- err
		vm.stop()
	}
}

func (vm *VM) restartWithout(ctx context.Context) error {
	reason, err := vm.qmp.event(ctx, "SHUTDOWN")
	if err != nil {
		return err
	}
	if reason != "guest-reset" {
		return vm.qmp.execute(ctx, "quit", nil)
	}
	for i, disk := range vm.disks {
		if !disk.TakeOut {
			continue
		}
		if err := vm.TakeOut(ctx, i); err != nil {
			return err
		}
	}
	if err := vm.preferInstalled(ctx); err != nil {
		return err
	}
	if err := vm.qmp.execute(ctx, "set-action", map[string]any{"reboot": "reset", "shutdown": "poweroff"}); err != nil {
		return err
	}
	if err := vm.qmp.execute(ctx, "system_reset", nil); err != nil {
		return err
	}
	// The machine cannot go on before it was reset, which is not when the command is answered.
	if _, err := vm.qmp.event(ctx, "RESET"); err != nil {
		return err
	}
	return vm.qmp.execute(ctx, "cont", nil)
}

// preferInstalled puts blank disks in front that are not blank any more, as a person does in the setup of a machine with
// several: a BIOS starts the first disk or none.
func (vm *VM) preferInstalled(ctx context.Context) error {
	installed := 0
	for i, disk := range vm.disks {
		if disk.Path != "" {
			continue
		}
		bootable, err := hasBootSector(blankPath(vm.dir, i))
		if err != nil {
			return err
		}
		if !bootable {
			continue
		}
		err = vm.qmp.execute(ctx, "qom-set", map[string]any{"path": "/machine/peripheral/" + deviceID(i), "property": "bootindex", "value": installed})
		if err != nil {
			return fmt.Errorf("starting from disk %d: %w", i, err)
		}
		installed++
	}
	return nil
}

// hasBootSector reports whether a BIOS would start the disk: its first sector ends with 55 AA.
func hasBootSector(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var signature [2]byte
	if _, err := f.ReadAt(signature[:], 510); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading %s: %w", path, err)
	}
	return signature == [2]byte{0x55, 0xaa}, nil
}
