package grub

import (
	"fmt"
	"strings"
)

// Menu is what grub.cfg says.
type Menu struct {
	UUID           string   `json:"uuid"`    // of the file system that holds the kernels
	Timeout        int      `json:"timeout"` // seconds; -1 waits for ever
	Consoles       []string `json:"consoles"`
	PasswordPBKDF2 string   `json:"password_pbkdf2,omitempty"` // editing needs it, booting does not
	Entries        []Entry  `json:"entries"`                   // the first is the default

	// Snippets is the directory of boot loader entries on the file system that holds
	// the kernels; the menu is made of what lies there when it is shown. Empty: of
	// Entries.
	Snippets string `json:"snippets,omitempty"`
}

// Entry is one line of the menu.
type Entry struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Version   string   `json:"version"`   // release of the kernel
	Kernel    string   `json:"kernel"`    // path on the file system that holds it
	Initramfs string   `json:"initramfs"` // likewise
	Cmdline   []string `json:"cmdline"`
}

// defaultEntry chooses the entry that grub-reboot(8) chose for this once, or the one
// that grub-set-default(8) chose for good, or the first.
const defaultEntry = `set default=0
load_env
if [ -n "$next_entry" ]; then
  set default="$next_entry"
  set next_entry=
  save_env next_entry
elif [ -n "$saved_entry" ]; then
  set default="$saved_entry"
fi
`

// String returns the text of grub.cfg.
func (m Menu) String() string {
	var b strings.Builder
	b.WriteString("# Written by imagefactory; changes are lost with the next image.\n")
	b.WriteString(defaultEntry)
	fmt.Fprintf(&b, "set timeout=%d\n", m.Timeout)
	if serial := Serial(m.Consoles); serial != "" {
		// Under UEFI the firmware's console is on the serial line already where the
		// machine is set up so; GRUB's own driver would print everything twice.
		fmt.Fprintf(&b, "if [ \"$grub_platform\" = pc ]; then\n  %s\n  terminal_input console serial\n  terminal_output console serial\nfi\n", serial)
	}
	if m.PasswordPBKDF2 != "" {
		fmt.Fprintf(&b, "set superusers=root\nexport superusers\npassword_pbkdf2 root %s\n", m.PasswordPBKDF2)
	}
	fmt.Fprintf(&b, "search --no-floppy --fs-uuid --set=root %s\n", m.UUID)
	if m.Snippets != "" {
		fmt.Fprintf(&b, "set boot=$root\nset blsdir=%s\nblscfg\n", Quote(m.Snippets))
		return b.String()
	}
	for _, e := range m.Entries {
		fmt.Fprintf(&b, "menuentry %s --unrestricted --id %s {\n", Quote(e.Title), Quote(e.ID))
		fmt.Fprintf(&b, "  linux %s %s\n", Quote(e.Kernel), QuoteAll(e.Cmdline))
		fmt.Fprintf(&b, "  initrd %s\n}\n", Quote(e.Initramfs))
	}
	return b.String()
}

// Serial returns the command that sets up the first serial console among the
// kernel's consoles ("ttyS0,115200n8"), or "".
func Serial(consoles []string) string {
	for _, console := range consoles {
		device, options, _ := strings.Cut(console, ",")
		unit, ok := strings.CutPrefix(device, "ttyS")
		if !ok {
			continue
		}
		speed := options
		if i := strings.IndexFunc(options, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			speed = options[:i]
		}
		if speed == "" {
			speed = "9600" // the kernel's default
		}
		return fmt.Sprintf("serial --unit=%s --speed=%s", unit, speed)
	}
	return ""
}

// Quote makes one word of s for GRUB's shell. As in any shell, a single quote has to
// stand outside of single quotes.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:=,@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// QuoteAll makes words of all of them, with spaces between.
func QuoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// snippet returns an entry in the form of the Boot Loader Specification
// (uapi-group.org, "Type #1 Boot Loader Specification Entries") with the keys that
// GRUB's blscfg adds: nobody needs a password to boot it.
func (e Entry) snippet() string {
	return fmt.Sprintf("title %s\nversion %s\nlinux %s\ninitrd %s\noptions %s\ngrub_users $grub_users\ngrub_arg --unrestricted\n",
		e.Title, e.Version, e.Kernel, e.Initramfs, strings.Join(e.Cmdline, " "))
}

// environmentBlock returns an empty environment, as grub-editenv(1) creates it: GRUB
// writes into the blocks of this file and never makes it longer.
func environmentBlock() []byte {
	const header, size = "# GRUB Environment Block\n", 1024
	return []byte(header + strings.Repeat("#", size-len(header)))
}
