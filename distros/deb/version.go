package deb

import (
	"fmt"
	"strings"
)

// CompareVersions compares two versions as deb-version(7) says and returns a
// negative number when a is earlier than b, zero when they are equal, and a
// positive number when a is later. It is a total order on all strings: what
// CheckVersion refuses is compared by the same rules.
func CompareVersions(a, b string) int {
	epochA, upstreamA, revisionA := splitVersion(a)
	epochB, upstreamB, revisionB := splitVersion(b)
	if c := comparePart(epochA, epochB); c != 0 {
		return c
	}
	if c := comparePart(upstreamA, upstreamB); c != 0 {
		return c
	}
	return comparePart(revisionA, revisionB)
}

// CheckVersion returns an error when s does not have the form
// [epoch:]upstream[-revision] of deb-version(7).
func CheckVersion(s string) error {
	if colon := strings.IndexByte(s, ':'); colon >= 0 {
		if colon == 0 || strings.Trim(s[:colon], "0123456789") != "" {
			return fmt.Errorf("version %q: the epoch %q is not a number", s, s[:colon])
		}
	}
	_, upstream, revision := splitVersion(s)
	if upstream == "" {
		return fmt.Errorf("version %q is empty", s)
	}
	if !isDigit(upstream[0]) {
		return fmt.Errorf("version %q does not begin with a digit", s)
	}
	if strings.HasSuffix(s, "-") {
		return fmt.Errorf("version %q: the revision after the last '-' is empty", s)
	}
	for i := range len(upstream + revision) {
		c := (upstream + revision)[i]
		inRevision := i >= len(upstream)
		if !isDigit(c) && !isLetter(c) && strings.IndexByte(".+~-:", c) < 0 || inRevision && c == ':' {
			return fmt.Errorf("version %q contains the character %q where it cannot be", s, c)
		}
	}
	return nil
}

// splitVersion splits a version; a part that is missing is empty, which
// compares like "0". Something other than digits before the first colon is no
// epoch.
func splitVersion(s string) (epoch, upstream, revision string) {
	if colon := strings.IndexByte(s, ':'); colon > 0 && strings.Trim(s[:colon], "0123456789") == "" {
		epoch, s = s[:colon], s[colon+1:]
	}
	if dash := strings.LastIndexByte(s, '-'); dash >= 0 {
		s, revision = s[:dash], s[dash+1:]
	}
	return epoch, s, revision
}

// comparePart compares two upstream versions or two revisions: stretches
// without digits by the order of their characters and numbers by value, in
// turn.
func comparePart(a, b string) int {
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		for (i < len(a) && !isDigit(a[i])) || (j < len(b) && !isDigit(b[j])) {
			if d := rank(a, i) - rank(b, j); d != 0 {
				return d
			}
			i++
			j++
		}
		for i < len(a) && a[i] == '0' {
			i++
		}
		for j < len(b) && b[j] == '0' {
			j++
		}
		first := 0 // of the differences between digits of equal weight
		for i < len(a) && isDigit(a[i]) && j < len(b) && isDigit(b[j]) {
			if first == 0 {
				first = int(a[i]) - int(b[j])
			}
			i++
			j++
		}
		if i < len(a) && isDigit(a[i]) {
			return 1
		}
		if j < len(b) && isDigit(b[j]) {
			return -1
		}
		if first != 0 {
			return first
		}
	}
	return 0
}

// rank orders the characters outside of numbers: '~' before the end of the
// part (and before a number), that before letters, letters before the rest.
func rank(s string, i int) int {
	switch {
	case i >= len(s) || isDigit(s[i]):
		return 0
	case s[i] == '~':
		return -1
	case isLetter(s[i]):
		return int(s[i])
	default:
		return int(s[i]) + 256
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
