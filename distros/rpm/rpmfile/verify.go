package rpmfile

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// Verified says how a package was found to be good.
type Verified struct {
	// KeyFingerprint is that of the primary key that signed the package, in upper-case
	// hexadecimal; empty when no signature was asked for.
	KeyFingerprint string
}

// Verify checks the package's digests and, unless keys is nil, its signatures: one of
// them must be good and made by one of the keys, which an empty keyring that is not
// nil has none of. See the package's description for what that means. The options say
// when a signature counts; AtSigning is always on.
//
// Errors are an *Error, ctx's, or those of reading the file.
func (f *File) Verify(ctx context.Context, keys openpgp.Keyring, o openpgp.Options) (*Verified, error) {
	if err := f.checkLength(); err != nil {
		return nil, err
	}
	digests, err := f.digests()
	if err != nil {
		return nil, err
	}
	var signatures []*signature
	if keys != nil {
		o.AtSigning = true
		if signatures, err = f.signatures(keys, o); err != nil {
			return nil, err
		}
	}
	if err := f.feed(ctx, digests, signatures); err != nil {
		return nil, err
	}
	var covered [2]bool // header, payload
	for _, d := range digests {
		if err := f.checkDigest(d); err != nil {
			return nil, err
		}
		covered[0], covered[1] = covered[0] || d.covers.header(), covered[1] || d.covers.payload()
	}
	if !covered[0] || !covered[1] {
		return nil, f.fail(Malformed, "it has no digest that covers all of it")
	}
	if keys == nil {
		return &Verified{}, nil
	}
	return f.judge(signatures, digests)
}

// A span says which part of the file a digest or signature covers.
type span uint8

const (
	ofHeader  span = 1 << iota
	ofPayload      // as it is in the file, compressed
	ofPlain        // the payload decompressed
)

func (s span) header() bool  { return s&ofHeader != 0 }
func (s span) payload() bool { return s&(ofPayload|ofPlain) != 0 }

// A digest is one that the package claims for a part of itself.
type digest struct {
	what   string // for messages
	covers span
	hash   hash.Hash
	want   []byte
	strong bool // cannot be forged, and lies in the header, so that a signature covers it
}

// headerDigests are the digests of the header in the signature header, as hexadecimal
// strings.
var headerDigests = []struct {
	tag  header.Tag
	name string
	new  func() hash.Hash
}{
	{header.TagSHA1Header, "SHA-1", sha1.New},
	{header.TagSHA256Header, "SHA-256", sha256.New},
	{header.TagSHA3_256Header, "SHA3-256", newSHA3_256},
}

func newSHA3_256() hash.Hash { return sha3.New256() }
func newSHA3_512() hash.Hash { return sha3.New512() }

// payloadDigests are the digests of the payload in the header. Of a pair only the
// first is verified when both are there: they say the same of a whole package.
var payloadDigests = []struct {
	tag, plain header.Tag // of the compressed payload, and of the decompressed one
	algo       header.DigestAlgo
}{
	{header.TagPayloadDigest, header.TagPayloadDigestAlt, 0}, // as TagPayloadDigestAlgo says
	{header.TagPayloadSHA512, header.TagPayloadSHA512Alt, header.SHA512},
	{header.TagPayloadSHA3_256, header.TagPayloadSHA3_256Alt, header.SHA3_256},
}

// newDigest returns a digest of a kind, or nil when it is not known.
func newDigest(a header.DigestAlgo) hash.Hash {
	switch a {
	case header.MD5:
		return md5.New()
	case header.SHA1:
		return sha1.New()
	case header.SHA224:
		return sha256.New224()
	case header.SHA256:
		return sha256.New()
	case header.SHA384:
		return sha512.New384()
	case header.SHA512:
		return sha512.New()
	case header.SHA3_256:
		return newSHA3_256()
	case header.SHA3_512:
		return newSHA3_512()
	}
	return nil
}

// isStrong reports whether nobody can make two contents of one digest.
func isStrong(a header.DigestAlgo) bool { return a != header.MD5 && a != header.SHA1 }

// checkLength finds files that were cut short before anything is digested.
func (f *File) checkLength() error {
	var want uint64
	if v := f.Signature.Uint64s(header.TagLongSigSize); v != nil {
		want = v[0]
	} else if v, ok := f.Signature.Uint32(header.SigTagSize); ok {
		want = uint64(v)
	} else {
		return nil
	}
	if got := uint64(f.size - f.headerOffset); got < want {
		return f.fail(Truncated, "it is cut short: %d of %d bytes of its header and payload are there", got, want)
	}
	return nil
}

// digests returns all the digests the package claims.
func (f *File) digests() ([]*digest, error) {
	var all []*digest
	for _, k := range headerDigests {
		if !f.Signature.Has(k.tag) {
			continue
		}
		d := &digest{what: k.name + " digest of its header", covers: ofHeader, hash: k.new()}
		if err := f.setDigest(d, f.Signature.String(k.tag)); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if want := f.Signature.Bytes(header.SigTagMD5); want != nil {
		if len(want) != md5.Size {
			return nil, f.fail(Malformed, "its MD5 digest has %d bytes", len(want))
		}
		all = append(all, &digest{what: "MD5 digest of its header and payload", covers: ofHeader | ofPayload, hash: md5.New(), want: want})
	}
	for _, k := range payloadDigests {
		tag, covers, what := k.tag, ofPayload, "payload"
		if !f.Header.Has(tag) {
			tag, covers, what = k.plain, ofPlain, "decompressed payload"
		}
		algo := k.algo
		if algo == 0 {
			algo = header.SHA256
			if n, ok := f.Header.Uint32(header.TagPayloadDigestAlgo); ok {
				algo = header.DigestAlgo(n)
			}
		}
		for _, want := range f.Header.Strings(tag) {
			d := &digest{what: "digest of its " + what, covers: covers, hash: newDigest(algo), strong: isStrong(algo)}
			if d.hash == nil {
				return nil, f.fail(Malformed, "its payload has a digest of the unknown kind %d", algo)
			}
			if err := f.setDigest(d, want); err != nil {
				return nil, err
			}
			all = append(all, d)
		}
	}
	return all, nil
}

func (f *File) setDigest(d *digest, want string) error {
	var err error
	if d.want, err = hex.DecodeString(want); err != nil || len(d.want) != d.hash.Size() {
		return f.fail(Malformed, "%q is not the %s", want, d.what)
	}
	return nil
}

func (f *File) checkDigest(d *digest) error {
	if got := d.hash.Sum(nil); !bytes.Equal(got, d.want) {
		return f.fail(DigestMismatch, "the %s is %x instead of %x: the file is damaged or was changed", d.what, got, d.want)
	}
	return nil
}

// A signature is one of the package's.
type signature struct {
	covers span
	check  *openpgp.Check
}

// signatures returns all the package's signatures.
func (f *File) signatures(keys openpgp.Keyring, o openpgp.Options) ([]*signature, error) {
	var all []*signature
	add := func(p []byte, covers span) error {
		parsed, err := openpgp.ParseSignatures(p)
		if err != nil {
			return f.fail(BadSignature, "a signature of it cannot be read: %w", err)
		}
		for _, s := range parsed {
			if s.Text {
				// It ignores how lines end, which in a header is data.
				return f.fail(BadSignature, "a signature of it is one of text")
			}
			all = append(all, &signature{covers: covers, check: keys.Begin(s, o)})
		}
		return nil
	}
	for _, k := range []struct {
		tag    header.Tag
		covers span
	}{
		{header.TagRSAHeader, ofHeader},
		{header.TagDSAHeader, ofHeader},
		{header.SigTagPGP, ofHeader | ofPayload},
		{header.SigTagGPG, ofHeader | ofPayload},
	} {
		if p := f.Signature.Bytes(k.tag); p != nil {
			if err := add(p, k.covers); err != nil {
				return nil, err
			}
		}
	}
	for _, text := range f.Signature.Strings(header.TagOpenPGP) {
		p, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, f.fail(BadSignature, "a signature of it is not base64: %w", err)
		}
		if err := add(p, ofHeader); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, f.fail(Unsigned, "it is not signed")
	}
	return all, nil
}

// feed gives header and payload to all digests and signatures that cover them.
func (f *File) feed(ctx context.Context, digests []*digest, signatures []*signature) error {
	writers := func(part span) (w []io.Writer) {
		for _, d := range digests {
			if d.covers&part != 0 {
				w = append(w, d.hash)
			}
		}
		for _, s := range signatures {
			if s.covers&part != 0 {
				w = append(w, s.check)
			}
		}
		return w
	}
	section := func(from, to int64) io.Reader {
		return contextReader{ctx, io.NewSectionReader(f.file, from, to-from)}
	}
	if _, err := io.Copy(io.MultiWriter(writers(ofHeader)...), section(f.headerOffset, f.payloadOffset)); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	if w := writers(ofPayload); len(w) > 0 {
		if _, err := io.CopyBuffer(io.MultiWriter(w...), section(f.payloadOffset, f.size), buf); err != nil {
			return err
		}
	}
	if w := writers(ofPlain); len(w) > 0 {
		return f.readPayload(ctx, func(r io.Reader) error {
			_, err := io.CopyBuffer(io.MultiWriter(w...), r, buf)
			return err
		})
	}
	return nil
}

// judge says whether the signatures prove the package, whose digests all hold.
func (f *File) judge(signatures []*signature, digests []*digest) (*Verified, error) {
	var ofAll, ofHeaderAlone string // fingerprints
	var failures []string
	reason := UnknownKey
	for _, s := range signatures {
		fingerprint, failure := s.check.Finish()
		switch {
		case failure == nil && s.covers.payload():
			ofAll = cmp.Or(ofAll, fingerprint)
		case failure == nil:
			ofHeaderAlone = cmp.Or(ofHeaderAlone, fingerprint)
		case failure.Reason == openpgp.UnknownKey, failure.Reason == openpgp.Unsupported, failure.Reason == openpgp.Weak:
			if failure.Reason != openpgp.UnknownKey {
				reason = WeakSignature
			}
			if text := failure.Error(); !slices.Contains(failures, text) {
				failures = append(failures, text)
			}
		default:
			return nil, f.fail(BadSignature, "%w", failure)
		}
	}
	if ofAll == "" && ofHeaderAlone == "" {
		return nil, f.fail(reason, "none of its signatures counts: %s", strings.Join(failures, "; "))
	}
	if ofAll == "" && !slices.ContainsFunc(digests, func(d *digest) bool { return d.strong }) {
		return nil, f.fail(Unsigned, "only its header is signed, and the header has no digest of the payload that cannot be forged")
	}
	return &Verified{KeyFingerprint: cmp.Or(ofAll, ofHeaderAlone)}, nil
}
