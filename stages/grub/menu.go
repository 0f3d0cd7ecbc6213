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
}

// Entry is one line of the menu.
type Entry struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Kernel    string   `json:"kernel"`    // path on the file system that holds it
	Initramfs string   `json:"initramfs"` // likewise
	Cmdline   []string `json:"cmdline"`
}

// String returns the text of grub.cfg.
func (m Menu) String() string {
	var b strings.Builder
	b.WriteString("# Written by imagefactory; changes are lost with the next image.\n")
	fmt.Fprintf(&b, "set default=0\nset timeout=%d\n", m.Timeout)
	if serial := m.serial(); serial != "" {
		// Under UEFI the firmware's console is on the serial line already where the
		// machine is set up so; GRUB's own driver would print everything twice.
		fmt.Fprintf(&b, "if [ \"$grub_platform\" = pc ]; then\n  %s\n  terminal_input console serial\n  terminal_output console serial\nfi\n", serial)
	}
	if m.PasswordPBKDF2 != "" {
		fmt.Fprintf(&b, "set superusers=root\nexport superusers\npassword_pbkdf2 root %s\n", m.PasswordPBKDF2)
	}
	fmt.Fprintf(&b, "search --no-floppy --fs-uuid --set=root %s\n", m.UUID)
	for _, e := range m.Entries {
		fmt.Fprintf(&b, "menuentry %s --unrestricted --id %s {\n", quote(e.Title), quote(e.ID))
		fmt.Fprintf(&b, "  linux %s %s\n", quote(e.Kernel), quoteAll(e.Cmdline))
		fmt.Fprintf(&b, "  initrd %s\n}\n", quote(e.Initramfs))
	}
	return b.String()
}

// serial returns the command that sets up the first serial console among the
// kernel's consoles ("ttyS0,115200n8"), or "".
func (m Menu) serial() string {
	for _, console := range m.Consoles {
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

// quote makes one word of s for GRUB's shell. As in any shell, a single quote has to
// stand outside of single quotes.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:=,@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}
