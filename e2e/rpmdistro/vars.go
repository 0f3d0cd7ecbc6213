package rpmdistro

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// Layout of a variable store: a firmware volume (UEFI Platform Initialization
// Specification, volume 3, 3.2.1) that begins with a store of authenticated
// variables (edk2, MdeModulePkg/Include/Guid/VariableFormat.h).
const (
	volumeSignature  = "_FVH" // at byte 40 of the volume's header
	volumeHeaderSize = 48     // byte of the volume's header where its size is, a u16
	storeHeaderSize  = 28     // GUID, u32 size, u8 format, u8 state, 6 reserved
	storeFormatted   = 0x5a
	storeHealthy     = 0xfe
	variableStart    = 0x55aa
	variableAdded    = 0x3f
)

// Attributes of variables (UEFI Specification 2.10, 8.2).
const (
	stored        = 1<<0 | 1<<1          // non-volatile, readable by the boot services
	authenticated = stored | 1<<2 | 1<<5 // and by the system; written only with a signature
)

// A guid is in the byte order it is stored in.
type guid [16]byte

func newGUID(a uint32, b, c uint16, d ...byte) (g guid) {
	binary.LittleEndian.PutUint32(g[0:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	copy(g[8:], d)
	return g
}

var (
	authenticatedStore = newGUID(0xaaf32c78, 0x947b, 0x439a, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92)
	globalVariable     = newGUID(0x8be4df61, 0x93ca, 0x11d2, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
	imageSecurity      = newGUID(0xd719b2cb, 0x3d3a, 0x4596, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f)
	secureBootEnable   = newGUID(0xf0a30bc7, 0xaf08, 0x4556, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44)
	x509Type           = newGUID(0xa5c059a1, 0x94e4, 0x4aa7, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72)
	signatureOwner     = newGUID(0x4f2d3d52, 0x9c3f, 0x4a57, 0x8d, 0x0e, 0x72, 0x70, 0x6d, 0x74, 0x65, 0x73)
)

// Enroll returns a copy of a firmware's empty variable store in which a certificate
// (DER) is the platform key, the key exchange key and the only one that boot programs
// may be signed with. A firmware with a platform key enforces Secure Boot.
func Enroll(vars, certificate []byte) ([]byte, error) {
	out := bytes.Clone(vars)
	if len(out) < volumeHeaderSize+2 || string(out[40:44]) != volumeSignature {
		return nil, errors.New("the variable store is no firmware volume")
	}
	start := int(binary.LittleEndian.Uint16(out[volumeHeaderSize:]))
	if len(out) < start+storeHeaderSize || guid(out[start:start+16]) != authenticatedStore || out[start+20] != storeFormatted || out[start+21] != storeHealthy {
		return nil, errors.New("the firmware volume has no store of authenticated variables")
	}
	end := start + int(binary.LittleEndian.Uint32(out[start+16:]))
	at := start + storeHeaderSize
	if end > len(out) || end < at || binary.LittleEndian.Uint16(out[at:]) == variableStart {
		return nil, errors.New("the variable store is damaged or not empty")
	}
	list := signatureList(certificate)
	for _, v := range []struct {
		name       string
		vendor     guid
		attributes uint32
		data       []byte
	}{
		{"PK", globalVariable, authenticated, list}, {"KEK", globalVariable, authenticated, list}, {"db", imageSecurity, authenticated, list},
		{"SecureBootEnable", secureBootEnable, stored, []byte{1}},
	} {
		p := variable(v.name, v.vendor, v.attributes, v.data)
		if at+len(p) > end {
			return nil, fmt.Errorf("the variable store has no room for %s", v.name)
		}
		copy(out[at:], p)
		at += (len(p) + 3) &^ 3
	}
	return out, nil
}

// signatureList holds one certificate (UEFI Specification 2.10, 32.4.1).
func signatureList(certificate []byte) []byte {
	const listHeader, owner = 28, 16
	p := bytes.Clone(x509Type[:])
	p = binary.LittleEndian.AppendUint32(p, uint32(listHeader+owner+len(certificate)))
	p = binary.LittleEndian.AppendUint32(p, 0)
	p = binary.LittleEndian.AppendUint32(p, uint32(owner+len(certificate)))
	p = append(p, signatureOwner[:]...)
	return append(p, certificate...)
}

// variable is AUTHENTICATED_VARIABLE_HEADER with name and data behind it.
func variable(name string, vendor guid, attributes uint32, data []byte) []byte {
	var wide []byte
	for _, unit := range append(utf16.Encode([]rune(name)), 0) {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	p := binary.LittleEndian.AppendUint16(nil, variableStart)
	p = append(p, variableAdded, 0)
	p = binary.LittleEndian.AppendUint32(p, attributes)
	p = binary.LittleEndian.AppendUint64(p, 0) // monotonic count
	var when [16]byte                          // EFI_TIME: later changes must be newer
	if attributes == authenticated {
		binary.LittleEndian.PutUint16(when[:], 2024)
		when[2], when[3] = 1, 1
	}
	p = append(p, when[:]...)
	p = binary.LittleEndian.AppendUint32(p, 0) // index of a public key, not used
	p = binary.LittleEndian.AppendUint32(p, uint32(len(wide)))
	p = binary.LittleEndian.AppendUint32(p, uint32(len(data)))
	p = append(p, vendor[:]...)
	return append(append(p, wide...), data...)
}
