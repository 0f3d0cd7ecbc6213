package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience is the safety net of every wait in these tests.
const patience = 5 * time.Minute

// bootSector is a disk image whose only code prints text on the first serial
// port and then, when interactive, answers every byte it receives with the
// next one, until it is told to stop with a newline: enough to test machines
// and consoles without an operating system.
func bootSector(t *testing.T, text string) string {
	t.Helper()
	code := []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x40, 0x7c, // mov si, 0x7c40
		// print:
		0xba, 0xfd, 0x03, // mov dx, 0x3fd (line status)
		0xec,       // in al, dx
		0xa8, 0x20, // test al, 0x20 (transmitter empty)
		0x74, 0xf8, // jz print
		0xac,       // lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x06, // jz echo
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xeb, 0xed, // jmp print
		// echo:
		0xba, 0xfd, 0x03, // mov dx, 0x3fd
		0xec,       // in al, dx
		0xa8, 0x01, // test al, 1 (data ready)
		0x74, 0xf8, // jz echo
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xec,       // in al, dx
		0x40,       // inc ax
		0xee,       // out dx, al
		0xeb, 0xf0, // jmp echo
	}
	image := make([]byte, 1<<20)
	copy(image, code)
	copy(image[0x40:], text)
	copy(image[510:], []byte{0x55, 0xaa})
	path := filepath.Join(t.TempDir(), "boot,sector.img") // a comma is special to QEMU
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, ctx context.Context, m Machine) *VM {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	vm, err := m.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Quit()
		if t.Failed() && vm.Console != nil {
			t.Logf("console:\n%s", vm.Console.Transcript())
		}
	})
	return vm
}

func TestConsoleTalksWithGuest(t *testing.T) {
	ctx := testContext(t)
	vm := start(t, ctx, Machine{Firmware: BIOS, Disks: []Disk{{Path: bootSector(t, "hello 42\n"), Format: "raw"}}})
	match, err := vm.Console.Expect(ctx, regexp.MustCompile(`hello (\d+)\n`))
	if err != nil {
		t.Fatal(err)
	}
	if match[1] != "42" {
		t.Errorf("group is %q, want 42", match[1])
	}
	if err := vm.Console.Send("ab"); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.Console.Expect(ctx, regexp.MustCompile(`bc`)); err != nil {
		t.Fatal(err)
	}
	if err := vm.Quit(); err != nil {
		t.Errorf("Quit: %v", err)
	}
	if err := vm.Quit(); err != nil {
		t.Errorf("second Quit: %v", err)
	}
	_, err = vm.Console.Expect(ctx, regexp.MustCompile(`never`))
	if err == nil || !strings.Contains(err.Error(), "hello 42") {
		t.Errorf("the error does not quote the console: %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	ctx := testContext(t)
	vm := start(t, ctx, Machine{Firmware: UEFI, Disks: []Disk{{Path: bootSector(t, "x"), Format: "raw", Size: 8 << 20}}})
	dir := os.Getenv("TMPDIR")
	if names, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(names) == 0 {
		t.Errorf("%s has no variable store and no overlay", dir)
	}
	if err := vm.Quit(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Errorf("%s is left behind", name.Name())
	}
}

func TestContextEndsMachine(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	vm := start(t, ctx, Machine{Firmware: BIOS, Disks: []Disk{{Path: bootSector(t, "up\n"), Format: "raw"}}})
	if _, err := vm.Console.Expect(ctx, regexp.MustCompile("up")); err != nil {
		t.Fatal(err)
	}
	cancel()
	vm.Wait()
	_, err := vm.Console.Expect(ctx, regexp.MustCompile("never"))
	if err == nil {
		t.Error("Expect succeeded on an ended machine")
	}
}

func TestMissingDiskIsAnError(t *testing.T) {
	_, err := Machine{Firmware: BIOS, Disks: []Disk{{Path: "/nonexistent.raw", Format: "raw"}}}.Start(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestBrokenImageNamesQEMUsReason(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no.qcow2")
	if err := os.WriteFile(path, []byte("this is no qcow2"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Machine{Firmware: BIOS, Disks: []Disk{{Path: path, Format: "qcow2"}}}.Start(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "qcow2") {
		t.Errorf("error is %v", err)
	}
}

func TestMissingProgramNamesPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := os.Stat("/usr/libexec/qemu-kvm"); err == nil {
		t.Skip("this host keeps QEMU outside of PATH")
	}
	_, err := Machine{Firmware: BIOS}.Start(t.Context())
	var status interface{ ExitStatus() int }
	if !errors.As(err, &status) || status.ExitStatus() != 3 {
		t.Fatalf("error %v has no exit status 3", err)
	}
	if !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("error names no package: %v", err)
	}
}

func TestFindDescribedFirmware(t *testing.T) {
	dir := t.TempDir()
	code, vars := filepath.Join(dir, "code.fd"), filepath.Join(dir, "vars.fd")
	for _, path := range []string{code, vars} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const format = `{"interface-types":["uefi"],"mapping":{"device":"flash",
		"executable":{"filename":%q,"format":"raw"},"nvram-template":{"filename":%q,"format":"raw"}},
		"targets":[{"architecture":%q,"machines":["pc-q35-*"]}],"features":[%s]}`
	descriptors := map[string]string{
		"10-arm.json":    fmt.Sprintf(format, code, vars, "aarch64", ""),
		"20-gone.json":   fmt.Sprintf(format, code+".gone", vars, "x86_64", ""),
		"30-empty.json":  fmt.Sprintf(format, code, vars, "x86_64", `"secure-boot"`),
		"40-broken.json": `{"interface-types":`,
	}
	for name, text := range descriptors {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []Firmware{UEFI, UEFISecure} {
		if files, ok := findDescribed(dir, kind); ok {
			t.Errorf("%s: found %v among descriptors that do not fit", kind, files)
		}
	}
	plain := fmt.Sprintf(format, code, vars, "x86_64", "")
	secure := fmt.Sprintf(format, code, vars, "x86_64", `"secure-boot","enrolled-keys"`)
	for kind, text := range map[Firmware]string{UEFI: plain, UEFISecure: secure} {
		if err := os.WriteFile(filepath.Join(dir, "50-good.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if files, ok := findDescribed(dir, kind); !ok || files.Code != code || files.Vars != vars {
			t.Errorf("%s: found %v, %v", kind, files, ok)
		}
	}
}

// TestRunInShell drives a real shell on a real terminal, without a machine:
// script(1) gives it the terminal, and noise is written to it as a kernel
// would.
func TestRunInShell(t *testing.T) {
	ctx := testContext(t)
	console := shellConsole(t)
	if err := console.Shell(ctx); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		command, stdout string
		status          int
	}{
		{"echo one; echo two", "one\ntwo", 0},
		{"false", "", 1},
		{"printf '<2:0:4:dHdv>'", "<2:0:4:dHdv>", 0},
		{"(sleep 0; echo noise >/dev/tty); echo quiet", "quiet", 0},
		{"printf 'a\\n\\tb \\\\ c'", "a\n\tb \\ c", 0},
		{"seq 2000", strings.TrimSpace(sequence(2000)), 0},
		{"exit 7", "", 7},
	} {
		stdout, status, err := console.Run(ctx, test.command)
		if err != nil {
			t.Fatal(err)
		}
		if stdout != test.stdout || status != test.status {
			t.Errorf("%s: %q, status %d; want %q, status %d", test.command, stdout, status, test.stdout, test.status)
		}
	}
}

func sequence(n int) string {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

// TestRunAsksAgain damages the answer once.
func TestRunAsksAgain(t *testing.T) {
	ctx := testContext(t)
	console := shellConsole(t)
	if err := console.Shell(ctx); err != nil {
		t.Fatal(err)
	}
	damage := `printf() { case $1 in "<"*) unset -f printf; echo "<$2:0:4:aG[ 1.0] oops kDo=>";; *) command printf "$@";; esac; }`
	if err := console.Send(damage + "\n"); err != nil {
		t.Fatal(err)
	}
	stdout, status, err := console.Run(ctx, "echo hej")
	if err != nil || stdout != "hej" || status != 0 {
		t.Errorf("got %q, %d, %v", stdout, status, err)
	}
	if !bytes.Contains(console.Transcript(), []byte("oops")) {
		t.Error("the answer was not damaged")
	}
}

// TestGuestsThatGiveUp must not be waited for.
func TestGuestsThatGiveUp(t *testing.T) {
	for text, want := range map[string]error{
		"[ 0.06] Kernel panic - not syncing: IO-APIC + timer doesn't work!\r\n": errPanic,
		"You are in emergency mode. After logging in, type\r\n":                 errEmergency,
	} {
		guest, ours := net.Pipe()
		t.Cleanup(func() { guest.Close() })
		console := newConsole(ours)
		if _, err := guest.Write([]byte("Welcome\r\n" + text)); err != nil {
			t.Fatal(err)
		}
		if err := console.Login(testContext(t), "user", "password"); !errors.Is(err, want) || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// pipes joins a command's input and output.
type pipes struct {
	in  *os.File
	out *os.File
}

func (p pipes) Read(b []byte) (int, error)  { return p.out.Read(b) }
func (p pipes) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p pipes) Close() error                { return errors.Join(p.in.Close(), p.out.Close()) }

func shellConsole(t *testing.T) *Console {
	t.Helper()
	program, err := exec.LookPath("script")
	if err != nil {
		t.Fatal("script(1) is needed: install the package bsdutils (Debian, Ubuntu) or util-linux (RHEL and relatives)")
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-q", "-c", "sh -i", "/dev/null")
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	stdout.Close()
	console := newConsole(pipes{in, out})
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("console:\n%s", console.Transcript())
		}
	})
	return console
}
