package iso_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages/emit/iso"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// grubModules is what the media of this test need of GRUB.
var grubModules = []string{"iso9660", "part_gpt", "part_msdos", "serial", "terminal", "search", "search_fs_file", "normal", "configfile", "echo", "cat", "halt"}

// grubMedium writes a medium of nothing but GRUB, which prints what it reads of the medium to the serial port, and returns
// the path of the image and the lines that it prints.
func grubMedium(t *testing.T) (path string, lines []string) {
	const early = `
serial --unit=0 --speed=115200
terminal_output serial
search --file --set=root /boot/grub/this-medium
configfile ($root)/boot/grub/grub.cfg
`
	f := newFixture(t)
	long := "boot/" + strings.Repeat("a long name ", 20)
	f.file(t, "boot/grub/this-medium", 0o644, nil)
	f.file(t, long, 0o644, []byte("the file with a long name\n"))
	f.file(t, "1/2/3/4/5/6/7/8/9/10/file", 0o644, []byte("the file ten levels down\n"))
	f.image(t, "boot/image", 0o644, []byte("the file in two pieces\n"), 0)
	f.symlink("boot/link", "../boot/image") // GRUB 2.06 follows . and .. only where they begin a target
	for i := range 200 {
		f.file(t, fmt.Sprintf("many/file %d", i), 0o644, fmt.Appendf(nil, "the file number %d\n", i))
	}
	f.file(t, "boot/grub/grub.cfg", 0o644, fmt.Appendf(nil, `
echo "the menu"
cat "/%s"
cat /1/2/3/4/5/6/7/8/9/10/file
cat /boot/image
cat /boot/link
cat "/many/file 177"
echo "the end"
halt
`, long))
	f.file(t, "boot/grub/eltorito.img", 0o644,
		mkimage(t, "i386-pc-eltorito", grubDir(t, "i386-pc"), early, append([]string{"biosdisk"}, grubModules...)...))
	f.efiImage(t, "boot/grub/efi.img", mkimage(t, "x86_64-efi", grubDir(t, "x86_64-efi"), early, append([]string{"fat"}, grubModules...)...))
	path = f.write(t, iso.Options{
		Seed: seed,
		BIOS: &iso.BIOS{Image: "boot/grub/eltorito.img", HybridMBR: bootHybrid(t)},
		EFI:  "boot/grub/efi.img",
	})
	return path, []string{"the menu", "the file with a long name", "the file ten levels down", "the file in two pieces",
		"the file in two pieces", "the file number 177", "the end"}
}

// efiImage adds a FAT image from which UEFI starts program.
func (f *fixture) efiImage(t testing.TB, path string, program []byte) {
	t.Helper()
	d, err := f.st.Put(program)
	if err != nil {
		t.Fatal(err)
	}
	mtime := tree.Time{Sec: epoch}
	tr, err := tree.New([]tree.Entry{
		{Path: tree.Root, Type: tree.Directory, Mode: 0o755, MTime: mtime},
		{Path: "EFI", Type: tree.Directory, Mode: 0o755, MTime: mtime},
		{Path: "EFI/BOOT", Type: tree.Directory, Mode: 0o755, MTime: mtime},
		{Path: "EFI/BOOT/BOOTX64.EFI", Type: tree.Regular, Mode: 0o644, MTime: mtime, Digest: d, Size: int64(len(program))},
	})
	if err != nil {
		t.Fatal(err)
	}
	size, err := fat.MinSize(tr)
	if err != nil {
		t.Fatal(err)
	}
	im, err := fat.Write(t.Context(), f.st, tr, fat.Options{Size: size, Label: "EFI", Time: mtime})
	if err != nil {
		t.Fatal(err)
	}
	f.files = append(f.files, iso.File{Path: path, Mode: 0o644, Image: &im})
}

// TestBoots boots a medium in all the ways it is made for. Disks are USB sticks.
func TestBoots(t *testing.T) {
	path, want := grubMedium(t)
	for _, c := range []struct {
		firmware qemu.Firmware
		as       string
		quick    bool
	}{
		{qemu.BIOS, "disk", true},
		{qemu.BIOS, "CD", false},
		{qemu.UEFI, "disk", false},
		{qemu.UEFI, "CD", true},
	} {
		t.Run(fmt.Sprintf("%s %s", c.firmware, c.as), func(t *testing.T) {
			if !c.quick && !full() {
				t.Skip("only with IMAGEFACTORY_TEST=full")
			}
			out := boot(t, c.firmware, c.as == "CD", path, want[len(want)-1])
			var got []string
			for line := range strings.Lines(out) {
				if i := strings.Index(line, "the "); i >= 0 {
					got = append(got, strings.TrimSpace(line[i:]))
				}
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("GRUB prints %q, want %q; the whole console:\n%q", got, want, out)
			}
		})
	}
}

// boot runs a machine that has nothing but a medium until its console shows last, and returns everything it showed.
func boot(t *testing.T, firmware qemu.Firmware, cd bool, medium, last string) string {
	t.Helper()
	lockQEMU(t)
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,accel=tcg", "-m", "512", "-serial", "stdio", "-no-reboot"}
	if firmware != qemu.BIOS {
		files, err := qemu.FindFirmware(firmware)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+files.Code,
			"-drive", "if=pflash,unit=1,format=raw,snapshot=on,file="+files.Vars)
	}
	if cd {
		args = append(args, "-drive", "if=none,id=medium,media=cdrom,format=raw,file="+medium, "-device", "ide-cd,drive=medium,bootindex=0")
	} else {
		args = append(args, "-drive", "if=none,id=medium,snapshot=on,format=raw,file="+medium,
			"-device", "qemu-xhci", "-device", "usb-storage,drive=medium,bootindex=0")
	}
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		if program, err = exec.LookPath("/usr/libexec/qemu-kvm"); err != nil {
			t.Fatal("qemu-system-x86_64 is needed to boot what was written, and is not installed; `make test` installs it")
		}
	}
	// Only the safety net: what is waited for is what GRUB prints.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	console := &watcher{last: []byte(last), seen: cancel}
	cmd.Stdout, cmd.Stderr = console, console
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return console.text()
}

// watcher collects output and calls seen when last has come.
type watcher struct {
	last []byte
	seen func()

	mu  sync.Mutex
	all bytes.Buffer
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if bytes.Contains(w.all.Bytes(), w.last) {
		w.seen()
	}
	return len(p), nil
}

func (w *watcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// lockQEMU waits until no other test of this host runs a machine.
func lockQEMU(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "imagefactory-e2e-qemu.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}
