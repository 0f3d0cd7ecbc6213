package media

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/store"
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
		program = needTool(t, "grub2-script-check")
	}
	if out, err := exec.Command(program, path).CombinedOutput(); err != nil {
		t.Errorf("grub-script-check: %v\n%s%s", err, out, text)
	}
}

// golden compares a text with what it has to be, and has GRUB read it.
func golden(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
	scriptCheck(t, got)
}

const localEntry = `menuentry 'Start the system on the disk of this machine' --unrestricted --id local {
  if [ "$grub_platform" = efi ]; then
    for loader in (hd*,gpt*)/EFI/debian/shimx64.efi (hd*,gpt*)/EFI/BOOT/BOOTX64.EFI; do
      if [ -f "$loader" ]; then
        regexp --set=1:disk '^(\([^)]*\))' "$loader"
        if [ ! -f "${disk}/imagefactory/0123456789abcdef.id" ]; then
          echo "Starting $loader"
          chainloader "$loader"
          boot
        fi
      fi
    done
    echo "No disk of this machine has a boot loader for UEFI. Back to the firmware."
    sleep 3
    exit 1
  else
    set disk=hd0
    if regexp '^hd0(,.*)?$' "$root"; then
      set disk=hd1
      drivemap -s (hd0) (hd1)
    fi
    set root=$disk
    chainloader +1
    boot
  fi
}
`

const serialHead = `# Written by imagefactory.
set default=0
set timeout=5
if [ "$grub_platform" = pc ]; then
  serial --unit=0 --speed=115200
  terminal_input console serial
  terminal_output console serial
fi
`

const arguments = "nomodeset console=tty0 console=ttyS0,115200n8 loglevel=4 "

var (
	somePayload = payload.Result{Object: store.Digest{1}, Info: samplePayload}
	someRoot    = Root{Image: store.Digest{2}, Filesystem: "ext4"}
)

func TestMenu(t *testing.T) {
	const id, fromISO = "0123456789abcdef", arguments + "imagefactory.id=0123456789abcdef imagefactory.mode="
	line := func(mode string) string {
		return "  linux /imagefactory/kernel " + fromISO + mode + "\n  initrd /imagefactory/initramfs\n}\n"
	}
	const (
		install = "menuentry 'Install sample 1.0' --unrestricted --id install {\n"
		ask     = "menuentry 'Install sample 1.0, and ask before anything is written' --unrestricted --id confirm {\n"
		rescue  = "menuentry 'Rescue: a prompt of the installer, nothing is written' --id rescue {\n"
		live    = "menuentry 'Run sample 1.0 from this medium, and change no disk' "
	)
	t.Run("install", func(t *testing.T) {
		golden(t, sampleOptions().Menu(Contents{Payload: somePayload}, id),
			serialHead+install+line("install")+ask+line("install imagefactory.confirm")+rescue+line("rescue")+localEntry)
	})
	t.Run("install, with a live system for rescue and a password", func(t *testing.T) {
		o := sampleOptions()
		o.PasswordPBKDF2, o.Consoles, o.Timeout = "grub.pbkdf2.sha512.10000.AB.CD", []string{"tty0"}, -1
		o.Cmdline, o.Confirm, o.LocalLoaders = []string{`a="b c"`}, true, nil
		place := `'a="b c"' console=tty0 loglevel=4 imagefactory.id=0123456789abcdef imagefactory.mode=`
		line := func(mode string) string {
			return "  linux /imagefactory/kernel " + place + mode + "\n  initrd /imagefactory/initramfs\n}\n"
		}
		golden(t, o.Menu(Contents{Payload: somePayload, Root: someRoot}, id), `# Written by imagefactory.
set default=0
set timeout=-1
set superusers=root
export superusers
password_pbkdf2 root grub.pbkdf2.sha512.10000.AB.CD
`+install+line("install")+live+"--id live {\n"+line("live systemd.mask=systemd-repart.service")+rescue+line("rescue")+`menuentry 'Start the system on the disk of this machine' --unrestricted --id local {
  if [ "$grub_platform" = efi ]; then
    echo "No disk of this machine has a boot loader for UEFI. Back to the firmware."
    sleep 3
    exit 1
  else
    set disk=hd0
    if regexp '^hd0(,.*)?$' "$root"; then
      set disk=hd1
      drivemap -s (hd0) (hd1)
    fi
    set root=$disk
    chainloader +1
    boot
  fi
}
`)
	})
	t.Run("live", func(t *testing.T) {
		o := sampleOptions()
		o.Mode = config.ModeLive
		golden(t, o.Menu(Contents{Root: someRoot}, id), serialHead+live+"--unrestricted --id live {\n"+line("live systemd.mask=systemd-repart.service")+rescue+line("rescue")+localEntry)
	})
	t.Run("stub", func(t *testing.T) {
		golden(t, stub(id), "search --no-floppy --file --set=root /imagefactory/0123456789abcdef.id\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n")
	})
}

func TestNetworkMenus(t *testing.T) {
	o := sampleOptions()
	o.URL = "http://boot.example.com:8080/a%20node"
	line := func(mode string) string {
		return `  linux "$medium/kernel" ` + arguments + "imagefactory.url=http://boot.example.com:8080/a%20node imagefactory.mode=" + mode +
			"\n  initrd \"$medium/initramfs\"\n}\n"
	}
	golden(t, o.NetworkMenu(Contents{Payload: somePayload}), serialHead+"set medium=\"$config_directory\"\nexport medium\n"+
		"menuentry 'Install sample 1.0' --unrestricted --id install {\n"+line("install")+
		"menuentry 'Install sample 1.0, and ask before anything is written' --unrestricted --id confirm {\n"+line("install imagefactory.confirm")+
		"menuentry 'Rescue: a prompt of the installer, nothing is written' --id rescue {\n"+line("rescue"))

	o.Cmdline = []string{`x="a ${b}"`}
	want := "#!ipxe\nkernel http://boot.example.com:8080/a%20node/kernel initrd=initramfs x=\\\"a\\ \\${b}\\\" console=tty0 console=ttyS0,115200n8 loglevel=4 " +
		"imagefactory.url=http://boot.example.com:8080/a%20node imagefactory.mode=install\n" +
		"initrd --name initramfs http://boot.example.com:8080/a%20node/initramfs\nboot\n"
	if got := o.IPXE(Contents{Payload: somePayload}); got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
}
