package openpgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

const clearSignStart = "-----BEGIN PGP SIGNED MESSAGE-----"

// IsClearSigned reports whether p begins as a clear-signed document.
func IsClearSigned(p []byte) bool { return bytes.HasPrefix(p, []byte(clearSignStart)) }

// SplitClearSigned returns the signed bytes of a clear-signed document and its
// binary signatures (RFC 9580, section 7). Nothing but white space may stand outside
// them.
func SplitClearSigned(p []byte) (text, signatures []byte, err error) {
	// The decoder skips what comes before. apt refuses it, and so do we: two
	// readers must not find different messages in one file.
	if !IsClearSigned(p) {
		return nil, nil, fmt.Errorf("it does not begin with %q", clearSignStart)
	}
	block, rest := clearsign.Decode(p)
	if block == nil {
		return nil, nil, errors.New("the clear-signed message is malformed or incomplete")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("there is text after the signature")
	}
	signatures, err = io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("the armor of the signature is damaged: %w", err)
	}
	return block.Bytes, signatures, nil
}
