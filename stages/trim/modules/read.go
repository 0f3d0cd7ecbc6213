package modules

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// maxModule bounds the size of a module unpacked, in bytes; the largest known have some 30 MB.
const maxModule = 256 << 20

// files is a directory of a tree as a file system, for the reader of depmod's indexes.
type files struct {
	st  *store.Store
	t   *tree.Tree
	dir string
}

// Open opens a file.
func (f files) Open(name string) (fs.File, error) {
	e, ok := f.t.Lookup(f.dir + "/" + name)
	if !ok || e.Type != tree.Regular {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	p, err := f.st.ReadAll(e.Digest)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return file{bytes.NewReader(p)}, nil
}

// file is an open file, which is only read.
type file struct{ *bytes.Reader }

// Close does nothing.
func (file) Close() error { return nil }

// Stat is not there: nobody asks.
func (file) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }

// softDependencies returns the names of modules that a module wants loaded with it.
func (k *kernel) softDependencies(name string) []string {
	if k.soft == nil {
		k.soft = map[string][]string{}
		text, _ := k.readFile("modules.softdep") // readKernel has read it without an error
		for line := range strings.SplitSeq(text, "\n") {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[0] != "softdep" {
				continue
			}
			of := moduleName(fields[1])
			for _, f := range fields[2:] {
				if f != "pre:" && f != "post:" {
					k.soft[of] = append(k.soft[of], k.known.Lookup(f)...)
				}
			}
		}
	}
	return k.soft[name]
}

// configDirs hold lists of modules that are loaded when the system or its initramfs starts, one name a line.
var configDirs = []string{"etc/modules-load.d", "usr/local/lib/modules-load.d", "usr/lib/modules-load.d"}

// configured returns the modules that configuration loads by name, with the file that does.
func configured(st *store.Store, t *tree.Tree) (map[string]string, error) {
	lists := []string{"etc/modules", "etc/initramfs-tools/modules"}
	for _, name := range configDirs {
		dir, err := t.Resolve(name)
		if err != nil {
			continue
		}
		for _, e := range t.Children(dir) {
			if strings.HasSuffix(e.Name(), ".conf") {
				lists = append(lists, e.Path)
			}
		}
	}
	names := map[string]string{}
	for _, name := range lists {
		real, err := t.Resolve(name)
		if err != nil {
			continue
		}
		e, ok := t.Lookup(real)
		if !ok || e.Type != tree.Regular || e.Size > 1<<20 {
			continue
		}
		p, err := st.ReadAll(e.Digest)
		if err != nil {
			return nil, fmt.Errorf("/%s: %w", real, err)
		}
		for line := range strings.SplitSeq(string(p), "\n") {
			fields := strings.Fields(line)
			if len(fields) > 0 && !strings.ContainsAny(fields[0][:1], "#;") {
				names[moduleName(fields[0])] = name
			}
		}
	}
	return names, nil
}

// read reads what is needed of the files of modules that are left: the firmware they name, and, where the order of their
// dependencies is not plain, the symbols they use.
func (k *kernel) read(ctx context.Context, firmware bool) error {
	if err := k.readOwners(); err != nil {
		return err
	}
	changed := slices.ContainsFunc(k.modules, func(m *module) bool { return !m.kept })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, m := range k.modules {
		if !m.kept {
			continue
		}
		m.direct = m.deps
		order := changed && len(m.deps) > 1
		if !order && !firmware {
			continue
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := k.readModule(m, order); err != nil {
				return fmt.Errorf("/%s/%s: %w", k.dir, m.file, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// readOwners reads which module has which symbol.
func (k *kernel) readOwners() error {
	text, err := k.readFile("modules.symbols")
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, "alias symbol:")
		if !ok {
			continue
		}
		symbol, name, ok := strings.Cut(rest, " ")
		if m := k.byName[name]; ok && m != nil {
			k.owners[symbol] = m
		}
	}
	return nil
}

// readModule reads a module's file.
func (k *kernel) readModule(m *module, order bool) error {
	o, err := k.st.Object(m.digest)
	if err != nil {
		return err
	}
	var image io.ReaderAt = o
	if suffix := m.file[len(plain(m.file)):]; suffix != "" {
		r, release, err := compress.NewReader(suffix, o.NewReader())
		if err != nil {
			return err
		}
		defer release()
		p, err := io.ReadAll(io.LimitReader(r, maxModule+1))
		if err != nil {
			return err
		}
		if len(p) > maxModule {
			return fmt.Errorf("it has more than %d bytes unpacked", maxModule)
		}
		image = bytes.NewReader(p)
	}
	f, err := elf.NewFile(image)
	if err != nil {
		return fmt.Errorf("it is no kernel module: %w", err)
	}
	if m.firmware, err = namedFirmware(f); err != nil {
		return err
	}
	if !order {
		return nil
	}
	symbols, err := f.Symbols()
	if err != nil {
		return fmt.Errorf("its symbols: %w", err)
	}
	m.direct = nil
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF || s.Name == "" {
			continue
		}
		if owner := k.owners[strings.TrimPrefix(s.Name, ".")]; owner != nil && owner != m && !slices.Contains(m.direct, owner) {
			m.direct = append(m.direct, owner)
		}
	}
	return nil
}

// namedFirmware returns what MODULE_FIRMWARE() leaves in the section .modinfo.
func namedFirmware(f *elf.File) ([]string, error) {
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it is no kernel module: it has no section .modinfo")
	}
	p, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("its section .modinfo: %w", err)
	}
	var names []string
	for each := range bytes.SplitSeq(p, []byte{0}) {
		if name, ok := bytes.CutPrefix(each, []byte("firmware=")); ok {
			names = append(names, string(name))
		}
	}
	return names, nil
}

// firmwareDir returns the directory of firmware without links.
func firmwareDir(t *tree.Tree) string {
	for _, name := range []string{"lib/firmware", "usr/lib/firmware"} {
		if real, err := t.Resolve(name); err == nil {
			if e, ok := t.Lookup(real); ok && e.Type == tree.Directory {
				return real
			}
		}
	}
	return ""
}

func hasFirmware(t *tree.Tree) bool { return firmwareDir(t) != "" }

// microcode is what processors load, which no module names.
var microcode = []string{"amd-ucode", "intel-ucode"}

// licences go with what they are about.
var licences = []string{"LICENSE*", "LICENCE*", "WHENCE*", "GPL-*", "README*"}

// chooseFirmware decides about the files below /lib/firmware.
func (p *Plan) chooseFirmware(st *store.Store, t *tree.Tree, o Options, kernels []*kernel) error {
	root := firmwareDir(t)
	type wanter struct{ pattern, reason string }
	var wanted []wanter
	for _, dir := range microcode {
		wanted = append(wanted, wanter{dir, "processors load it"})
	}
	for _, pattern := range o.KeepFirmware {
		wanted = append(wanted, wanter{pattern, "it is named to be kept"})
	}
	for _, k := range kernels {
		classes := map[string]string{}
		for _, m := range k.modules {
			if !m.kept {
				continue
			}
			for _, name := range m.firmware {
				wanted = append(wanted, wanter{name, m.name + " names it"})
			}
			if classes[m.class] == "" && !m.borne { // what drivers share loads nothing
				classes[m.class] = m.name
			}
		}
		for _, c := range Classes {
			if by := classes[c.Name]; by != "" {
				for _, pattern := range c.Firmware {
					wanted = append(wanted, wanter{pattern, by + " or another module of class " + c.Name + " may load it"})
				}
			}
		}
		builtin, err := k.readFile("modules.builtin.modinfo")
		if err != nil {
			return err
		}
		for each := range strings.SplitSeq(builtin, "\x00") {
			key, value, _ := strings.Cut(each, "=")
			if name, ok := strings.CutSuffix(key, ".firmware"); ok {
				wanted = append(wanted, wanter{value, name + ", which is part of the kernel, names it"})
			}
		}
	}
	// Files by the names that modules use: without compression, and without the directories that the kernel also looks in
	// (Documentation/driver-api/firmware/fw_search_path.rst).
	byName := map[string][]string{}
	var all []tree.Entry
	for _, e := range t.Subtree(root) {
		if e.Type == tree.Directory {
			continue
		}
		all = append(all, e)
		name := e.Path[len(root)+1:]
		for _, s := range []string{".xz", ".zst"} {
			name = strings.TrimSuffix(name, s)
		}
		byName[name] = append(byName[name], e.Path)
		if rest, ok := strings.CutPrefix(name, "updates/"); ok {
			name = rest
			byName[name] = append(byName[name], e.Path)
		}
		for _, k := range kernels {
			if rest, ok := strings.CutPrefix(name, k.release+"/"); ok {
				byName[rest] = append(byName[rest], e.Path)
			}
		}
	}
	reasons := map[string]string{}
	for _, w := range wanted {
		for _, name := range matching(byName, w.pattern) {
			for _, file := range byName[name] {
				keepWithLinks(t, file, w.reason, reasons)
			}
		}
		// A name may go through links of directories.
		if !strings.ContainsAny(w.pattern, "*?[") && tree.CheckPath(w.pattern) == nil {
			for _, s := range []string{"", ".xz", ".zst"} {
				keepWithLinks(t, root+"/"+w.pattern+s, w.reason, reasons)
			}
		}
	}
	some := slices.ContainsFunc(all, func(e tree.Entry) bool { return reasons[e.Path] != "" })
	for _, e := range all {
		reason := reasons[e.Path]
		if reason == "" && some && slices.ContainsFunc(licences, func(l string) bool { ok, _ := path.Match(l, e.Name()); return ok }) {
			reason = "it is about firmware that is kept"
		}
		f := Fate{Path: "/" + e.Path, Name: e.Path[len(root)+1:], Bytes: e.Size, Kept: reason != "", Reason: reason}
		if !f.Kept {
			f.Reason = "no kernel module that is left names it"
			p.remove = append(p.remove, e.Path)
		}
		p.Firmware = append(p.Firmware, f)
	}
	return nil
}

// matching returns the names that a pattern matches: itself, what lies below it, or what path.Match finds.
func matching(byName map[string][]string, pattern string) []string {
	var names []string
	if _, ok := byName[pattern]; ok {
		names = append(names, pattern)
	}
	wild := strings.ContainsAny(pattern, "*?[")
	if !wild && strings.Contains(path.Base(pattern), ".") {
		return names
	}
	for name := range byName {
		if strings.HasPrefix(name, pattern+"/") {
			names = append(names, name)
			continue
		}
		if !wild {
			continue
		}
		// A pattern of a directory's contents stands for all below it.
		depth := strings.Count(pattern, "/") + 1
		parts := strings.SplitN(name, "/", depth+1)
		if len(parts) < depth {
			continue
		}
		if ok, _ := path.Match(pattern, strings.Join(parts[:depth], "/")); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// keepWithLinks keeps a file, the links in its path, and what they lead to.
func keepWithLinks(t *tree.Tree, file, reason string, reasons map[string]string) {
	at, rest := tree.Root, file
	var links []string
	for n := 0; rest != ""; {
		element, after, _ := strings.Cut(rest, "/")
		rest = after
		switch element {
		case "", ".":
			continue
		case "..":
			at = tree.Parent(at)
			continue
		}
		next := tree.Join(at, element)
		e, ok := t.Lookup(next)
		if !ok {
			return
		}
		if e.Type != tree.Symlink {
			at = next
			continue
		}
		if n++; n > 40 {
			return
		}
		links = append(links, next)
		if strings.HasPrefix(e.Target, "/") {
			at = tree.Root
		}
		rest = strings.Trim(e.Target+"/"+rest, "/")
	}
	for _, name := range append(links, at) {
		if reasons[name] == "" {
			reasons[name] = reason
		}
	}
}
