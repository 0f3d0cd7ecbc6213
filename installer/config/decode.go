package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxSize bounds the document: it lists files and partitions, not contents.
const maxSize = 4 << 20

var (
	idPattern      = regexp.MustCompile(`^[0-9a-f]{16,64}$`)
	digestPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	guidPattern    = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	consolePattern = regexp.MustCompile(`^[A-Za-z]+[0-9]*(,[0-9a-z]+)?$`)
	devicePattern  = regexp.MustCompile(`^[A-Za-z]+[0-9]*$`)
	namePattern    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Decode reads the document and checks all of it. The error names the member that is wrong.
func Decode(r io.Reader) (*Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("the document is larger than %d bytes", maxSize)
	}
	// A document of another format may differ in everything else, so its number is read alone first.
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("the document is no valid JSON: %w", err)
	}
	if version.Format != Format {
		return nil, fmt.Errorf("format: the document has format %d, this installer reads %d only: use the kernel and initramfs of the same medium", version.Format, Format)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	c := new(Config)
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("the document is invalid: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// Encode returns the document. Equal values give equal bytes.
func (c *Config) Encode() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// Validate checks everything that can be known without the medium.
func (c *Config) Validate() error {
	if c.Format != Format {
		return fmt.Errorf("format: %d is not %d", c.Format, Format)
	}
	for _, member := range []struct{ name, value string }{{"name", c.Name}, {"version", c.Version}, {"arch", c.Arch}} {
		if member.value == "" {
			return fmt.Errorf("%s: missing", member.name)
		}
		if strings.ContainsFunc(member.value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%s: %q has control characters", member.name, member.value)
		}
	}
	if !idPattern.MatchString(c.ID) {
		return fmt.Errorf("id: %q is not 16 to 64 lower-case hexadecimal digits", c.ID)
	}
	if c.Mode == ModeLive && c.Root.File == "" {
		return errors.New("root: missing, but the medium is a live one")
	}
	if c.Mode == ModeInstall && c.Payload.File == "" {
		return errors.New("payload: missing, but the medium is to install")
	}
	for _, check := range []func() error{
		func() error { return oneOf("mode", c.Mode, ModeInstall, ModeLive, ModeRescue) },
		func() error { return oneOf("after", c.After, Reboot, PowerOff, Halt) },
		func() error { return oneOf("on_failure", c.OnFailure, Shell, Reboot, Halt) },
		c.validatePayload,
		c.validateLayout,
		c.validateTarget,
		c.validateScripts,
		c.validateConsoles,
		c.validateEFI,
		c.validateRoot,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validatePayload() error {
	p := c.Payload
	if p == (Payload{}) {
		return nil
	}
	if err := mediumPath("payload.file", p.File); err != nil {
		return err
	}
	if p.Size <= 0 {
		return fmt.Errorf("payload.size: %d is not positive", p.Size)
	}
	if !digestPattern.MatchString(p.SHA256) {
		return fmt.Errorf("payload.sha256: %q is no SHA-256 in lower-case hexadecimal", p.SHA256)
	}
	if !digestPattern.MatchString(p.IndexSHA256) {
		return fmt.Errorf("payload.index_sha256: %q is no SHA-256 in lower-case hexadecimal", p.IndexSHA256)
	}
	if p.DiskSize <= 0 || p.DiskSize%512 != 0 {
		return fmt.Errorf("payload.disk_size: %d is not a positive multiple of 512", p.DiskSize)
	}
	if len(c.Layout.Partitions) == 0 {
		return errors.New("layout: missing, but there is a payload")
	}
	return nil
}

func (c *Config) validateLayout() error {
	l := c.Layout
	if len(l.Partitions) == 0 {
		if l.DiskGUID != "" {
			return errors.New("layout.partitions: missing")
		}
		return nil
	}
	if !guidPattern.MatchString(l.DiskGUID) {
		return fmt.Errorf("layout.disk_guid: %q is no GUID", l.DiskGUID)
	}
	labels := map[string]bool{}
	for i, p := range l.Partitions {
		at := fmt.Sprintf("layout.partitions[%d]", i)
		switch {
		case p.Number < 1 || p.Number > 128:
			return fmt.Errorf("%s.number: %d is not between 1 and 128", at, p.Number)
		case i > 0 && p.Number <= l.Partitions[i-1].Number:
			return fmt.Errorf("%s.number: %d does not come after %d", at, p.Number, l.Partitions[i-1].Number)
		case !guidPattern.MatchString(p.TypeGUID):
			return fmt.Errorf("%s.type_guid: %q is no GUID", at, p.TypeGUID)
		case !guidPattern.MatchString(p.GUID):
			return fmt.Errorf("%s.guid: %q is no GUID", at, p.GUID)
		case p.Start <= 0 || p.Start%512 != 0:
			return fmt.Errorf("%s.start: %d is not a positive multiple of 512", at, p.Start)
		case p.Size <= 0 || p.Size%512 != 0:
			return fmt.Errorf("%s.size: %d is not a positive multiple of 512", at, p.Size)
		case c.Payload.DiskSize > 0 && (p.Start > c.Payload.DiskSize || p.Size > c.Payload.DiskSize-p.Start):
			return fmt.Errorf("%s: it ends beyond the disk image of %d bytes", at, c.Payload.DiskSize)
		case p.Label != "" && labels[p.Label]:
			return fmt.Errorf("%s.label: %q is used twice", at, p.Label)
		}
		labels[p.Label] = true
	}
	sorted := slices.SortedFunc(slices.Values(l.Partitions), func(a, b Partition) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	for i := 1; i < len(sorted); i++ {
		if sorted[i-1].Start+sorted[i-1].Size > sorted[i].Start {
			return fmt.Errorf("layout.partitions: %d and %d overlap", sorted[i-1].Number, sorted[i].Number)
		}
	}
	return nil
}

func (c *Config) validateTarget() error {
	t := c.Target
	if err := oneOf("target.match", t.Match, "", MatchSmallestEmpty, MatchLargestEmpty, MatchOnly); err != nil {
		return err
	}
	for _, glob := range []struct{ name, value string }{
		{"by_id", t.ByID}, {"by_path", t.ByPath}, {"serial", t.Serial}, {"wwn", t.WWN}, {"model", t.Model},
	} {
		if _, err := path.Match(glob.value, ""); err != nil {
			return fmt.Errorf("target.%s: %q is no glob: %w", glob.name, glob.value, err)
		}
	}
	if t.Path != "" && (!strings.HasPrefix(t.Path, "/dev/") || path.Clean(t.Path) != t.Path) {
		return fmt.Errorf("target.path: %q is no path below /dev", t.Path)
	}
	if t.MinSize < 0 || t.MaxSize < 0 {
		return errors.New("target: sizes cannot be negative")
	}
	if t.MaxSize > 0 && t.MinSize > t.MaxSize {
		return fmt.Errorf("target.min_size: %d is more than max_size, %d", t.MinSize, t.MaxSize)
	}
	for _, label := range t.Preserve {
		if _, ok := c.Layout.Partition(label); !ok {
			return fmt.Errorf("target.preserve: the image has no partition labelled %q", label)
		}
	}
	return nil
}

func (c *Config) validateScripts() error {
	for i, s := range c.Scripts {
		at := fmt.Sprintf("scripts[%d]", i)
		if s.Name == "" {
			return fmt.Errorf("%s.name: missing", at)
		}
		if err := mediumPath(at+".file", s.File); err != nil {
			return err
		}
		for name, value := range s.Env {
			if !namePattern.MatchString(name) || strings.ContainsRune(value, 0) {
				return fmt.Errorf("%s.env: %q=%q is no variable", at, name, value)
			}
		}
	}
	if _, ok := c.Layout.Root(); len(c.Scripts) > 0 && !ok {
		return errors.New(`scripts: there are some, but no partition of the layout has the role "root" for them to run in`)
	}
	return nil
}

func (c *Config) validateConsoles() error {
	for i, console := range c.Consoles {
		if !consolePattern.MatchString(console) {
			return fmt.Errorf("consoles[%d]: %q is no console like tty0 or ttyS0,115200n8", i, console)
		}
	}
	return c.Events.validate()
}

func (e Events) validate() error {
	if e.Console != "" && !devicePattern.MatchString(e.Console) {
		return fmt.Errorf("events.console: %q is no console like ttyS0", e.Console)
	}
	if e.URL != "" {
		return webAddress("events.url", e.URL)
	}
	return nil
}

func (c *Config) validateEFI() error {
	e := c.EFI
	if e == (EFI{}) {
		return nil
	}
	if e.Label == "" {
		return errors.New("efi.label: missing")
	}
	if !strings.HasPrefix(e.Loader, `\`) {
		return fmt.Errorf(`efi.loader: %q is no path with backslashes from the root of the ESP`, e.Loader)
	}
	if !slices.ContainsFunc(c.Layout.Partitions, func(p Partition) bool { return p.Number == e.Partition }) {
		return fmt.Errorf("efi.partition: the layout has no partition %d", e.Partition)
	}
	return nil
}

func (c *Config) validateRoot() error {
	if c.Root == (RootImage{}) {
		return nil
	}
	if c.Root.Filesystem == "" {
		return errors.New("root.filesystem: missing")
	}
	return mediumPath("root.file", c.Root.File)
}

// mediumPath checks an absolute path on the medium. It must be clean, so that it cannot lead elsewhere.
func mediumPath(member, value string) error {
	if !strings.HasPrefix(value, "/") || value == "/" || path.Clean(value) != value || strings.ContainsRune(value, 0) {
		return fmt.Errorf("%s: %q is no absolute path of a file on the medium", member, value)
	}
	return nil
}

func oneOf(member, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	allowed = slices.DeleteFunc(allowed, func(s string) bool { return s == "" })
	return fmt.Errorf("%s: %q is not one of %s", member, value, strings.Join(allowed, ", "))
}

func webAddress(member, value string) error {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%s: %q is no http or https URL", member, value)
	}
	return nil
}
