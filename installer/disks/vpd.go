package disks

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// pages are the vital product data pages (SPC-4, 7.8) that identify a SCSI device.
type pages struct {
	serial      string // page 0x80, unit serial number
	designators []designator
}

// Kinds of designators and how they are encoded (SPC-4, table 593 and following).
const (
	designatorVendor = 0
	designatorT10    = 1
	designatorEUI    = 2
	designatorNAA    = 3

	codeBinary = 1
	codeASCII  = 2
)

// designator is one name of a device in page 0x83, device identification.
type designator struct {
	code, kind byte
	data       []byte
}

// naaType is the first digit of a network address authority name.
func (d designator) naaType() byte {
	if len(d.data) == 0 {
		return 0
	}
	return d.data[0] >> 4
}

// text is the designator as scsi_id writes it.
func (d designator) text() string {
	if d.code == codeASCII {
		return string(d.data)
	}
	return hex.EncodeToString(d.data)
}

// parseSerialPage reads page 0x80. It returns nothing for a page that is none.
func parseSerialPage(page []byte) string {
	if len(page) < 4 || page[1] != 0x80 {
		return ""
	}
	length := min(int(binary.BigEndian.Uint16(page[2:])), len(page)-4)
	return strings.Trim(string(page[4:4+length]), " \x00")
}

// parseIdentificationPage reads the names of the logical unit in page 0x83; those of its ports and its target are left
// out, for several disks share them.
func parseIdentificationPage(page []byte) []designator {
	if len(page) < 4 || page[1] != 0x83 {
		return nil
	}
	rest := page[4:]
	rest = rest[:min(int(binary.BigEndian.Uint16(page[2:])), len(rest))]
	var list []designator
	for len(rest) >= 4 {
		length := int(rest[3])
		if len(rest) < 4+length {
			break
		}
		if association := rest[1] >> 4 & 3; association == 0 && length > 0 {
			list = append(list, designator{code: rest[0] & 0xf, kind: rest[1] & 0xf, data: rest[4 : 4+length]})
		}
		rest = rest[4+length:]
	}
	return list
}

// naa returns the network address authority name in hexadecimal, or nothing: the extended registered one first, then
// the registered one, then any.
func (p pages) naa() string {
	for _, naaType := range []byte{6, 5, 0} {
		for _, d := range p.designators {
			if d.kind == designatorNAA && d.code == codeBinary && (naaType == 0 || d.naaType() == naaType) {
				return d.text()
			}
		}
	}
	return ""
}

// ata returns the whole model and serial number of an ATA disk. The kernel (SAT-3, 10.4.2) writes the T10 vendor
// designator as "ATA", 40 characters of model, 20 of serial number.
func (p pages) ata() (model, serial string, ok bool) {
	for _, d := range p.designators {
		if d.kind == designatorT10 && len(d.data) == 8+40+20 && string(d.data[:8]) == "ATA     " {
			clean := func(b []byte) string { return strings.Trim(string(b), " \x00") }
			return clean(d.data[8:48]), clean(d.data[48:]), true
		}
	}
	return "", "", false
}

// scsiID returns the name scsi_id would print: the best designator, its kind before it, or the serial number.
func (p pages) scsiID(vendor, model string) string {
	pad := func(s string, n int) string {
		return s + strings.Repeat(" ", max(0, n-len(s)))
	}
	owner := pad(vendor, 8) + pad(model, 16)
	for _, want := range []struct{ kind, naaType, code byte }{
		{designatorNAA, 6, codeBinary}, {designatorNAA, 6, codeASCII},
		{designatorNAA, 5, codeBinary}, {designatorNAA, 5, codeASCII},
		{designatorNAA, 0, codeBinary}, {designatorNAA, 0, codeASCII},
		{designatorEUI, 0, codeBinary}, {designatorEUI, 0, codeASCII},
		{designatorT10, 0, codeBinary}, {designatorT10, 0, codeASCII},
		{designatorVendor, 0, codeBinary}, {designatorVendor, 0, codeASCII},
	} {
		for _, d := range p.designators {
			if d.kind != want.kind || d.code != want.code || (want.naaType != 0 && d.naaType() != want.naaType) {
				continue
			}
			prefix := string("0123456789abcdef"[d.kind])
			if d.kind == designatorVendor {
				// Not unique by itself: only the vendor's own numbering.
				prefix += owner
			}
			return prefix + d.text()
		}
	}
	if p.serial != "" {
		return "S" + owner + p.serial
	}
	return ""
}
