package deb

import (
	"bytes"
	"cmp"
	"crypto/md5" //nolint:gosec // dpkg's database holds MD5 sums; nothing is trusted for them
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Installed is a package as dpkg's database will know it.
type Installed struct {
	Control map[string][]byte // the files of control.tar by name
	Tree    *tree.Tree        // the files as the package ships them
	Lost    []string          // absolute paths another package took over
	Auto    bool              // nobody asked for it by name; apt may remove it when nothing needs it

	stanza Stanza
}

// DatabaseFile is a file of dpkg's or apt's database.
type DatabaseFile struct {
	Path    string // absolute
	Content []byte
	Mode    uint32 // permission bits
}

// adminDir is dpkg's database (dpkg(1), --admindir).
const adminDir = "/var/lib/dpkg"

// Name returns the package's name, once Parse was called.
func (p *Installed) Name() string { return p.stanza.Get("Package") }

// Arch returns the package's architecture, once Parse was called.
func (p *Installed) Arch() string { return p.stanza.Get("Architecture") }

// infoName is the package's name in the database's file names: qualified with the
// architecture where packages of several can be installed together
// (dpkg's doc/triggers and lib/dpkg/db-infodb.c; format 1).
func (p *Installed) infoName() string {
	if p.stanza.Get("Multi-Arch") == "same" {
		return p.Name() + ":" + p.Arch()
	}
	return p.Name()
}

// Parse reads the package's control file. It comes before anything else.
func (p *Installed) Parse() error {
	var stanzas []Stanza
	err := ParseStanzas(bytes.NewReader(p.Control["control"]), func(s Stanza) error {
		stanzas = append(stanzas, s)
		return nil
	})
	if err != nil {
		return fmt.Errorf("control file: %w", err)
	}
	if len(stanzas) == 0 {
		return errors.New("control file: it has no stanza")
	}
	if len(stanzas) > 1 {
		return fmt.Errorf("control file: it has %d stanzas, and a package has one", len(stanzas))
	}
	p.stanza = stanzas[0]
	// Both become parts of file names and of commands.
	if !isPackageName(p.Name()) {
		return fmt.Errorf("control file: %q is not a package name", p.Name())
	}
	if !isPackageName(p.Arch()) {
		return fmt.Errorf("control file: %q is not an architecture", p.Arch())
	}
	return nil
}

// Replaces reports whether the package declares that it replaces files of other
// (Debian policy 7.6.1).
func (p *Installed) Replaces(other *Installed) (bool, error) {
	field := p.stanza.Get("Replaces")
	if field == "" {
		return false, nil
	}
	relations, err := ParseRelations(field)
	if err != nil {
		return false, fmt.Errorf("package %s, Replaces: %w", p.Name(), err)
	}
	for _, r := range relations {
		if r.Name == other.Name() && r.Op.Holds(other.stanza.Get("Version"), r.Version) {
			return true, nil
		}
	}
	return false, nil
}

// Database returns dpkg's database for packages which are unpacked and not yet
// configured: what `dpkg --unpack` of all of them would leave, so that the
// target's own `dpkg --configure -a` continues from there. content returns the
// bytes of a file that a package ships. arch is the root's architecture.
//
// Configuration files count as taken over already: they lie in their places, and
// the status has their digests, which is how a finished installation looks.
func Database(arch string, packages []*Installed, content func(tree.Entry) ([]byte, error)) ([]DatabaseFile, error) {
	sorted := slices.SortedFunc(slices.Values(packages), func(a, b *Installed) int {
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.Arch(), b.Arch()))
	})
	var files []DatabaseFile
	add := func(path string, mode uint32, p []byte) {
		files = append(files, DatabaseFile{Path: path, Content: p, Mode: mode})
	}
	var status bytes.Buffer
	triggers := triggerIndex{}
	for _, p := range sorted {
		conffiles, err := p.conffiles(content)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name(), err)
		}
		p.writeStatus(&status, conffiles)
		base := adminDir + "/info/" + p.infoName() + "."
		add(base+"list", 0o644, p.list())
		for _, name := range slices.Sorted(maps.Keys(p.Control)) {
			switch name {
			case "control", "list":
				continue // its fields are in the status file; the list is ours
			case "preinst", "postinst", "prerm", "postrm", "config":
				add(base+name, 0o755, p.Control[name])
			default:
				add(base+name, 0o644, p.Control[name])
			}
		}
		if err := triggers.add(p); err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name(), err)
		}
	}
	add(adminDir+"/status", 0o644, status.Bytes())
	add(adminDir+"/available", 0o644, nil)
	add(adminDir+"/diversions", 0o644, nil)
	add(adminDir+"/statoverride", 0o644, nil)
	add(adminDir+"/info/format", 0o644, []byte("1\n"))
	add(adminDir+"/arch", 0o644, []byte(arch+"\n"))
	add(adminDir+"/triggers/Lock", 0o600, nil)
	add(adminDir+"/triggers/Unincorp", 0o644, nil)
	add(adminDir+"/triggers/File", 0o644, triggers.files.Bytes())
	for _, name := range slices.Sorted(maps.Keys(triggers.explicit)) {
		add(adminDir+"/triggers/"+name, 0o644, []byte(strings.Join(triggers.explicit[name], "\n")+"\n"))
	}
	return files, nil
}

// DatabaseDirs are the directories of dpkg's database.
func DatabaseDirs() []string {
	return []string{adminDir, adminDir + "/info", adminDir + "/alternatives", adminDir + "/parts", adminDir + "/triggers", adminDir + "/updates"}
}

// ExtendedStates returns apt's record of which packages were installed only because
// others need them, at its place in the image.
func ExtendedStates(packages []*Installed) DatabaseFile {
	var b bytes.Buffer
	for _, p := range slices.SortedFunc(slices.Values(packages), func(a, b *Installed) int { return cmp.Compare(a.Name(), b.Name()) }) {
		if p.Auto {
			fmt.Fprintf(&b, "Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n", p.Name(), p.Arch())
		}
	}
	return DatabaseFile{Path: "/var/lib/apt/extended_states", Content: b.Bytes(), Mode: 0o644}
}

// list returns the package's .list file: every path it ships, as it ships it, but
// for those that were taken over.
func (p *Installed) list() []byte {
	lost := map[string]struct{}{}
	for _, path := range p.Lost {
		lost[path] = struct{}{}
	}
	var b bytes.Buffer
	for _, e := range p.Tree.Entries() {
		path := "/" + e.Path
		if e.Path == tree.Root {
			path = "/."
		}
		if _, ok := lost[path]; !ok {
			b.WriteString(path)
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// conffiles returns the lines of the status file's Conffiles field.
func (p *Installed) conffiles(content func(tree.Entry) ([]byte, error)) ([]string, error) {
	var lines []string
	for line := range strings.Lines(string(p.Control["conffiles"])) {
		path := strings.TrimSpace(line)
		if path == "" {
			continue
		}
		if flag, rest, ok := strings.Cut(path, " "); ok && !strings.HasPrefix(flag, "/") {
			if flag != "remove-on-upgrade" { // deb-conffiles(5)
				return nil, fmt.Errorf("conffiles has an unknown flag %q", flag)
			}
			// A file that the package no longer ships: dpkg notes it so for ever.
			lines = append(lines, strings.TrimSpace(rest)+" newconffile "+flag)
			continue
		}
		e, ok := p.Tree.Lookup(strings.TrimPrefix(path, "/"))
		if !ok || e.Type != tree.Regular {
			return nil, fmt.Errorf("conffiles names %s, which the package does not ship as a file", path)
		}
		data, err := content(e)
		if err != nil {
			return nil, err
		}
		sum := md5.Sum(data) //nolint:gosec // see the import
		lines = append(lines, path+" "+hex.EncodeToString(sum[:]))
	}
	return lines, nil
}

// writeStatus writes the package's stanza of the status file.
func (p *Installed) writeStatus(b *bytes.Buffer, conffiles []string) {
	for _, f := range p.stanza.Fields {
		switch {
		case strings.EqualFold(f.Name, "Status") || strings.EqualFold(f.Name, "Conffiles"):
			continue
		case strings.EqualFold(f.Name, "Description"):
			writeConffiles(b, conffiles)
			conffiles = nil
		}
		b.WriteString(Stanza{Fields: []Field{f}}.String())
		if strings.EqualFold(f.Name, "Package") {
			b.WriteString("Status: install ok unpacked\n")
		}
	}
	writeConffiles(b, conffiles)
	b.WriteByte('\n')
}

func writeConffiles(b *bytes.Buffer, lines []string) {
	if len(lines) == 0 {
		return
	}
	b.WriteString("Conffiles:\n")
	for _, line := range lines {
		b.WriteString(" " + line + "\n")
	}
}

// triggerIndex is what dpkg notes of the triggers that packages are interested in
// (dpkg's doc/spec/triggers.txt).
type triggerIndex struct {
	explicit map[string][]string // who is interested in a trigger, in a file of its name
	files    bytes.Buffer        // the file for triggers that are paths
}

// Names of dpkg's own files beside those of triggers.
var triggerFiles = []string{"File", "Lock", "Unincorp"}

// add notes the interests of p.
func (t *triggerIndex) add(p *Installed) error {
	for line := range strings.Lines(string(p.Control["triggers"])) {
		words := strings.Fields(line)
		if len(words) != 2 || !strings.HasPrefix(words[0], "interest") {
			continue // "activate", or a comment
		}
		who, trigger := p.infoName(), words[1]
		if words[0] == "interest-noawait" {
			who += "/noawait"
		}
		switch {
		case strings.HasPrefix(trigger, "/"):
			t.files.WriteString(trigger + " " + who + "\n")
		case !isPackageName(trigger) || slices.Contains(triggerFiles, trigger):
			return fmt.Errorf("triggers has %q, which is no name of a trigger", trigger)
		default:
			if t.explicit == nil {
				t.explicit = map[string][]string{}
			}
			t.explicit[trigger] = append(t.explicit[trigger], who)
		}
	}
	return nil
}
