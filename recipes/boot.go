package recipes

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

// Kernel consoles of Documentation/admin-guide/serial-console.rst: a terminal, or a serial port with baud rate, parity,
// bits and flow control.
var consolePattern = regexp.MustCompile(`^(tty[0-9]{1,2}|(ttyS|ttyAMA|ttyUSB|ttySC|ttymxc|hvc|ttysclp)[0-9]{1,2}(,[0-9]{3,7}([noe]([5-8]r?)?)?)?)$`)

var pbkdf2Pattern = regexp.MustCompile(`^grub\.pbkdf2\.sha512\.[0-9]+(\.[0-9A-F]+){2}$`)

func (l *loader) boot(b *decode.Body, arch distros.Architecture) Boot {
	var available []string
	if arch.BIOS != nil {
		available = append(available, "bios")
	}
	if arch.UEFI != nil {
		available = append(available, "uefi")
	}
	boot := Boot{Firmware: available, SecureBoot: "off", Console: arch.Console, Timeout: 1}
	var s *decode.Body
	if blk := b.Single("boot"); blk != nil {
		s = decode.New("the boot block", &l.diags, blk.Parts...)
	} else {
		s = decode.New("the boot block", &l.diags)
	}
	if s.Has("firmware") {
		boot.Firmware = l.firmware(s, available, arch.Name)
	}
	if boot.Has("uefi") && arch.Signed != nil {
		boot.SecureBoot = "distro"
	}
	if t := s.Text("secure_boot"); t.Range.Filename != "" {
		boot.SecureBoot = t.Value
		switch {
		case t.Value != "distro" && t.Value != "off":
			l.errorf(t.Range, "Unknown Secure Boot setting", "There is no setting %q. Write \"distro\" for the distribution's signed boot programs, or \"off\".", t.Value)
		case t.Value == "distro" && !boot.Has("uefi"):
			l.errorf(t.Range, "Secure Boot without UEFI", "Secure Boot is a part of UEFI. Add \"uefi\" to firmware, or write: secure_boot = \"off\"")
		case t.Value == "distro" && arch.Signed == nil && arch.Name != "":
			l.errorf(t.Range, "No signed boot programs", "No boot programs signed by the distribution are known on %s. Write: secure_boot = \"off\"", arch.Name)
		}
	}
	if s.Has("console") {
		boot.Console = nil
		for _, t := range s.Texts("console") {
			if !consolePattern.MatchString(t.Value) {
				l.errorf(t.Range, "Invalid console", "%q is not a console of the kernel. Write for example \"tty0\" for the screen or \"ttyS0,115200n8\" for the first serial port.", t.Value)
			}
			device, _, _ := strings.Cut(t.Value, ",")
			for _, have := range boot.Console {
				if d, _, _ := strings.Cut(have, ","); d == device {
					l.errorf(t.Range, "Duplicate console", "Console %q is there twice. Remove one of them.", device)
				}
			}
			boot.Console = append(boot.Console, t.Value)
		}
	}
	for _, t := range s.AllTexts("cmdline") {
		switch {
		case strings.ContainsAny(t.Value, "\n\"'\\$`"):
			l.errorf(t.Range, "Invalid kernel parameter", "A kernel parameter cannot have quotes, backslashes, \"$\" or line ends in it.")
		case len(strings.Fields(t.Value)) != 1:
			l.errorf(t.Range, "Invalid kernel parameter", "Every parameter is an element of its own. Write: cmdline = [%s]", strings.ReplaceAll(strings.Trim(fmt.Sprintf("%q", strings.Fields(t.Value)), "[]"), `" "`, `", "`))
		case strings.HasPrefix(t.Value, "console="):
			l.errorf(t.Range, "Console in cmdline", "Consoles have an attribute of their own, because GRUB must know them too. Write: console = [%q]", strings.TrimPrefix(t.Value, "console="))
		case strings.HasPrefix(t.Value, "root="):
			l.errorf(t.Range, "Root in cmdline", "The root is set by the build, which knows its UUID. Remove this parameter.")
		default:
			boot.Cmdline = append(boot.Cmdline, t.Value)
		}
	}
	boot.Timeout = int(s.Int("timeout", 1, 0, 3600))
	if t := s.Text("password_pbkdf2"); t.Range.Filename != "" {
		boot.PasswordPBKDF2 = t.Value
		if !pbkdf2Pattern.MatchString(t.Value) {
			l.errorf(t.Range, "Invalid GRUB password", "This is not a hash by grub-mkpasswd-pbkdf2, which starts with \"grub.pbkdf2.sha512.\".")
		}
	}
	s.Close()
	return boot
}

func (l *loader) firmware(s *decode.Body, available []string, arch string) []string {
	var out []string
	texts := s.Texts("firmware")
	for _, t := range texts {
		switch {
		case t.Value != "bios" && t.Value != "uefi":
			l.errorf(t.Range, "Unknown firmware", "There is no firmware %q. %s", t.Value, decode.DidYouMean(t.Value, []string{"bios", "uefi"}))
		case !slices.Contains(available, t.Value) && arch != "":
			l.errorf(t.Range, "No such firmware", "%s machines do not boot with %q. Possible: %s.", arch, t.Value, decode.List(available))
		case slices.Contains(out, t.Value):
			l.errorf(t.Range, "Duplicate firmware", "%q is there twice. Remove one of them.", t.Value)
		default:
			out = append(out, t.Value)
		}
	}
	if len(texts) == 0 && s.Range("firmware") != (hcl.Range{}) {
		l.errorf(s.Range("firmware"), "No firmware", "The image must boot somehow. Write: firmware = %s", strings.ReplaceAll(fmt.Sprintf("%q", available), `" "`, `", "`))
	}
	slices.Sort(out)
	return out
}
