package openpgp

import (
	"crypto"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Options say which signatures count. The zero Options are strict, as apt is:
// no digest weaker than SHA-256, RSA and DSA keys of 2048 bits or more, and neither
// key nor signature expired now.
type Options struct {
	// Now is the time of the verification; the zero time is the current one.
	Now time.Time

	// AtSigning judges the expiry of keys at the time a signature was made, not now:
	// a package stays good after the key that signed it has expired, as in rpm.
	AtSigning bool

	// AllowLegacy also accepts SHA-1 digests and keys from 1024 bits, which is all
	// that distributions before Enterprise Linux 6 have. So does rpm, unless a
	// crypto policy of its host forbids it. MD5 is never accepted.
	AllowLegacy bool
}

const (
	minKeyBits       = 2048 // of RSA and DSA keys
	minLegacyKeyBits = 1024
)

// A Reason says why a signature does not count.
type Reason string

// The reasons.
const (
	UnknownKey  Reason = "unknown key" // no key of the keyring made it
	Bad         Reason = "bad"         // it does not match the message
	Expired     Reason = "expired"     // the signature or its key; or made in the future
	Revoked     Reason = "revoked"     // the key was
	Weak        Reason = "weak"        // a digest or key that no longer protects
	NotAllowed  Reason = "not allowed to sign"
	Malformed   Reason = "malformed"
	Unsupported Reason = "unsupported" // a version or algorithm that is not known
)

// A SignatureError says why one signature does not count.
type SignatureError struct {
	Reason Reason
	KeyID  uint64 // 0 when it is not known
	text   string
}

// Error is a clause like "the key 24C6A8A7F4A80EB5 is not in the keyring".
func (e *SignatureError) Error() string { return e.text }

// A NoSignatureError says that none of the signatures of a message counts.
type NoSignatureError struct{ Failures []*SignatureError }

// Error gives the reasons.
func (e *NoSignatureError) Error() string {
	reasons := make([]string, len(e.Failures))
	for i, f := range e.Failures {
		reasons[i] = f.Error()
	}
	return "it has no valid signature: " + strings.Join(reasons, "; ")
}

// UnknownKeys reports whether every signature failed because the keyring lacks its
// key: what was signed is somebody else's, or the keyring is too old.
func (e *NoSignatureError) UnknownKeys() bool {
	for _, f := range e.Failures {
		if f.Reason != UnknownKey {
			return false
		}
	}
	return true
}

// VerifyDetached reads a message to its end and checks a detached signature of it,
// armored or binary. Of several signatures one must be valid; the fingerprint of the
// primary key that made the first valid one is returned, in upper-case hexadecimal.
//
// Errors are a *NoSignatureError, or say that the signature is no signature or that
// the message cannot be read.
func (k Keyring) VerifyDetached(message io.Reader, signature []byte, o Options) (fingerprint string, err error) {
	signatures, err := ParseSignatures(signature)
	if err != nil {
		return "", err
	}
	signers, failures, err := k.VerifyAll(message, signatures, o)
	if err != nil {
		return "", err
	}
	if len(signers) == 0 {
		return "", &NoSignatureError{Failures: failures}
	}
	return signers[0], nil
}

// VerifyAll reads a message to its end and returns the fingerprints of the primary
// keys that made valid signatures, and why each of the others does not count. The
// error is the message's.
func (k Keyring) VerifyAll(message io.Reader, signatures []*Signature, o Options) (signers []string, failures []*SignatureError, err error) {
	checks := make([]*Check, len(signatures))
	writers := make([]io.Writer, len(signatures))
	for i, s := range signatures {
		checks[i] = k.Begin(s, o)
		writers[i] = checks[i]
	}
	if _, err := io.Copy(io.MultiWriter(writers...), message); err != nil {
		return nil, nil, err
	}
	for _, c := range checks {
		fingerprint, failure := c.Finish()
		if failure != nil {
			failures = append(failures, failure)
			continue
		}
		signers = append(signers, fingerprint)
	}
	return signers, failures, nil
}

// A Check verifies one signature of a message that is written to it.
type Check struct {
	signature  *Signature
	candidates []candidate
	options    Options
	failure    *SignatureError // known before the message is
}

// A candidate is a key that may have made a signature. Ids can be made to collide, so
// there may be several, and verifying ends a digest, so each has its own.
type candidate struct {
	key  pgp.Key
	hash hash.Hash
	text hash.Hash // hash, or a form of it that makes line ends canonical
}

// Begin starts to verify a signature. Write the message to the result, then call
// Finish.
func (k Keyring) Begin(s *Signature, o Options) *Check {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	c := &Check{signature: s, options: o, failure: s.broken}
	if c.failure != nil {
		return c
	}
	keys, known := k.signingKeys(s.KeyID)
	switch {
	case !known:
		c.fail(UnknownKey, "the key %016X is not in the keyring", s.KeyID)
	case len(keys) == 0:
		c.fail(NotAllowed, "the signature of %016X is by a key that may not sign", s.KeyID)
	default:
		c.checkStrength(keys)
	}
	if c.failure != nil {
		return c
	}
	for _, key := range keys {
		h, err := s.packet.PrepareVerify()
		if err != nil {
			c.fail(Unsupported, "the signature of %016X is of a kind that is not understood (%v)", s.KeyID, err)
			return c
		}
		text := h
		if s.packet.SigType == packet.SigTypeText {
			text = pgp.NewCanonicalTextHash(h)
		}
		c.candidates = append(c.candidates, candidate{key: key, hash: h, text: text})
	}
	return c
}

// Write adds to the message. It never fails.
func (c *Check) Write(p []byte) (int, error) {
	if c.failure == nil {
		for _, candidate := range c.candidates {
			candidate.text.Write(p)
		}
	}
	return len(p), nil
}

// Finish says whether the signature is valid: it returns the fingerprint of the
// primary key in upper-case hexadecimal, or why it does not count. It must be called
// only once.
func (c *Check) Finish() (string, *SignatureError) {
	if c.failure != nil {
		return "", c.failure
	}
	var signer string
	var err error
	for _, candidate := range c.candidates {
		if err = candidate.key.PublicKey.VerifySignature(candidate.hash, c.signature.packet); err != nil {
			continue
		}
		// A keyring may hold a key more than once. A copy that has not expired yet is
		// a newer one; one that was revoked is the truth wherever it comes from.
		failure := c.validity(candidate.key)
		switch {
		case failure == nil:
			signer = fingerprint(candidate.key.Entity)
		case failure.Reason == Revoked:
			return "", failure
		default:
			c.failure = failure
		}
	}
	switch {
	case signer != "":
		return signer, nil
	case c.failure == nil:
		c.fail(Bad, "the signature of %016X does not match what it signs (%v)", c.signature.KeyID, err)
	}
	return "", c.failure
}

func (c *Check) fail(reason Reason, format string, args ...any) {
	c.failure = c.newError(reason, format, args...)
}

func (c *Check) newError(reason Reason, format string, args ...any) *SignatureError {
	return &SignatureError{Reason: reason, KeyID: c.signature.KeyID, text: fmt.Sprintf(format, args...)}
}

// checkStrength fails the check when the signature would prove nothing even if it
// verified.
func (c *Check) checkStrength(keys []pgp.Key) {
	id, least := c.signature.KeyID, minKeyBits
	strong := slices.Contains(strongHashes, c.signature.Hash)
	if c.options.AllowLegacy {
		least = minLegacyKeyBits
		strong = strong || c.signature.Hash == crypto.SHA1 || c.signature.Hash == crypto.SHA224
	}
	if !strong {
		c.fail(Weak, "the signature of %016X uses the digest %v, which no longer protects", id, c.signature.Hash)
		return
	}
	for _, k := range keys {
		if n := bits(k.PublicKey); n > 0 && n < least {
			c.fail(Weak, "the signature of %016X is by a key of %d bits, which is too short", id, n)
			return
		}
	}
}

var strongHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512}

// validity says why a signature that holds does not count: it or the key that made
// it was not valid at the time, or it asks for what is not understood.
func (c *Check) validity(key pgp.Key) *SignatureError {
	id, sig, now := c.signature.KeyID, c.signature.packet, c.options.Now
	primary, identity := key.Entity.PrimarySelfSignature()
	bySubkey := key.PublicKey != key.Entity.PrimaryKey
	if primary == nil {
		return c.newError(NotAllowed, "the signature of %016X is by a key without a valid self-signature", id)
	}
	bindings := []*packet.Signature{primary}
	if bySubkey {
		bindings = append(bindings, key.SelfSignature, key.SelfSignature.EmbeddedSignature)
	}
	for _, s := range append(bindings, sig) {
		for _, n := range s.Notations {
			if n.IsCritical {
				return c.newError(Unsupported, "the signature of %016X depends on the notation %q, which is not understood", id, n.Name)
			}
		}
	}
	switch {
	case key.Entity.Revoked(now), bySubkey && key.Revoked(now), identity != nil && identity.Revoked(now):
		return c.newError(Revoked, "the signature of %016X is by a key that has been revoked", id)
	case sig.CreationTime.After(now):
		return c.newError(Expired, "the signature of %016X was made in the future, on %s: check this machine's clock",
			id, sig.CreationTime.UTC().Format(time.RFC1123))
	case sig.SigExpired(now):
		return c.newError(Expired, "the signature of %016X has expired", id)
	}
	at := now
	if c.options.AtSigning {
		at = sig.CreationTime
	}
	expired := key.Entity.PrimaryKey.KeyExpired(primary, at) || bySubkey && key.PublicKey.KeyExpired(key.SelfSignature, at)
	for _, s := range bindings {
		// A key whose life was extended has a binding younger than the signature.
		expired = expired || s.SigExpired(later(at, s.CreationTime))
	}
	if expired {
		return c.newError(Expired, "the signature of %016X is by a key that has expired", id)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
