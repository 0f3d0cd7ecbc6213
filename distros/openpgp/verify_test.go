package openpgp

import (
	"bytes"
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 the keys of old distributions are of this kind
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	_ "crypto/md5"
	_ "crypto/sha1"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const testMessage = "a message\nof two lines\n"

// newKey returns a key made some days before testNow.
func newKey(t testing.TB, days int, c packet.Config) *pgp.Entity {
	t.Helper()
	c.Time = func() time.Time { return testNow.AddDate(0, 0, -days) }
	if c.Algorithm == 0 {
		c.Algorithm = packet.PubKeyAlgoEdDSA
	}
	key, err := pgp.NewEntity("Test", "", "test@example.com", &c)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ringOf(t testing.TB, keys ...*pgp.Entity) Keyring {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := ParseKeyring(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// sign returns a binary signature of testMessage, made some days before testNow.
func sign(t testing.TB, key *pgp.Entity, days int, c packet.Config) []byte {
	t.Helper()
	c.Time = func() time.Time { return testNow.AddDate(0, 0, -days) }
	var b bytes.Buffer
	if err := pgp.DetachSign(&b, key, strings.NewReader(testMessage), &c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signV3 returns a version 3 signature packet, which no library makes any more.
func signV3(t testing.TB, key *packet.PrivateKey, kind packet.SignatureType, hash crypto.Hash, message string) []byte {
	t.Helper()
	body := []byte{3, 5, byte(kind)}
	body = binary.BigEndian.AppendUint32(body, uint32(testNow.AddDate(-20, 0, 0).Unix()))
	suffix := bytes.Clone(body[2:])
	body = binary.BigEndian.AppendUint64(body, key.KeyId)
	ids := map[crypto.Hash]byte{crypto.MD5: 1, crypto.SHA1: 2, crypto.SHA256: 8}
	body = append(body, byte(key.PubKeyAlgo), ids[hash])
	h := hash.New()
	h.Write([]byte(message))
	h.Write(suffix)
	sum := h.Sum(nil)
	body = append(body, sum[:2]...)
	number := func(n *big.Int) {
		body = binary.BigEndian.AppendUint16(body, uint16(n.BitLen()))
		body = append(body, n.Bytes()...)
	}
	switch private := key.PrivateKey.(type) {
	case *rsa.PrivateKey:
		signature, err := rsa.SignPKCS1v15(nil, private, hash, sum)
		if err != nil {
			t.Fatal(err)
		}
		number(new(big.Int).SetBytes(signature))
	case *dsa.PrivateKey:
		r, s, err := dsa.Sign(rand.Reader, private, sum[:private.Q.BitLen()/8])
		if err != nil {
			t.Fatal(err)
		}
		number(r)
		number(s)
	}
	return oldPacket(body)
}

// oldPacket returns a signature packet with a header of the old format.
func oldPacket(body []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x80 | tagSignature<<2 | 1}, uint16(len(body))), body...)
}

func verify(k Keyring, signature []byte, o Options) (string, error) {
	o.Now = testNow
	return k.VerifyDetached(strings.NewReader(testMessage), signature, o)
}

func TestVerifyV3(t *testing.T) {
	strong := newKey(t, 9000, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048})
	weak := newKey(t, 9000, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024})
	// A DSA key of 1024 bits, which go-crypto does not make.
	private := &dsa.PrivateKey{}
	if err := errors.Join(dsa.GenerateParameters(&private.Parameters, rand.Reader, dsa.L1024N160), dsa.GenerateKey(private, rand.Reader)); err != nil {
		t.Fatal(err)
	}
	old := newKey(t, 9000, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024})
	old.PrivateKey = packet.NewDSAPrivateKey(testNow.AddDate(0, 0, -9000), private)
	old.PrimaryKey = &old.PrivateKey.PublicKey
	old.Subkeys = nil
	for _, identity := range old.Identities {
		identity.SelfSignature.PubKeyAlgo = packet.PubKeyAlgoDSA
		identity.SelfSignature.IssuerKeyId = &old.PrimaryKey.KeyId
		identity.SelfSignature.IssuerFingerprint = old.PrimaryKey.Fingerprint
		identity.SelfSignature.Hash = crypto.SHA256
		if err := identity.SelfSignature.SignUserId(identity.Name, old.PrimaryKey, old.PrivateKey, nil); err != nil {
			t.Fatal(err)
		}
		identity.Signatures = []*packet.Signature{identity.SelfSignature}
	}
	keys := ringOf(t, strong, weak, old)

	crlf := strings.ReplaceAll(testMessage, "\n", "\r\n")
	legacy := Options{AllowLegacy: true}
	for name, test := range map[string]struct {
		signature []byte
		o         Options
		key       *pgp.Entity // nil: refused
		reason    Reason
	}{
		"RSA":                  {signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage), Options{}, strong, ""},
		"text":                 {signV3(t, strong.PrivateKey, packet.SigTypeText, crypto.SHA256, crlf), Options{}, strong, ""},
		"RSA, SHA-1, allowed":  {signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.SHA1, testMessage), legacy, strong, ""},
		"DSA, SHA-1, allowed":  {signV3(t, old.PrivateKey, packet.SigTypeBinary, crypto.SHA1, testMessage), legacy, old, ""},
		"RSA, SHA-1":           {signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.SHA1, testMessage), Options{}, nil, Weak},
		"short RSA":            {signV3(t, weak.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage), Options{}, nil, Weak},
		"short RSA, allowed":   {signV3(t, weak.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage), legacy, weak, ""},
		"short DSA":            {signV3(t, old.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage), Options{}, nil, Weak},
		"MD5, though allowed":  {signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.MD5, testMessage), legacy, nil, Weak},
		"other message":        {signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.SHA256, "other"), Options{}, nil, Bad},
		"certification":        {signV3(t, strong.PrivateKey, packet.SigTypePositiveCert, crypto.SHA256, testMessage), Options{}, nil, Malformed},
		"version 1":            {oldPacket([]byte{1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0, 0, 0}), Options{}, nil, Malformed},
		"cut":                  {oldPacket([]byte{3, 5, 0, 0}), Options{}, nil, Malformed},
		"no numbers":           {oldPacket(signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage)[3 : 3+19]), Options{}, nil, Unsupported},
		"not a signature":      {append([]byte{0x80 | 13<<2, 1}, 'x'), Options{}, nil, Malformed},
		"length of the suffix": {bytes.Replace(signV3(t, strong.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage), []byte{3, 5, 0}, []byte{3, 6, 0}, 1), Options{}, nil, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verify(keys, test.signature, test.o)
			if test.key == nil {
				wantReason(t, err, test.reason)
				return
			}
			if err != nil || got != fmt.Sprintf("%X", test.key.PrimaryKey.Fingerprint) {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func TestVerifyPolicy(t *testing.T) {
	key, other := newKey(t, 10, packet.Config{}), newKey(t, 10, packet.Config{})
	expired := newKey(t, 10, packet.Config{KeyLifetimeSecs: 5 * 24 * 3600})
	revoked := newKey(t, 10, packet.Config{})
	bySubkey := newKey(t, 10, packet.Config{})
	if err := bySubkey.AddSigningSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return testNow.AddDate(0, 0, -9) }}); err != nil {
		t.Fatal(err)
	}
	old := ringOf(t, revoked)
	if err := revoked.RevokeKey(packet.KeySuperseded, "old", &packet.Config{Time: func() time.Time { return testNow.AddDate(0, 0, -1) }}); err != nil {
		t.Fatal(err)
	}
	keys := ringOf(t, key, expired, revoked, bySubkey)
	revoked.Revocations = nil
	armored := func(p []byte) []byte {
		var b bytes.Buffer
		w, err := armor.Encode(&b, pgp.SignatureType, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(p)
		w.Close()
		return b.Bytes()
	}
	good := sign(t, key, 3, packet.Config{})
	for name, test := range map[string]struct {
		keys      Keyring
		signature []byte
		o         Options
		reasons   string // "": good
	}{
		"good":                    {keys, good, Options{}, ""},
		"armored":                 {keys, armored(good), Options{}, ""},
		"subkey":                  {keys, sign(t, bySubkey, 3, packet.Config{}), Options{}, ""},
		"unknown and good":        {keys, append(sign(t, other, 3, packet.Config{}), good...), Options{}, ""},
		"good and cut":            {keys, append(bytes.Clone(good), good[:40]...), Options{}, ""},
		"unknown":                 {keys, sign(t, other, 3, packet.Config{}), Options{}, "unknown key"},
		"unknown twice":           {keys, append(sign(t, other, 3, packet.Config{}), sign(t, other, 4, packet.Config{})...), Options{}, "unknown key, unknown key"},
		"no keys":                 {nil, good, Options{}, "unknown key"},
		"cut":                     {keys, good[:40], Options{}, "malformed"},
		"expired key":             {keys, sign(t, expired, 6, packet.Config{}), Options{}, "expired"},
		"expired key, as then":    {keys, sign(t, expired, 6, packet.Config{}), Options{AtSigning: true}, ""},
		"expired signature":       {keys, sign(t, key, 3, packet.Config{SigLifetimeSecs: 60}), Options{}, "expired"},
		"expired signature, then": {keys, sign(t, key, 3, packet.Config{SigLifetimeSecs: 60}), Options{AtSigning: true}, "expired"},
		"future":                  {keys, sign(t, key, -1, packet.Config{}), Options{AtSigning: true}, "expired"},
		"revoked":                 {keys, sign(t, revoked, 3, packet.Config{}), Options{AtSigning: true}, "revoked"},
		"not yet revoked":         {old, sign(t, revoked, 3, packet.Config{}), Options{}, ""},
		"revoked in one copy":     {Merge(old, keys), sign(t, revoked, 3, packet.Config{}), Options{}, "revoked"},
		"revoked in other copy":   {Merge(keys, old), sign(t, revoked, 3, packet.Config{}), Options{}, "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			fingerprint, err := verify(test.keys, test.signature, test.o)
			var reasons []string
			var none *NoSignatureError
			if errors.As(err, &none) {
				for _, f := range none.Failures {
					reasons = append(reasons, string(f.Reason))
				}
				if none.UnknownKeys() != strings.HasPrefix(test.reasons, "unknown") {
					t.Errorf("UnknownKeys is %v", none.UnknownKeys())
				}
			}
			if got := strings.Join(reasons, ", "); got != test.reasons || (err == nil) != (test.reasons == "") || (err == nil) != (len(fingerprint) == 40) {
				t.Errorf("%q, %v; want the reasons %q", fingerprint, err, test.reasons)
			}
		})
	}
	for _, p := range []string{"", "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n", "-----BEGIN PGP SIGNATURE-----\n\n!!!!\n-----END PGP SIGNATURE-----\n"} {
		if _, err := verify(keys, []byte(p), Options{}); err == nil {
			t.Errorf("%q verifies", p)
		}
	}
	if _, err := keys.VerifyDetached(io.MultiReader(strings.NewReader("a"), failing{}), good, Options{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Two keys made to have one id: the one that signed is found.
func TestVerifyKeyIDCollision(t *testing.T) {
	var all Keyring
	var signatures [2][]byte
	var fingerprints [2]string
	for i, name := range []string{"keyidcollision1", "keyidcollision2"} {
		keys, err := ParseKeyring(realFile(t, "rpm-tests/keys/"+name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		all, fingerprints[i] = Merge(all, keys), keys.Fingerprints()[0]
		private, err := pgp.ReadArmoredKeyRing(bytes.NewReader(realFile(t, "rpm-tests/keys/"+name+".asc")))
		if err != nil {
			t.Fatal(err)
		}
		signatures[i] = sign(t, private[0], 3, packet.Config{})
	}
	for i := range signatures {
		got, err := verify(all, signatures[i], Options{})
		if err != nil || got != fingerprints[i] {
			t.Errorf("%s, %v; want %s", got, err, fingerprints[i])
		}
	}
}

func FuzzVerifyDetached(f *testing.F) {
	key := newKey(f, 10, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048})
	keys := ringOf(f, key)
	f.Add(sign(f, key, 3, packet.Config{}))
	f.Add(signV3(f, key.PrivateKey, packet.SigTypeBinary, crypto.SHA256, testMessage))
	f.Add(signV3(f, key.PrivateKey, packet.SigTypeText, crypto.SHA1, testMessage))
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\n\nwsBc\n-----END PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		// Nobody forges signatures here.
		if _, err := keys.VerifyDetached(strings.NewReader("another message"), p, Options{Now: testNow, AllowLegacy: true}); err == nil {
			t.Error("a signature of one message verifies another")
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	key := newKey(f, 10, packet.Config{})
	var b bytes.Buffer
	if err := key.Serialize(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	if text, err := Armor(b.Bytes()); err == nil {
		f.Add([]byte(text))
	}
	signature := sign(f, key, 3, packet.Config{})
	f.Fuzz(func(t *testing.T, p []byte) {
		keys, err := ParseKeyring(p)
		if err != nil {
			return
		}
		if len(keys.Fingerprints()) == 0 {
			t.Error("an empty keyring is no error")
		}
		verify(keys, signature, Options{})
	})
}
