package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Firmware says what starts the guest.
type Firmware string

// The kinds of firmware a machine can have.
const (
	BIOS       Firmware = "bios"        // SeaBIOS, which is part of QEMU
	UEFI       Firmware = "uefi"        // OVMF without Secure Boot
	UEFISecure Firmware = "uefi-secure" // OVMF enforcing Secure Boot with Microsoft's keys
)

// Firmwares lists every kind of firmware.
var Firmwares = []Firmware{BIOS, UEFI, UEFISecure}

// ParseFirmware turns the name a person typed into a Firmware.
func ParseFirmware(name string) (Firmware, error) {
	if f := Firmware(name); slices.Contains(Firmwares, f) {
		return f, nil
	}
	return "", fmt.Errorf("unknown firmware %q: choose bios, uefi or uefi-secure", name)
}

// MissingError reports a program or firmware file this host does not have.
type MissingError struct {
	What   string // what is missing, as a person calls it
	Debian string // the package that holds it on Debian and Ubuntu
	EL     string // the package that holds it on RHEL, CentOS Stream, openEuler and their relatives
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s was not found: install the package %s (Debian, Ubuntu) or %s (RHEL and relatives)",
		e.What, e.Debian, e.EL)
}

// ExitStatus is 3: the host lacks something.
func (e *MissingError) ExitStatus() int { return 3 }

// FirmwareFiles are the two flash images of an UEFI machine.
type FirmwareFiles struct {
	Code string // read-only firmware code
	Vars string // template of the variable store; every machine needs a copy of its own
}

// firmwareDirs are the places in which QEMU's firmware descriptors are found,
// in falling order of precedence (docs/interop/firmware.json of QEMU).
func firmwareDirs() []string {
	dirs := []string{"/etc/qemu/firmware", "/usr/local/share/qemu/firmware", "/usr/share/qemu/firmware"}
	if config, err := os.UserConfigDir(); err == nil {
		dirs = append([]string{filepath.Join(config, "qemu/firmware")}, dirs...)
	}
	return dirs
}

// wellKnownFirmware are the places used by packages that ship no descriptor.
var wellKnownFirmware = map[Firmware][]FirmwareFiles{
	UEFI: {
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	},
	UEFISecure: {
		{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
		{"/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"},
	},
}

// FindFirmware finds the flash images for an UEFI machine: first by the
// descriptors that QEMU's firmware packages install, then in well-known
// places. It returns a *MissingError when the host has none.
func FindFirmware(kind Firmware) (FirmwareFiles, error) {
	if kind != UEFI && kind != UEFISecure {
		return FirmwareFiles{}, fmt.Errorf("firmware %q is not a file", kind)
	}
	for _, dir := range firmwareDirs() {
		if files, ok := findDescribed(dir, kind); ok {
			return files, nil
		}
	}
	for _, files := range wellKnownFirmware[kind] {
		if files.exist() {
			return files, nil
		}
	}
	return FirmwareFiles{}, &MissingError{
		What: fmt.Sprintf("UEFI firmware for QEMU (%s)", kind), Debian: "ovmf", EL: "edk2-ovmf",
	}
}

func (f FirmwareFiles) exist() bool {
	for _, path := range []string{f.Code, f.Vars} {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// descriptor is the part of a firmware descriptor that decides whether it
// fits (docs/interop/firmware.json of QEMU).
type descriptor struct {
	InterfaceTypes []string `json:"interface-types"`
	Mapping        struct {
		Device     string `json:"device"`
		Executable struct {
			Filename string `json:"filename"`
			Format   string `json:"format"`
		} `json:"executable"`
		NVRAM struct {
			Filename string `json:"filename"`
			Format   string `json:"format"`
		} `json:"nvram-template"`
	} `json:"mapping"`
	Targets []struct {
		Architecture string   `json:"architecture"`
		Machines     []string `json:"machines"`
	} `json:"targets"`
	Features []string `json:"features"`
}

// fits reports whether the firmware is raw flash for an x86_64 q35 machine and
// treats Secure Boot as kind wants it.
func (d descriptor) fits(kind Firmware) bool {
	m := d.Mapping
	if !slices.Contains(d.InterfaceTypes, "uefi") || m.Device != "flash" ||
		m.Executable.Format != "raw" || m.NVRAM.Format != "raw" {
		return false
	}
	secure := slices.Contains(d.Features, "secure-boot")
	enrolled := slices.Contains(d.Features, "enrolled-keys")
	if kind == UEFISecure && !(secure && enrolled) || kind == UEFI && secure {
		return false
	}
	for _, target := range d.Targets {
		if target.Architecture != "x86_64" {
			continue
		}
		for _, machine := range target.Machines {
			if strings.HasPrefix(machine, "pc-q35") {
				return true
			}
		}
	}
	return false
}

// findDescribed looks for a fitting descriptor in dir; the names' order is
// their precedence. A descriptor that cannot be read is none of ours to mend.
func findDescribed(dir string, kind Firmware) (FirmwareFiles, bool) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return FirmwareFiles{}, false
	}
	sort.Strings(names)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var d descriptor
		if json.Unmarshal(data, &d) != nil || !d.fits(kind) {
			continue
		}
		files := FirmwareFiles{Code: d.Mapping.Executable.Filename, Vars: d.Mapping.NVRAM.Filename}
		if files.exist() {
			return files, true
		}
	}
	return FirmwareFiles{}, false
}

// copyVars makes the machine's own copy of the variable store in dir.
func (f FirmwareFiles) copyVars(dir string) (string, error) {
	data, err := os.ReadFile(f.Vars)
	if err != nil {
		return "", fmt.Errorf("reading the firmware's variable store: %w", err)
	}
	path := filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", fmt.Errorf("copying the firmware's variable store: %w", err)
	}
	return path, nil
}

// errNoFirmware is returned for a Machine whose Firmware is not set.
var errNoFirmware = errors.New("the machine has no firmware: choose bios, uefi or uefi-secure")
