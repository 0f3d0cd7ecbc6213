package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An AptSource is one enabled binary repository of a machine's apt
// configuration, sources.list(5): one URI with one suite. An entry that names
// several of either gives several of these.
type AptSource struct {
	URI           string
	Suite         string   // a repository without components has a path ending in a slash
	Components    []string // empty for a repository without them
	Architectures []string // empty: those of the machine

	SignedBy     []string // key files and fingerprints
	SignedByKey  string   // an armored key, or empty
	Trusted      bool     // apt does not verify it
	AllowExpired bool     // apt ignores Valid-Until

	File string // where it is configured
	Line int
}

// An AptSyntaxError says what apt's configuration has that is not understood.
type AptSyntaxError struct {
	File string
	Line int
	Msg  string
}

// Error returns file, line and message.
func (e *AptSyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// maxAptSourceBytes bounds one file of apt's configuration.
const maxAptSourceBytes = 4 << 20

// ReadAptSources reads etc/apt/sources.list and the files of
// etc/apt/sources.list.d below root ("/" but for tests) in apt's order. A machine
// without apt has none. Entries that are malformed and files that cannot be read are
// left out and reported in the error, next to the entries that are fine.
func ReadAptSources(root string) ([]AptSource, error) {
	files := []string{"etc/apt/sources.list"}
	parts, err := os.ReadDir(filepath.Join(root, "etc/apt/sources.list.d"))
	var problems []error
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, err)
	}
	for _, part := range parts { // sorted by name
		if isAptPartName(part.Name()) {
			files = append(files, "etc/apt/sources.list.d/"+part.Name())
		}
	}
	var sources []AptSource
	for _, file := range files {
		p, err := readAptFile(filepath.Join(root, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		found, err := parseAptSources(p, "/"+file)
		sources = append(sources, found...)
		if err != nil {
			problems = append(problems, err)
		}
	}
	return sources, errors.Join(problems...)
}

func readAptFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxAptSourceBytes {
		return nil, fmt.Errorf("%s is not a list of apt sources", name)
	}
	return os.ReadFile(name)
}

// isAptPartName tells the files of sources.list.d that apt reads from those it
// ignores.
func isAptPartName(name string) bool {
	if ext := path.Ext(name); ext != ".list" && ext != ".sources" || name[0] == '.' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-.", r))
	}) < 0
}

// parseAptSources reads one file; name decides which of the two formats it has.
func parseAptSources(p []byte, name string) ([]AptSource, error) {
	if path.Ext(name) == ".sources" {
		return parseAptStanzas(p, name)
	}
	var sources []AptSource
	var problems []error
	number := 0
	for line := range strings.Lines(string(p)) {
		number++
		found, err := parseAptLine(line)
		if err != nil {
			problems = append(problems, &AptSyntaxError{name, number, err.Error()})
			continue
		}
		for _, s := range found {
			s.File, s.Line = name, number
			sources = append(sources, s)
		}
	}
	return sources, errors.Join(problems...)
}

// parseAptLine reads "deb [option=value …] URI suite component…".
func parseAptLine(line string) ([]AptSource, error) {
	words, err := splitAptLine(line)
	if err != nil || len(words) == 0 {
		return nil, err
	}
	if words[0] == "deb-src" {
		return nil, nil
	}
	if words[0] != "deb" {
		return nil, fmt.Errorf("%q is neither deb nor deb-src", words[0])
	}
	words = words[1:]
	options := map[string]string{}
	if len(words) > 0 && words[0][0] == '[' {
		inside := strings.TrimSuffix(words[0][1:], "]")
		for option := range strings.FieldsSeq(inside) {
			name, value, ok := strings.Cut(option, "=")
			if !ok {
				return nil, fmt.Errorf("the option %q has no value", option)
			}
			options[strings.ToLower(name)] = value
		}
		words = words[1:]
	}
	if len(words) < 2 {
		return nil, errors.New("the URI or the suite is missing")
	}
	list := func(name string) []string {
		return strings.FieldsFunc(options[name], func(r rune) bool { return r == ',' })
	}
	return newAptSources(AptSource{
		Components:    words[2:],
		Architectures: list("arch"),
		SignedBy:      list("signed-by"),
		Trusted:       aptBool(options["trusted"], false),
		AllowExpired:  !aptBool(options["check-valid-until"], true),
	}, words[:1], words[1:2])
}

// splitAptLine splits a line at white space that is not inside brackets or
// quotes, up to a comment.
func splitAptLine(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		end := 0
		for end < len(line) && !strings.ContainsRune(" \t\r\n#", rune(line[end])) {
			closing := map[byte]byte{'[': ']', '"': '"'}[line[end]]
			if closing != 0 {
				length := strings.IndexByte(line[end+1:], closing)
				if length < 0 {
					return nil, fmt.Errorf("%q is not closed", line[end:end+1])
				}
				end += 1 + length
			}
			end++
		}
		words = append(words, strings.ReplaceAll(line[:end], `"`, ""))
		if words[len(words)-1] == "" {
			return nil, errors.New("there is an empty word in quotes")
		}
		line = line[end:]
	}
}

// parseAptStanzas reads the deb822 format.
func parseAptStanzas(p []byte, name string) ([]AptSource, error) {
	var sources []AptSource
	var problems []error
	err := ParseStanzas(bytes.NewReader(p), func(s Stanza) error {
		found, err := parseAptStanza(s)
		if err != nil {
			problems = append(problems, &AptSyntaxError{name, s.Line, err.Error()})
			return nil
		}
		for _, source := range found {
			source.File, source.Line = name, s.Line
			sources = append(sources, source)
		}
		return nil
	})
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		err = &AptSyntaxError{name, syntax.Line, syntax.Msg}
	}
	return sources, errors.Join(append(problems, err)...)
}

func parseAptStanza(s Stanza) ([]AptSource, error) {
	types := strings.Fields(s.Get("Types"))
	if len(types) == 0 {
		return nil, errors.New("the field Types is missing")
	}
	for _, t := range types {
		if t != "deb" && t != "deb-src" {
			return nil, fmt.Errorf("the type %q is neither deb nor deb-src", t)
		}
	}
	if !slices.Contains(types, "deb") || !aptBool(s.Get("Enabled"), true) {
		return nil, nil
	}
	uris, suites := strings.Fields(s.Get("URIs")), strings.Fields(s.Get("Suites"))
	if len(uris) == 0 || len(suites) == 0 {
		return nil, errors.New("the field URIs or Suites is missing")
	}
	source := AptSource{
		Components:    strings.Fields(s.Get("Components")),
		Architectures: strings.Fields(s.Get("Architectures")),
		Trusted:       aptBool(s.Get("Trusted"), false),
		AllowExpired:  !aptBool(s.Get("Check-Valid-Until"), true),
	}
	if key, ok := s.Lookup("Signed-By"); ok {
		if strings.Contains(key.Value, "-----BEGIN PGP") {
			source.SignedByKey = embeddedKey(key.Value)
		} else {
			source.SignedBy = strings.FieldsFunc(key.Value, func(r rune) bool { return r == ',' || isLineSpace(byte(r)) })
		}
	}
	return newAptSources(source, uris, suites)
}

// embeddedKey undoes the indentation of an armored key in a field, in which a dot
// stands for an empty line.
func embeddedKey(value string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(value), "\n") {
		line = strings.TrimSpace(line)
		if line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// newAptSources returns one source for every URI and suite.
func newAptSources(template AptSource, uris, suites []string) ([]AptSource, error) {
	var sources []AptSource
	for _, uri := range uris {
		if scheme, _, ok := strings.Cut(uri, ":"); !ok || scheme == "" {
			return nil, fmt.Errorf("%q is not a URI", uri)
		}
		for _, suite := range suites {
			flat := strings.HasSuffix(suite, "/")
			if flat && len(template.Components) > 0 {
				return nil, fmt.Errorf("the suite %q is a path, so there can be no components", suite)
			}
			if !flat && len(template.Components) == 0 {
				return nil, fmt.Errorf("the suite %q needs components", suite)
			}
			s := template
			s.URI, s.Suite = uri, suite
			sources = append(sources, s)
		}
	}
	return sources, nil
}

// aptBool reads a truth value as apt does.
func aptBool(s string, unset bool) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "with", "on", "enable", "1":
		return true
	case "no", "false", "without", "off", "disable", "0":
		return false
	}
	return unset
}

// AptMirrors returns where apt on this machine gets packages from that might have
// suite and components for architecture arch, the likeliest first: for
// RepositoryConfig.URIs, before the distribution's own.
//
// Nothing in apt's configuration says which distribution an entry belongs to, and
// a machine may be asked for another release than its own. So this only leaves
// out what cannot be meant: entries with no component in common, for other
// architectures, of a kind that is not fetched here (cdrom, mirror lists), or
// signed by a keyring file of another name than keyrings have (directories and
// suffixes do not count). What remains are candidates; entries that name suite
// itself come first. LoadIndexes then takes the one that proves, by its
// signature, suite, Origin and Label, to be the repository.
func AptMirrors(sources []AptSource, suite string, components []string, arch string, keyrings []string) []string {
	var exact, others []string
	for _, s := range sources {
		uri := strings.TrimRight(strings.ReplaceAll(s.URI, "$(ARCH)", arch), "/")
		switch {
		case !isFetchable(uri),
			!slices.ContainsFunc(s.Components, func(c string) bool { return slices.Contains(components, c) }),
			len(s.Architectures) > 0 && !slices.Contains(s.Architectures, arch),
			!mayBeSignedBy(s, keyrings):
		case s.Suite == suite:
			exact = append(exact, uri)
		default:
			others = append(others, uri)
		}
	}
	var unique []string
	for _, uri := range append(exact, others...) {
		if !slices.Contains(unique, uri) {
			unique = append(unique, uri)
		}
	}
	return unique
}

func isFetchable(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "file")
}

// mayBeSignedBy reports whether an entry's keys could be among keyrings: it names
// no key file, or one of the same name.
func mayBeSignedBy(s AptSource, keyrings []string) bool {
	stem := func(file string) string { return strings.TrimSuffix(path.Base(file), path.Ext(file)) }
	named := false
	for _, key := range s.SignedBy {
		if !path.IsAbs(key) {
			return true // a fingerprint
		}
		named = true
		if slices.ContainsFunc(keyrings, func(k string) bool { return stem(k) == stem(key) }) {
			return true
		}
	}
	return !named
}
