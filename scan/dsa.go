package scan

import (
	"math/big"

	"golang.org/x/crypto/ssh"
)

// insecureDSA is the SSH name of DSA keys (RFC 4253, 6.6).
const insecureDSA = "ssh-dss"

// dsaBits returns the size of the prime of a DSA key in SSH's form (RFC 4253, 6.6), 0 for
// other keys. Go's package for DSA is deprecated, and more than the size is not needed.
func dsaBits(blob []byte) int {
	var key struct {
		Type string
		P    *big.Int
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(blob, &key) != nil || key.Type != insecureDSA {
		return 0
	}
	return key.P.BitLen()
}
