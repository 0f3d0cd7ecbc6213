package repodata

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

// A repomd is what a repository's repomd.xml says: which files describe the packages.
type repomd struct {
	revision string
	records  map[string]*record // by type: "primary", "group"
}

// A record is one file of the metadata.
type record struct {
	kind      string // "primary"
	checksum  checksum
	href      string // relative to the repository
	base      string // what it is relative to instead; usually empty
	size      int64  // bytes; 0 if unknown
	timestamp int64  // seconds since 1970; 0 if unknown
}

// The documents repomd.xml and metalink are small: encoding/xml reads them.

type xmlRepomd struct {
	XMLName  xml.Name    `xml:"repomd"`
	Revision string      `xml:"revision"`
	Data     []xmlRecord `xml:"data"`
}

type xmlRecord struct {
	Type      string    `xml:"type,attr"`
	Checksums []xmlHash `xml:"checksum"`
	Location  struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
	Timestamp string `xml:"timestamp"`
	Size      string `xml:"size"`
}

type xmlHash struct {
	Type   string `xml:"type,attr"`
	Digits string `xml:",chardata"`
}

// parseRepomd reads a repomd.xml document. Records of which no use is made may be
// malformed.
func parseRepomd(p []byte) (*repomd, error) {
	var doc xmlRepomd
	if err := unmarshal(p, &doc); err != nil {
		return nil, err
	}
	r := &repomd{revision: strings.TrimSpace(doc.Revision), records: make(map[string]*record)}
	for _, d := range doc.Data {
		if r.records[d.Type] != nil {
			return nil, fmt.Errorf("it lists %s twice", strconv.Quote(d.Type))
		}
		rec := &record{kind: d.Type, href: d.Location.Href, base: d.Location.Base}
		rec.checksum = strongest(d.Checksums)
		rec.timestamp = parseTimestamp(d.Timestamp)
		if size := strings.TrimSpace(d.Size); size != "" {
			n, err := strconv.ParseInt(size, 10, 64)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("%s: %q is not a size", d.Type, excerpt([]byte(size)))
			}
			rec.size = n
		}
		r.records[d.Type] = rec
	}
	return r, nil
}

// unmarshal reads a small XML document strictly, to its end.
func unmarshal(p []byte, v any) error {
	d := xml.NewDecoder(bytes.NewReader(p))
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errUnexpectedEnd
		}
		return err
	}
	for {
		token, err := d.Token()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if _, ok := token.(xml.StartElement); ok {
			return errors.New("there is a second root element")
		}
	}
}

// parseTimestamp reads seconds since 1970, which some tools write with a fraction; 0
// if they are none.
func parseTimestamp(s string) int64 {
	whole, _, _ := strings.Cut(strings.TrimSpace(s), ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// date returns when the metadata was made: the newest time of any of its files, or
// the revision where it is a time.
func (r *repomd) date() int64 {
	var newest int64
	for _, rec := range r.records {
		newest = max(newest, rec.timestamp)
	}
	return cmp.Or(newest, parseTimestamp(r.revision))
}

// record returns the file of a kind; of several forms of it, the first there is.
// The kind is that of repomd.xml's own list of forms: comps is "group" as it is and
// "group_gz", … compressed.
func (r *repomd) record(kinds ...string) *record {
	for _, kind := range kinds {
		if rec := r.records[kind]; rec != nil {
			return rec
		}
	}
	return nil
}

// check reports what makes a record useless.
func (rec *record) check(allowWeak bool) error {
	switch {
	case rec.href == "":
		return fmt.Errorf("%s has no location", rec.kind)
	case rec.checksum.digits == "":
		return fmt.Errorf("%s has no checksum of a kind that is known", rec.kind)
	case rec.checksum.weak() && !allowWeak:
		return fmt.Errorf("%s has no checksum but %s, which anybody can forge: ask for metadata with SHA-256 (createrepo_c --checksum sha256), "+
			"or turn verification off with gpg_check = false", rec.kind, rec.checksum.kind)
	}
	return nil
}

// A checksum is a digest of some kind.
type checksum struct {
	kind   string // "sha256"; empty: none that is known
	digits string // lower-case hexadecimal
}

// checksumKinds are the kinds of digests, by their name in metadata, the best
// first.
var checksumKinds = []struct {
	name string
	new  func() hash.Hash
	weak bool
}{
	{"sha256", sha256.New, false}, // best because it names the file in the cache
	{"sha512", sha512.New, false},
	{"sha384", sha512.New384, false},
	{"sha224", sha256.New224, true},
	{"sha1", sha1.New, true},
	{"sha", sha1.New, true},
	{"md5", md5.New, true},
}

// strongest returns the best of several digests of one file.
func strongest(hashes []xmlHash) checksum {
	for _, kind := range checksumKinds {
		for _, h := range hashes {
			digits := strings.ToLower(strings.TrimSpace(h.Digits))
			if p, err := hex.DecodeString(digits); strings.EqualFold(h.Type, kind.name) && err == nil && len(p) == kind.new().Size() {
				return checksum{kind.name, digits}
			}
		}
	}
	return checksum{}
}

func (c checksum) weak() bool {
	for _, kind := range checksumKinds {
		if kind.name == c.kind {
			return kind.weak
		}
	}
	return true
}

// sha256 returns the digest if it is one of SHA-256.
func (c checksum) sha256() (d store.Digest, ok bool) {
	if c.kind != "sha256" {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(c.digits))
	return d, err == nil
}

// verify compares the digest with that of p.
func (c checksum) verify(p []byte) error {
	for _, kind := range checksumKinds {
		if kind.name != c.kind {
			continue
		}
		h := kind.new()
		h.Write(p)
		if got := hex.EncodeToString(h.Sum(nil)); got != c.digits {
			return fmt.Errorf("it has %d bytes with the digest %s:%s instead of %s:%s", len(p), c.kind, got, c.kind, c.digits)
		}
		return nil
	}
	return errors.New("it has no digest to verify it with")
}
