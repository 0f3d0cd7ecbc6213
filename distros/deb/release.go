package deb

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/stages/store"
)

// A Release is what a repository's signed InRelease file says
// (https://wiki.debian.org/DebianRepository/Format).
type Release struct {
	Origin, Label, Suite, Codename string // empty when the repository does not say

	Date          time.Time
	ValidUntil    time.Time // zero when the repository never expires
	Architectures []string
	Components    []string

	// Files are the indexes of the repository by their path relative to the
	// Release file, like "main/binary-amd64/Packages.xz".
	Files map[string]ReleaseFile

	// SeparateAll says that packages of the architecture "all" are only in the
	// indexes of binary-all, not in those of every architecture.
	SeparateAll bool

	// AcquireByHash says that indexes are also to be had under a name that
	// contains their digest, where they do not change during an update.
	AcquireByHash bool

	// SignedBy are the fingerprints, in upper-case hexadecimal, of the keys that
	// made a valid signature.
	SignedBy []string
}

// A ReleaseFile is one index of a repository.
type ReleaseFile struct {
	SHA256 store.Digest
	Size   int64 // bytes
}

// ReleaseOptions say how strictly VerifyRelease looks.
type ReleaseOptions struct {
	Name         string    // of the InRelease file, for messages: its URL
	Now          time.Time // must be set
	AllowExpired bool      // accept a Valid-Until that has passed: for archived releases
}

// ExpiredError says that a repository's Valid-Until has passed.
type ExpiredError struct {
	Name       string // of the InRelease file
	ValidUntil time.Time
}

// Error names the file and the date, and says what to do.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("%s expired on %s (Valid-Until): the mirror has not been updated since, or someone withholds updates; "+
		"choose another mirror, or write allow_expired = true in its repository block if this release has been archived",
		e.Name, e.ValidUntil.UTC().Format(time.RFC1123))
}

// NotSignedError says that something is no InRelease file at all, or not a whole
// one.
type NotSignedError struct {
	Name   string // of the file
	Reason string
}

// Error names the file and the reason.
func (e *NotSignedError) Error() string {
	return fmt.Sprintf("%s is not a signed Release file: %s", e.Name, e.Reason)
}

// A SignatureError says why no signature of an InRelease file counts.
type SignatureError struct {
	Name    string   // of the InRelease file
	Reasons []string // one for each signature

	// UnknownKeys is set when none of the keys that signed is in the keyring: the
	// repository is somebody else's, or the keyring is too old. When it is not, a
	// trusted key's signature does not hold.
	UnknownKeys bool
}

// Error names the file and gives the reasons.
func (e *SignatureError) Error() string {
	advice := "do not use this mirror"
	if e.UnknownKeys {
		advice = "update the keyring, or name the repository's key in the recipe if you trust it"
	}
	return fmt.Sprintf("%s has no valid signature: %s; %s", e.Name, strings.Join(e.Reasons, "; "), advice)
}

// VerifyRelease checks the signatures of an InRelease file and returns what it
// says. At least one signature must be a valid one by a key of the keyrings (see
// ParseKeyring): neither key nor signature expired or revoked, the digest not MD5, SHA-1 or
// RIPEMD-160, the key not shorter than 2048 bits. Nothing but white space may
// stand outside the signed text.
//
// Errors are a *NotSignedError, a *SignatureError, an *ExpiredError, or say that
// the file is malformed.
func VerifyRelease(inRelease []byte, keyring Keyring, o ReleaseOptions) (*Release, error) {
	if len(keyring) == 0 {
		return nil, fmt.Errorf("%s cannot be verified: the keyring is empty", o.Name)
	}
	text, signatures, err := splitClearSigned(inRelease)
	if err != nil {
		return nil, &NotSignedError{Name: o.Name, Reason: err.Error()}
	}
	signers, err := verifySignatures(text, signatures, keyring, o)
	if err != nil {
		return nil, err
	}
	r, err := readRelease(text, o)
	if err != nil {
		return nil, err
	}
	r.SignedBy = signers
	return r, nil
}

// ReadUnsignedRelease returns what an InRelease or a Release file says without
// looking at who says it: for a repository whose user has turned verification
// off. Of the options only Name, Now and AllowExpired count.
func ReadUnsignedRelease(p []byte, o ReleaseOptions) (*Release, error) {
	text := p
	if bytes.HasPrefix(p, []byte(clearSignStart)) {
		var err error
		if text, _, err = splitClearSigned(p); err != nil {
			return nil, &NotSignedError{Name: o.Name, Reason: err.Error()}
		}
	}
	return readRelease(text, o)
}

// readRelease parses the text of a Release file and checks its age.
func readRelease(text []byte, o ReleaseOptions) (*Release, error) {
	// Signed bytes end lines in CRLF.
	r, err := parseRelease(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
	if err != nil {
		return nil, fmt.Errorf("%s is malformed: %w", o.Name, err)
	}
	if !r.ValidUntil.IsZero() && o.Now.After(r.ValidUntil) && !o.AllowExpired {
		return nil, &ExpiredError{Name: o.Name, ValidUntil: r.ValidUntil}
	}
	return r, nil
}

const clearSignStart = "-----BEGIN PGP SIGNED MESSAGE-----"

// splitClearSigned returns the signed bytes of a clear-signed document and its
// binary signatures (RFC 9580, section 7).
func splitClearSigned(p []byte) (text, signatures []byte, err error) {
	// The decoder skips what comes before. apt refuses it, and so do we: two
	// readers must not find different messages in one file.
	if !bytes.HasPrefix(p, []byte(clearSignStart)) {
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

// verifySignatures returns the fingerprints of the keys that validly signed text.
func verifySignatures(text, signatures []byte, keyring Keyring, o ReleaseOptions) ([]string, error) {
	failure := &SignatureError{Name: o.Name, UnknownKeys: true}
	var signers []string
	packets := packet.NewOpaqueReader(bytes.NewReader(signatures))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			failure.Reasons = append(failure.Reasons, "a signature packet is cut short")
			break
		}
		fingerprint, known, err := verifySignature(text, p, keyring, o.Now)
		if err != nil {
			failure.UnknownKeys = failure.UnknownKeys && !known
			failure.Reasons = append(failure.Reasons, err.Error())
			continue
		}
		signers = append(signers, fingerprint)
	}
	if len(signers) > 0 {
		return signers, nil
	}
	if len(failure.Reasons) == 0 {
		failure.Reasons = []string{"it holds no signature"}
	}
	return nil, failure
}

// verifySignature checks one signature packet. known says that the keyring has
// the key that claims to have made it.
func verifySignature(text []byte, p *packet.OpaquePacket, keyring Keyring, now time.Time) (fingerprint string, known bool, err error) {
	parsed, err := p.Parse()
	if err != nil {
		return "", false, fmt.Errorf("one is of a kind that is not understood (%w)", err)
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return "", false, errors.New("one names no key")
	}
	id := *sig.IssuerKeyId
	keys := openpgp.EntityList(keyring).KeysById(id)
	if len(keys) == 0 {
		return "", false, fmt.Errorf("the key %016X is not in the keyring", id)
	}
	if reason := weakness(sig, keys); reason != "" {
		return "", true, fmt.Errorf("the signature of %016X %s", id, reason)
	}
	var raw bytes.Buffer
	if err := p.Serialize(&raw); err != nil {
		return "", true, err
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, signer, err := openpgp.VerifyDetachedSignature(openpgp.EntityList(keyring), bytes.NewReader(text), &raw, config)
	if err != nil {
		return "", true, fmt.Errorf("the signature of %016X %s", id, describeSignatureError(err, sig, now))
	}
	return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), true, nil
}

// independent is the architecture of packages that run on every other one.
const independent = "all"

const minKeyBits = 2048 // of RSA and DSA keys

// weakness says why a signature would prove nothing even if it verified.
func weakness(sig *packet.Signature, keys []openpgp.Key) string {
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return fmt.Sprintf("uses the digest %v, which no longer protects", sig.Hash)
	}
	for _, k := range keys {
		switch k.PublicKey.PubKeyAlgo {
		case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoDSA:
			if bits, err := k.PublicKey.BitLength(); err != nil || bits < minKeyBits {
				return fmt.Sprintf("is by a key of %d bits, which is too short", bits)
			}
		}
	}
	return ""
}

// describeSignatureError completes "the signature of KEY …".
func describeSignatureError(err error, sig *packet.Signature, now time.Time) string {
	switch {
	case errors.Is(err, pgperrors.ErrSignatureExpired) && sig.CreationTime.After(now):
		return fmt.Sprintf("was made in the future, on %s: check this machine's clock", sig.CreationTime.UTC().Format(time.RFC1123))
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "has expired"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "is by a key that has expired"
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "is by a key that has been revoked"
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "is by a key that may not sign"
	}
	return fmt.Sprintf("does not match the text (%v)", err)
}

// A Keyring is the public keys somebody trusts for a repository.
type Keyring openpgp.EntityList

// ParseKeyring reads OpenPGP public keys: binary ones as in .gpg files or any
// number of armored blocks as in .asc files. Keys of kinds that are not
// understood are left out; it is an error if none is left.
func ParseKeyring(p []byte) (Keyring, error) {
	const kbxMagic = "KBXf" // at byte 8
	if len(p) >= 12 && string(p[8:12]) == kbxMagic {
		return nil, errors.New("it is a GnuPG keybox: export its keys with `gpg --export`")
	}
	packets, err := dearmor(p)
	if err != nil {
		return nil, err
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(packets))
	return checkKeyring(keys, err)
}

// dearmor returns the OpenPGP packets in p, which are binary or in any number of
// armored blocks.
func dearmor(p []byte) ([]byte, error) {
	if !bytes.Contains(p, []byte("-----BEGIN PGP")) {
		return p, nil
	}
	const start = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	var packets []byte
	for _, text := range strings.Split(string(p), start)[1:] {
		block, err := armor.Decode(strings.NewReader(start + text))
		if err != nil {
			return nil, fmt.Errorf("its armor is damaged: %w", err)
		}
		body, err := io.ReadAll(block.Body)
		if err != nil {
			return nil, fmt.Errorf("its armor is damaged: %w", err)
		}
		packets = append(packets, body...)
	}
	return packets, nil
}

func checkKeyring(keys openpgp.EntityList, err error) (Keyring, error) {
	if err != nil {
		return nil, fmt.Errorf("it does not hold OpenPGP public keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no OpenPGP public key")
	}
	return Keyring(keys), nil
}

// parseRelease reads the fields of a Release file.
func parseRelease(text []byte) (*Release, error) {
	var s *Stanza
	err := ParseStanzas(bytes.NewReader(text), func(stanza Stanza) error {
		if s != nil {
			return &SyntaxError{Line: stanza.Line, Msg: "a second paragraph begins"}
		}
		s = &stanza
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, errors.New("it is empty")
	}
	r := &Release{
		Origin:        s.Get("Origin"),
		Label:         s.Get("Label"),
		Suite:         s.Get("Suite"),
		Codename:      s.Get("Codename"),
		Architectures: strings.Fields(s.Get("Architectures")),
		Components:    strings.Fields(s.Get("Components")),
		AcquireByHash: s.Get("Acquire-By-Hash") == "yes",
	}
	r.SeparateAll = slices.Contains(r.Architectures, independent) && s.Get("No-Support-for-Architecture-all") != "Packages"
	if r.Date, err = releaseDate(*s, "Date"); err != nil {
		return nil, err
	}
	if r.Date.IsZero() {
		return nil, errors.New("it has no Date")
	}
	if r.ValidUntil, err = releaseDate(*s, "Valid-Until"); err != nil {
		return nil, err
	}
	files, ok := s.Lookup("SHA256")
	if !ok {
		return nil, errors.New("it has no SHA256 digests, and weaker ones are not accepted")
	}
	r.Files, err = releaseFiles(files)
	return r, err
}

// releaseDate reads a date of RFC 5322, in which only UTC has a name.
func releaseDate(s Stanza, name string) (time.Time, error) {
	f, ok := s.Lookup(name)
	if !ok {
		return time.Time{}, nil
	}
	fields := strings.Fields(f.Value)
	if n := len(fields); n > 0 && (fields[n-1] == "UTC" || fields[n-1] == "GMT" || fields[n-1] == "Z") {
		fields[n-1] = "+0000"
	}
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", strings.Join(fields, " "))
	if err != nil {
		return time.Time{}, &SyntaxError{Line: f.Line, Msg: fmt.Sprintf("%s %q is not a date", name, f.Value)}
	}
	return t.UTC(), nil
}

// releaseFiles reads lines of digest, size and path.
func releaseFiles(f Field) (map[string]ReleaseFile, error) {
	lines := f.Lines()
	files := make(map[string]ReleaseFile, len(lines))
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("field %s: %q is not a digest, a size and a path", f.Name, line)
		}
		var file ReleaseFile
		digest, err := hex.DecodeString(fields[0])
		if err != nil || len(digest) != len(file.SHA256) {
			return nil, fmt.Errorf("field %s: %q is not a SHA-256 digest", f.Name, fields[0])
		}
		file.SHA256 = store.Digest(digest)
		size, err := strconv.ParseUint(fields[1], 10, 63)
		if err != nil {
			return nil, fmt.Errorf("field %s: %q is not a size", f.Name, fields[1])
		}
		file.Size = int64(size)
		name := fields[2]
		if !isCleanRelative(name) {
			return nil, fmt.Errorf("field %s: %q is not a path inside the repository", f.Name, name)
		}
		if other, ok := files[name]; ok && other != file {
			return nil, fmt.Errorf("field %s: there are two digests of %q", f.Name, name)
		}
		files[name] = file
	}
	return files, nil
}

// isCleanRelative reports whether name is a path that stays below where it starts.
func isCleanRelative(name string) bool {
	return path.Clean(name) == name && name[0] != '/' && name != "." && name != ".." && !strings.HasPrefix(name, "../")
}
