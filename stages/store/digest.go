package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is the SHA-256 of an object's bytes (FIPS 180-4). The zero value means
// "none"; no object has it.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

// Sum returns the digest of p.
func Sum(p []byte) Digest { return sha256.Sum256(p) }

// ParseDigest reads the form written by String. The prefix is required, so that
// a digest of another algorithm is never taken for one of ours.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	digits, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		return d, fmt.Errorf("digest %q does not start with %q", s, digestPrefix)
	}
	if len(digits) != 2*len(d) {
		return d, fmt.Errorf("digest %q has %d hexadecimal digits, want %d", s, len(digits), 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// ParseHex reads the form written by Hex.
func ParseHex(s string) (Digest, error) { return ParseDigest(digestPrefix + s) }

// String returns "sha256:" and 64 lower-case hexadecimal digits.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// Hex returns the 64 lower-case hexadecimal digits alone, as sha256sum prints them.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d is the zero value, "none".
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the form of String, and nothing for the zero value.
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(p []byte) error {
	if len(p) == 0 {
		*d = Digest{}
		return nil
	}
	v, err := ParseDigest(string(p))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
