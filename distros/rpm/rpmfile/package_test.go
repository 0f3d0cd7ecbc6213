package rpmfile

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// realdata is where real foreign packages lie, which are no part of the project.
const realdata = "../../../../shared/realdata"

// testNow is after all signatures of real packages.
var testNow = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// realFiles returns the paths in realdata that match a pattern, or skips the test.
func realFiles(t testing.TB, pattern string) []string {
	t.Helper()
	if _, err := os.Stat(realdata); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not here: it holds the packages this test reads", realdata)
	}
	paths, err := filepath.Glob(filepath.Join(realdata, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

// realKeys returns the keys in files of realdata.
func realKeys(t testing.TB, pattern string) openpgp.Keyring {
	t.Helper()
	var all openpgp.Keyring
	for _, path := range realFiles(t, pattern) {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := openpgp.ParseKeyring(p)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = openpgp.Merge(all, keys)
	}
	return all
}

// A testFile is a file of a testPackage.
type testFile struct {
	path     string
	mode     uint16
	contents string // or target of a symlink
	ino      uint32 // 0: one of its own
	flags    uint32
	caps     string
	size     uint64 // in the header, if not the length of contents
	digest   string // in the header, if not that of contents
	absent   bool   // from the payload
}

// A testPackage is made by code, so that it can be wrong in every way.
type testPackage struct {
	files    []testFile
	stripped bool
	crc      bool
	payload  func(plain []byte) []byte // changes the archive before it is compressed
	entries  []header.Entry            // instead of those with the same tags
	without  []header.Tag
	digests  header.DigestAlgo // of the payload; 0: SHA256

	signHeader, signAll, signNew *pgp.Entity // RSAHEADER or DSAHEADER; PGP or GPG; OPENPGP
	config                       *packet.Config
	signed                       func([]byte) []byte // changes what is signed
	sizeTag                      uint32              // instead of the right one
	leaveOutDigests              bool                // of the signature header
	six                          bool                // of rpm 6: other digests, no size
}

// cpio returns the archive of the package's files.
func (p *testPackage) cpio() []byte {
	var b bytes.Buffer
	align := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	last := map[uint32]int{}
	links := map[uint32]int{}
	for i, f := range p.files {
		last[f.ino] = i
		links[f.ino]++
	}
	entry := func(name string, mode, ino uint32, nlink int, contents string) {
		magic, sum := magicNewc, uint32(0)
		if p.crc {
			magic = magicCRC
			for _, c := range []byte(contents) {
				sum += uint32(c)
			}
		}
		fmt.Fprintf(&b, "%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			magic, ino, mode, 0, 0, nlink, 0, len(contents), 0, 0, 0, 0, len(name)+1, sum, name)
		align()
		b.WriteString(contents)
		align()
	}
	for i, f := range p.files {
		if f.absent {
			continue
		}
		contents := f.contents
		if f.ino != 0 && last[f.ino] != i {
			contents = ""
		}
		if p.stripped {
			fmt.Fprintf(&b, "%s%08X", magicStripped, i)
			align()
			b.WriteString(contents)
			align()
			continue
		}
		entry("."+f.path, uint32(f.mode), f.inode(i), max(1, links[f.ino]), contents)
	}
	entry(cpioTrailer, 0, 0, 1, "")
	return b.Bytes()
}

func (f *testFile) inode(i int) uint32 {
	if f.ino != 0 {
		return f.ino
	}
	return uint32(1000 + i)
}

// headerEntries describes the package and its files.
func (p *testPackage) headerEntries(payload, plain []byte) []header.Entry {
	var bases, dirs, digests, links, users, caps, langs []string
	var modes, rdevs []uint16
	var dirIndexes, sizes, mtimes, flags, inodes, devices []uint32
	for i, f := range p.files {
		dir, base := path.Split(f.path)
		bases, dirs = append(bases, base), append(dirs, dir)
		dirIndexes = append(dirIndexes, uint32(i))
		digest, link := f.digest, ""
		switch f.mode & header.ModeType {
		case header.ModeRegular:
			if sum := sha256.Sum256([]byte(f.contents)); digest == "" {
				digest = hex.EncodeToString(sum[:])
			}
		case header.ModeSymlink:
			link = f.contents
		}
		size := f.size
		if size == 0 {
			size = uint64(len(f.contents))
		}
		digests, links, users = append(digests, digest), append(links, link), append(users, "root")
		caps, langs = append(caps, f.caps), append(langs, "")
		modes, rdevs = append(modes, f.mode), append(rdevs, 0x0501)
		sizes, mtimes, flags = append(sizes, uint32(size)), append(mtimes, 1_600_000_000), append(flags, f.flags)
		inodes, devices = append(inodes, f.inode(i)), append(devices, 1)
	}
	algo := cmp.Or(p.digests, header.SHA256)
	sum := func(p []byte) string {
		h := newDigest(algo)
		h.Write(p)
		return hex.EncodeToString(h.Sum(nil))
	}
	all := []header.Entry{
		header.StringEntry(header.TagName, "sample"), header.StringEntry(header.TagVersion, "1.0"), header.StringEntry(header.TagRelease, "1"),
		header.StringEntry(header.TagArch, "noarch"), header.StringEntry(header.TagSourceRPM, "sample-1.0-1.src.rpm"),
		header.Uint32sEntry(header.TagBuildTime, 1_600_000_000), header.StringEntry(header.TagPayloadFormat, "cpio"),
		header.StringEntry(header.TagPayloadCompressor, "gzip"), header.StringsEntry(header.TagPayloadDigest, sum(payload)),
		header.Uint32sEntry(header.TagPayloadDigestAlgo, uint32(algo)), header.StringsEntry(header.TagPayloadDigestAlt, sum(plain)),
		header.Uint32sEntry(header.TagFileDigestAlgo, uint32(header.SHA256)),
	}
	if p.six {
		sha512Sum, sha3Sum := sha512.Sum512(payload), sha3.Sum256(payload)
		all = append(all, header.Uint32sEntry(header.TagRPMFormat, 6), header.StringEntry(header.TagPayloadSHA512, hex.EncodeToString(sha512Sum[:])),
			header.StringEntry(header.TagPayloadSHA3_256, hex.EncodeToString(sha3Sum[:])))
	}
	if len(p.files) > 0 {
		all = append(all, header.StringsEntry(header.TagBaseNames, bases...), header.StringsEntry(header.TagDirNames, dirs...),
			header.Uint32sEntry(header.TagDirIndexes, dirIndexes...), header.StringsEntry(header.TagFileDigests, digests...),
			header.StringsEntry(header.TagFileLinkTos, links...), header.StringsEntry(header.TagFileUserName, users...),
			header.StringsEntry(header.TagFileGroupName, users...), header.StringsEntry(header.TagFileCaps, caps...),
			header.StringsEntry(header.TagFileLangs, langs...), header.Uint16sEntry(header.TagFileModes, modes...),
			header.Uint16sEntry(header.TagFileRDevs, rdevs...), header.Uint32sEntry(header.TagFileSizes, sizes...),
			header.Uint32sEntry(header.TagFileMTimes, mtimes...), header.Uint32sEntry(header.TagFileFlags, flags...),
			header.Uint32sEntry(header.TagFileInodes, inodes...), header.Uint32sEntry(header.TagFileDevices, devices...))
	}
	replaced := map[header.Tag]bool{}
	for _, e := range p.entries {
		replaced[e.Tag] = true
	}
	for _, tag := range p.without {
		replaced[tag] = true
	}
	kept := append([]header.Entry{}, p.entries...)
	for _, e := range all {
		if !replaced[e.Tag] {
			kept = append(kept, e)
		}
	}
	return kept
}

// bytes returns the package file.
func (p *testPackage) bytes(t testing.TB) []byte {
	t.Helper()
	plain := p.cpio()
	if p.payload != nil {
		plain = p.payload(plain)
	}
	var payload bytes.Buffer
	z := gzip.NewWriter(&payload)
	z.Write(plain)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	blob, err := header.Build(p.headerEntries(payload.Bytes(), plain), header.TagHeaderImmutable)
	if err != nil {
		t.Fatal(err)
	}
	main := append([]byte(header.Magic), blob...)
	all := append(bytes.Clone(main), payload.Bytes()...)

	sign := func(key *pgp.Entity, message []byte) []byte {
		if p.signed != nil {
			message = p.signed(message)
		}
		config := p.config
		if config == nil {
			config = &packet.Config{Time: func() time.Time { return testNow.AddDate(-1, 0, 0) }}
		}
		var b bytes.Buffer
		if err := pgp.DetachSign(&b, key, bytes.NewReader(message), config); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	size := uint32(len(all))
	if p.sizeTag != 0 {
		size = p.sizeTag
	}
	sha1Sum, sha256Sum, md5Sum := sha1.Sum(main), sha256.Sum256(main), md5.Sum(all)
	entries := []header.Entry{header.Uint32sEntry(header.SigTagSize, size)}
	if p.six {
		sha3Sum := sha3.Sum256(main)
		entries = []header.Entry{header.StringEntry(header.TagSHA256Header, hex.EncodeToString(sha256Sum[:])),
			header.StringEntry(header.TagSHA3_256Header, hex.EncodeToString(sha3Sum[:])), header.BytesEntry(header.SigTagReserved, make([]byte, 100))}
	} else if !p.leaveOutDigests {
		entries = append(entries, header.StringEntry(header.TagSHA1Header, hex.EncodeToString(sha1Sum[:])),
			header.StringEntry(header.TagSHA256Header, hex.EncodeToString(sha256Sum[:])), header.BytesEntry(header.SigTagMD5, md5Sum[:]))
	}
	if p.signHeader != nil {
		entries = append(entries, header.BytesEntry(header.TagRSAHeader, sign(p.signHeader, main)))
	}
	if p.signAll != nil {
		entries = append(entries, header.BytesEntry(header.SigTagPGP, sign(p.signAll, all)))
	}
	if p.signNew != nil {
		entries = append(entries, header.StringsEntry(header.TagOpenPGP, base64.StdEncoding.EncodeToString(sign(p.signNew, main))))
	}
	blob, err = header.Build(entries, header.TagHeaderSignatures)
	if err != nil {
		t.Fatal(err)
	}
	lead := make([]byte, leadBytes)
	copy(lead, leadMagic+"\x03\x00\x00\x00\x00\x01sample-1.0-1")
	binary.BigEndian.PutUint16(lead[76:], 1)
	binary.BigEndian.PutUint16(lead[78:], 5)
	file := append(append(lead, header.Magic...), blob...)
	for len(file)%8 != 0 {
		file = append(file, 0)
	}
	return append(file, all...)
}

// testPackageFile writes a package and returns its path.
func writePackage(t testing.TB, p []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample-1.0-1.noarch.rpm")
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// newKey returns a key made two years before testNow.
func newKey(t testing.TB, c packet.Config) *pgp.Entity {
	t.Helper()
	c.Time = func() time.Time { return testNow.AddDate(-2, 0, 0) }
	if c.Algorithm == 0 {
		c.Algorithm = packet.PubKeyAlgoEdDSA
	}
	c.DefaultHash = crypto.SHA256
	key, err := pgp.NewEntity("Test", "", "test@example.com", &c)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyring(t testing.TB, keys ...*pgp.Entity) openpgp.Keyring {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := openpgp.ParseKeyring(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// wantError fails the test unless err is an *Error for a reason with a text in it.
func wantError(t testing.TB, err error, reason Reason, text string) {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason != reason || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v\nwant the reason %q and %q", err, reason, text)
	}
}
