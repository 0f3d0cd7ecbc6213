package grub

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scriptCheck has GRUB's own parser read a configuration.
func scriptCheck(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grub.cfg")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("grub-script-check")
	if err != nil {
		if program, err = exec.LookPath("grub2-script-check"); err != nil {
			t.Fatal("grub-script-check is not there: make test installs what the tests need")
		}
	}
	if out, err := exec.Command(program, path).CombinedOutput(); err != nil {
		t.Errorf("grub-script-check: %v\n%s%s", err, out, text)
	}
}

func TestMenu(t *testing.T) {
	for _, test := range []struct {
		name string
		menu Menu
		want string
	}{
		{"two kernels, two consoles", Menu{
			UUID: "0b1c-uuid", Timeout: 1, Consoles: []string{"tty0", "ttyS0,115200n8"},
			Entries: []Entry{
				{ID: "linux-6.1.0-2", Title: "Debian 12 (bookworm), Linux 6.1.0-2", Kernel: "/boot/vmlinuz-6.1.0-2", Initramfs: "/boot/initrd.img-6.1.0-2",
					Cmdline: []string{"root=UUID=0b1c-uuid", "ro", "console=tty0", "console=ttyS0,115200n8", "quiet"}},
				{ID: "linux-6.1.0-1", Title: "Old", Kernel: "/vmlinuz", Initramfs: "/initrd", Cmdline: []string{"ro"}},
			},
		}, `# Written by imagefactory; changes are lost with the next image.
set default=0
load_env
if [ -n "$next_entry" ]; then
  set default="$next_entry"
  set next_entry=
  save_env next_entry
elif [ -n "$saved_entry" ]; then
  set default="$saved_entry"
fi
set timeout=1
if [ "$grub_platform" = pc ]; then
  serial --unit=0 --speed=115200
  terminal_input console serial
  terminal_output console serial
fi
search --no-floppy --fs-uuid --set=root 0b1c-uuid
menuentry 'Debian 12 (bookworm), Linux 6.1.0-2' --unrestricted --id linux-6.1.0-2 {
  linux /boot/vmlinuz-6.1.0-2 root=UUID=0b1c-uuid ro console=tty0 console=ttyS0,115200n8 quiet
  initrd /boot/initrd.img-6.1.0-2
}
menuentry Old --unrestricted --id linux-6.1.0-1 {
  linux /vmlinuz ro
  initrd /initrd
}
`},
		{"a password, no serial console, words with everything in them", Menu{
			UUID: "ABCD-1234", Timeout: -1, Consoles: []string{"tty0"}, PasswordPBKDF2: "grub.pbkdf2.sha512.10000.AB.CD",
			Entries: []Entry{{
				ID: "x", Title: `It's "$HOME" & {more}; #5`, Kernel: "/boot/a b", Initramfs: "/boot/$x",
				Cmdline: []string{`dyndbg="file a.c +p"`, "a=$b", `back\slash`, "", "mitigations=auto,nosmt", "x=[1]", "'"},
			}},
		}, `# Written by imagefactory; changes are lost with the next image.
set default=0
load_env
if [ -n "$next_entry" ]; then
  set default="$next_entry"
  set next_entry=
  save_env next_entry
elif [ -n "$saved_entry" ]; then
  set default="$saved_entry"
fi
set timeout=-1
set superusers=root
export superusers
password_pbkdf2 root grub.pbkdf2.sha512.10000.AB.CD
search --no-floppy --fs-uuid --set=root ABCD-1234
menuentry 'It'\''s "$HOME" & {more}; #5' --unrestricted --id x {
  linux '/boot/a b' 'dyndbg="file a.c +p"' 'a=$b' 'back\slash' '' mitigations=auto,nosmt 'x=[1]' ''\'''
  initrd '/boot/$x'
}
`},
		{"boot loader entries", Menu{
			UUID: "0b1c-uuid", Timeout: 1, Consoles: []string{"tty0"}, Snippets: "/boot/loader/entries",
			Entries: []Entry{{ID: "linux-1", Title: "Not here", Kernel: "/boot/vmlinuz-1", Initramfs: "/boot/initrd-1"}},
		}, `# Written by imagefactory; changes are lost with the next image.
set default=0
load_env
if [ -n "$next_entry" ]; then
  set default="$next_entry"
  set next_entry=
  save_env next_entry
elif [ -n "$saved_entry" ]; then
  set default="$saved_entry"
fi
set timeout=1
search --no-floppy --fs-uuid --set=root 0b1c-uuid
set boot=$root
set blsdir=/boot/loader/entries
blscfg
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.menu.String()
			if got != test.want {
				t.Errorf("\n%s\nwant\n%s", got, test.want)
			}
			scriptCheck(t, got)
		})
	}
	scriptCheck(t, early("0b1c-uuid", "/boot/grub"))
}

func TestSerial(t *testing.T) {
	for consoles, want := range map[string]string{
		"":                         "",
		"tty0 ttyAMA0,115200":      "", // no UART that GRUB's serial driver knows
		"ttyS1":                    "serial --unit=1 --speed=9600",
		"ttyS0,57600":              "serial --unit=0 --speed=57600",
		"tty0 ttyS2,9600n8 ttyS0":  "serial --unit=2 --speed=9600",
		"ttyS0,n8":                 "serial --unit=0 --speed=9600",
		"ttyS0,115200n8 hvc0 tty1": "serial --unit=0 --speed=115200",
	} {
		if got := Serial(strings.Fields(consoles)); got != want {
			t.Errorf("%s: %q, want %q", consoles, got, want)
		}
	}
}

// TestEnvironmentBlock has GRUB's own tool use the block.
func TestEnvironmentBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grubenv")
	if err := os.WriteFile(path, environmentBlock(), 0o600); err != nil {
		t.Fatal(err)
	}
	editenv := func(args ...string) string {
		t.Helper()
		program, err := exec.LookPath("grub-editenv")
		if err != nil {
			if program, err = exec.LookPath("grub2-editenv"); err != nil {
				t.Fatal("grub-editenv is not there: make test installs what the tests need")
			}
		}
		out, err := exec.Command(program, append([]string{path}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("grub-editenv %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := editenv("list"); got != "" {
		t.Errorf("a new block has %q", got)
	}
	editenv("set", "saved_entry=linux-1")
	if got := editenv("list"); got != "saved_entry=linux-1\n" {
		t.Errorf("then it has %q", got)
	}
	editenv("unset", "saved_entry")
	if got, err := os.ReadFile(path); err != nil || string(got) != string(environmentBlock()) {
		t.Errorf("an emptied block is %q, %v", got, err)
	}
}
