package signature

import (
	"strings"
	"unicode/utf16"
)

// Both file systems of optical discs describe themselves in sectors of 2048 bytes from the sixteenth on (ECMA-119, 8;
// ECMA-167, 2/8).
const (
	opticalSector = 2048
	opticalFirst  = 16 * opticalSector
	// opticalMost bounds how many descriptors are read.
	opticalMost = 64
)

func (a *area) iso9660() (Found, bool) {
	const primary, terminator = 1, 255
	if a.has(opticalFirst+9, "CDROM") { // High Sierra, its predecessor
		return Found{Kind: "iso9660", Usage: Filesystem, Offset: opticalFirst + 9, Label: a.text(opticalFirst+48, 32)}, true
	}
	if !a.has(opticalFirst+1, "CD001") {
		return Found{}, false
	}
	found := Found{Kind: "iso9660", Usage: Filesystem, Offset: opticalFirst + 1}
	for n := range int64(opticalMost) {
		at := int64(opticalFirst) + n*opticalSector
		kind := a.at(at, 1)
		if kind == nil || kind[0] == terminator || !a.has(at+1, "CD001") {
			break
		}
		if kind[0] != primary {
			continue
		}
		found.Label = a.text(at+40, 32)
		for _, date := range []int64{830, 813} { // modified, created
			if found.UUID = a.isoDate(at + date); found.UUID != "" {
				break
			}
		}
		break
	}
	return found, true
}

// isoDate writes a date as blkid does, for want of a real identifier.
func (a *area) isoDate(offset int64) string {
	digits := string(a.at(offset, 16))
	if len(digits) != 16 || strings.Trim(digits, "0") == "" || strings.Trim(digits, "0123456789") != "" {
		return ""
	}
	return strings.Join([]string{digits[:4], digits[4:6], digits[6:8], digits[8:10], digits[10:12], digits[12:14], digits[14:]}, "-")
}

// udf finds the volume recognition sequence with its descriptor NSR02 or NSR03.
func (a *area) udf() (Found, bool) {
	for _, sector := range []int64{opticalSector, 4096} {
		for n := range int64(opticalMost) {
			at := opticalFirst + n*sector + 1
			switch id := string(a.at(at, 5)); id {
			case "NSR02", "NSR03":
				return Found{Kind: "udf", Usage: Filesystem, Offset: at, Label: a.udfLabel()}, true
			case "BEA01", "BOOT2", "CD001", "CDW02", "TEA01":
				continue
			}
			break
		}
	}
	return Found{}, false
}

// udfLabel returns the name of the logical volume: block 256 tells where the volume's descriptors are (ECMA-167, 3/8.4).
func (a *area) udfLabel() string {
	const anchor, logicalVolume, terminator = 2, 6, 8
	for _, block := range []int64{512, 1024, 2048, 4096} {
		at := 256 * block
		if a.le16(at) != anchor || a.le32(at+12) != 256 {
			continue
		}
		length, first := int64(a.le32(at+16)), int64(a.le32(at+20))
		for n := range min(length/block, opticalMost) {
			descriptor := (first + n) * block
			switch a.le16(descriptor) {
			case logicalVolume:
				return udfString(a.at(descriptor+84, 128))
			case terminator:
				return ""
			}
		}
	}
	return ""
}

// udfString decodes a string with its kind of characters in the first byte and its length in the last (OSTA UDF, 2.1.1).
func udfString(field []byte) string {
	if len(field) < 2 {
		return ""
	}
	length := int(field[len(field)-1])
	if length < 2 || length > len(field)-1 {
		return ""
	}
	var units []uint16
	switch text := field[1:length]; field[0] {
	case 8:
		for _, b := range text {
			units = append(units, uint16(b))
		}
	case 16:
		for i := 0; i+1 < len(text); i += 2 {
			units = append(units, uint16(text[i])<<8|uint16(text[i+1]))
		}
	}
	return strings.TrimSpace(string(utf16.Decode(units)))
}
