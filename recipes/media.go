package recipes

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// Transports lists the ways a disk can be connected which target can ask for; package installer/disks finds them.
var Transports = []string{"nvme", "sata", "ata", "sas", "scsi", "virtio", "usb", "mmc", "fc", "iscsi", "xen"}

// maxVolumeLabel is the length of the volume identifier of ISO 9660 (ECMA-119, 8.4.8).
const maxVolumeLabel = 32

var (
	// volumeLabelPattern has the d-characters of ISO 9660 (ECMA-119, 7.4.1).
	volumeLabelPattern = regexp.MustCompile(`^[A-Z0-9_]+$`)

	// mediaURLPattern has what stands in a URL and means nothing to a kernel's command line, to GRUB or to iPXE, which all
	// get it.
	mediaURLPattern = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~%+,=@:/-]*)?$`)

	// eventConsolePattern has devices which are consoles, without the speed.
	eventConsolePattern = regexp.MustCompile(`^(tty[0-9]{1,2}|(ttyS|ttyAMA|ttyUSB|ttySC|ttymxc|hvc|ttysclp)[0-9]{1,2})$`)
)

// VolumeLabel returns the volume label of an ISO which says nothing of it: name and version in upper case, with "_" for
// everything that cannot stand in a label, cut at 32 characters.
func VolumeLabel(name, version string) string {
	label := strings.Map(func(r rune) rune {
		if volumeLabelPattern.MatchString(string(r)) {
			return r
		}
		return '_'
	}, strings.ToUpper(name+"_"+version))
	return label[:min(len(label), maxVolumeLabel)]
}

// media reads what an output "iso" or "pxe" says.
func (l *loader) media(s *decode.Body, blk *decode.Block, r *Recipe) *Media {
	m := &Media{Mode: l.mediaMode(s, blk)}
	m.OnFailure = l.oneOf(s, "on_failure", MediaShell, MediaFailures)
	m.Events = l.events(s)
	switch blk.Label() {
	case OutputISO:
		m.Label = l.volumeLabel(s, r)
		if arch, known := r.Distro.Architecture(r.Arch); known && arch.BIOS == nil && arch.UEFI == nil {
			l.errorf(blk.Range, "No boot firmware", "An ISO is started by a BIOS or by UEFI, and no boot programs of %s on %s are known for either. Add a grub block to the architecture in the distro block, or remove this output.", r.Distro.Name, r.Arch)
		}
	case OutputPXE:
		m.URL = l.mediaURL(s, blk)
	}
	if m.Mode != MediaLive {
		m.Confirm = s.Bool("confirm", false)
		m.After = l.oneOf(s, "after", MediaReboot, MediaEnds)
		m.Target = l.target(s, r.Disk)
		return m
	}
	for _, name := range []string{"confirm", "after", "level"} {
		if s.Has(name) {
			l.errorf(s.Range(name), "Nothing is installed", "A medium of mode \"live\" installs nothing, so %s means nothing. Remove the attribute, or write: mode = \"install\"", name)
		}
	}
	if t := s.Single("target"); t != nil {
		l.errorf(t.Range, "Nothing is installed", "A medium of mode \"live\" writes to no disk, so there is no target. Remove the block, or write: mode = \"install\"")
	}
	return m
}

func (l *loader) mediaMode(s *decode.Body, blk *decode.Block) string {
	mode := l.oneOf(s, "mode", MediaInstall, MediaModes)
	if mode == MediaLive && blk.Label() == OutputPXE {
		l.errorf(s.Range("mode"), "No medium to run from", "A live system runs from its medium, and there is none when the machine boots from the network. Write an output \"iso\" { mode = \"live\" }, or here: mode = \"install\"")
	}
	return mode
}

func (l *loader) volumeLabel(s *decode.Body, r *Recipe) string {
	t := s.Text("label")
	switch {
	case t.Range.Filename == "":
		return VolumeLabel(r.Name, r.Version)
	case len(t.Value) > maxVolumeLabel:
		l.errorf(t.Range, "Label too long", "The volume label of an ISO has at most %d characters, %q has %d.", maxVolumeLabel, t.Value, len(t.Value))
	case !volumeLabelPattern.MatchString(t.Value):
		l.errorf(t.Range, "Invalid label", "%q cannot be the volume label of an ISO, which has A to Z, 0 to 9 and \"_\". Write for example: label = %q", t.Value, VolumeLabel(r.Name, r.Version))
	}
	return t.Value
}

// mediaURL reads where a directory for network boot is served.
func (l *loader) mediaURL(s *decode.Body, blk *decode.Block) string {
	if !s.Has("url") {
		l.errorf(blk.Range, "Missing url", "The files for booting from the network name the server they come from. Write for example: url = \"http://boot.example.com/node\"")
		return ""
	}
	t := s.Text("url")
	if t.Range.Filename == "" {
		return ""
	}
	if u, err := url.Parse(t.Value); err != nil || u.Host == "" || !mediaURLPattern.MatchString(t.Value) {
		l.errorf(t.Range, "Invalid url", "%q is not the URL of a directory: it starts with http:// or https://, a host follows, and it has no spaces, quotes, \"?\" or \"#\". Write for example: url = \"http://boot.example.com/node\"", t.Value)
	}
	return strings.TrimRight(t.Value, "/")
}

// oneOf reads an attribute which is one of a few words.
func (l *loader) oneOf(s *decode.Body, name, def string, allowed []string) string {
	t := s.Text(name)
	if t.Range.Filename == "" || slices.Contains(allowed, t.Value) {
		return cmp.Or(t.Value, def)
	}
	hint := ""
	if near := decode.Nearest(t.Value, allowed); len(near) > 0 {
		hint = " Did you mean " + decode.Or(near) + "?"
	}
	l.errorf(t.Range, "Unknown "+name, "%q is not a value of %s, which is %s.%s", t.Value, name, decode.Or(allowed), hint)
	return def
}

func (l *loader) target(s *decode.Body, d Disk) Target {
	var b *decode.Body
	if blk := s.Single("target"); blk != nil {
		b = decode.New("the target block", &l.diags, blk.Parts...)
	} else {
		b = decode.New("the target block", &l.diags)
	}
	t := Target{Match: l.oneOf(b, "match", MatchOnly, TargetMatches)}
	for _, glob := range []struct {
		name  string
		value *string
	}{{"by_id", &t.ByID}, {"by_path", &t.ByPath}, {"serial", &t.Serial}, {"wwn", &t.WWN}, {"model", &t.Model}} {
		*glob.value = l.glob(b, glob.name)
	}
	t.MinSize, t.MaxSize = l.bytes(b, "min_size"), l.bytes(b, "max_size")
	if b.Has("rotational") {
		rotational := b.Bool("rotational", false)
		t.Rotational = &rotational
	}
	t.Transport = l.oneOf(b, "transport", "", Transports)
	t.Wipe = b.Bool("wipe", false)
	t.Preserve = l.preserve(b, d)
	l.checkTarget(b, t, d)
	b.Close()
	return t
}

// glob reads a pattern for a name.
func (l *loader) glob(b *decode.Body, name string) string {
	t := b.Text(name)
	if t.Range.Filename == "" {
		return ""
	}
	directory := map[string]string{"by_id": "/dev/disk/by-id/", "by_path": "/dev/disk/by-path/"}[name]
	_, err := path.Match(t.Value, "")
	short, inDirectory := strings.CutPrefix(t.Value, directory)
	switch {
	case t.Value == "":
		l.errorf(t.Range, "Empty pattern", "No disk has an empty %s. Write a value, which may have \"*\" and \"?\" in it, or remove the attribute.", name)
	case err != nil:
		l.errorf(t.Range, "Invalid pattern", "%q is not a pattern: \"[\" begins a set of characters, which \"]\" ends. Write \"\\\\[\" for the character itself.", t.Value)
	case directory != "" && inDirectory:
		l.errorf(t.Range, "Path instead of a name", "The directory is always %s. Write: %s = %q", directory, name, short)
	case directory != "" && strings.Contains(t.Value, "/"):
		l.errorf(t.Range, "Path instead of a name", "%q can be no name in %s, which has no \"/\" in it. Run \"ls -l %s\" on the machine to see its names.", t.Value, directory, directory)
	}
	return t.Value
}

// preserve reads which partitions keep their contents.
func (l *loader) preserve(b *decode.Body, d Disk) []string {
	var out []string
	for _, t := range b.Texts("preserve") {
		i := slices.IndexFunc(d.Partitions, func(p Partition) bool { return p.Label == t.Value })
		switch {
		case i < 0:
			l.errorf(t.Range, "Unknown partition", "The disk has no partition %q. %s", t.Value, preservable(t.Value, d))
		case d.Partitions[i].Role != RoleData:
			l.errorf(t.Range, "Part of the system", "Partition %q has the role %q and is what is installed. Only partitions of role \"data\" can keep their contents.", t.Value, d.Partitions[i].Role)
		case slices.Contains(out, t.Value):
			l.errorf(t.Range, "Duplicate partition", "%q is there twice. Remove one of them.", t.Value)
		default:
			out = append(out, t.Value)
		}
	}
	return out
}

// preservable says which partitions can keep their contents, to someone who wrote label.
func preservable(label string, d Disk) string {
	var labels []string
	for _, p := range d.Partitions {
		if p.Role == RoleData {
			labels = append(labels, p.Label)
		}
	}
	if len(labels) == 0 {
		return fmt.Sprintf("What is to outlive an installation needs a partition of its own. Write in the disk block: partition %q { role = \"data\"  size = \"1GiB\" }", label)
	}
	return decode.DidYouMean(label, labels)
}

// checkTarget finds policies no disk can ever meet.
func (l *loader) checkTarget(b *decode.Body, t Target, d Disk) {
	empty := t.Match == MatchSmallestEmpty || t.Match == MatchLargestEmpty
	if empty && t.Wipe {
		l.errorf(b.Range("wipe"), "Contradiction", "match = %q takes disks that hold nothing, wipe = true is for those that hold something. Remove wipe, or say which disk is meant and write: match = \"only\"", t.Match)
	}
	if empty && len(t.Preserve) > 0 {
		l.errorf(b.Range("preserve"), "Contradiction", "match = %q takes disks that hold nothing, so there is nothing to preserve. Remove preserve, or say which disk is meant and write: match = \"only\"", t.Match)
	}
	if t.MaxSize > 0 && t.MinSize > t.MaxSize {
		l.errorf(b.Range("min_size"), "No such size", "A disk of at least %s is larger than max_size, %s. Exchange them, or remove one.", FormatSize(t.MinSize), FormatSize(t.MaxSize))
	}
	if t.MaxSize > 0 && t.MaxSize < d.Size {
		l.errorf(b.Range("max_size"), "Image does not fit", "The image has %s, so it fits on no disk of at most %s. Make the disk block's size smaller, or write at least: max_size = %q", FormatSize(d.Size), FormatSize(t.MaxSize), FormatSize(d.Size))
	}
	if t.Transport == "nvme" && t.Rotational != nil && *t.Rotational {
		l.errorf(b.Range("rotational"), "Contradiction", "No disk with transport = \"nvme\" turns. Remove rotational, or write: rotational = false")
	}
}

func (l *loader) events(s *decode.Body) Events {
	var e Events
	blk := s.Single("events")
	if blk == nil {
		return e
	}
	b := decode.New("the events block", &l.diags, blk.Parts...)
	if t := b.Text("console"); t.Range.Filename != "" {
		e.Console = t.Value
		if !eventConsolePattern.MatchString(t.Value) {
			l.errorf(t.Range, "Invalid console", "%q is not a console. Write the name of a device without \"/dev/\" and without a speed, for example: console = \"ttyS0\"", t.Value)
		}
	}
	if t := b.Text("url"); t.Range.Filename != "" {
		e.URL = t.Value
		if u, err := url.Parse(t.Value); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			l.errorf(t.Range, "Invalid url", "%q is not a URL events can be sent to: it starts with http:// or https://, and a host follows.", t.Value)
		}
	}
	if !b.Has("console") && !b.Has("url") {
		l.errorf(blk.Range, "Events go nowhere", "The events block names no place. Write console = \"ttyS0\" or url = \"http://…\", or remove it.")
	}
	b.Close()
	return e
}

// checkInstalls reports scripts for an installation which never takes place.
func (l *loader) checkInstalls(r *Recipe) {
	for _, o := range r.Outputs {
		if o.Media != nil && o.Media.Mode == MediaInstall {
			return
		}
	}
	for _, s := range r.InstallScripts {
		l.errorf(s.Range, "Nothing is installed", "Script %q would run on the installed machine, but no output installs one. Write output \"iso\" {} or output \"pxe\" { url = \"…\" }, or remove stage.", s.Name)
	}
}
