package scan

import (
	"crypto/dsa" //nolint:staticcheck
	"math/big"
	"testing"

	"golang.org/x/crypto/ssh"
)

// dsaKey returns a DSA key of 1024 bits, which new releases of ssh-keygen refuse to make.
// Its numbers have the right sizes, and nothing else is looked at.
func dsaKey(t testing.TB) string {
	t.Helper()
	p := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1023), big.NewInt(1))
	q := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))
	key, err := ssh.NewPublicKey(&dsa.PublicKey{Parameters: dsa.Parameters{P: p, Q: q, G: big.NewInt(2)}, Y: big.NewInt(5)})
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}
