package openpgp

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Signature is one signature packet, not verified yet.
type Signature struct {
	Version int
	KeyID   uint64 // of the key that claims to have made it; 0 when it is not told
	Hash    crypto.Hash
	Created time.Time
	Text    bool // signs text, however its lines end

	packet *packet.Signature
	broken *SignatureError // why it can never verify; then packet is nil
}

// ParseSignatures reads signatures of a message, binary or armored. A packet that is
// damaged or of a kind that is not understood becomes a Signature that does not
// verify and says why. It is an error if there is none.
func ParseSignatures(p []byte) ([]*Signature, error) {
	body, err := dearmor(p, "SIGNATURE")
	if err != nil {
		return nil, err
	}
	var signatures []*Signature
	for packets := packet.NewOpaqueReader(bytes.NewReader(body)); ; {
		raw, err := packets.Next()
		switch {
		case err == io.EOF && len(signatures) == 0:
			return nil, errors.New("it holds no signature")
		case err == io.EOF:
			return signatures, nil
		case err != nil:
			return append(signatures, &Signature{broken: &SignatureError{Reason: Malformed, text: "a signature packet is cut short"}}), nil
		}
		signatures = append(signatures, parseSignature(raw))
	}
}

// Identifiers of RFC 9580, sections 5 and 9.5.
const (
	tagSignature = 2
	hashMD5      = 1
	hashRIPEMD   = 3
)

func parseSignature(raw *packet.OpaquePacket) *Signature {
	broken := func(reason Reason, format string, args ...any) *Signature {
		return &Signature{broken: &SignatureError{Reason: reason, text: fmt.Sprintf(format, args...)}}
	}
	body := raw.Contents
	if raw.Tag != tagSignature || len(body) < 4 {
		return broken(Malformed, "one is no signature packet")
	}
	version, hash := int(body[0]), body[3]
	if version <= 3 {
		v4, h, err := upgrade(body)
		if err != nil {
			return broken(Malformed, "one is damaged (%v)", err)
		}
		raw, hash = &packet.OpaquePacket{Tag: tagSignature, Contents: v4}, h
	}
	if hash == hashMD5 || hash == hashRIPEMD {
		name := map[byte]string{hashMD5: "MD5", hashRIPEMD: "RIPEMD-160"}[hash]
		return broken(Weak, "one uses the digest %s, which no longer protects", name)
	}
	parsed, err := raw.Parse()
	if err != nil {
		return broken(Unsupported, "one is of a kind that is not understood (%v)", err)
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return broken(Malformed, "one names no key")
	}
	if sig.SigType != packet.SigTypeBinary && sig.SigType != packet.SigTypeText {
		// Such a signature was made for another purpose, like certifying a key.
		return broken(Malformed, "one signs something else than a message (type %#x)", byte(sig.SigType))
	}
	if version <= 3 {
		// A version 3 signature hashes its type and time alone after the message.
		sig.Version, sig.HashSuffix = version, body[2:7]
	}
	return &Signature{Version: version, KeyID: *sig.IssuerKeyId, Hash: sig.Hash, Created: sig.CreationTime, Text: sig.SigType == packet.SigTypeText, packet: sig}
}

// upgrade rewrites a signature packet of version 2 or 3 (RFC 4880, section 5.2.2) as
// one of version 4 with the same algorithms, key id, time and numbers, which go-crypto
// then parses. It returns the identifier of the digest with it.
func upgrade(body []byte) (v4 []byte, hash byte, err error) {
	const fixed = 19 // version, 5, type, time, key id, algorithms, start of the digest
	if len(body) < fixed || body[0] < 2 || body[1] != 5 {
		return nil, 0, errors.New("not a signature of version 2, 3 or later")
	}
	kind, created, keyID := body[2], body[3:7], body[7:15]
	algorithm, hash := body[15], body[16]
	const subpacketCreated, subpacketIssuer = 2, 16
	v4 = append(v4, 4, kind, algorithm, hash)
	v4 = binary.BigEndian.AppendUint16(v4, 6)
	v4 = append(append(v4, 5, subpacketCreated), created...)
	v4 = binary.BigEndian.AppendUint16(v4, 10)
	v4 = append(append(v4, 9, subpacketIssuer), keyID...)
	return append(v4, body[17:]...), hash, nil
}
