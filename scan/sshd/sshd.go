// Package sshd tells what sshd_config(5) of a root sets, as sshd reads it: files that
// are included count where they are included, and the first value of a keyword wins.
package sshd

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Path is where sshd looks for its configuration.
const Path = "/etc/ssh/sshd_config"

// Setting is one keyword with its value.
type Setting struct {
	Keyword string // canonical, see Canonical
	Value   string // arguments with one blank between them
	Match   string // the conditions of the Match block it is in; "" outside, Always where they always hold
	Path    string // absolute
	Line    int    // from 1
}

// Always is the condition of "Match all".
const Always = "all"

// Config is what all files set, in the order in which sshd reads them.
type Config struct {
	Settings []Setting
}

// ErrNoConfig says that there is no configuration; sshd does not start without.
var ErrNoConfig = errors.New("there is no " + Path)

// maxDepth is how deep files can include each other (servconf.c,
// SERVCONF_MAX_DEPTH).
const maxDepth = 16

// Read reads the configuration of a root. The error is ErrNoConfig, or names the
// file and the line that sshd would refuse.
func Read(root files.Root) (*Config, error) {
	f, ok, err := root.Read(Path)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNoConfig
	}
	r := reader{root: root}
	if err := r.file(f, "", 0); err != nil {
		return nil, err
	}
	return &Config{r.settings}, nil
}

type reader struct {
	root     files.Root
	settings []Setting
}

// file reads a file that is included inside of the Match block match.
func (r *reader) file(f files.File, match string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d files include each other", f.Path, maxDepth)
	}
	outer := match
	number := 0
	for text := range strings.Lines(string(f.Data)) {
		number++
		keyword, arguments, err := Split(text)
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", f.Path, number, err)
		}
		switch keyword {
		case "":
		case "match":
			match = strings.Join(arguments, " ")
			switch {
			case strings.EqualFold(match, Always) && outer != "":
				match = outer
			case strings.EqualFold(match, Always):
				match = Always
			case outer != "" && outer != Always:
				match = outer + " and " + match
			}
		case "include":
			for _, pattern := range arguments {
				if !path.IsAbs(pattern) {
					pattern = path.Join(path.Dir(Path), pattern)
				}
				for _, e := range r.root.Glob([]string{pattern}, nil) {
					if strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(path.Base(pattern), ".") {
						continue // glob(3) leaves hidden files out
					}
					included, ok, err := r.root.Read("/" + e.Path)
					if err != nil {
						return err
					}
					if !ok {
						if e.Type == tree.Directory {
							return fmt.Errorf("%s, line %d: Include %s matches the directory /%s, which sshd refuses", f.Path, number, pattern, e.Path)
						}
						continue // a link to nowhere: sshd skips what it cannot find
					}
					included.Path = "/" + e.Path
					if err := r.file(included, match, depth+1); err != nil {
						return err
					}
				}
			}
		default:
			r.settings = append(r.settings, Setting{keyword, strings.Join(arguments, " "), match, f.Path, number})
		}
	}
	return nil
}

// Split splits a line into its canonical keyword and its arguments, which may be
// quoted. A line that says nothing has no keyword.
func Split(line string) (keyword string, arguments []string, err error) {
	line = strings.Trim(line, " \t\r\n\f")
	if line == "" || line[0] == '#' {
		return "", nil, nil
	}
	var rest string
	if line[0] == '"' { // strdelim takes quoted keywords as well
		end := strings.IndexByte(line[1:], '"')
		if end < 0 {
			return "", nil, errors.New("a quote is not closed")
		}
		keyword, rest = line[1:end+1], line[end+2:]
	} else if i := strings.IndexAny(line, " \t\r\n="); i >= 0 {
		keyword, rest = line[:i], line[i:]
	} else {
		keyword = line
	}
	rest = strings.TrimLeft(rest, " \t\r\n")
	if after, ok := strings.CutPrefix(rest, "="); ok { // one is allowed instead of white space
		rest = strings.TrimLeft(after, " \t\r\n")
	}
	if keyword == "" {
		return "", nil, errors.New("there is no keyword")
	}
	arguments, err = fields(rest)
	return Canonical(keyword), arguments, err
}

// fields splits arguments as argv_split of OpenSSH does, up to a comment.
func fields(s string) ([]string, error) {
	var found []string
	for i := 0; i < len(s); {
		switch s[i] {
		case ' ', '\t':
			i++
			continue
		case '#':
			return found, nil
		}
		var b strings.Builder
		quote := byte(0)
		for ; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '\\' && i+1 < len(s) && (s[i+1] == '\'' || s[i+1] == '"' || s[i+1] == '\\' || quote == 0 && s[i+1] == ' '):
				i++
				b.WriteByte(s[i])
				continue
			case quote == 0 && (c == ' ' || c == '\t'):
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
				continue
			case quote != 0 && c == quote:
				quote = 0
				continue
			default:
				b.WriteByte(c)
				continue
			}
			break
		}
		if quote != 0 {
			return nil, errors.New("a quote is not closed")
		}
		found = append(found, b.String())
	}
	return found, nil
}

// aliases are other names of keywords (servconf.c, keywords).
var aliases = map[string]string{
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"skeyauthentication":              "kbdinteractiveauthentication",
	"dsaauthentication":               "pubkeyauthentication",
	"keepalive":                       "tcpkeepalive",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"hostbasedacceptedkeytypes":       "hostbasedacceptedalgorithms",
}

// Canonical returns the name of a keyword as sshd -T prints it.
func Canonical(keyword string) string {
	keyword = strings.ToLower(keyword)
	if other, ok := aliases[keyword]; ok {
		return other
	}
	return keyword
}

// several are keywords that may be written several times, each adding to the ones
// before.
var several = []string{
	"acceptenv", "allowgroups", "allowusers", "authenticationmethods", "denygroups", "denyusers", "hostcertificate", "hostkey", "listenaddress",
	"logverbose", "permitlisten", "permitopen", "port", "setenv", "subsystem",
}

// Global returns the setting of a keyword that holds for every connection but those
// of Match blocks with conditions; false when there is none and sshd's default holds.
// What "Match all" says comes before what stands outside of blocks, wherever it is.
// The keyword must not be one of those that add up.
func (c *Config) Global(keyword string) (Setting, bool) {
	keyword = Canonical(keyword)
	if slices.Contains(several, keyword) {
		panic("sshd: " + keyword + " has no single value")
	}
	for _, match := range []string{Always, ""} {
		for _, s := range c.Settings {
			if s.Keyword == keyword && s.Match == match {
				return s, true
			}
		}
	}
	return Setting{}, false
}

// Matches returns the settings of a keyword in Match blocks with conditions.
func (c *Config) Matches(keyword string) []Setting {
	keyword = Canonical(keyword)
	var found []Setting
	for _, s := range c.Settings {
		if s.Keyword == keyword && s.Match != "" && s.Match != Always {
			found = append(found, s)
		}
	}
	return found
}

// times are the keywords with a time as value.
var times = []string{"clientaliveinterval", "logingracetime"}

// Normal returns the value in the form in which values of the keyword are compared:
// times in seconds, words that sshd takes in any case in the case it prints, and the
// newer of two names.
func Normal(keyword, value string) string {
	keyword = Canonical(keyword)
	if slices.Contains(times, keyword) {
		if seconds, ok := Seconds(value); ok {
			return strconv.FormatInt(seconds, 10)
		}
		return value
	}
	if keyword == "loglevel" {
		return strings.ToUpper(value)
	}
	switch lower := strings.ToLower(value); {
	case keyword == "permitrootlogin" && lower == "without-password":
		return "prohibit-password"
	case keyword == "permitrootlogin", lower == "yes", lower == "no", keyword == "ignorerhosts":
		return lower
	case lower == "true" || lower == "false":
		return value // sshd refuses these
	}
	return value
}

// Seconds reads a time as sshd_config has them: "90", "2m", "1h30m".
func Seconds(s string) (int64, bool) {
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
	var total, n int64
	digits := false
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' {
			n, digits = n*10+int64(c-'0'), true
			if n > 1<<40 {
				return 0, false
			}
			continue
		}
		unit, ok := units[c|0x20]
		if !ok || !digits {
			return 0, false
		}
		total, n, digits = total+n*unit, 0, false
		if total > 1<<50 {
			return 0, false
		}
	}
	return total + n, s != ""
}
