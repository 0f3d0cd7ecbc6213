package iso_test

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/emit/iso"
	"github.com/imagefactory/imagefactory/stages/store"
)

const (
	mib   = 1 << 20
	epoch = 1_790_000_000 // 2026-09-21T14:13:20Z
)

// fixture is a set of files and what readers must find of it.
type fixture struct {
	st      *store.Store
	batch   *store.Batch // of contents not yet in st; nil for none
	files   []iso.File
	want    map[string]found
	longest int // bytes of random names
}

// found is a file as a reader shows it.
type found struct {
	mode   fs.FileMode // type and permissions
	data   string
	target string
}

func newFixture(t testing.TB) *fixture {
	return &fixture{st: disktest.Store(t), want: map[string]found{".": {mode: fs.ModeDir | 0o755}}, longest: 255}
}

// implied adds the directories above path that nobody named.
func (f *fixture) implied(path string) {
	for dir := filepath.Dir(path); f.want[dir].mode == 0; dir = filepath.Dir(dir) {
		f.want[dir] = found{mode: fs.ModeDir | 0o755}
	}
}

func (f *fixture) put(t testing.TB, data []byte) store.Digest {
	t.Helper()
	var err error
	if f.batch == nil {
		if f.batch, err = f.st.NewBatch(); err != nil {
			t.Fatal(err)
		}
	}
	d, err := f.batch.AddBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// compose composes the medium of all that was added.
func (f *fixture) compose(t testing.TB, o iso.Options) disk.Image {
	t.Helper()
	if f.batch != nil {
		if err := f.batch.Commit(); err != nil {
			t.Fatal(err)
		}
		f.batch = nil
	}
	o.VolumeID, o.Epoch = "TEST_1", epoch
	im, err := iso.Compose(f.st, f.files, o)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func (f *fixture) file(t testing.TB, path string, mode uint32, data []byte) {
	t.Helper()
	f.files = append(f.files, iso.File{Path: path, Mode: mode, Digest: f.put(t, data)})
	f.want[path] = found{mode: goMode(mode), data: string(data)}
	f.implied(path)
}

// image adds a file made of two halves that lie apart in the store, with a hole between them.
func (f *fixture) image(t testing.TB, path string, mode uint32, data []byte, hole int64) {
	t.Helper()
	d := f.put(t, data)
	half := int64(len(data) / 2)
	b := disk.NewBuilder(f.st, int64(len(data))+hole)
	if err := b.AddObject(0, d, 0, half); err != nil {
		t.Fatal(err)
	}
	if err := b.AddObject(half+hole, d, half, int64(len(data))-half); err != nil {
		t.Fatal(err)
	}
	im, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	f.files = append(f.files, iso.File{Path: path, Mode: mode, Image: &im})
	f.want[path] = found{mode: goMode(mode), data: string(data[:half]) + strings.Repeat("\x00", int(hole)) + string(data[half:])}
	f.implied(path)
}

func (f *fixture) directory(path string, mode uint32) {
	f.files = append(f.files, iso.File{Path: path, Mode: mode, Directory: true})
	f.want[path] = found{mode: fs.ModeDir | goMode(mode)}
	f.implied(path)
}

func (f *fixture) symlink(path, target string) {
	f.files = append(f.files, iso.File{Path: path, Mode: 0o777, Target: target})
	f.want[path] = found{mode: fs.ModeSymlink | 0o777, target: target}
	f.implied(path)
}

func goMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

// write composes the medium and returns the path of its image.
func (f *fixture) write(t testing.TB, o iso.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "medium.iso")
	if _, err := emit.ISO(t.Context(), f.st, f.compose(t, o), path, emit.Options{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkDirectory compares what a program extracted into dir.
func (f *fixture) checkDirectory(t *testing.T, reader, dir string) {
	t.Helper()
	missing := len(f.want)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		got := found{mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			got.data = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			if got.target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		missing--
		f.compare(t, reader, name, got)
		if mtime := info.ModTime(); name != "." && info.Mode()&fs.ModeSymlink == 0 && mtime != time.Unix(epoch, 0) {
			t.Errorf("%s sees /%s with the time %v", reader, name, mtime)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if missing != 0 {
		t.Errorf("%s sees %d files less than there are", reader, missing)
	}
}

func (f *fixture) compare(t *testing.T, reader, name string, got found) {
	t.Helper()
	switch want, ok := f.want[name]; {
	case !ok:
		t.Errorf("%s sees %q, which is none of the files", reader, name)
	case got.mode != want.mode:
		t.Errorf("%s sees %q with mode %v, want %v", reader, name, got.mode, want.mode)
	case got.data != want.data:
		t.Errorf("%s reads %d bytes of %q that differ from the %d there are", reader, len(got.data), name, len(want.data))
	case got.target != want.target:
		t.Errorf("%s sees %q with target %q, want %q", reader, name, got.target, want.target)
	}
}

// checkReaders lets independent programs read the medium.
func (f *fixture) checkReaders(t *testing.T, path string) {
	t.Helper()
	f.checkXorriso(t, path)
	f.checkLibarchive(t, path)
	f.checkKdomanski(t, path)
	if out := disktest.Run(t, "isovfy", path); !strings.Contains(out, "No errors found") {
		t.Errorf("isovfy says\n%s", out)
	}
}

func (f *fixture) checkXorriso(t *testing.T, path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	disktest.Run(t, "osirrox", "-indev", path, "-extract", "/", dir)
	f.checkDirectory(t, "xorriso", dir)
}

// checkLibarchive extracts with bsdtar, as root with all bits of modes. Without -P it would drop a backslash that begins a
// path.
func (f *fixture) checkLibarchive(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	disktest.Run(t, "bsdtar", "-xpPf", path, "-C", dir)
	f.checkDirectory(t, "libarchive", dir)
}

// checkKdomanski reads with a library that knows neither targets nor the upper bits of modes. Of directories with more than
// one block it shows all but the last with the names of others, as it uses one buffer for all: these are left out.
func (f *fixture) checkKdomanski(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	image, err := iso9660.OpenImage(file)
	if err != nil {
		t.Fatal(err)
	}
	root, err := image.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	missing := len(f.want)
	var walk func(name string, e *iso9660.File)
	walk = func(name string, e *iso9660.File) {
		missing--
		want, ok := f.want[name]
		if !ok {
			t.Errorf("kdomanski/iso9660 sees %q, which is none of the files", name)
			return
		}
		if mode := want.mode & (fs.ModePerm | fs.ModeType); name != "." && e.Mode() != mode {
			t.Errorf("kdomanski/iso9660 sees %q with mode %v, want %v", name, e.Mode(), mode)
		}
		if !e.ModTime().Equal(time.Unix(epoch, 0)) {
			t.Errorf("kdomanski/iso9660 sees %q with the time %v", name, e.ModTime())
		}
		if !e.IsDir() {
			if data, err := io.ReadAll(e.Reader()); err != nil || string(data) != want.data {
				t.Errorf("kdomanski/iso9660 reads %d bytes of %q, %v, that differ from the %d there are", len(data), name, err, len(want.data))
			}
			return
		}
		if e.Size() > 2048 {
			for below := range f.want {
				if name == "." && below != "." || strings.HasPrefix(below, name+"/") {
					missing--
				}
			}
			return
		}
		children, err := e.GetChildren()
		if err != nil {
			t.Errorf("kdomanski/iso9660 cannot read %q: %v", name, err)
		}
		for _, c := range children {
			walk(filepath.Join(name, c.Name()), c)
		}
	}
	walk(".", root)
	if missing != 0 {
		t.Errorf("kdomanski/iso9660 sees %d files less than there are", missing)
	}
}

// grubDir returns the directory of this host with GRUB's modules for a platform.
func grubDir(t testing.TB, platform string) string {
	t.Helper()
	for _, dir := range []string{"/usr/lib/grub", "/usr/lib/grub2", "/usr/share/grub2"} {
		dir = filepath.Join(dir, platform)
		if _, err := os.Stat(filepath.Join(dir, "moddep.lst")); err == nil {
			return dir
		}
	}
	t.Fatalf("GRUB's modules for %s are needed, and are not installed; `make test` installs them", platform)
	return ""
}

// bootHybrid returns GRUB's boot sector for media that are disks.
func bootHybrid(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(grubDir(t, "i386-pc"), "boot_hybrid.img"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// mkimage makes an image with this host's grub-mkimage from modules in dir.
func mkimage(t testing.TB, format, dir, config string, modules ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("grub-mkimage")
	if err != nil {
		if program, err = exec.LookPath("grub2-mkimage"); err != nil {
			t.Fatal("grub-mkimage is needed, and is not installed; `make test` installs it")
		}
	}
	work := t.TempDir()
	early, image := filepath.Join(work, "early.cfg"), filepath.Join(work, "image")
	if err := os.WriteFile(early, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, program, append([]string{"-O", format, "-d", dir, "-p", "/boot/grub", "-c", early, "-o", image}, modules...)...)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// full reports whether the tests that take many minutes are asked for.
func full() bool { return os.Getenv("IMAGEFACTORY_TEST") == "full" }

// identifiers returns the names in the root directory that isoinfo sees without Rock Ridge, in the order of the records.
func identifiers(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(disktest.Run(t, "isoinfo", "-l", "-i", path)) {
		if strings.HasPrefix(line, "Directory listing of /") && line != "Directory listing of /\n" {
			break
		}
		if _, name, ok := strings.Cut(line, "]  "); ok {
			if name = strings.TrimSpace(name); name != "." && name != ".." {
				names = append(names, name)
			}
		}
	}
	return names
}
