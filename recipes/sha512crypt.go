package recipes

import (
	"crypto/sha512"
	"fmt"
	"strings"
)

// cryptAlphabet is the order of crypt's own base64, and the characters a salt is made of.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

const (
	cryptRounds    = 5000
	minCryptRounds = 1000
	maxCryptRounds = 999999999
	maxCryptSalt   = 16
)

// sha512crypt hashes a password as crypt(5) does for "$6$", by the specification "Unix crypt using SHA-256 and SHA-512"
// of Ulrich Drepper, version 0.6, whose numbers of steps stand in the comments. rounds 0 means the default, which is not
// written into the result; other numbers are brought into the allowed range. A salt is cut after 16 bytes.
func sha512crypt(password, salt []byte, rounds int) string {
	salt = salt[:min(len(salt), maxCryptSalt)]
	prefix := "$6$"
	if rounds != 0 {
		rounds = min(max(rounds, minCryptRounds), maxCryptRounds)
		prefix += fmt.Sprintf("rounds=%d$", rounds)
	} else {
		rounds = cryptRounds
	}

	// Steps 4 to 8: digest B.
	h := sha512.New()
	h.Write(password)
	h.Write(salt)
	h.Write(password)
	b := h.Sum(nil)

	// Steps 1 to 3 and 9 to 12: digest A.
	h.Reset()
	h.Write(password)
	h.Write(salt)
	h.Write(repeatTo(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)

	// Steps 13 to 16: sequence P, from as many passwords as it has bytes.
	h.Reset()
	for range password {
		h.Write(password)
	}
	p := repeatTo(h.Sum(nil), len(password))

	// Steps 17 to 20: sequence S.
	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := repeatTo(h.Sum(nil), len(salt))

	// Step 21.
	c := a
	for i := range rounds {
		h.Reset()
		if i%2 != 0 {
			h.Write(p)
		} else {
			h.Write(c)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i%2 != 0 {
			h.Write(c)
		} else {
			h.Write(p)
		}
		c = h.Sum(c[:0])
	}

	// Step 22: 24-bit groups of bytes i, i+21 and i+42, rotated by one with each group; the last byte stands alone.
	var out strings.Builder
	out.WriteString(prefix)
	out.Write(salt)
	out.WriteByte('$')
	for i := range 21 {
		t := [3]byte{c[i], c[i+21], c[i+42]}
		r := i % 3
		writeCrypt64(&out, uint32(t[r])<<16|uint32(t[(r+1)%3])<<8|uint32(t[(r+2)%3]), 4)
	}
	writeCrypt64(&out, uint32(c[63]), 2)
	return out.String()
}

// repeatTo repeats a digest until it has n bytes.
func repeatTo(digest []byte, n int) []byte {
	out := make([]byte, 0, n+len(digest))
	for len(out) < n {
		out = append(out, digest...)
	}
	return out[:n]
}

func writeCrypt64(out *strings.Builder, v uint32, chars int) {
	for range chars {
		out.WriteByte(cryptAlphabet[v&63])
		v >>= 6
	}
}
