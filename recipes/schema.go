package recipes

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	versionPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]*$`)
	hostLabel       = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	timezonePattern = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)
	localePattern   = regexp.MustCompile(`^(C|POSIX|[a-z]{2,3}(_[A-Z]{2})?)(\.[A-Za-z0-9-]+)?(@[a-z]+)?$`)
)

// archNames maps every accepted spelling of an architecture to the canonical one.
var archNames = map[string]string{"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

// recipe reads everything but variables and locals.
func (l *loader) recipe(b *decode.Body) *Recipe {
	for _, kind := range []string{"variable", "locals"} {
		b.Ignore(kind)
	}
	b.Has("include")

	r := &Recipe{}
	r.Name = l.matching(b, "name", namePattern, `name = "my-image"`, `Use letters, digits, ".", "_" and "-", starting with a letter or digit; it becomes part of file names.`)
	r.Version = l.matching(b, "version", versionPattern, `version = "1.0.0"`, `Use letters, digits, ".", "_", "+", "~" and "-", starting with a letter or digit; it becomes part of file names.`)
	r.Arch = l.arch(b)
	r.Distro = l.distro(b, r.Arch)
	arch, _ := r.Distro.Architecture(r.Arch)

	r.Hostname = l.hostname(b, r.Name)
	r.Timezone = l.shaped(b, "timezone", r.Distro.Timezone, timezonePattern, `It is a name in the time zone database, like "Etc/UTC" or "Asia/Shanghai".`)
	r.Locale = l.shaped(b, "locale", r.Distro.Locale, localePattern, `It looks like "C.UTF-8" or "en_US.UTF-8".`)

	r.SELinux = l.selinux(b, &r.Distro)
	r.Rootfs = l.rootfs(b, &r.Distro, arch)
	r.Files = l.fileBlocks(b)
	r.Users = l.users(b)
	r.Scripts, r.InstallScripts = l.scripts(b)
	r.Containers = l.containers(b)
	r.Harden = l.harden(b)
	r.Trim = l.trim(b, r)
	r.Boot = l.boot(b, arch)
	r.Disk = l.disk(b, r.Boot)
	r.Outputs = l.outputs(b, r)
	l.checkInstalls(r)
	b.Close()
	return r
}

// matching returns a required string of a pattern.
func (l *loader) matching(b *decode.Body, name string, pattern *regexp.Regexp, example, rule string) string {
	if !b.Require(name, example) {
		return ""
	}
	t := b.Text(name)
	if t.Range.Filename != "" && !pattern.MatchString(t.Value) {
		l.errorf(t.Range, fmt.Sprintf("Invalid %s", name), "%q cannot be the %s of an image. %s", t.Value, name, rule)
	}
	return t.Value
}

// shaped returns an optional string of a pattern.
func (l *loader) shaped(b *decode.Body, name, def string, pattern *regexp.Regexp, rule string) string {
	t := b.Text(name)
	if t.Range.Filename == "" {
		return def
	}
	if !pattern.MatchString(t.Value) {
		l.errorf(t.Range, fmt.Sprintf("Invalid %s", name), "%q is not a %s. %s", t.Value, name, rule)
	}
	return t.Value
}

func (l *loader) arch(b *decode.Body) string {
	if !b.Require("arch", `arch = "x86_64"`) {
		return ""
	}
	t := b.Text("arch")
	canonical := archNames[t.Value]
	if canonical == "" && t.Range.Filename != "" {
		l.errorf(t.Range, "Unknown architecture", "There is no architecture %q. Write \"x86_64\" (or \"amd64\"), or \"aarch64\" (or \"arm64\").", t.Value)
	}
	return canonical
}

// distro finds the distribution: a block of the recipe, or a built-in one.
func (l *loader) distro(b *decode.Body, arch string) distros.Distro {
	blocks := map[string]*decode.Block{}
	names := distros.Names()
	for _, blk := range b.Labelled("distro", "name", false) {
		blocks[blk.Label()] = blk
		names = append(names, blk.Label())
	}
	if !b.Require("distro", fmt.Sprintf("distro = %q", distros.Default())) {
		return distros.Distro{}
	}
	t := b.Text("distro")
	for name, blk := range blocks {
		if name != t.Value && t.Range.Filename != "" {
			l.errorf(blk.Range, "Unused distro block", "The recipe does not use this definition. Remove it, or write: distro = %q", name)
		}
	}
	var d distros.Distro
	if blk := blocks[t.Value]; blk != nil {
		d = distros.Decoder{Files: l.files, Diags: &l.diags}.Decode(t.Value, blk.Parts)
	} else if t.Range.Filename == "" {
		return d
	} else if known, err := distros.Load(t.Value); err == nil {
		d = *known
	} else {
		l.errorf(t.Range, "Unknown distribution", "There is no distribution %q. %s A distro block of your own can define another.", t.Value, decode.DidYouMean(t.Value, names))
		return d
	}
	if _, ok := d.Architecture(arch); !ok && arch != "" && len(d.Architectures) > 0 {
		var have []string
		for _, a := range d.Architectures {
			have = append(have, a.Name)
		}
		l.errorf(b.Range("arch"), "Unsupported architecture", "Nothing is known of %s on %s. Known: %s. A distro block with inherits = %q can add an architecture.", d.Name, arch, decode.List(have), d.Name)
	}
	return d
}

func (l *loader) selinux(b *decode.Body, d *distros.Distro) string {
	t := b.Text("selinux")
	if t.Range.Filename == "" {
		return d.SELinux.Mode
	}
	if !slices.Contains(distros.SELinuxModes, t.Value) {
		l.errorf(t.Range, "Unknown SELinux mode", "There is no SELinux mode %q. %s", t.Value, decode.DidYouMean(t.Value, distros.SELinuxModes))
	}
	return t.Value
}

func (l *loader) hostname(b *decode.Body, name string) string {
	valid := func(s string) bool {
		for _, label := range strings.Split(s, ".") {
			if !hostLabel.MatchString(label) {
				return false
			}
		}
		return len(s) <= 64 // HOST_NAME_MAX of Linux; RFC 1123 allows 255
	}
	t := b.Text("hostname")
	switch {
	case t.Range.Filename == "" && valid(name):
		return name
	case t.Range.Filename == "":
		return "localhost"
	case !valid(t.Value):
		l.errorf(t.Range, "Invalid hostname", "%q is not a host name (RFC 1123): up to 64 characters; labels of letters, digits and \"-\", not starting or ending with \"-\", separated by \".\".", t.Value)
	}
	return t.Value
}

// outputs reads the output blocks. The recipe's name, version, disk and boot are read already.
func (l *loader) outputs(b *decode.Body, r *Recipe) []Output {
	var out []Output
	blocks := b.Labelled("output", "type", false)
	for _, blk := range blocks {
		switch {
		case blk.Label() == "upgrade":
			l.errorf(blk.Range, "Not supported by this version", "Output %q is not supported by this version of imagefactory. Supported: %s.", blk.Label(), decode.List(OutputTypes))
			continue
		case !slices.Contains(OutputTypes, blk.Label()):
			l.errorf(blk.Range, "Unknown output", "There is no output %q. %s", blk.Label(), decode.DidYouMean(blk.Label(), OutputTypes))
			continue
		}
		s := decode.New(fmt.Sprintf("output %q", blk.Label()), &l.diags, blk.Parts...)
		o := Output{Type: blk.Label(), Compression: "none"}
		switch o.Type {
		case "qcow2":
			o.Compression, o.Level = l.compression(s)
		case OutputISO, OutputPXE:
			o.Media = l.media(s, blk, r)
			if o.Media.Mode == MediaInstall {
				o.Level = int(s.Int("level", 0, 1, compressionLevels["zstd"]))
			}
		}
		s.Close()
		out = append(out, o)
	}
	if len(blocks) == 0 {
		l.errorf(b.Header(), "Missing output", "The recipe names no file to write. Write: output \"qcow2\" {} or output \"raw\" {}")
	}
	return out
}

// Highest level of each compression; deflate's is zlib's, zstd's is that of the zstd command without --ultra.
var compressionLevels = map[string]int64{"zstd": 19, "deflate": 9, "none": 0}

func (l *loader) compression(s *decode.Body) (string, int) {
	c := "zstd"
	if t := s.Text("compression"); t.Range.Filename != "" {
		c = t.Value
		if _, ok := compressionLevels[c]; !ok {
			l.errorf(t.Range, "Unknown compression", "There is no compression %q for qcow2. %s", c, decode.DidYouMean(c, slices.Collect(maps.Keys(compressionLevels))))
			c = "zstd"
		}
	}
	if c == "none" && s.Has("level") {
		l.errorf(s.Range("level"), "Level without compression", "Nothing is compressed, so there is no level. Remove one of the two attributes.")
		return c, 0
	}
	return c, int(s.Int("level", 0, 1, max(1, compressionLevels[c])))
}
