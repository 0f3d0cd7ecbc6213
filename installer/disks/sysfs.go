package disks

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// device is a directory of sysfs that stands for a device.
type device struct {
	sys  string // where sysfs is mounted, without symbolic links
	path string // the directory, without symbolic links
}

// open resolves a path of sysfs, which is relative to its root.
func open(sys, name string) (device, error) {
	root, err := filepath.EvalSymlinks(sys)
	if err != nil {
		return device{}, err
	}
	path, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil {
		return device{}, err
	}
	return device{root, path}, nil
}

// class returns a device by its class, where the hierarchy of devices does not lead to it.
func (d device) class(class, name string) (device, bool) {
	found, err := open(d.sys, filepath.Join("class", class, name))
	return found, err == nil
}

func (d device) child(name string) device { return device{d.sys, filepath.Join(d.path, name)} }

func (d device) name() string { return filepath.Base(d.path) }

// raw returns an attribute as it is; nothing when the device has none of that name, or refuses to tell.
func (d device) raw(name string) []byte {
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if err != nil {
		return nil
	}
	return data
}

// attr returns an attribute without the white space around it.
func (d device) attr(name string) string { return strings.TrimSpace(string(d.raw(name))) }

// inherited returns an attribute of the device or of the nearest ancestor that has it, as udev's ATTRS does.
func (d device) inherited(name string) string {
	for a, ok := d, true; ok; a, ok = a.parent() {
		if value := a.attr(name); value != "" {
			return value
		}
	}
	return ""
}

func (d device) number(name string) (int64, error) {
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < 0 || n > (1<<63-1)/sysfsSector {
		return 0, fmt.Errorf("%s holds %q, which is no number of sectors", filepath.Join(d.path, name), data)
	}
	return n, nil
}

func (d device) numberOr(name string, otherwise int) int {
	n, err := strconv.Atoi(d.attr(name))
	if err != nil || n <= 0 {
		return otherwise
	}
	return n
}

// entries returns the names in a directory below the device.
func (d device) entries(name string) []string {
	list, err := os.ReadDir(filepath.Join(d.path, name))
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// subsystem returns the bus or class of the device: "pci", "scsi", "block".
func (d device) subsystem() string {
	target, err := os.Readlink(filepath.Join(d.path, "subsystem"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// devtype returns the kind of device within its subsystem: "scsi_device", "usb_interface".
func (d device) devtype() string {
	for line := range strings.Lines(string(d.raw("uevent"))) {
		if value, ok := strings.CutPrefix(line, "DEVTYPE="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// parent returns the device this one hangs on: the nearest directory above that is a device.
func (d device) parent() (device, bool) {
	top := filepath.Join(d.sys, "devices")
	for dir := filepath.Dir(d.path); len(dir) > len(top); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "uevent")); err == nil {
			return device{d.sys, dir}, true
		}
	}
	return device{}, false
}

// ancestor returns the nearest device above of a subsystem and, unless it is empty, a kind.
func (d device) ancestor(subsystem, devtype string) (device, bool) {
	for a, ok := d.parent(); ok; a, ok = a.parent() {
		if a.subsystem() == subsystem && (devtype == "" || a.devtype() == devtype) {
			return a, true
		}
	}
	return device{}, false
}

// outermost returns the topmost of the device and its ancestors that are of one subsystem without a gap.
func (d device) outermost(subsystem string) device {
	for {
		up, ok := d.parent()
		if !ok || up.subsystem() != subsystem {
			return d
		}
		d = up
	}
}
