package deb

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/stages/store"
)

// testNow is when everything of these tests happens.
var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// newKey returns a signing key made at testNow less age, which expires after
// lifetime unless that is zero.
func newKey(t testing.TB, age, lifetime time.Duration) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Archive", "", "archive@example.com", &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		Time:            func() time.Time { return testNow.Add(-age) },
		KeyLifetimeSecs: uint32(lifetime / time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publicKeys returns the keyring of the public halves of keys.
func publicKeys(t testing.TB, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func parseKeyring(t testing.TB, p []byte) Keyring {
	t.Helper()
	keyring, err := ParseKeyring(p)
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

func armored(t testing.TB, p []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(p)
	w.Close()
	out.WriteByte('\n')
	return out.Bytes()
}

// clearSign signs text an hour before testNow with every key.
func clearSign(t testing.TB, text string, config *packet.Config, keys ...*openpgp.Entity) []byte {
	t.Helper()
	if config == nil {
		config = &packet.Config{}
	}
	if config.Time == nil {
		config.Time = func() time.Time { return testNow.Add(-time.Hour) }
	}
	var private []*packet.PrivateKey
	for _, key := range keys {
		private = append(private, key.PrivateKey)
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

const testDigest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

const testRelease = `Origin: Example
Label: Example-Label
Suite: stable
Codename: sample
Date: Fri, 20 Nov 2026 00:12:41 UTC
Valid-Until: Fri, 27 Nov 2026 00:12:41 UTC
Acquire-By-Hash: yes
Architectures: all amd64
Components: main extra
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages
SHA256:
 ` + testDigest + `        4 main/binary-amd64/Packages
 ` + testDigest + `     4000 main/binary-amd64/Packages.xz
`

func verifyTest(p []byte, keyring Keyring) (*Release, error) {
	return VerifyRelease(p, keyring, ReleaseOptions{Name: "InRelease", Now: testNow})
}

func TestVerifyRelease(t *testing.T) {
	key := newKey(t, time.Hour*24, 0)
	r, err := verifyTest(clearSign(t, testRelease, nil, key), parseKeyring(t, publicKeys(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Origin != "Example" || r.Label != "Example-Label" || r.Suite != "stable" || r.Codename != "sample" || !r.AcquireByHash || !r.SeparateAll {
		t.Errorf("%+v", r)
	}
	if want := time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC); !r.Date.Equal(want) || !r.ValidUntil.Equal(want.AddDate(0, 0, 7)) {
		t.Errorf("dates %v, %v", r.Date, r.ValidUntil)
	}
	if strings.Join(r.Components, ",") != "main,extra" || strings.Join(r.Architectures, ",") != "all,amd64" {
		t.Errorf("components %q, architectures %q", r.Components, r.Architectures)
	}
	if f := r.Files["main/binary-amd64/Packages.xz"]; f.Size != 4000 || f.SHA256 != store.Sum([]byte("test")) || len(r.Files) != 2 {
		t.Errorf("files %v", r.Files)
	}
	if len(r.SignedBy) != 1 || r.SignedBy[0] != fmt.Sprintf("%X", key.PrimaryKey.Fingerprint) {
		t.Errorf("signed by %q", r.SignedBy)
	}
}

// A real file of a real archive: several signatures by subkeys, of which the
// keyring has some.
func TestVerifyRealRelease(t *testing.T) {
	p, err := os.ReadFile("testdata/bookworm-security.InRelease")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := os.ReadFile("testdata/bookworm-security.gpg")
	if err != nil {
		t.Fatal(err)
	}
	for name, keyring := range map[string]Keyring{
		"binary":  parseKeyring(t, keys),
		"armored": parseKeyring(t, armored(t, keys)),
	} {
		r, err := verifyTest(p, keyring)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Codename != "bookworm-security" || r.Files["main/binary-amd64/Packages.xz"].Size != 376904 || r.Files["contrib/Contents-amd64"].SHA256 != store.Sum(nil) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := verifyTest(bytes.Replace(p, []byte("376904"), []byte("376905"), 1), parseKeyring(t, keys)); err == nil {
		t.Error("a changed file verifies")
	}
}

// What gpg signs verifies, with the text escaped and ended in its ways.
func TestVerifyGPG(t *testing.T) {
	tool(t, "gpg", "gnupg")
	home, err := os.MkdirTemp("", "gpg") // short: gpg-agent's socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		return run(t, "gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--no-tty", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	}
	gpg("--quick-generate-key", "rsa@example.com", "rsa3072", "sign", "never")
	gpg("--quick-generate-key", "ed@example.com", "ed25519", "sign", "never")
	text := testRelease + "X-Note: a line\n - with dashes\n  and trailing blanks  \t\n"
	in := writeFile(t, "Release", []byte(text))
	out := filepath.Join(t.TempDir(), "InRelease")
	now := time.Now()
	for _, signers := range [][]string{{"rsa@example.com"}, {"ed@example.com"}, {"rsa@example.com", "ed@example.com"}} {
		var args []string
		for _, s := range signers {
			args = append(args, "--local-user", s)
		}
		gpg(append(args, "--digest-algo", "SHA512", "--output", out, "--clear-sign", in)...)
		p, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		// This machine's clock made the signatures.
		r, err := VerifyRelease(p, parseKeyring(t, []byte(gpg("--export"))), ReleaseOptions{Now: now.Add(time.Minute), AllowExpired: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.SignedBy) != len(signers) {
			t.Errorf("signed by %q, want %q", r.SignedBy, signers)
		}
		if _, err := VerifyRelease(p, parseKeyring(t, []byte(gpg("--armor", "--export", signers[0]))), ReleaseOptions{Now: now.Add(time.Minute), AllowExpired: true}); err != nil {
			t.Error(err)
		}
	}
	gpg("--digest-algo", "SHA1", "--output", out, "--clear-sign", in)
	p, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	_, err = VerifyRelease(p, parseKeyring(t, []byte(gpg("--export"))), ReleaseOptions{Now: now.Add(time.Minute), AllowExpired: true})
	if err == nil || !strings.Contains(err.Error(), "uses the digest SHA-1, which no longer protects") {
		t.Errorf("error %v", err)
	}
	keybox, err := os.ReadFile(filepath.Join(home, "pubring.kbx"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKeyring(keybox); err == nil || !strings.Contains(err.Error(), "GnuPG keybox") {
		t.Errorf("error %v", err)
	}
}

func TestVerifyReleaseRefuses(t *testing.T) {
	day := 24 * time.Hour
	key, other := newKey(t, 10*day, 0), newKey(t, 10*day, 0)
	expired := newKey(t, 10*day, 5*day)
	revoked := newKey(t, 10*day, 0)
	if err := revoked.RevokeKey(packet.KeyCompromised, "lost", &packet.Config{Time: func() time.Time { return testNow.Add(-day) }}); err != nil {
		t.Fatal(err)
	}
	short, err := openpgp.NewEntity("Short", "", "short@example.com", &packet.Config{
		Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024, Time: func() time.Time { return testNow.Add(-day) }})
	if err != nil {
		t.Fatal(err)
	}
	keyring := parseKeyring(t, publicKeys(t, key, expired, revoked, short))
	at := func(when time.Duration) *packet.Config {
		return &packet.Config{Time: func() time.Time { return testNow.Add(when) }}
	}
	good := clearSign(t, testRelease, nil, key)
	replace := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the document has no %q", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	signature := string(good[bytes.Index(good, []byte("-----BEGIN PGP SIGNATURE")):])
	signed := func(text string) []byte { return clearSign(t, text, nil, key) }

	for name, test := range map[string]struct {
		p       []byte
		unknown bool // SignatureError.UnknownKeys
		want    string
	}{
		"unknown key": {clearSign(t, testRelease, nil, other), true,
			fmt.Sprintf("InRelease has no valid signature: the key %016X is not in the keyring; update the keyring", other.PrimaryKey.KeyId)},
		"tampered": {replace("sample", "trojan"), false,
			fmt.Sprintf("InRelease has no valid signature: the signature of %016X does not match what it signs", key.PrimaryKey.KeyId)},
		"line added":        {replace("Suite:", "Extra: x\nSuite:"), false, "does not match what it signs"},
		"last line removed": {replace(" "+testDigest+"     4000 main/binary-amd64/Packages.xz\n", ""), false, "does not match what it signs"},
		"expired key":       {clearSign(t, testRelease, at(-6*day), expired), false, "is by a key that has expired"},
		"revoked key":       {clearSign(t, testRelease, at(-2*day), revoked), false, "is by a key that has been revoked"},
		"expired signature": {clearSign(t, testRelease, &packet.Config{SigLifetimeSecs: 60}, key), false, "has expired; do not use this mirror"},
		"future":            {clearSign(t, testRelease, at(day), key), false, "was made in the future, on Sun, 22 Nov 2026 12:00:00 UTC: check this machine's clock"},
		"short key":         {clearSign(t, testRelease, nil, short), false, "is by a key of 1024 bits, which is too short"},
		"empty":             {nil, false, `InRelease is not a signed Release file: it does not begin with "-----BEGIN PGP SIGNED MESSAGE-----"`},
		"unsigned":          {[]byte(testRelease), false, `it does not begin with`},
		"login page":        {[]byte("<html>Welcome to our hotel</html>"), false, `it does not begin with`},
		"text before":       {append([]byte("Origin: Evil\n"), good...), false, `it does not begin with`},
		"text after":        {append(bytes.Clone(good), "Origin: Evil\n"...), false, `there is text after the signature`},
		"second message":    {append(bytes.Clone(good), clearSign(t, testRelease, nil, other)...), false, `there is text after the signature`},
		"cut in the text":   {good[:300], false, "the clear-signed message is malformed or incomplete"},
		"cut in signature":  {good[:len(good)-60], false, "the clear-signed message is malformed or incomplete"},
		"no signature":      {replace(signature, "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"), true, "it holds no signature"},
		"armor damaged":     {replace(signature[40:60], "!!!!!!!!!!!!!!!!!!!!"), false, "InRelease "},
		"other header":      {replace("Hash: SHA256", "Hash: SHA256\nComment: x"), false, "InRelease "},
		"no digests":        {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 main/x\n"), false, "InRelease is malformed: it has no SHA256 digests, and weaker ones are not accepted"},
		"no date":           {signed("Suite: x\nSHA256:\n"), false, "it has no Date"},
		"odd date":          {signed("Date: yesterday\nSHA256:\n"), false, `line 1: Date "yesterday" is not a date`},
		"odd zone":          {signed("Date: Fri, 20 Nov 2026 00:12:41 PST\nSHA256:\n"), false, `is not a date`},
		"odd line":          {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n " + testDigest + " 5\n"), false, "is not a digest, a size and a path"},
		"odd digest":        {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n 12345 5 x\n"), false, `"12345" is not a SHA-256 digest`},
		"odd size":          {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n " + testDigest + " -5 x\n"), false, `"-5" is not a size`},
		"odd path":          {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n " + testDigest + " 5 ../../etc/passwd\n"), false, `"../../etc/passwd" is not a path inside the repository`},
		"absolute path":     {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n " + testDigest + " 5 /etc/passwd\n"), false, `is not a path inside`},
		"two digests":       {signed("Date: Fri, 20 Nov 2026 00:12:41 UTC\nSHA256:\n " + testDigest + " 5 x\n " + testDigest + " 6 x\n"), false, `there are two digests of "x"`},
		"two paragraphs":    {signed(testRelease + "\nOrigin: Evil\n"), false, "a second paragraph begins"},
		"nothing":           {signed(""), false, "InRelease "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifyTest(test.p, keyring)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\nwant   %s", err, test.want)
			}
			var signature *SignatureError
			if errors.As(err, &signature) && signature.UnknownKeys != test.unknown {
				t.Errorf("UnknownKeys is %v", signature.UnknownKeys)
			}
		})
	}
	if _, err := verifyTest(good, nil); err == nil {
		t.Error("an empty keyring verifies")
	}
	if _, err := verifyTest(good, keyring); err != nil {
		t.Errorf("the good document does not verify: %v", err)
	}
}

// One good signature is enough, wherever it stands.
func TestVerifyTwoSignatures(t *testing.T) {
	key, other := newKey(t, time.Hour*24, 0), newKey(t, time.Hour*24, 0)
	keyring := parseKeyring(t, publicKeys(t, key))
	for _, keys := range [][]*openpgp.Entity{{key, other}, {other, key}} {
		if _, err := verifyTest(clearSign(t, testRelease, nil, keys...), keyring); err != nil {
			t.Error(err)
		}
	}
}

func TestReleaseExpired(t *testing.T) {
	key := newKey(t, time.Hour*24, 0)
	p, keyring := clearSign(t, testRelease, nil, key), parseKeyring(t, publicKeys(t, key))
	o := ReleaseOptions{Name: "http://mirror/InRelease", Now: testNow.AddDate(0, 0, 7)}
	_, err := VerifyRelease(p, keyring, o)
	var expired *ExpiredError
	if !errors.As(err, &expired) || !strings.HasPrefix(err.Error(), "http://mirror/InRelease expired on Fri, 27 Nov 2026 00:12:41 UTC (Valid-Until)") {
		t.Errorf("error %v", err)
	}
	o.AllowExpired = true
	if _, err := VerifyRelease(p, keyring, o); err != nil {
		t.Error(err)
	}
}

func TestReadUnsignedRelease(t *testing.T) {
	key := newKey(t, time.Hour*24, 0)
	for _, p := range [][]byte{[]byte(testRelease), clearSign(t, testRelease, nil, key)} {
		r, err := ReadUnsignedRelease(p, ReleaseOptions{Now: testNow})
		if err != nil || len(r.Files) != 2 || len(r.SignedBy) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestParseKeyring(t *testing.T) {
	a, b := newKey(t, 0, 0), newKey(t, 0, 0)
	both := publicKeys(t, a, b)
	twoBlocks := append(armored(t, publicKeys(t, a)), armored(t, publicKeys(t, b))...)
	for name, p := range map[string][]byte{"binary": both, "one block": armored(t, both), "two blocks": append([]byte("a comment\n"), twoBlocks...)} {
		if keyring, err := ParseKeyring(p); err != nil || len(keyring) != 2 {
			t.Errorf("%s: %d keys, %v", name, len(keyring), err)
		}
	}
	for name, p := range map[string][]byte{"empty": nil, "text": []byte("not a key"), "private": []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n"), "cut": both[:40], "armor cut": twoBlocks[:200]} {
		if keyring, err := ParseKeyring(p); err == nil {
			t.Errorf("%s: no error but %d keys", name, len(keyring))
		}
	}
}

func FuzzInRelease(f *testing.F) {
	key := newKey(f, time.Hour*24, 0)
	keyring := parseKeyring(f, publicKeys(f, key))
	good := clearSign(f, testRelease, nil, key)
	f.Add(good)
	f.Add(clearSign(f, testRelease, &packet.Config{DefaultHash: crypto.SHA512}, key, newKey(f, 0, 0)))
	f.Add([]byte(testRelease))
	want, err := verifyTest(good, keyring)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		ReadUnsignedRelease(p, ReleaseOptions{Now: testNow})
		got, err := verifyTest(p, keyring)
		if err != nil {
			return
		}
		// Nobody forges signatures here: what verifies says what was signed.
		if len(got.Files) != len(want.Files) || got.Suite != want.Suite || !got.Date.Equal(want.Date) {
			t.Errorf("a changed document verifies: %+v", got)
		}
	})
}
