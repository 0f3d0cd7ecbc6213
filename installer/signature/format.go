package signature

import (
	"encoding/hex"
	"strings"
	"unicode/utf16"
)

// format is a superblock at a fixed place with a magic in it. All offsets but base count from base.
type format struct {
	kind, usage string
	base        int64
	magicAt     int64
	magic       string
	uuidAt      int64 // 16 bytes; 0 for none
	labelAt     int64
	labelLen    int64
	wideLabelAt int64 // up to 512 units of UTF-16; 0 for none
	// valid looks closer, where the magic is short or shared.
	valid func(a *area, base int64) bool
}

// find returns the signature, if the area has it.
func (f format) find(a *area) (Found, bool) {
	if !a.has(f.base+f.magicAt, f.magic) || f.valid != nil && !f.valid(a, f.base) {
		return Found{}, false
	}
	found := Found{Kind: f.kind, Usage: f.usage, Offset: f.base + f.magicAt}
	if f.uuidAt != 0 {
		found.UUID = a.uuid(f.base + f.uuidAt)
	}
	if f.labelLen != 0 {
		found.Label = a.text(f.base+f.labelAt, int(f.labelLen))
	}
	if f.wideLabelAt != 0 {
		found.Label = a.wide(f.base+f.wideLabelAt, 1024)
	}
	return found, true
}

// text returns a string that ends at a zero byte or after n bytes, without white space around it.
func (a *area) text(offset int64, n int) string {
	s, _, _ := strings.Cut(string(a.at(offset, n)), "\x00")
	return strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
}

// wide returns a string of n bytes of little-endian UTF-16.
func (a *area) wide(offset int64, n int) string {
	data := a.at(offset, n)
	units := make([]uint16, 0, len(data)/2)
	for i := 0; i+1 < len(data); i += 2 {
		unit := uint16(data[i]) | uint16(data[i+1])<<8
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return strings.TrimSpace(string(utf16.Decode(units)))
}

// uuid returns 16 bytes as a UUID, or nothing when all are zero.
func (a *area) uuid(offset int64) string { return formatUUID(a.at(offset, 16)) }

func formatUUID(b []byte) string {
	if len(b) != 16 || strings.Trim(string(b), "\x00") == "" {
		return ""
	}
	s := hex.EncodeToString(b)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// guid returns 16 bytes in the mixed order of Microsoft and UEFI.
func (a *area) guid(offset int64) string { return mixedGUID(a.at(offset, 16)) }

func mixedGUID(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	return formatUUID([]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]})
}
