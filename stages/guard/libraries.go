package guard

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// platform is what tells the libraries of one architecture from those of another.
type platform struct {
	class   uint8
	machine uint16
}

// libraries knows where a tree's dynamic linkers look.
type libraries struct {
	configured []string              // directories of ld.so.conf, in order
	system     map[platform][]string // directories built into the dynamic linker
	found      map[search]string     // memory of lookups in configured and system directories
	dirs       map[string]string     // real path of a directory; "" where there is none
}

type search struct {
	platform
	name      string
	noDefault bool
}

// machines are names of ELF's e_machine: what ld.so calls the platform, and the name of directories of Debian's multiarch,
// which are only used where a dynamic linker does not tell its directories.
var machines = map[platform]struct{ name, triplet string }{
	{2, 62}:  {"x86_64", "x86_64-linux-gnu"},
	{1, 3}:   {"i686", "i386-linux-gnu"},
	{2, 183}: {"aarch64", "aarch64-linux-gnu"},
	{1, 40}:  {"v7l", "arm-linux-gnueabihf"},
	{2, 243}: {"riscv64", "riscv64-linux-gnu"},
	{2, 21}:  {"power8", "powerpc64le-linux-gnu"},
	{2, 22}:  {"z900", "s390x-linux-gnu"},
	{2, 258}: {"loongarch64", "loongarch64-linux-gnu"},
}

// builtin finds the list of directories in a dynamic linker of glibc: strings one after the other, each with a slash at
// its end.
var builtin = regexp.MustCompile(`(?:/(?:usr/|usr/local/)?lib[0-9A-Za-z_./-]*/\x00){2,}`)

// systemDirs returns the directories that a dynamic linker looks in when nothing else says where, best first.
func (s *side) systemDirs(p platform, linker string) ([]string, error) {
	e, ok := s.file(linker)
	if !ok || e.Size > 16<<20 {
		return nil, nil
	}
	if base := path.Base(linker); strings.HasPrefix(base, "ld-musl-") {
		// musl: its path file, or what is built in (ldso/dynlink.c)
		if conf, ok := s.file("etc/" + strings.TrimSuffix(strings.TrimSuffix(base, ".1"), ".so") + ".path"); ok {
			text, err := s.text(conf)
			return strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '\n' }), err
		}
		return []string{"/lib", "/usr/local/lib", "/usr/lib"}, nil
	}
	image, err := s.st.ReadAll(e.Digest)
	if err != nil {
		return nil, err
	}
	var longest []byte
	for _, m := range builtin.FindAll(image, -1) {
		if len(m) > len(longest) {
			longest = m
		}
	}
	if longest != nil {
		var dirs []string
		for dir := range bytes.SplitSeq(bytes.TrimSuffix(longest, []byte{0}), []byte{0}) {
			dirs = append(dirs, path.Clean(string(dir)))
		}
		return dirs, nil
	}
	return nil, nil
}

// defaultDirs are the directories of an architecture whose dynamic linker is not there or does not tell.
func defaultDirs(p platform) []string {
	var dirs []string
	if m, ok := machines[p]; ok {
		dirs = append(dirs, "/lib/"+m.triplet, "/usr/lib/"+m.triplet)
	}
	if p.class == 2 {
		dirs = append(dirs, "/lib64", "/usr/lib64")
	}
	return append(dirs, "/lib", "/usr/lib")
}

// maxIncludes bounds the files that ld.so.conf includes, one from the other.
const maxIncludes = 200

// linkerConfig reads /etc/ld.so.conf and what it includes (ldconfig(8)).
func (s *side) linkerConfig() ([]string, error) {
	var dirs []string
	files := 0
	var read func(name string) error
	read = func(name string) error {
		if files++; files > maxIncludes {
			return nil
		}
		e, ok := s.file(name)
		if !ok {
			return nil
		}
		text, err := s.text(e)
		if err != nil {
			return err
		}
		for line := range strings.SplitSeq(text, "\n") {
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "hwcap ") {
				continue
			}
			if pattern, ok := strings.CutPrefix(line, "include"); ok && strings.TrimLeft(pattern, " \t") != pattern {
				for pattern := range strings.FieldsSeq(pattern) {
					if !strings.HasPrefix(pattern, "/") {
						pattern = path.Join(path.Dir("/"+name), pattern)
					}
					for _, included := range s.expand(pattern) {
						if err := read(included); err != nil {
							return err
						}
					}
				}
				continue
			}
			// "DIRECTORY=TYPE" is a form of libc5's days that ldconfig still takes.
			dir, _, _ := strings.Cut(line, "=")
			for dir := range strings.FieldsFuncSeq(dir, func(r rune) bool { return r == ' ' || r == '\t' || r == ':' || r == ',' }) {
				if strings.HasPrefix(dir, "/") {
					dirs = append(dirs, path.Clean(dir))
				}
			}
		}
		return nil
	}
	return dirs, read("etc/ld.so.conf")
}

// expand returns the paths of the tree that match a pattern with wildcards in its last element, sorted.
func (s *side) expand(pattern string) []string {
	pattern = strings.TrimPrefix(pattern, "/")
	dir, err := s.t.Resolve(path.Dir(pattern))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range s.t.Children(dir) {
		if ok, _ := path.Match(path.Base(pattern), e.Name()); ok {
			names = append(names, e.Path)
		}
	}
	return names
}

// prepare reads what the tree says of where libraries are. interpreters are the dynamic linkers of its programs.
func (s *side) prepare(interpreters map[string]platform) error {
	if s.libraries != nil {
		return nil
	}
	l := &libraries{system: map[platform][]string{}, found: map[search]string{}, dirs: map[string]string{}}
	var err error
	if l.configured, err = s.linkerConfig(); err != nil {
		return err
	}
	for _, linker := range sortedKeys(interpreters) {
		p := interpreters[linker]
		dirs, err := s.systemDirs(p, linker)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if !slices.Contains(l.system[p], dir) {
				l.system[p] = append(l.system[p], dir)
			}
		}
	}
	s.libraries = l
	return nil
}

func (l *libraries) systemOf(p platform) []string {
	if dirs, ok := l.system[p]; ok {
		return dirs
	}
	dirs := defaultDirs(p)
	l.system[p] = dirs
	return dirs
}

// realDir returns a directory without links, or "".
func (s *side) realDir(dir string) string {
	if real, ok := s.libraries.dirs[dir]; ok {
		return real
	}
	real := ""
	if r, err := s.t.Resolve(strings.TrimPrefix(path.Clean(dir), "/")); err == nil {
		if e, ok := s.t.Lookup(r); ok && e.Type == tree.Directory {
			real = r
		}
	}
	s.libraries.dirs[dir] = real
	return real
}

// lookIn returns the library of a name in a directory, when it is one for the platform.
func (s *side) lookIn(p platform, dir, name string) (string, error) {
	real := s.realDir(dir)
	if real == "" {
		return "", nil
	}
	return s.usable(p, tree.Join(real, name))
}

// usable returns file when it is an ELF file for the platform. ld.so passes over those of other architectures.
func (s *side) usable(p platform, file string) (string, error) {
	e, ok := s.t.Lookup(file)
	if ok && e.Type == tree.Symlink {
		e, ok = s.file(file)
	}
	if !ok || e.Type != tree.Regular {
		return "", nil
	}
	f, err := s.elf(e)
	if err != nil || f == nil || f.class != p.class || f.machine != p.machine {
		return "", err
	}
	return file, nil
}

// anywhere looks in the configured directories and those of the system, as ld.so does by way of its cache and without it.
func (s *side) anywhere(key search) (string, error) {
	if file, ok := s.libraries.found[key]; ok {
		return file, nil
	}
	dirs := s.libraries.configured
	if !key.noDefault {
		dirs = slices.Concat(dirs, s.libraries.systemOf(key.platform))
	}
	found := ""
	for _, capable := range []bool{false, true} {
		for _, dir := range dirs {
			file, err := "", error(nil)
			if !capable {
				file, err = s.lookIn(key.platform, dir, key.name)
			} else if real := s.realDir(dir); real != "" { // better versions for some processors
				for _, e := range s.t.Children(tree.Join(real, "glibc-hwcaps")) {
					if file, err = s.lookIn(key.platform, e.Path, key.name); file != "" || err != nil {
						break
					}
				}
			}
			if err != nil {
				return "", err
			}
			if file != "" {
				found = file
				break
			}
		}
		if found != "" {
			break
		}
	}
	s.libraries.found[key] = found
	return found, nil
}

// resolve returns the library that ld.so would load for a name that the object at file needs. inherited are the expanded
// DT_RPATH directories of those that loaded the object.
func (s *side) resolve(file string, f *facts, name string, inherited []string) (string, error) {
	p := platform{f.class, f.machine}
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			return "", nil // relative to wherever the program is started
		}
		e, ok := s.file(name)
		if !ok {
			return "", nil
		}
		return s.usable(p, e.Path)
	}
	var dirs []string
	if len(f.runpath) == 0 {
		dirs = slices.Concat(s.expandDirs(file, f, f.rpath), inherited)
	} else {
		dirs = s.expandDirs(file, f, f.runpath)
	}
	for _, dir := range dirs {
		if found, err := s.lookIn(p, dir, name); found != "" || err != nil {
			return found, err
		}
	}
	return s.anywhere(search{p, name, f.noDefault})
}

// expandDirs replaces $ORIGIN, $LIB and $PLATFORM (ld.so(8)). Directories that are relative depend on where a program is
// started, and are left out.
func (s *side) expandDirs(file string, f *facts, dirs []string) []string {
	var out []string
	for _, dir := range dirs {
		if strings.Contains(dir, "$") {
			p := platform{f.class, f.machine}
			lib := "lib"
			if system := s.libraries.systemOf(p); len(system) > 0 {
				lib = strings.TrimPrefix(strings.TrimPrefix(system[0], "/usr"), "/")
			}
			for _, r := range []struct{ token, value string }{
				{"ORIGIN", "/" + tree.Parent(file)}, {"LIB", lib}, {"PLATFORM", machines[p].name},
			} {
				dir = strings.ReplaceAll(dir, "${"+r.token+"}", r.value)
				dir = strings.ReplaceAll(dir, "$"+r.token, r.value)
			}
		}
		if strings.HasPrefix(dir, "/") {
			out = append(out, path.Clean(dir))
		}
	}
	return out
}

// lack is a need of an ELF file that is not met.
type lack struct{ file, need string }

// lacks returns what the object at file needs and ld.so would not find. An object that has DT_RPATH passes it on, so
// what it loads is looked at too.
func (s *side) lacks(file string, f *facts, inherited []string, visited map[string]bool) ([]lack, error) {
	var missing []lack
	pass := inherited
	if len(f.runpath) == 0 && len(f.rpath) > 0 {
		pass = slices.Concat(s.expandDirs(file, f, f.rpath), inherited)
	}
	for _, name := range f.needed {
		lib, err := s.resolve(file, f, name, inherited)
		if err != nil {
			return nil, err
		}
		if lib == "" {
			missing = append(missing, lack{file, name})
			continue
		}
		e, ok := s.file(lib)
		if !ok {
			continue
		}
		g, err := s.elf(e)
		if err != nil || g == nil {
			return nil, err
		}
		if g.versions != nil {
			for _, w := range f.wants {
				if w.library == name && !w.weak && !g.versions[w.version] {
					missing = append(missing, lack{file, name + " (" + w.version + ")"})
				}
			}
		}
		if len(pass) > 0 && !visited[lib] {
			visited[lib] = true
			more, err := s.lacks(lib, g, pass, visited)
			if err != nil {
				return nil, err
			}
			missing = append(missing, more...)
		}
	}
	return missing, nil
}

// program is an ELF file of a tree.
type program struct {
	tree.Entry
	facts *facts
}

// programs finds ELF files that lost a library or their dynamic linker, and scripts that lost their interpreter.
func (c *checker) programs() ([]Finding, error) {
	everyELF, everyScript := c.reach()
	var candidates []tree.Entry
	for _, e := range c.after.t.Entries() {
		if e.Type != tree.Regular || e.Size < 4 || isModule(e.Path) {
			continue
		}
		if c.changed[e.Path] || everyELF && (e.Mode&0o111 != 0 || strings.Contains(e.Name(), ".so") || e.Size >= 1<<10) || everyScript && e.Mode&0o111 != 0 {
			candidates = append(candidates, e)
		}
	}
	kinds := make([]*program, len(candidates))
	scripts := make([]string, len(candidates))
	index := make(map[string]int, len(candidates))
	for i := range candidates {
		index[candidates[i].Path] = i
	}
	err := c.each(candidates, func(e tree.Entry) error {
		i := index[e.Path]
		if everyELF || c.changed[e.Path] {
			f, err := c.after.elf(e)
			if err != nil {
				return err
			}
			if f != nil {
				kinds[i] = &program{e, f}
				return nil
			}
		}
		var err error
		if e.Mode&0o111 != 0 {
			scripts[i], err = c.after.shebang(e)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	interpreters := map[string]platform{}
	for _, p := range kinds {
		if p != nil && p.facts.interp != "" {
			interpreters[p.facts.interp] = platform{p.facts.class, p.facts.machine}
		}
	}
	// Where only few files are looked at, the programs that name a dynamic linker may not be among them.
	for _, ch := range c.changes {
		if ch.Before == nil || ch.Before.Type != tree.Regular {
			continue
		}
		if f := c.known(ch.Before.Digest); f != nil && f.interp != "" {
			interpreters[f.interp] = platform{f.class, f.machine}
		}
	}
	for _, s := range []*side{c.before, c.after} {
		if err := s.prepare(interpreters); err != nil {
			return nil, err
		}
	}
	var found []Finding
	for i, p := range kinds {
		var of []Finding
		var err error
		switch {
		case p != nil:
			of, err = c.checkELF(p)
		case scripts[i] != "":
			of = c.checkScript(candidates[i], scripts[i])
		}
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return found, nil
}

func (c *contents) known(d store.Digest) *facts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts[d]
}

func (c *checker) known(d store.Digest) *facts { return c.after.known(d) }

// reach says whose needs a change can concern: everybody's who needs libraries when one was taken away or replaced, or a
// link was, which may have been to a directory of them; everybody's who has an interpreter when a program or a link was.
func (c *checker) reach() (elf, scripts bool) {
	for _, ch := range c.changes {
		b := ch.Before
		if b == nil {
			continue
		}
		if ch.After != nil && ch.After.Type == b.Type && ch.After.Digest == b.Digest && ch.After.Target == b.Target {
			continue // only its mode, owner or time
		}
		switch b.Type {
		case tree.Symlink:
			end, _ := c.before.follow(b.Path)
			to, ok := c.before.t.Lookup(end)
			switch {
			case !ok: // it led nowhere
			case to.Type == tree.Directory:
				for _, e := range c.before.t.Subtree(end) {
					elf = elf || isLibraryName(e.Name())
					scripts = scripts || e.Type != tree.Directory && e.Mode&0o111 != 0
				}
			case isLibraryName(b.Name()), strings.HasPrefix(b.Path, "etc/ld"):
				elf = true
			case to.Mode&0o111 != 0:
				scripts = true
			}
		case tree.Directory:
		case tree.Regular:
			if base := b.Name(); isLibraryName(base) || strings.HasPrefix(base, "ld-") || strings.HasPrefix(b.Path, "etc/ld") {
				elf = true
			}
			if b.Mode&0o111 != 0 {
				scripts = true
			}
		}
	}
	return elf, scripts
}

// isLibraryName reports whether a file is a shared library by its name: libx.so, libx.so.1, libx-2.so.
func isLibraryName(name string) bool {
	i := strings.Index(name, ".so")
	if i < 0 {
		return false
	}
	rest := name[i+len(".so"):]
	return rest == "" || len(rest) > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9'
}

// checkELF finds what one ELF file lost.
func (c *checker) checkELF(p *program) ([]Finding, error) {
	var found []Finding
	if linker := p.facts.interp; strings.HasPrefix(linker, "/") && !isVolatile(linker[1:]) {
		if _, ok := c.after.file(linker); !ok {
			if by, was := c.before.file(linker); was || c.changed[p.Path] {
				f := Finding{Kind: Interpreter, Path: "/" + p.Path, Need: linker}
				if was {
					f.Provider = "/" + by.Path
				}
				found = append(found, f)
			}
		}
	}
	missing, err := c.after.lacks(p.Path, p.facts, nil, map[string]bool{})
	if err != nil || len(missing) == 0 {
		return found, err
	}
	var old []lack
	if e, ok := c.before.t.Lookup(p.Path); ok && e.Type == tree.Regular {
		f, err := c.before.elf(e)
		if err != nil {
			return nil, err
		}
		if f != nil {
			if old, err = c.before.lacks(p.Path, f, nil, map[string]bool{}); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range missing {
		name, _, _ := strings.Cut(m.need, " ")
		provider := ""
		if slices.Contains(old, m) {
			// It was not found by ld.so's rules before: whoever loads the file may load the library first, by a path
			// only it knows. When there was a library of the name, and there is none now, that cannot be any more.
			before := c.before.base(name)
			if before == "" || c.after.base(name) != "" || name != m.need {
				continue
			}
			provider = before
		} else if f, e, err := c.before.factsAt(m.file); err != nil {
			return nil, err
		} else if f != nil {
			inherited := []string(nil)
			if m.file != p.Path {
				inherited = c.before.expandDirs(p.Path, p.facts, p.facts.rpath)
			}
			if provider, err = c.before.resolve(e.Path, f, name, inherited); err != nil {
				return nil, err
			}
		}
		if provider != "" {
			if real, err := c.before.t.Resolve(provider); err == nil {
				provider = real
			}
			provider = "/" + provider
		}
		found = append(found, Finding{Kind: Library, Path: "/" + m.file, Need: m.need, Provider: provider})
	}
	return found, nil
}

// factsAt returns the facts of the ELF file at a path, or nil.
func (s *side) factsAt(name string) (*facts, tree.Entry, error) {
	e, ok := s.file(name)
	if !ok {
		return nil, e, nil
	}
	f, err := s.elf(e)
	e.Path = name
	return f, e, err
}

// base returns a path whose last element is name, which is that of a library, or "".
func (s *side) base(name string) string {
	if s.bases == nil {
		s.bases = map[string]string{}
		for _, e := range s.t.Entries() {
			if e.Type != tree.Directory && strings.Contains(e.Name(), ".so") {
				if _, ok := s.file(e.Path); ok {
					s.bases[e.Name()] = e.Path
				}
			}
		}
	}
	return s.bases[name]
}

// shebang returns the first line of a script without "#!", or "". The kernel looks at 256 bytes (BINPRM_BUF_SIZE).
func (s *side) shebang(e tree.Entry) (string, error) {
	head, err := s.st.Peek(e.Digest, 256)
	if err != nil {
		return "", err
	}
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return "", nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return strings.Trim(string(line), " \t\r"), nil
}

// searchPath is where programs are looked for by their name.
var searchPath = []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}

// command returns the program that a name stands for: a path, or a name that is looked for.
func (s *side) command(name string) (string, bool) {
	if strings.HasPrefix(name, "/") {
		e, ok := s.file(name)
		return e.Path, ok
	}
	for _, dir := range searchPath {
		if e, ok := s.file(dir + "/" + name); ok && e.Mode&0o111 != 0 {
			return e.Path, true
		}
	}
	return "", false
}

// checkScript finds what a script lost that begins with a line: its interpreter, and what that executes when it is env.
func (c *checker) checkScript(e tree.Entry, line string) []Finding {
	var found []Finding
	for _, name := range interpreters(line) {
		if f, ok := c.lost(Interpreter, e.Path, name); ok {
			found = append(found, f)
		}
	}
	return found
}

// lost reports whether a program that a file executes is not there any more.
func (c *checker) lost(kind, file, name string) (Finding, bool) {
	if isVolatile(strings.TrimPrefix(name, "/")) {
		return Finding{}, false
	}
	if _, ok := c.after.command(name); ok {
		return Finding{}, false
	}
	f := Finding{Kind: kind, Path: "/" + file, Need: name}
	by, ok := c.before.command(name)
	if ok {
		f.Provider = "/" + by
		return f, true
	}
	// What was missing before is no news, unless the file is new itself.
	_, was := c.before.t.Lookup(file)
	return f, !was
}

// interpreters returns the programs that the first line of a script executes.
func interpreters(line string) []string {
	fields := strings.Fields(line)
	if len(fields) == 0 || !strings.HasPrefix(fields[0], "/") {
		return nil
	}
	names := fields[:1:1]
	if path.Base(fields[0]) != "env" {
		return names
	}
	for i := 1; i < len(fields); i++ {
		word := fields[i]
		switch {
		case word == "-u" || word == "--unset" || word == "-C" || word == "--chdir":
			i++
		case strings.HasPrefix(word, "-S") && len(word) > 2:
			return append(names, word[2:])
		case strings.HasPrefix(word, "-"), strings.Contains(word, "="):
		default:
			return append(names, word)
		}
	}
	return names
}
