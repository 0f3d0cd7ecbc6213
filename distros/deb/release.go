package deb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/distros/openpgp"
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
	text, signatures, err := openpgp.SplitClearSigned(inRelease)
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
	if openpgp.IsClearSigned(p) {
		var err error
		if text, _, err = openpgp.SplitClearSigned(p); err != nil {
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

// verifySignatures returns the fingerprints of the keys that validly signed text.
func verifySignatures(text, signatures []byte, keyring Keyring, o ReleaseOptions) ([]string, error) {
	parsed, err := openpgp.ParseSignatures(signatures)
	if err != nil {
		return nil, &SignatureError{Name: o.Name, Reasons: []string{err.Error()}, UnknownKeys: true}
	}
	signers, failures, err := keyring.VerifyAll(bytes.NewReader(text), parsed, openpgp.Options{Now: o.Now})
	if err != nil {
		return nil, err
	}
	if len(signers) > 0 {
		return signers, nil
	}
	failure := &SignatureError{Name: o.Name, UnknownKeys: (&openpgp.NoSignatureError{Failures: failures}).UnknownKeys()}
	for _, f := range failures {
		failure.Reasons = append(failure.Reasons, f.Error())
	}
	return nil, failure
}

// independent is the architecture of packages that run on every other one.
const independent = "all"

// A Keyring is the public keys somebody trusts for a repository.
type Keyring = openpgp.Keyring

// ParseKeyring reads OpenPGP public keys, see [openpgp.ParseKeyring].
func ParseKeyring(p []byte) (Keyring, error) { return openpgp.ParseKeyring(p) }

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
