package drivers

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// maxModule bounds the size of a module unpacked; the largest known have some 30 MB.
const maxModule = 256 << 20

// firmware returns what the tree has of the firmware that modules name, besides the names given, and the names it lacks.
func firmware(ctx context.Context, st *store.Store, t *tree.Tree, release string, modules []Module, named []string) (found []Firmware, missing []string, err error) {
	var mu sync.Mutex
	names := map[string]bool{}
	for _, name := range named {
		names[name] = true
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, m := range modules {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			of, err := firmwareOf(st, m)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Path, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, name := range of {
				names[name] = true
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	taken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		files := lookupFirmware(t, release, name)
		if len(files) == 0 {
			missing = append(missing, name)
		}
		for _, f := range files {
			if !taken[f.Path] {
				taken[f.Path] = true
				found = append(found, f)
			}
		}
	}
	slices.SortFunc(found, func(a, b Firmware) int { return tree.Compare(a.Path, b.Path) })
	return found, missing, nil
}

// firmwareOf returns the names of firmware in a module: what MODULE_FIRMWARE() leaves in its section .modinfo.
func firmwareOf(st *store.Store, m Module) ([]string, error) {
	o, err := st.Object(m.Digest)
	if err != nil {
		return nil, err
	}
	var image io.ReaderAt = o
	if suffix := m.Path[len(plainName(m.Path)):]; suffix != "" {
		plain, release, err := compress.NewReader(suffix, o.NewReader())
		if err != nil {
			return nil, err
		}
		defer release()
		p, err := io.ReadAll(io.LimitReader(plain, maxModule+1))
		if err != nil {
			return nil, err
		}
		if len(p) > maxModule {
			return nil, fmt.Errorf("it has more than %d bytes unpacked", maxModule)
		}
		image = bytes.NewReader(p)
	}
	return modinfo(image, "firmware")
}

// modinfo returns the values that a module's .modinfo has for a key.
func modinfo(image io.ReaderAt, key string) ([]string, error) {
	f, err := elf.NewFile(image)
	if err != nil {
		return nil, fmt.Errorf("it is no kernel module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it is no kernel module: it has no section .modinfo")
	}
	p, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("its section .modinfo: %w", err)
	}
	var values []string
	for each := range strings.SplitSeq(string(p), "\x00") {
		if value, ok := strings.CutPrefix(each, key+"="); ok {
			values = append(values, value)
		}
	}
	return values, nil
}

// lookupFirmware returns the files of a name, which may be a pattern, where the kernel looks first of its directories
// (Documentation/driver-api/firmware/fw_search_path.rst). Links are followed: what they lead to gets the name.
func lookupFirmware(t *tree.Tree, release, name string) []Firmware {
	if tree.CheckPath(name) != nil {
		return nil
	}
	for _, dir := range []string{"updates/" + release, "updates", release, ""} {
		for _, suffix := range []string{"", ".zst", ".xz"} {
			var found []Firmware
			for _, candidate := range expand(t, path.Join(dir, name+suffix)) {
				real, err := t.Resolve("lib/firmware/" + candidate)
				if err != nil {
					continue
				}
				if e, ok := t.Lookup(real); ok && e.Type == tree.Regular {
					found = append(found, Firmware{candidate, e.Digest, e.Size})
				}
			}
			if found != nil {
				return found
			}
		}
	}
	return nil
}

// expand returns the names below /lib/firmware that match pattern.
func expand(t *tree.Tree, pattern string) []string {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	dir, err := t.Resolve("lib/firmware/" + path.Dir(pattern))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range t.Children(dir) {
		if ok, err := path.Match(path.Base(pattern), e.Name()); err == nil && ok {
			names = append(names, path.Join(path.Dir(pattern), e.Name()))
		}
	}
	return names
}
