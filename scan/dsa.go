package scan

// DSA is looked for because it must not be used any more; that is what the deprecated
// names are needed for.

import (
	"crypto/dsa" //nolint:staticcheck
)

// insecureDSA is the SSH name of DSA keys (RFC 4253, 6.6).
const insecureDSA = "ssh-dss"

// dsaBits returns the size of a DSA key's prime, 0 for other keys.
func dsaBits(key any) int {
	if k, ok := key.(*dsa.PublicKey); ok {
		return k.P.BitLen()
	}
	return 0
}
