package emit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

const mib = 1 << 20

// testDisk returns a disk of 200 MiB with 9 MiB of data, some of which is zero, in two places.
func testDisk(t testing.TB, st *store.Store) disk.Image {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 6*mib+777)
	for i := range data {
		if i/100_000%3 > 0 { // a third is zero
			data[i] = byte(random.Uint32()) & 0x3f
		}
	}
	d, err := st.Put(data)
	if err != nil {
		t.Fatal(err)
	}
	b := disk.NewBuilder(st, 200*mib)
	if err := errors.Join(
		b.WriteAt([]byte("the first bytes"), 0),
		b.AddObject(3*mib+5, d, 77, 6*mib+700),
		b.AddObject(150*mib, d, 0, 3*mib),
		b.WriteAt([]byte("the last bytes"), 200*mib-14),
	); err != nil {
		t.Fatal(err)
	}
	im, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	return im
}

type writer func(ctx context.Context, st *store.Store, im disk.Image, path string, o emit.Options) (emit.Output, error)

var writers = map[string]writer{
	"raw": emit.Raw,
	"iso": emit.ISO,
	"qcow2": func(ctx context.Context, st *store.Store, im disk.Image, path string, o emit.Options) (emit.Output, error) {
		return emit.Qcow2(ctx, st, im, path, qcow2.Options{}, o)
	},
}

func TestImagesHoldTheDisk(t *testing.T) {
	st := disktest.Store(t)
	im := testDisk(t, st)
	r, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(io.NewSectionReader(r, 0, im.Size))
	if err != nil {
		t.Fatal(err)
	}
	for format, write := range writers {
		t.Run(format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "not", "yet", "there", "disk."+format)
			work, opened := im.DataSize(), format
			if format == "iso" { // zeros are data, and the file is a disk like others
				work, opened = im.Size, "raw"
			}
			var last int64
			progress := func(done, total int64) {
				if done <= last || done > total || total != work {
					t.Errorf("progress goes from %d to %d of %d", last, done, total)
				}
				last = done
			}
			for range 2 { // the second time over the first's files
				last = 0
				out, err := write(context.Background(), st, im, path, emit.Options{Progress: progress})
				if err != nil {
					t.Fatal(err)
				}
				if last != work {
					t.Errorf("progress ends at %d of %d", last, work)
				}
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if out.Path != path || out.Size != int64(len(file)) || out.VirtualSize != im.Size || out.Digest != store.Sum(file) {
					t.Errorf("the output is described as %+v; the file has %d bytes and SHA-256 %s", out, len(file), store.Sum(file))
				}
			}
			d, err := emit.OpenImage(path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			got, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
			if err != nil || d.Format != opened || !bytes.Equal(got, want) {
				t.Errorf("OpenImage gives %d bytes in format %q, %v; want %d equal ones", len(got), d.Format, err, len(want))
			}
			cmd := exec.Command("sha256sum", "-c", filepath.Base(path)+".sha256")
			cmd.Dir = filepath.Dir(path)
			if text, err := cmd.CombinedOutput(); err != nil || string(text) != filepath.Base(path)+": OK\n" {
				t.Errorf("sha256sum -c: %v\n%s", err, text)
			}
			if names := list(t, filepath.Dir(path)); len(names) != 2 {
				t.Errorf("the directory holds %q", names)
			}
		})
	}
}

// TestRawIsSparse holds that zeros take no room, those within data neither.
func TestRawIsSparse(t *testing.T) {
	st := disktest.Store(t)
	path := filepath.Join(t.TempDir(), "disk.raw")
	if _, err := emit.Raw(context.Background(), st, testDisk(t, st), path, emit.Options{}); err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if allocated := stat.Blocks * 512; allocated > 7*mib {
		t.Errorf("the file takes %d KiB; two thirds of 9 MiB are not zero", allocated/1024)
	}
	if stat.Mode&0o777 != 0o644 && stat.Mode&0o777 != 0o664 && stat.Mode&0o777 != 0o600 {
		t.Errorf("the file has mode %o, which no usual umask gives", stat.Mode)
	}
}

// TestISOIsDense holds that the file of a medium takes all its room from the beginning.
func TestISOIsDense(t *testing.T) {
	st := disktest.Store(t)
	im := testDisk(t, st)
	path := filepath.Join(t.TempDir(), "medium.iso")
	if _, err := emit.ISO(context.Background(), st, im, path, emit.Options{}); err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if allocated := stat.Blocks * 512; allocated < im.Size {
		t.Errorf("the file takes %d KiB of %d", allocated/1024, im.Size/1024)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestNothingHalfWritten cancels and breaks writing at many points; what was there before must stay, alone.
func TestNothingHalfWritten(t *testing.T) {
	st := disktest.Store(t)
	im := testDisk(t, st)
	missing := im
	missing.Extents = append([]disk.Extent{}, im.Extents...)
	missing.Extents[len(missing.Extents)-2].Object = store.Sum([]byte("an object that is not there"))
	for format, write := range writers {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "disk."+format)
			if err := os.WriteFile(path, []byte("the old image"), 0o644); err != nil {
				t.Fatal(err)
			}
			for stop := range 4 {
				ctx, cancel := context.WithCancel(context.Background())
				calls := 0
				o := emit.Options{Progress: func(int64, int64) {
					if calls++; calls > stop {
						cancel()
					}
				}}
				if stop == 0 {
					cancel()
				}
				if _, err := write(ctx, st, im, path, o); !errors.Is(err, context.Canceled) {
					t.Errorf("cancelled after %d steps, it gives %v", stop, err)
				}
				cancel()
			}
			if _, err := write(context.Background(), st, missing, path, emit.Options{}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("with a missing object it gives %v", err)
			}
			if names := list(t, dir); len(names) != 1 {
				t.Errorf("the directory holds %q", names)
			}
			if old, err := os.ReadFile(path); err != nil || string(old) != "the old image" {
				t.Errorf("the old image has become %d bytes, %v", len(old), err)
			}
			if _, err := write(context.Background(), st, im, path, emit.Options{}); err != nil {
				t.Errorf("a later good run gives %v", err)
			}
		})
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	st := disktest.Store(t)
	im := testDisk(t, st)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root may write everywhere: be somebody else in the eyes of the file system
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	for format, write := range writers {
		path := filepath.Join(dir, "disk."+format)
		_, err := write(context.Background(), st, im, path, emit.Options{})
		if want := "the directory " + dir + " cannot be written; change its permissions or choose another output directory with -o"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want one containing %q", format, err, want)
		}
	}
	if err := emit.WriteManifest(filepath.Join(dir, emit.ManifestName), emit.Manifest{}); err == nil {
		t.Error("WriteManifest succeeds")
	}
}

// TestFullDisk writes into a tmpfs of 2 MiB, which a user namespace lets anybody mount.
func TestFullDisk(t *testing.T) {
	const variable = "EMIT_TEST_FULL_DISK"
	if dir := os.Getenv(variable); dir != "" {
		testFullDisk(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a user namespace: %v (are they allowed here? see `imagefactory doctor`)\n%s", err, out)
	}
}

func testFullDisk(t *testing.T, dir string) {
	st := disktest.Store(t)
	im := testDisk(t, st)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	for format, write := range writers {
		path := filepath.Join(dir, "disk."+format)
		_, err := write(context.Background(), st, im, path, emit.Options{})
		if want := "the file system or quota of " + dir + " is full; free some space there or choose another output directory with -o"; err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s: error is %v, want one containing %q", format, err, want)
		}
		if names := list(t, dir); len(names) != 0 {
			t.Errorf("%s leaves %q", format, names)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=210m"); err != nil {
			t.Fatal(err)
		}
		if _, err := write(context.Background(), st, im, path, emit.Options{}); err != nil {
			t.Errorf("%s: a later run with room gives %v", format, err)
		}
		for _, name := range list(t, dir) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=2m"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenImageRefuses(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged.qcow2")
	if err := os.WriteFile(damaged, []byte("QFI\xfb and no more"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                             "it is a directory",
		filepath.Join(dir, "not there"): "no such file",
		damaged:                         "the header is cut off",
	} {
		if _, err := emit.OpenImage(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want one naming %s and containing %q", err, path, want)
		}
	}
}

func TestManifest(t *testing.T) {
	path := filepath.Join(t.TempDir(), emit.ManifestName)
	m := emit.Manifest{
		Tool: "1.0", Name: "node", Version: "2026.11.0", Arch: "x86_64", Recipe: store.Sum([]byte("recipe")), Lock: store.Sum([]byte("lock")),
		SourceDateEpoch: 1795289025,
		Stages:          []emit.ManifestStage{{Name: "rootfs", Key: store.Sum([]byte("key")), Millis: 1234}, {Name: "grub", Cached: true}},
		Scripts:         []emit.ManifestScript{{Stage: "configure", Name: "bash.postinst"}},
		Packages:        []emit.ManifestPackage{{Name: "bash", Version: "5.2-1", Arch: "amd64", SHA256: sha256.Sum256([]byte("bash.deb"))}},
		Disk: &emit.ManifestDisk{Size: 10 * mib, GUID: partition.UUID(store.Digest{}, "disk"), Partitions: []emit.ManifestPartition{
			{Number: 1, Label: "ROOT", Type: partition.TypeLinux, GUID: partition.UUID(store.Digest{}, "root"), Start: mib, Size: 8 * mib, FileSystem: "ext4", FSLabel: "ROOT", FSUUID: "x"},
		}},
		Outputs: []emit.ManifestOutput{{File: "node.raw", Format: "raw", Size: 10 * mib, VirtualSize: 10 * mib, SHA256: sha256.Sum256(nil)}},
	}
	if err := emit.WriteManifest(path, m); err != nil {
		t.Fatal(err)
	}
	m.Schema = emit.ManifestSchema
	if again, err := emit.ReadManifest(path); err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("ReadManifest gives %+v, %v", again, err)
	}
	var loose struct {
		Outputs []struct{ SHA256 string }
		Disk    struct {
			Partitions []struct{ PartUUID, Type string }
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &loose); err != nil {
		t.Fatal(err)
	}
	if loose.Outputs[0].SHA256 != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" || loose.Disk.Partitions[0].Type != "0fc63daf-8483-4772-8e79-3d69d8477de4" {
		t.Errorf("the manifest is\n%s", data)
	}
	if err := emit.WriteManifest(path, emit.Manifest{}); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(path); err != nil || bytes.Contains(data, []byte("null")) {
		t.Errorf("an empty manifest has null lists: %v\n%s", err, data)
	}
	if err := os.WriteFile(path, []byte(`{"schema": 2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := emit.ReadManifest(path); err == nil || !strings.Contains(err.Error(), "its schema is 2, this imagefactory knows 1") {
		t.Errorf("a manifest of the future gives the error %v", err)
	}
}
