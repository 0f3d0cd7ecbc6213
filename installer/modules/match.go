package modules

import "strings"

// match is fnmatch(3) without flags: '*' and '?' match everything, '/' included. A backslash is an ordinary character, as
// depmod never writes one. Its time is at most the product of the lengths.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, resume := -1, 0 // where to go on after the last '*', which then takes one more
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, resume = p, i
				p++
				continue
			}
			if length := matchOne(pattern[p:], s[i]); length > 0 {
				p += length
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		p, i = star+1, resume
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one byte and returns the length of the pattern that did, or 0.
func matchOne(pattern string, c byte) int {
	switch pattern[0] {
	case '?':
		return 1
	case '[':
		set := pattern[1:]
		negated := set != "" && (set[0] == '!' || set[0] == '^')
		if negated {
			set = set[1:]
		}
		// A ']' that comes first is a member.
		end := strings.IndexByte(set[min(1, len(set)):], ']') + 1
		if end == 0 {
			break // no set after all
		}
		found := false
		for i := 0; i < end; i++ {
			low, high := set[i], set[i]
			if i+2 < end && set[i+1] == '-' {
				high = set[i+2]
				i += 2
			}
			found = found || low <= c && c <= high
		}
		if found == negated {
			return 0
		}
		return len(pattern) - len(set) + end + 1
	}
	if pattern[0] == c {
		return 1
	}
	return 0
}
