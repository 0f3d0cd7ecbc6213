package rpmdistro

import (
	"bytes"
	"debug/elf"
	"fmt"
)

// elfDependencies returns what rpm's generator for ELF files says that a program or
// library provides and requires: "libc.so.6(GLIBC_2.34)(64bit)". What is no dynamic
// ELF file has neither.
func elfDependencies(data []byte) (provides, requires []string, err error) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return nil, nil, nil
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if f.Type != elf.ET_DYN && f.Type != elf.ET_EXEC || f.Section(".dynamic") == nil {
		return nil, nil, nil
	}
	needed, err := f.DynString(elf.DT_NEEDED)
	if err != nil {
		return nil, nil, err
	}
	for _, library := range needed {
		requires = append(requires, capability(library, ""))
	}
	if f.SectionByType(elf.SHT_GNU_VERNEED) != nil {
		versions, err := f.DynamicVersionNeeds()
		if err != nil {
			return nil, nil, err
		}
		for _, v := range versions {
			for _, need := range v.Needs {
				requires = append(requires, capability(v.Name, need.Dep))
			}
		}
	}
	sonames, err := f.DynString(elf.DT_SONAME)
	if err != nil || len(sonames) == 0 {
		return nil, requires, err
	}
	provides = append(provides, capability(sonames[0], ""))
	if f.SectionByType(elf.SHT_GNU_VERDEF) == nil {
		return provides, requires, nil
	}
	defined, err := f.DynamicVersions()
	if err != nil {
		return nil, nil, err
	}
	for _, v := range defined {
		if v.Flags&elf.VER_FLG_BASE == 0 {
			provides = append(provides, capability(sonames[0], v.Name))
		}
	}
	return provides, requires, nil
}

func capability(library, version string) string {
	return fmt.Sprintf("%s(%s)(64bit)", library, version)
}
