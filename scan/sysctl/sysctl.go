// Package sysctl tells which kernel parameters systemd-sysctl sets at boot
// (systemd-sysctl.service(8), sysctl.d(5)).
package sysctl

import (
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/scan/files"
)

// Setting is a line of a file in sysctl.d.
type Setting struct {
	Key     string // normalized, see Normalize
	Value   string
	Exclude bool   // "-key" without a value: patterns do not apply to the key
	Path    string // absolute
	Line    int    // from 1
}

// Config is what systemd-sysctl has read.
type Config struct {
	settings []Setting // in the order in which they are written, one of each key
}

// Read reads the configuration of a root.
func Read(root files.Root) (*Config, error) {
	found, err := root.DropIns(".conf", files.ConfDirs("sysctl.d")...)
	if err != nil {
		return nil, err
	}
	c := &Config{}
	for _, f := range found {
		for _, s := range Parse(f.Path, f.Data) {
			c.add(s)
		}
	}
	return c, nil
}

// Parse returns the settings of one file in order. Lines that are neither an
// assignment nor an exclusion are ignored, as systemd-sysctl does after a warning.
func Parse(name string, data []byte) []Setting {
	var settings []Setting
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.Trim(line, whitespace)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		s := Setting{Path: name, Line: number}
		key, value, assigned := strings.Cut(line, "=")
		key, minus := strings.CutPrefix(key, "-") // failures to write do not matter
		if !assigned && !minus {
			continue
		}
		s.Key, s.Value, s.Exclude = Normalize(strings.Trim(key, whitespace)), strings.Trim(value, whitespace), !assigned
		settings = append(settings, s)
	}
	return settings
}

// whitespace is what systemd strips off lines.
const whitespace = " \t\n\r"

// Normalize returns the key with slashes between its parts: "net/ipv4/ip_forward".
// Where a key's first separator is a dot, its dots and slashes change places.
func Normalize(key string) string {
	i := strings.IndexAny(key, "/.")
	if i < 0 || key[i] == '/' {
		return key
	}
	return strings.Map(func(c rune) rune {
		switch c {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return c
	}, key)
}

// add adds a setting, which takes the place of one of the same key. One with the same
// value changes nothing, which matters for the order of patterns.
func (c *Config) add(s Setting) {
	for i, old := range c.settings {
		if old.Key != s.Key {
			continue
		}
		if old.Value == s.Value && old.Exclude == s.Exclude {
			return
		}
		c.settings = append(c.settings[:i:i], c.settings[i+1:]...)
		break
	}
	c.settings = append(c.settings, s)
}

// Effective returns the setting that decides about a key without patterns; false when
// there is none. An explicit setting comes before patterns, of which the last counts.
func (c *Config) Effective(key string) (Setting, bool) {
	key = Normalize(key)
	var found Setting
	ok := false
	for _, s := range c.settings {
		if s.Key == key {
			return s, !s.Exclude
		}
		if s.Exclude || !strings.ContainsAny(s.Key, "*?[") {
			continue
		}
		if matches, err := path.Match(s.Key, key); matches && err == nil {
			found, ok = s, true
		}
	}
	return found, ok
}
