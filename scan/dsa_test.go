package scan

import (
	"encoding/base64"
	"math/big"
	"testing"

	"golang.org/x/crypto/ssh"
)

// dsaKey returns a DSA key of 1024 bits, which new releases of ssh-keygen refuse to make.
// Its numbers have the right sizes, and nothing else is looked at.
func dsaKey(t testing.TB) string {
	t.Helper()
	power := func(bits uint) *big.Int {
		return new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
	}
	blob := ssh.Marshal(struct {
		Type       string
		P, Q, G, Y *big.Int
	}{insecureDSA, power(1023), power(159), big.NewInt(2), big.NewInt(5)})
	return insecureDSA + " " + base64.StdEncoding.EncodeToString(blob) + " test\n"
}
