package media

import (
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/stages/grub"
)

// entry is one line of a menu that starts the installer.
type entry struct {
	id, title  string
	arguments  []string // for the installer, besides those of every entry
	restricted bool     // needs the menu's password, where there is one
}

// entries returns the lines of the menu; the first is the default.
func (o Options) entries(c Contents) []entry {
	system := o.Name + " " + o.Version
	install := entry{id: "install", title: "Install " + system, arguments: []string{"imagefactory.mode=" + config.ModeInstall}}
	ask := entry{id: "confirm", title: "Install " + system + ", and ask before anything is written",
		arguments: []string{"imagefactory.mode=" + config.ModeInstall, "imagefactory.confirm"}}
	// systemd-repart would fail to grow a root that is no disk. The argument means nothing to other inits.
	live := entry{id: "live", title: "Run " + system + " from this medium, and change no disk",
		arguments: []string{"imagefactory.mode=" + config.ModeLive, "systemd.mask=systemd-repart.service"}}
	rescue := entry{id: "rescue", title: "Rescue: a prompt of the installer, nothing is written", restricted: true,
		arguments: []string{"imagefactory.mode=" + config.ModeRescue}}

	var installs []entry
	if !c.Payload.Object.IsZero() {
		installs = append(installs, install)
		if !o.Confirm {
			installs = append(installs, ask)
		}
	}
	switch {
	case c.Root.Image.IsZero():
		return append(installs, rescue)
	case o.Mode == config.ModeLive:
		return append(append([]entry{live}, installs...), rescue)
	default:
		live.restricted = true
		return append(installs, live, rescue)
	}
}

// head is the beginning of a menu: how long it waits and on which consoles it is.
func (o Options) head() string {
	var b strings.Builder
	b.WriteString("# Written by imagefactory.\n")
	fmt.Fprintf(&b, "set default=0\nset timeout=%d\n", o.Timeout)
	if serial := grub.Serial(o.Consoles); serial != "" {
		// Under UEFI the firmware's console is on the serial line already where the machine is set up so; GRUB's own driver
		// would print everything twice.
		fmt.Fprintf(&b, "if [ \"$grub_platform\" = pc ]; then\n  %s\n  terminal_input console serial\n  terminal_output console serial\nfi\n", serial)
	}
	if o.PasswordPBKDF2 != "" {
		fmt.Fprintf(&b, "set superusers=root\nexport superusers\npassword_pbkdf2 root %s\n", o.PasswordPBKDF2)
	}
	return b.String()
}

// arguments returns the kernel's command line for an entry. What the installer tells must not drown in what the kernel does.
func (o Options) arguments(e entry, place string) []string {
	arguments := append([]string{}, o.Cmdline...)
	for _, console := range o.Consoles {
		arguments = append(arguments, "console="+console)
	}
	return append(append(arguments, "loglevel=4", place), e.arguments...)
}

func menuEntry(title, id string, restricted bool, commands string) string {
	who := " --unrestricted"
	if restricted {
		who = ""
	}
	return fmt.Sprintf("menuentry %s%s --id %s {\n%s}\n", grub.Quote(title), who, grub.Quote(id), commands)
}

// Menu returns grub.cfg of an ISO with the given id.
func (o Options) Menu(c Contents, id string) string {
	var b strings.Builder
	b.WriteString(o.head())
	for _, e := range o.entries(c) {
		b.WriteString(menuEntry(e.title, e.id, e.restricted, fmt.Sprintf("  linux /%s %s\n  initrd /%s\n",
			kernelPath, grub.QuoteAll(o.arguments(e, "imagefactory.id="+id)), initramfsPath)))
	}
	b.WriteString(menuEntry("Start the system on the disk of this machine", "local", false, o.local(path.Join("/"+dir, id+idSuffix))))
	return b.String()
}

// local returns the commands that start what is on a disk.
func (o Options) local(marker string) string {
	// Under UEFI, a disk's own loader is started: to end GRUB brings up the firmware's setup on many machines, and this
	// medium again on others. The file system with the marker is on this medium.
	var uefi string
	if len(o.LocalLoaders) > 0 {
		var loaders []string
		for _, l := range o.LocalLoaders {
			loaders = append(loaders, "(hd*,gpt*)"+grub.Quote(l))
		}
		uefi = fmt.Sprintf(`    for loader in %s; do
      if [ -f "$loader" ]; then
        regexp --set=1:disk '^(\([^)]*\))' "$loader"
        if [ ! -f "${disk}%s" ]; then
          echo "Starting $loader"
          chainloader "$loader"
          boot
        fi
      fi
    done
`, strings.Join(loaders, " "), marker)
	}
	// Under BIOS the medium is the first disk where it was booted as one.
	return `  if [ "$grub_platform" = efi ]; then
` + uefi + `    echo "No disk of this machine has a boot loader for UEFI. Back to the firmware."
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
`
}

// NetworkMenu returns grub.cfg for a GRUB that was started over the network and read it from the directory that is
// served: everything else lies beside it.
func (o Options) NetworkMenu(c Contents) string {
	var b strings.Builder
	b.WriteString(o.head())
	// GRUB forgets config_directory when it has read the file, before anybody chooses an entry.
	b.WriteString("set medium=\"$config_directory\"\nexport medium\n")
	for _, e := range o.entries(c) {
		b.WriteString(menuEntry(e.title, e.id, e.restricted, fmt.Sprintf("  linux \"$medium/%s\" %s\n  initrd \"$medium/%s\"\n",
			overHTTP.path(kernelPath), grub.QuoteAll(o.arguments(e, "imagefactory.url="+o.URL)), overHTTP.path(initramfsPath))))
	}
	return b.String()
}

// IPXE returns the script for iPXE (ipxe.org/scripting) that starts the installer, as the default entry of the menu does.
func (o Options) IPXE(c Contents) string {
	kernel, initramfs := overHTTP.path(kernelPath), overHTTP.path(initramfsPath)
	arguments := o.arguments(o.entries(c)[0], "imagefactory.url="+o.URL)
	for i, a := range arguments {
		arguments[i] = quoteIPXE(a)
	}
	// Under UEFI the kernel is told the initial RAM file system by its name; a BIOS's iPXE passes it on by itself.
	return fmt.Sprintf("#!ipxe\nkernel %s/%s initrd=%s %s\ninitrd --name %s %s/%s\nboot\n",
		o.URL, kernel, initramfs, strings.Join(arguments, " "), initramfs, o.URL, initramfs)
}

// quoteIPXE makes one word of s for iPXE's shell, in which a backslash takes the meaning from any character.
func quoteIPXE(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte(" \t\"'\\$#&|<>;", c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
