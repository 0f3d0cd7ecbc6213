package scan

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// maxKeyFile is the most bytes a file may have to be looked at for private keys: a key
// has some thousand, files with many of them hold certificates as well.
const maxKeyFile = 128 << 10

// minKeyFile is less than the bytes of the shortest private key in text.
const minKeyFile = 64

// PrivateKey is a private key in a file.
type PrivateKey struct {
	Path string `json:"path"`
	Line int    `json:"line"` // from 1
	Kind string `json:"kind"` // as the key calls itself: "RSA PRIVATE KEY"
	// Encrypted says that a passphrase is needed, as far as that can be seen from
	// outside.
	Encrypted bool     `json:"encrypted,omitempty"`
	Packages  []string `json:"packages,omitempty"` // that own the file
}

// PublicKey is an SSH key that lets somebody in, or by which a host is known.
type PublicKey struct {
	Path        string `json:"path"`
	Line        int    `json:"line"`        // from 1
	Type        string `json:"type"`        // "ssh-rsa"
	Bits        int    `json:"bits"`        // of RSA's modulus or DSA's prime; 0 for types of one size
	Fingerprint string `json:"fingerprint"` // as ssh-keygen -l prints it
	Comment     string `json:"comment,omitempty"`
}

// keyring is the keys of a tree.
type keyring struct {
	private []PrivateKey
	public  []PublicKey
}

// keys looks for keys, once.
func (e *evaluator) keys(ctx context.Context) (*keyring, error) {
	if e.keysSeen != nil {
		return e.keysSeen, nil
	}
	var candidates []tree.Entry
	looked := map[uint32]bool{} // hard link groups
	for _, entry := range e.root.Tree.Entries() {
		if entry.Type != tree.Regular || entry.Size > maxKeyFile || looked[entry.Link] {
			continue
		}
		if entry.Link != 0 {
			looked[entry.Link] = true
		}
		if entry.Size >= minKeyFile || publicKeyFile("/"+entry.Path) {
			candidates = append(candidates, entry)
		}
	}
	found := make([]keyring, len(candidates))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	const chunk = 256
	for start := 0; start < len(candidates); start += chunk {
		group.Go(func() error {
			for i := start; i < min(start+chunk, len(candidates)); i++ {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				if err := e.keysOf(candidates[i], &found[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	k := &keyring{}
	for _, f := range found {
		k.private = append(k.private, f.private...)
		k.public = append(k.public, f.public...)
	}
	for i := range k.private { // one at a time: nothing says that the function can be called otherwise
		k.private[i].Packages = e.owners(k.private[i].Path)
	}
	e.keysSeen = k
	return k, nil
}

// keysOf finds the keys in one file.
func (e *evaluator) keysOf(entry tree.Entry, k *keyring) error {
	public := publicKeyFile("/" + entry.Path)
	if !public {
		// Most files have nothing that looks like a key. Those that do are read once
		// more, verified.
		data, err := e.root.Store.Peek(entry.Digest, int(entry.Size))
		if err != nil {
			return fmt.Errorf("/%s: %w", entry.Path, err)
		}
		if !bytes.Contains(data, beginPrivate) && !bytes.HasPrefix(data, puttyKey) {
			return nil
		}
	}
	data, err := e.root.Contents(entry)
	if err != nil {
		return err
	}
	for _, p := range FindPrivateKeys(data) {
		p.Path = "/" + entry.Path
		k.private = append(k.private, p)
	}
	if public {
		for _, p := range ParsePublicKeys(data) {
			p.Path = "/" + entry.Path
			k.public = append(k.public, p)
		}
	}
	return nil
}

// publicKeyFile reports whether sshd looks for public keys in the file.
func publicKeyFile(p string) bool {
	return files.Match([]string{
		"/root/.ssh/authorized_keys*", "/home/*/.ssh/authorized_keys*", "/etc/ssh/ssh_host_*_key.pub", "/etc/ssh/authorized_keys*", "/etc/ssh/authorized_keys*/**",
		"/etc/ssh/*.pub",
	}, p) || strings.HasSuffix(p, "/.ssh/authorized_keys")
}

// What private keys begin with.
var (
	beginPrivate = []byte("-----BEGIN ")
	puttyKey     = []byte("PuTTY-User-Key-File-")
)

// FindPrivateKeys returns the private keys in PEM and OpenSSH's form (RFC 7468, and
// the forms before it), and PuTTY's, of a file. Text that only mentions such lines is
// none: the lines after must hold a key.
func FindPrivateKeys(data []byte) []PrivateKey {
	var found []PrivateKey
	if rest, ok := bytes.CutPrefix(data, puttyKey); ok && bytes.Contains(rest, []byte("Private-Lines:")) {
		found = append(found, PrivateKey{Line: 1, Kind: "PuTTY PRIVATE KEY", Encrypted: !bytes.Contains(rest, []byte("Encryption: none"))})
	}
	for at := 0; ; {
		i := bytes.Index(data[at:], beginPrivate)
		if i < 0 {
			return found
		}
		begin := at + i
		at = begin + len(beginPrivate)
		if begin > 0 && data[begin-1] != '\n' {
			continue
		}
		title, _, ok := bytes.Cut(data[at:min(len(data), at+64)], []byte("-----"))
		if !ok || !bytes.HasSuffix(title, []byte("PRIVATE KEY")) {
			continue
		}
		end := bytes.Index(data[at:], slices.Concat([]byte("-----END "), title, []byte("-----")))
		if end < 0 {
			continue
		}
		block, _ := pem.Decode(slices.Concat(data[begin:at+end], []byte("-----END "), title, []byte("-----\n")))
		if block == nil || len(block.Bytes) < 16 {
			continue
		}
		found = append(found, PrivateKey{
			Line: 1 + bytes.Count(data[:begin], []byte("\n")), Kind: string(title),
			Encrypted: encrypted(block),
		})
	}
}

// encrypted tells whether a key needs a passphrase.
func encrypted(block *pem.Block) bool {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") || strings.HasPrefix(block.Type, "ENCRYPTED ") {
		return true
	}
	// "openssh-key-v1", NUL, and the name of the cipher (PROTOCOL.key of OpenSSH).
	rest, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00\x00\x00\x00"))
	return ok && !bytes.HasPrefix(rest, []byte("\x04none"))
}

// ParsePublicKeys returns the keys of a file of authorized keys, or of public keys
// (sshd(8), AUTHORIZED_KEYS FILE FORMAT). Lines that are none are left out, as sshd
// leaves them out.
func ParsePublicKeys(data []byte) []PublicKey {
	var found []PublicKey
	number := 0
	for text := range bytes.Lines(data) {
		number++
		if text = bytes.TrimSpace(text); len(text) == 0 || text[0] == '#' {
			continue
		}
		key, comment, _, _, err := ssh.ParseAuthorizedKey(text)
		if err != nil {
			continue
		}
		if certificate, ok := key.(*ssh.Certificate); ok {
			key = certificate.Key
		}
		found = append(found, PublicKey{Line: number, Type: key.Type(), Bits: bits(key), Fingerprint: ssh.FingerprintSHA256(key), Comment: comment})
	}
	return found
}

// bits returns the size of a key that can have several.
func bits(key ssh.PublicKey) int {
	if key.Type() == insecureDSA {
		return dsaBits(key.Marshal())
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok {
			return k.N.BitLen()
		}
	}
	return 0
}

func (e *evaluator) privateKeys(ctx context.Context, r *baselines.Rule) (v verdict, err error) {
	k, err := e.keys(ctx)
	if err != nil {
		return v, err
	}
	for _, p := range k.private {
		if files.Match(r.Except, p.Path) {
			continue
		}
		found := p.Kind
		if p.Encrypted {
			found += ", encrypted"
		}
		if len(p.Packages) > 0 {
			found += ", of the package " + strings.Join(p.Packages, ", ")
		}
		v.failMany(Evidence{Path: p.Path, Line: p.Line, Found: found, Wanted: "no private key"})
	}
	return v, nil
}

func (e *evaluator) weakKeys(ctx context.Context, r *baselines.Rule) (v verdict, err error) {
	k, err := e.keys(ctx)
	if err != nil {
		return v, err
	}
	least, err := strconv.Atoi(r.Value)
	if err != nil {
		return v, err
	}
	for _, p := range k.public {
		ev := Evidence{Path: p.Path, Line: p.Line, Found: p.String()}
		if weak(p, least) {
			ev.Wanted = fmt.Sprintf("RSA of %d bits or more, ECDSA or Ed25519", least)
			v.fail(ev)
		} else {
			v.pass(ev)
		}
	}
	if len(k.public) == 0 {
		v.absent = "the tree has no SSH keys"
	}
	return v, nil
}

// String describes the key in a few words.
func (p PublicKey) String() string {
	s := p.Type
	if p.Bits > 0 {
		s += fmt.Sprintf(" of %d bits", p.Bits)
	}
	return strings.TrimSpace(s + " " + p.Fingerprint + " " + p.Comment)
}

// weak reports whether a key is DSA, or RSA of fewer than least bits.
func weak(p PublicKey, least int) bool {
	return p.Type == insecureDSA || p.Type == ssh.KeyAlgoRSA && p.Bits < least
}

func (e *evaluator) knownKeys(ctx context.Context, r *baselines.Rule) (v verdict, err error) {
	k, err := e.keys(ctx)
	if err != nil {
		return v, err
	}
	for _, p := range k.public {
		if slices.Contains(r.Fields(), p.Fingerprint) {
			v.fail(Evidence{Path: p.Path, Line: p.Line, Found: p.String() + ", whose private half is published", Wanted: "a key of your own"})
		}
	}
	return v, nil
}
