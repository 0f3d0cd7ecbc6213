package lua

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// permissions are the characters of a mode's nine permission bits, from the highest.
const permissions = "rwxrwxrwx"

// modeString returns the permissions of a mode as "rwxr-sr-x"; without the permission
// to execute, set-id bits are a capital S.
func modeString(mode uint32) string {
	s := []byte(permissions)
	for n := range s {
		if mode>>(8-n)&1 == 0 {
			s[n] = '-'
		}
	}
	for _, special := range []struct {
		bit uint32
		at  int
	}{{unix.S_ISUID, 2}, {unix.S_ISGID, 5}} {
		switch {
		case mode&special.bit == 0:
		case s[special.at] == 'x':
			s[special.at] = 's'
		default:
			s[special.at] = 'S'
		}
	}
	return string(s)
}

// changeMode returns mode changed as text says: an octal number, nine characters as of
// modeString, or clauses as of chmod(1) like "u+x,go=r".
func changeMode(mode uint32, text string) (uint32, bool) {
	switch {
	case text == "":
		return 0, false
	case text[0] >= '0' && text[0] <= '7':
		number, err := strconv.ParseUint(text, 8, 32)
		return uint32(number), err == nil
	case text[0] == 'r' || text[0] == '-':
		return fixedMode(mode, text)
	}
	for clause := range strings.SplitSeq(strings.ReplaceAll(text, " ", ""), ",") {
		var ok bool
		if mode, ok = clauseMode(mode, clause); !ok {
			return 0, false
		}
	}
	return mode, true
}

// fixedMode reads nine characters. Others than the expected letter, s and - leave
// their bit.
func fixedMode(mode uint32, text string) (uint32, bool) {
	mode &^= unix.S_ISUID | unix.S_ISGID
	for n := range len(permissions) {
		if n >= len(text) {
			break
		}
		bit := uint32(1) << (8 - n)
		switch text[n] {
		case permissions[n]:
			mode |= bit
		case '-':
			mode &^= bit
		case 's':
			switch n {
			case 2:
				mode |= unix.S_ISUID | bit
			case 5:
				mode |= unix.S_ISGID | bit
			default:
				return 0, false
			}
		}
	}
	return mode, true
}

// clauseMode applies one clause: whose bits, an operator, which bits. "=" sets the
// whole mode to what follows, in rpm as well.
func clauseMode(mode uint32, clause string) (uint32, bool) {
	at := strings.IndexAny(clause, "+-=")
	if at < 0 {
		return 0, false
	}
	var whose, which uint32
	for _, c := range clause[:at] {
		switch c {
		case 'u':
			whose |= 0o4700
		case 'g':
			whose |= 0o2070
		case 'o':
			whose |= 0o1007
		case 'a':
			whose |= 0o7777
		default:
			return 0, false
		}
	}
	if whose == 0 {
		whose = 0o7777
	}
	for _, c := range clause[at+1:] {
		switch c {
		case 'r':
			which |= 0o444
		case 'w':
			which |= 0o222
		case 'x':
			which |= 0o111
		case 's':
			which |= 0o6000
		default:
			return 0, false
		}
	}
	if which == 0 {
		return mode, true
	}
	switch clause[at] {
	case '+':
		return mode | which&whose, true
	case '-':
		return mode &^ (which & whose), true
	}
	return which & whose, true
}
