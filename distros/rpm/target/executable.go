package target

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
)

// self is this program, even where its path is gone or closed to the user. It cannot be
// bound: what it refers to lies outside of the sandbox's mount namespace.
const self = "/proc/self/exe"

// Executable returns the path of a file that is this program, to be bound at Program: the
// one it was started from, or where that cannot be opened any more a copy in dir, which
// release removes. It fails when the program is dynamically linked.
func Executable(dir string) (path string, release func(), err error) {
	if err := checkStatic(); err != nil {
		return "", nil, err
	}
	running, err := os.Stat(self)
	if err != nil {
		return "", nil, fmt.Errorf("this program looks for itself: %w", err)
	}
	if path, err := os.Executable(); err == nil {
		if file, err := os.Open(path); err == nil {
			there, err := file.Stat()
			file.Close()
			if err == nil && os.SameFile(running, there) {
				return path, func() {}, nil
			}
		}
	}
	path, err = copySelf(dir)
	if err != nil {
		return "", nil, fmt.Errorf("copy this program for scriptlets: %w", err)
	}
	return path, func() { os.Remove(path) }, nil
}

// copySelf copies this program into dir.
func copySelf(dir string) (path string, err error) {
	in, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(dir, "program-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(0o755)
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(out.Name())
	}
	return out.Name(), err
}

// checkStatic returns an error when this program cannot run in a root because it is
// dynamically linked.
func checkStatic() error {
	file, err := elf.Open(self)
	if err != nil {
		return fmt.Errorf("this program looks at itself: %w", err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("this program was linked dynamically and cannot run scriptlets in the root of another system: build it with CGO_ENABLED=0")
		}
	}
	return nil
}
