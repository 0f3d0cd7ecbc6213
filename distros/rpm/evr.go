package rpm

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// An EVR is the epoch, version and release of a package. In a dependency the release
// may be empty, which means any.
type EVR struct {
	Epoch   uint32
	Version string
	Release string
}

// String returns "[epoch:]version[-release]"; an epoch of 0 is left out.
func (e EVR) String() string {
	s := e.Version
	if e.Epoch != 0 {
		s = strconv.FormatUint(uint64(e.Epoch), 10) + ":" + s
	}
	if e.Release != "" {
		s += "-" + e.Release
	}
	return s
}

// ParseEVR parses "[epoch:]version[-release]". The release begins after the last
// "-".
func ParseEVR(s string) (EVR, error) {
	var e EVR
	rest := s
	if epoch, after, found := strings.Cut(s, ":"); found {
		n, err := strconv.ParseUint(epoch, 10, 32)
		if err != nil {
			return EVR{}, fmt.Errorf("version %q: the epoch %q is not a number below 2^32", s, epoch)
		}
		e.Epoch, rest = uint32(n), after
	}
	e.Version = rest
	if dash := strings.LastIndexByte(rest, '-'); dash >= 0 {
		e.Version, e.Release = rest[:dash], rest[dash+1:]
		if e.Release == "" {
			return EVR{}, fmt.Errorf("version %q: the release after the last '-' is empty", s)
		}
	}
	if e.Version == "" {
		return EVR{}, fmt.Errorf("version %q is empty", s)
	}
	if at := strings.IndexFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }); at >= 0 {
		return EVR{}, fmt.Errorf("version %q contains the character %q where it cannot be", s, rest[at])
	}
	return e, nil
}

// CompareEVR compares two versions and returns a negative number when a is earlier
// than b, zero when they are equal, and a positive number when a is later. An empty
// release is earlier than any other.
func CompareEVR(a, b EVR) int {
	if c := cmp.Compare(a.Epoch, b.Epoch); c != 0 {
		return c
	}
	if c := CompareVersions(a.Version, b.Version); c != 0 {
		return c
	}
	if a.Release == "" || b.Release == "" {
		return cmp.Compare(len(a.Release), len(b.Release))
	}
	return CompareVersions(a.Release, b.Release)
}

// CompareVersions compares two versions without epoch and release, or two releases,
// as rpm does: segments of digits by value and segments of letters by bytes, digits
// being later than letters; whatever separates them is not looked at. A "~" sorts
// before everything, even the end: 1.0~rc1 is earlier than 1.0. A "^" sorts after
// the end and before everything else: 1.0^git1 is later than 1.0 and earlier than
// 1.0.1.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	for {
		a, b = skipSeparators(a), skipSeparators(b)
		switch {
		case begins(a, '~') || begins(b, '~'):
			if !begins(a, '~') {
				return 1
			}
			if !begins(b, '~') {
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		case begins(a, '^') || begins(b, '^'):
			switch {
			case a == "":
				return -1
			case b == "":
				return 1
			case a[0] != '^':
				return 1
			case b[0] != '^':
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		case a == "" || b == "":
			return cmp.Compare(len(a), len(b))
		}
		is := isLetter
		if isDigit(a[0]) {
			is = isDigit
		}
		segmentA, restA := cutSegment(a, is)
		segmentB, restB := cutSegment(b, is)
		switch {
		case segmentB == "" && isDigit(a[0]):
			return 1 // digits are later than letters
		case segmentB == "":
			return -1
		}
		c := 0
		if isDigit(a[0]) {
			segmentA, segmentB = strings.TrimLeft(segmentA, "0"), strings.TrimLeft(segmentB, "0")
			c = cmp.Compare(len(segmentA), len(segmentB))
		}
		if c = cmp.Or(c, strings.Compare(segmentA, segmentB)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
}

func begins(s string, c byte) bool { return s != "" && s[0] == c }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func skipSeparators(s string) string {
	i := 0
	for i < len(s) && !isDigit(s[i]) && !isLetter(s[i]) && s[i] != '~' && s[i] != '^' {
		i++
	}
	return s[i:]
}

// cutSegment cuts s after the characters it begins with that are of a kind.
func cutSegment(s string, is func(byte) bool) (segment, rest string) {
	i := 0
	for i < len(s) && is(s[i]) {
		i++
	}
	return s[:i], s[i:]
}
