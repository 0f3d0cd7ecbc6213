package openpgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Keyring is the public keys somebody trusts for a repository.
type Keyring pgp.EntityList

// ParseKeyring reads OpenPGP public keys: binary ones as in .gpg files or any
// number of armored blocks as in .asc and RPM-GPG-KEY files. Keys of kinds that are
// not understood are left out; it is an error if none is left.
func ParseKeyring(p []byte) (Keyring, error) {
	const kbxMagic = "KBXf" // at byte 8
	if len(p) >= 12 && string(p[8:12]) == kbxMagic {
		return nil, errors.New("it is a GnuPG keybox: export its keys with `gpg --export`")
	}
	packets, err := dearmor(p, "PUBLIC KEY BLOCK")
	if err != nil {
		return nil, err
	}
	if len(packets) == 0 && bytes.Contains(p, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----")) {
		return nil, errors.New("it holds a private key: export the public one with `gpg --armor --export`")
	}
	keys, err := pgp.ReadKeyRing(bytes.NewReader(packets))
	if err != nil {
		return nil, fmt.Errorf("it does not hold OpenPGP public keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no OpenPGP public key")
	}
	return Keyring(keys), nil
}

// Armor returns the keys that ParseKeyring reads in p as one armored block (RFC 9580,
// section 6.2), ending with a line end.
func Armor(p []byte) (string, error) {
	if _, err := ParseKeyring(p); err != nil {
		return "", err
	}
	packets, err := dearmor(p, "PUBLIC KEY BLOCK")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	w, err := armor.Encode(&b, pgp.PublicKeyType, nil)
	if err != nil {
		return "", err
	}
	_, err = w.Write(packets)
	err = errors.Join(err, w.Close())
	return b.String() + "\n", err
}

// Merge returns the keys of all the keyrings.
func Merge(keyrings ...Keyring) Keyring {
	all := Keyring{} // never nil, which could be taken for no verification
	for _, k := range keyrings {
		all = append(all, k...)
	}
	return all
}

// Encode returns the keys as ParseKeyring reads them, for tools that take keys as
// files: without the parts that are not understood.
func (k Keyring) Encode() ([]byte, error) {
	var b bytes.Buffer
	for _, e := range k {
		if err := e.Serialize(&b); err != nil {
			return nil, fmt.Errorf("write the key %s: %w", fingerprint(e), err)
		}
	}
	return b.Bytes(), nil
}

// Fingerprints returns the fingerprint of every primary key in upper-case
// hexadecimal, in the keyring's order.
func (k Keyring) Fingerprints() []string {
	fingerprints := make([]string, len(k))
	for i, e := range k {
		fingerprints[i] = fingerprint(e)
	}
	return fingerprints
}

func fingerprint(e *pgp.Entity) string { return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) }

// signingKeys returns the keys with an id that may sign; known says that there are
// keys of that id at all.
func (k Keyring) signingKeys(id uint64) (keys []pgp.Key, known bool) {
	all := pgp.EntityList(k).KeysById(id)
	for _, key := range all {
		if maySign(key) {
			keys = append(keys, key)
		}
	}
	return keys, len(all) > 0
}

// maySign reports whether a key's owner meant it to sign. Keys made before key flags
// were usual have none; a subkey without the flag is not cross-signed either, so
// anybody could have bound it to a key of their own.
func maySign(key pgp.Key) bool {
	switch {
	case key.SelfSignature == nil || !key.PublicKey.PubKeyAlgo.CanSign():
		return false
	case !key.SelfSignature.FlagsValid:
		return key.PublicKey == key.Entity.PrimaryKey
	}
	return key.SelfSignature.FlagSign
}

// bits returns the size of a key whose strength depends on it: RSA and DSA; else 0.
func bits(key *packet.PublicKey) int {
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoDSA:
		if n, err := key.BitLength(); err == nil {
			return int(n)
		}
		return 1 // shorter than any that is accepted
	}
	return 0
}

// dearmor returns the OpenPGP packets in p, which are binary or in any number of
// armored blocks of a kind; blocks of other kinds are left out.
func dearmor(p []byte, kind string) ([]byte, error) {
	if !bytes.Contains(p, []byte("-----BEGIN PGP")) {
		return p, nil
	}
	start := "-----BEGIN PGP " + kind + "-----"
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
