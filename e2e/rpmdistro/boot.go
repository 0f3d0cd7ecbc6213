package rpmdistro

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// A bootSigner signs boot programs with a key that no firmware has by itself.
type bootSigner struct {
	dir         string // scratch
	certificate []byte // DER
}

// newBootSigner makes a key and its certificate in dir, a directory of its own.
func newBootSigner(dir string) (*bootSigner, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Vendor + " Secure Boot"},
		NotBefore: time.Unix(fileTime, 0), NotAfter: time.Unix(fileTime, 0).AddDate(100, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &bootSigner{dir, der}, errors.Join(
		os.WriteFile(filepath.Join(dir, "boot.key"), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600),
		os.WriteFile(filepath.Join(dir, "boot.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
	)
}

// sign returns an EFI program with this signature and no other.
func (b *bootSigner) sign(image []byte) ([]byte, error) {
	in, out := filepath.Join(b.dir, "unsigned.efi"), filepath.Join(b.dir, "signed.efi")
	if err := os.WriteFile(in, image, 0o600); err != nil {
		return nil, err
	}
	// It fails for a program that has none.
	if text, err := exec.Command("sbattach", "--remove", in).CombinedOutput(); err != nil && !strings.Contains(string(text), "no signature") {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("sbattach, of the package sbsigntool: %w", err)
		}
	}
	if err := runTool("sbsigntool", "sbsign", "--key", filepath.Join(b.dir, "boot.key"), "--cert", filepath.Join(b.dir, "boot.pem"), "--output", out, in); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// signedModules are in the signed GRUB, which loads no others.
var signedModules = strings.Fields(`all_video boot cat chain configfile echo efi_gop ext2 fat font gfxterm gzio halt help linux linuxefi loadenv ls minicmd normal
	part_gpt part_msdos password_pbkdf2 probe reboot regexp search search_fs_file search_fs_uuid search_label serial sleep terminal terminfo test true xfs`)

// sbat says which generation of fixes the program has
// (https://github.com/rhboot/shim/blob/main/SBAT.md): without it shim starts nothing.
const sbat = `sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md
grub,5,Free Software Foundation,grub,2.06,https://www.gnu.org/software/grub/
`

// makeGrub makes a GRUB with the vendor's prefix from a tree that has its modules.
func (b *bootSigner) makeGrub(st *store.Store, files *tree.Tree) ([]byte, error) {
	const platform = "x86_64-efi"
	dir := filepath.Join(b.dir, platform)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for _, e := range files.Children("usr/lib/grub/" + platform) {
		if e.Type != tree.Regular {
			continue
		}
		data, err := st.ReadAll(e.Digest)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o600); err != nil {
			return nil, err
		}
	}
	table, out := filepath.Join(b.dir, "sbat.csv"), filepath.Join(b.dir, "grub.efi")
	if err := os.WriteFile(table, []byte(sbat), 0o600); err != nil {
		return nil, err
	}
	program := "grub-mkimage"
	if _, err := exec.LookPath(program); err != nil {
		program = "grub2-mkimage"
	}
	args := append([]string{"--directory", dir, "--format", platform, "--prefix", EFIDirectory, "--sbat", table, "--output", out}, signedModules...)
	if err := runTool("grub-common or grub2-tools", program, args...); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// runTool runs a program of this machine.
func runTool(pkg, program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s, of the package %s: %w: %s", program, pkg, err, out)
	}
	return nil
}
