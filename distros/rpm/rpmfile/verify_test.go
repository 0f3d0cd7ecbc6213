package rpmfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// Every real package of which the key is known verifies, those with version 3
// signatures among them. The rest is refused, and says why.
func TestVerifyRealPackages(t *testing.T) {
	const (
		keys6, keys7 = "C1DAC52D1664E8A4386DBA430946FCA2C105B9DE", "6341AB2753D78A78A7C27BB124C6A8A7F4A80EB5"
		keyRPM       = "771B18D3D7BAA28734333C424344591E1964C5FC"
		keyAlice     = "B6542F92F30650C36B6F41BCB3A771BFEB04E625"
		centos       = "cavaliergopher-rpm/RPM-GPG-KEY-CentOS-*"
		rpmTest      = "rpm-tests/keys/rpm.org-rsa-2048-test.pgp"
	)
	for _, test := range []struct {
		file, keys  string
		legacy      bool
		fingerprint string
		reason      Reason
		text        string
	}{
		{"cavaliergopher-rpm/centos-release-as-2.1AS-4.noarch.rpm", centos, true, "881271F0B66849E2FA8687602802E89216FF0E46", "", ""},
		{"cavaliergopher-rpm/centos-release-3.1-1.i386.rpm", centos, true, "31C942C47E8D1F5CA6A7F1FC7049E44D025E513B", "", ""},
		{"cavaliergopher-rpm/centos-release-4-0.1.i386.rpm", centos, true, "31EA27E56F790C18AD7918DFA53D0BAB443E1821", "", ""},
		{"cavaliergopher-rpm/centos-release-4-0.1.x86_64.rpm", centos, true, "31EA27E56F790C18AD7918DFA53D0BAB443E1821", "", ""},
		{"cavaliergopher-rpm/centos-release-5-0.0.el5.centos.2.i386.rpm", centos, true, "473D66D5212271FD51CC17B1A8A447DCE8562897", "", ""},
		{"cavaliergopher-rpm/centos-release-5-0.0.el5.centos.2.x86_64.rpm", centos, true, "473D66D5212271FD51CC17B1A8A447DCE8562897", "", ""},
		{"cavaliergopher-rpm/centos-release-6-0.el6.centos.5.i686.rpm", centos, false, keys6, "", ""},
		{"cavaliergopher-rpm/centos-release-6-0.el6.centos.5.x86_64.rpm", centos, false, keys6, "", ""},
		{"cavaliergopher-rpm/centos-release-7-2.1511.el7.centos.2.10.x86_64.rpm", centos, false, keys7, "", ""},
		{"cavaliergopher-rpm/epel-release-7-5.noarch.rpm", centos, false, keys7, "", ""},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed.rpm", rpmTest, false, keyRPM, "", ""},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-v3-signed.rpm", rpmTest, false, keyRPM, "", ""},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-badima.rpm", rpmTest, false, keyRPM, "", ""},
		{"rpm-tests/RPMS/hlinktest-1.0-1.noarch-v3sig.rpm", rpmTest, false, keyRPM, "", ""},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm", "rpm-tests/keys/alice.asc", false, keyAlice, "", ""},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-with-new-subkey.rpm", "rpm-tests/keys/rpm.org-rsa-2048-add-subkey.asc", false, keyRPM, "", ""},
		// It has a signature by a second key, too.
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-mldsa87.rpm", "rpm-tests/keys/unknown/rpm.org-v6-mldsa87-test.asc", false, "AED054589CBF858445CFEA63E827A16CC45EE27FF4B97D8EB8EC71D34684F4E6", "", ""},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-mldsa87.rpm", rpmTest, false, keyRPM, "", ""},

		{"cavaliergopher-rpm/centos-release-5-0.0.el5.centos.2.x86_64.rpm", centos, false, "", WeakSignature, "A8A447DCE8562897 uses the digest SHA-1, which no longer protects"},
		{"cavaliergopher-rpm/centos-release-7-2.1511.el7.centos.2.10.x86_64.rpm", rpmTest, true, "", UnknownKey, "the key 24C6A8A7F4A80EB5 is not in the keyring; name the key of its vendor"},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm", "rpm-tests/keys/alice-expired-subkey.asc", false, "", BadSignature, "the signature of 1F71177215217EE0 is by a key that has expired"},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm", "rpm-tests/keys/alice-revoked-subkey.asc", false, "", BadSignature, "is by a key that has been revoked"},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rpmTest, false, "", UnknownKey, "the key 6323C42711450B6C is not in the keyring"},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64-corrupted.rpm", rpmTest, false, "", DigestMismatch, "the digest of its payload is"},
		{"rpm-tests/RPMS/hello-2.0-1.x86_64.rpm", rpmTest, false, "", Unsigned, "it is not signed; take a signed one"},
		{"rpm-tests/RPMS/hello-1.0-1.x86_64.rpm-v3", rpmTest, false, "", Unsigned, "it is not signed"},
		{"go-rpmutils/simple-1.0.1-1.i386.rpm", centos, true, "", Unsigned, "it is not signed"},
	} {
		o := openpgp.Options{Now: testNow, AllowLegacy: test.legacy}
		f := openFile(t, realFiles(t, test.file)[0])
		got, err := f.Verify(context.Background(), realKeys(t, test.keys), o)
		if test.reason != "" {
			wantError(t, err, test.reason, test.text)
			continue
		}
		if err != nil || got.KeyFingerprint != test.fingerprint {
			t.Errorf("%s: %+v, %v; want %s", test.file, got, err, test.fingerprint)
		}
	}
}

// No real package survives a change of what anything reads, or the loss of its end.
func TestVerifyRealPackagesDamaged(t *testing.T) {
	keys := openpgp.Merge(realKeys(t, "cavaliergopher-rpm/RPM-GPG-KEY-CentOS-*"), realKeys(t, "rpm-tests/keys/rpm.org-rsa-2048-test.pgp"))
	o := openpgp.Options{Now: testNow, AllowLegacy: true}
	path := filepath.Join(t.TempDir(), "damaged.rpm")
	verify := func(p []byte) error {
		if err := os.WriteFile(path, p, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Verify(context.Background(), keys, o)
		return err
	}
	reasons := map[Reason]int{}
	packages := append(realFiles(t, "cavaliergopher-rpm/centos-release-[3567]*"), realFiles(t, "rpm-tests/RPMS/hello-2.0-1.x86_64-*signed.rpm")...)
	for _, name := range packages {
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(good); err != nil {
			t.Fatal(err)
		}
		f := openFile(t, name)
		refused := func(what string, p []byte) {
			t.Helper()
			err := verify(p)
			var known *Error
			if !errors.As(err, &known) {
				t.Errorf("%s, %s: error %v", filepath.Base(name), what, err)
				return
			}
			reasons[known.Reason]++
		}
		for _, n := range []int64{0, 3, 50, leadBytes, leadBytes + 10, 200, f.headerOffset - 1, f.headerOffset, f.headerOffset + 12, f.payloadOffset - 1,
			f.payloadOffset, f.payloadOffset + 1, (f.payloadOffset + f.size) / 2, f.size - 1} {
			refused(fmt.Sprintf("cut at %d", n), good[:n])
		}
		refused("longer", append(bytes.Clone(good), 0))
		flip := func(i int64) []byte {
			p := bytes.Clone(good)
			p[i] ^= 0x10
			return p
		}
		for _, i := range []int64{0, 3, 4, 6, 79, leadBytes, leadBytes + 9, leadBytes + 13} {
			refused(fmt.Sprintf("byte %d of the lead or magic", i), flip(i))
		}
		for i := f.headerOffset; i < f.size; i += 509 {
			refused(fmt.Sprintf("byte %d of header or payload", i), flip(i))
		}
		refused("last byte", flip(f.size-1))
		for _, e := range f.Signature.Entries() {
			at := int64(bytes.Index(good, e.Data))
			switch e.Tag {
			case header.TagRSAHeader, header.TagDSAHeader, header.SigTagPGP, header.SigTagGPG:
				refused(fmt.Sprintf("last byte of signature %d", e.Tag), flip(at+int64(len(e.Data))-1))
			case header.TagSHA1Header, header.TagSHA256Header, header.SigTagMD5:
				refused(fmt.Sprintf("digest %d", e.Tag), flip(at+5))
			}
		}
	}
	t.Logf("refused: %v", reasons)
	for _, want := range []Reason{Malformed, Truncated, DigestMismatch, BadSignature} {
		if reasons[want] == 0 {
			t.Errorf("nothing was refused as %s", want)
		}
	}
}

// helloFiles are enough of a package for tests of verification.
var helloFiles = []testFile{{path: "/usr/bin/hello", mode: 0o100755, contents: "#!/bin/sh\necho hello\n"}}

func TestVerifyPolicy(t *testing.T) {
	key, other := newKey(t, packet.Config{}), newKey(t, packet.Config{})
	aged := newKey(t, packet.Config{KeyLifetimeSecs: 400 * 24 * 3600}) // valid until 11 months before testNow
	short := newKey(t, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024})
	revoked := newKey(t, packet.Config{})
	if err := revoked.RevokeKey(packet.KeyCompromised, "lost", &packet.Config{Time: func() time.Time { return testNow.AddDate(0, -1, 0) }}); err != nil {
		t.Fatal(err)
	}
	keys := keyring(t, key, aged, short, revoked)
	// go-crypto would not sign with these two.
	revoked.Revocations = nil
	for _, identity := range aged.Identities {
		identity.SelfSignature.KeyLifetimeSecs = nil
	}
	at := func(years, months int) *packet.Config {
		return &packet.Config{Time: func() time.Time { return testNow.AddDate(years, months, 0) }}
	}
	payloadDigests := []header.Tag{header.TagPayloadDigest, header.TagPayloadDigestAlt, header.TagPayloadDigestAlgo}
	change := func(p []byte) []byte { return append(bytes.Clone(p), 'x') }

	for name, test := range map[string]struct {
		p      testPackage
		o      openpgp.Options
		reason Reason // "": good
		text   string
	}{
		"header":                     {p: testPackage{signHeader: key}},
		"all":                        {p: testPackage{signAll: key}},
		"openpgp":                    {p: testPackage{signNew: key}},
		"everything":                 {p: testPackage{signHeader: key, signAll: key, signNew: key}},
		"all, no payload digest":     {p: testPackage{signAll: key, without: payloadDigests}},
		"plain payload digest alone": {p: testPackage{signHeader: key, without: payloadDigests[:1]}},
		"second key unknown":         {p: testPackage{signHeader: key, signNew: other}},
		"unknown and all":            {p: testPackage{signHeader: other, signAll: key}},
		"rpm 6":                      {p: testPackage{signNew: key, six: true}},
		"rpm 6, damaged": {p: testPackage{signNew: key, six: true, entries: []header.Entry{header.StringEntry(header.TagPayloadSHA3_256, strings.Repeat("0", 64))}},
			reason: DigestMismatch, text: "the digest of its payload is"},
		"key expired since":          {p: testPackage{signHeader: aged, config: at(-1, -1)}},
		"no digests but of payload":  {p: testPackage{signHeader: key, leaveOutDigests: true}, reason: Malformed, text: "it has no digest that covers all of it"},
		"header, no payload digest":  {p: testPackage{signHeader: key, without: payloadDigests}, reason: Unsigned, text: "only its header is signed, and the header has no digest of the payload that cannot be forged"},
		"openpgp, no payload digest": {p: testPackage{signNew: key, without: payloadDigests}, reason: Unsigned, text: "only its header is signed"},
		"strong payload digest":      {p: testPackage{signHeader: key, digests: header.SHA512}},
		"weak payload digest":        {p: testPackage{signHeader: key, digests: header.SHA1}, reason: Unsigned, text: "only its header is signed"},
		"unknown payload digest":     {p: testPackage{signHeader: key, entries: []header.Entry{header.Uint32sEntry(header.TagPayloadDigestAlgo, 99)}}, reason: Malformed, text: "a digest of the unknown kind 99"},
		"unsigned":                   {reason: Unsigned, text: "package sample-1.0-1.noarch.rpm: it is not signed; take a signed one, or write gpg_check = false in the repository's block"},
		"unknown key":                {p: testPackage{signHeader: other}, reason: UnknownKey, text: fmt.Sprintf("the key %016X is not in the keyring", other.PrimaryKey.KeyId)},
		"bad header signature":       {p: testPackage{signHeader: key, signed: change}, reason: BadSignature, text: "does not match what it signs"},
		"bad signature of all":       {p: testPackage{signAll: key, signed: change}, reason: BadSignature, text: "does not match what it signs"},
		"bad openpgp signature":      {p: testPackage{signNew: key, signed: change}, reason: BadSignature, text: "does not match what it signs"},
		"one bad of two":             {p: testPackage{signHeader: key, signNew: revoked}, reason: BadSignature, text: "is by a key that has been revoked"},
		"revoked":                    {p: testPackage{signAll: revoked}, reason: BadSignature, text: "is by a key that has been revoked"},
		"key expired then":           {p: testPackage{signHeader: aged, config: at(0, -1)}, reason: BadSignature, text: "is by a key that has expired"},
		"future":                     {p: testPackage{signHeader: key, config: at(1, 0)}, reason: BadSignature, text: "was made in the future"},
		"short key":                  {p: testPackage{signHeader: short}, reason: WeakSignature, text: "is by a key of 1024 bits, which is too short"},
		"short key, allowed":         {p: testPackage{signHeader: short}, o: openpgp.Options{AllowLegacy: true}},
		"file cut":                   {p: testPackage{signHeader: key, sizeTag: 1 << 20}, reason: Truncated, text: "bytes of its header and payload are there; download it again"},
	} {
		t.Run(name, func(t *testing.T) {
			test.p.files = helloFiles
			f := openFile(t, writePackage(t, test.p.bytes(t)))
			test.o.Now = testNow
			_, err := f.Verify(context.Background(), keys, test.o)
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.reason, test.text)
		})
	}
}

// Without a keyring the digests alone count; with an empty one nothing does.
func TestVerifyWithoutKeys(t *testing.T) {
	p := (&testPackage{files: helloFiles}).bytes(t)
	f := openFile(t, writePackage(t, p))
	if got, err := f.Verify(context.Background(), nil, openpgp.Options{}); err != nil || got.KeyFingerprint != "" {
		t.Errorf("%+v, %v", got, err)
	}
	signed := openFile(t, writePackage(t, (&testPackage{files: helloFiles, signHeader: newKey(t, packet.Config{})}).bytes(t)))
	_, err := signed.Verify(context.Background(), openpgp.Keyring{}, openpgp.Options{})
	wantError(t, err, UnknownKey, "is not in the keyring")
	p[len(p)-9] ^= 1
	_, err = openFile(t, writePackage(t, p)).Verify(context.Background(), nil, openpgp.Options{})
	wantError(t, err, DigestMismatch, "digest of its header and payload")
}

// A signature of text ignores line ends, so it would hold for other headers, too.
func TestVerifyTextSignature(t *testing.T) {
	key := newKey(t, packet.Config{})
	p := testPackage{files: helloFiles, signHeader: key}
	file := p.bytes(t)
	f := openFile(t, writePackage(t, file))
	signature := f.Signature.Bytes(header.TagRSAHeader)
	i := bytes.Index(file, signature)
	const typeOffset = 4 // packet tag, length, version
	for n := i; n < i+typeOffset; n++ {
		if file[n] == 4 && file[n+1] == byte(packet.SigTypeBinary) {
			file[n+1] = byte(packet.SigTypeText)
			break
		}
	}
	_, err := openFile(t, writePackage(t, file)).Verify(context.Background(), keyring(t, key), openpgp.Options{Now: testNow})
	wantError(t, err, BadSignature, "is one of text")
}

func TestVerifyStops(t *testing.T) {
	f := openFile(t, writePackage(t, (&testPackage{files: helloFiles}).bytes(t)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Verify(ctx, nil, openpgp.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := (&testPackage{files: helloFiles}).bytes(t)
	put := func(i int, v ...byte) []byte {
		p := bytes.Clone(good)
		copy(p[i:], v)
		return p
	}
	f := openFile(t, writePackage(t, good))
	database := (&testPackage{files: helloFiles, without: []header.Tag{header.TagArch}}).bytes(t)
	for name, test := range map[string]struct {
		p      []byte
		reason Reason
		text   string
	}{
		"empty":                  {nil, Malformed, "it is not an RPM package"},
		"web page":               {bytes.Repeat([]byte("<html>Welcome to our hotel</html>\n"), 10), Malformed, "it is not an RPM package"},
		"cut in the lead":        {good[:50], Truncated, "it ends in its first 96 bytes; download it again"},
		"version 2":              {put(4, 2), Malformed, "its format version is 2; only 3 and 4 are understood"},
		"kind 7":                 {put(7, 7), Malformed, "the unknown kind 7 of package"},
		"signature kind":         {put(79, 1), Malformed, "the unknown kind 1 of signature"},
		"no signature header":    {good[:leadBytes+8], Truncated, "it ends before its signature header"},
		"signature magic":        {put(leadBytes, 0), Malformed, "there is no signature header at byte 96"},
		"many signatures":        {put(leadBytes+8, 1), Malformed, "its signature header claims"},
		"cut in the signature":   {good[:leadBytes+40], Truncated, "it ends inside its signature header"},
		"bad signature header":   {put(leadBytes+16, 9), Malformed, "its signature header cannot be read"},
		"data between":           {put(int(f.headerOffset)-1, 9), Malformed, "header"},
		"header magic":           {put(int(f.headerOffset), 0), Malformed, "there is no header at byte"},
		"cut in the header":      {good[:f.headerOffset+100], Truncated, "it ends inside its header"},
		"bad header":             {put(int(f.headerOffset)+16, 9), Malformed, "its header cannot be read"},
		"no architecture":        {database, Malformed, "its header has no Arch"},
		"cut between the header": {good[:f.headerOffset], Truncated, "it ends before its header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(writePackage(t, test.p))
			wantError(t, err, test.reason, test.text)
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.rpm")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
