package finish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// globalVariables is the vendor GUID of the variables that UEFI itself defines (UEFI 2.10 section 3.3).
	globalVariables = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

	// variableAttributes are those of boot variables: non-volatile, for boot services and for the running system.
	variableAttributes = 1 | 2 | 4

	immutableFlag = 0x10 // FS_IMMUTABLE_FL of include/uapi/linux/fs.h

	efiDirectory  = "/sys/firmware/efi"
	variablesName = "efivars"
)

// Variables are the global variables of UEFI firmware. Values are without attributes, which are always those of boot
// variables.
type Variables interface {
	// Names are the names of all variables, such as "BootOrder".
	Names() ([]string, error)
	// Read returns a value; the error of one that does not exist is [fs.ErrNotExist].
	Read(name string) ([]byte, error)
	Write(name string, value []byte) error
	Remove(name string) error
}

// EFIVariables returns the variables of this machine's firmware, mounting the kernel's file system for them when nobody
// has. A machine that was not started by UEFI, or whose firmware cannot be asked any more, has none: absent then says
// so in a sentence, and there is nothing to do.
func EFIVariables() (v Variables, absent string, err error) {
	if _, err := os.Stat(efiDirectory); errors.Is(err, fs.ErrNotExist) {
		return nil, "the machine was not started by UEFI firmware", nil
	}
	dir := filepath.Join(efiDirectory, variablesName)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, "the kernel gives no access to the firmware's variables: " + err.Error(), nil
	}
	if int64(st.Type) == unix.EFIVARFS_MAGIC {
		return EFIVarFS(dir), "", nil
	}
	err = unix.Mount("efivarfs", dir, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	switch {
	case errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP):
		return nil, "the kernel gives no access to the firmware's variables (efivarfs is missing, or runtime services are off)", nil
	case err != nil:
		return nil, "", fmt.Errorf("mount efivarfs at %s: %w", dir, err)
	}
	return EFIVarFS(dir), "", nil
}

// EFIVarFS is a directory with Linux' efivarfs (Documentation/filesystems/efivarfs.rst): a file is four bytes of
// attributes and the value.
type EFIVarFS string

func (dir EFIVarFS) path(name string) string {
	return filepath.Join(string(dir), name+"-"+globalVariables)
}

// Names implements [Variables].
func (dir EFIVarFS) Names() ([]string, error) {
	entries, err := os.ReadDir(string(dir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), "-"+globalVariables); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// Read implements [Variables].
func (dir EFIVarFS) Read(name string) ([]byte, error) {
	p, err := os.ReadFile(dir.path(name))
	if err != nil {
		return nil, err
	}
	if len(p) < 4 {
		return nil, fmt.Errorf("read %s: it has only %d bytes", dir.path(name), len(p))
	}
	return p[4:], nil
}

// Write implements [Variables].
func (dir EFIVarFS) Write(name string, value []byte) error {
	path := dir.path(name)
	if err := mutable(path); err != nil {
		return err
	}
	// Not truncated: to the kernel that would be a value of its own.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	// The kernel passes every write on as the whole value.
	_, err = f.Write(append([]byte{variableAttributes, 0, 0, 0}, value...))
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: the firmware has no room for another variable; remove boot entries in its setup", err)
	}
	return err
}

// Remove implements [Variables].
func (dir EFIVarFS) Remove(name string) error {
	if err := mutable(dir.path(name)); err != nil {
		return err
	}
	return os.Remove(dir.path(name))
}

// mutable takes away the flag with which the kernel protects variables from an inattentive rm. A file that does not exist
// needs nothing, and neither does one of a file system without flags.
func mutable(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err == nil && flags&immutableFlag != 0 {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutableFlag))
	}
	if err != nil {
		return fmt.Errorf("make %s writable: %w", path, err)
	}
	return nil
}
