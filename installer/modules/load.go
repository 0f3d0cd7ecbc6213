package modules

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"golang.org/x/sys/unix"
)

// maxModule bounds a module's size unpacked; the largest known are GPU drivers of some 30 MB.
const maxModule = 256 << 20

// Loader loads modules into the running kernel. It may be used by several goroutines.
type Loader struct {
	index      *Index
	parameters map[string][]string
	blacklist  map[string]bool
	insert     func(x *Index, file, parameters string) error

	mu     sync.Mutex
	loaded map[string]error
	failed map[string]error // drivers that something asked for and that do not work, by the path of their module
}

// NewLoader returns a loader. The words of the kernel's command line give modules their parameters
// (MODULE.PARAMETER=VALUE), and forbid some to be loaded for a device (modprobe.blacklist=A,B).
func NewLoader(x *Index, commandLine []string) *Loader {
	l := &Loader{
		index:      x,
		parameters: map[string][]string{},
		blacklist:  map[string]bool{},
		insert:     (*Index).insert,
		loaded:     map[string]error{},
		failed:     map[string]error{},
	}
	for _, word := range commandLine {
		if list, ok := strings.CutPrefix(word, "modprobe.blacklist="); ok {
			for name := range strings.SplitSeq(list, ",") {
				l.blacklist[normal(name)] = true
			}
			continue
		}
		key, value, hasValue := strings.Cut(word, "=")
		module, parameter, ok := strings.Cut(key, ".")
		if !ok {
			continue
		}
		if hasValue {
			if strings.ContainsAny(value, " \t") {
				value = `"` + value + `"`
			}
			parameter += "=" + value
		}
		module = normal(module)
		l.parameters[module] = append(l.parameters[module], parameter)
	}
	return l
}

// Load loads whatever serves the alias or has the name, after what that depends on. Nothing that does is no error, and
// neither is a module that the initramfs was made without: most machines have devices that no installation needs.
func (l *Loader) Load(alias string) error {
	var errs []error
	for _, name := range l.index.Lookup(alias) {
		if l.blacklist[name] {
			continue
		}
		order, err := l.index.Order(name)
		if missing := (*MissingError)(nil); errors.As(err, &missing) && missing.Module == name {
			continue
		} else if err != nil {
			errs = append(errs, err)
			l.fail(name, err)
			continue
		}
		var first error
		for _, m := range order {
			if err := l.loadOne(m); err != nil {
				errs = append(errs, err)
				first = cmp.Or(first, err)
			}
		}
		if l.broken(name) {
			l.fail(name, first)
		}
	}
	return errors.Join(errs...)
}

// broken says whether a module was tried and is not loaded. One that merely had better be there may fail without harm to the
// driver that wishes for it.
func (l *Loader) broken(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loaded[name] != nil
}

// fail remembers a driver that does not work. The reason is nil when it was told before: the first counts.
func (l *Loader) fail(name string, reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	file := l.index.modules[name].path
	if l.failed[file] == nil {
		l.failed[file] = cmp.Or(reason, l.loaded[name])
	}
}

// FailedDisks returns the drivers on the way to disks ([ShowsDisks]) that a device of this machine asked for and that do not
// work, sorted, each with the reason in parentheses: disks behind them are not seen.
func (l *Loader) FailedDisks() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var failed []string
	for file, reason := range l.failed {
		if ShowsDisks(file) {
			failed = append(failed, fmt.Sprintf("%s (%v)", moduleName(file), reason))
		}
	}
	slices.Sort(failed)
	return failed
}

// loadOne loads one module once. A failure is remembered too, so that a hundred devices do not repeat it.
func (l *Loader) loadOne(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, done := l.loaded[name]; done {
		return nil
	}
	file := l.index.modules[name].path
	err := l.insert(l.index, file, strings.Join(l.parameters[name], " "))
	switch {
	case errors.Is(err, unix.EEXIST):
		err = nil
	case errors.Is(err, unix.ENODEV):
		// Drivers without a device of theirs say so: nothing is wrong.
		err = nil
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("loading the module %s: it needs a symbol that neither the kernel nor a module it depends on has; the kernel's log names it", name)
	case err != nil:
		err = fmt.Errorf("loading the module %s: %w", name, err)
	}
	l.loaded[name] = err
	return err
}

// Loaded returns how many modules were loaded.
func (l *Loader) Loaded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, err := range l.loaded {
		if err == nil {
			count++
		}
	}
	return count
}

// insert gives a module to the kernel.
func (x *Index) insert(file, parameters string) error {
	f, err := x.dir.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// With a file, the kernel can tell where the module comes from, which some of its policies ask.
	if plain, ok := f.(*os.File); ok && path.Ext(file) == ".ko" {
		return unix.FinitModule(int(plain.Fd()), parameters, 0)
	}
	image, err := unpack(f, file)
	if err != nil {
		return err
	}
	return unix.InitModule(image, parameters)
}

// unpack returns the plain contents of a module's file.
func unpack(f fs.File, name string) ([]byte, error) {
	var r io.Reader = f
	var err error
	switch path.Ext(name) {
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".xz":
		r, err = xz.NewReader(f, 0)
	case ".zst":
		var d *zstd.Decoder
		d, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var image bytes.Buffer
	n, err := io.Copy(&image, io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n > maxModule {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxModule)
	}
	return image.Bytes(), nil
}
