package media

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Program is the installer: the program that becomes /init. Only what it is enters keys of stages, not where it lies.
type Program struct {
	Path   string `json:"-"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// machines are the processors programs are made for, by the name of the architecture.
var machines = map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}

// OpenProgram looks at the installer in a file, which can be the running imagefactory itself. It must be a static program for arch.
func OpenProgram(file, arch string) (Program, error) {
	f, err := os.Open(file)
	if err != nil {
		return Program{}, fmt.Errorf("the installer for the medium: %w", err)
	}
	defer f.Close()
	if err := checkProgram(f, arch); err != nil {
		return Program{}, fmt.Errorf("the installer for the medium, %s: %w", file, err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Program{}, fmt.Errorf("the installer for the medium: %w", err)
	}
	return Program{Path: file, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

func checkProgram(r io.ReaderAt, arch string) error {
	machine, ok := machines[arch]
	if !ok {
		return fmt.Errorf("there are no media for %s", arch)
	}
	program, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("it is no program for Linux: %w", err)
	}
	if program.Machine != machine {
		return fmt.Errorf("it is for %s, the image for %s: build imagefactory for that too, and name it", program.Machine, arch)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return errors.New("it needs shared libraries, which the medium has not: build it with CGO_ENABLED=0")
	}
	return nil
}

// read returns the program as the initial RAM file system has it. It must still be what it was.
func (p Program) read() ([]byte, error) {
	image, err := os.ReadFile(p.Path)
	if err != nil {
		return nil, fmt.Errorf("the installer for the medium: %w", err)
	}
	if sum := sha256.Sum256(image); hex.EncodeToString(sum[:]) != p.SHA256 {
		return nil, fmt.Errorf("the installer for the medium, %s, changed while this build was running; build again", p.Path)
	}
	stripped, err := strip(image)
	if err != nil {
		return nil, fmt.Errorf("the installer for the medium, %s: %w", p.Path, err)
	}
	return stripped, nil
}
