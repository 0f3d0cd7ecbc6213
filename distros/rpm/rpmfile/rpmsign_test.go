package rpmfile

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// Packages signed by rpmsign with keys of gpg verify, with the header alone signed and
// with the older signature of header and payload, too.
func TestVerifyWhatRPMSigns(t *testing.T) {
	tool(t, "gpg", "gnupg")
	tool(t, "rpmsign", "rpm")
	program, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := os.ReadFile(rpmbuild(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"rsa2048", "ed25519"} { // rpm 4.18 signs with no other curve
		// gpg's sockets lie in its directory, whose path must be short.
		home, err := os.MkdirTemp("", "gpg")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(home) })
		gpg := func(args ...string) []byte {
			t.Helper()
			cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("gpg %q: %v", args, err)
			}
			return out
		}
		gpg("--quick-generate-key", "test@example.com", algorithm, "sign", "never")
		t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
		keys, err := openpgp.ParseKeyring(gpg("--export"))
		if err != nil {
			t.Fatal(err)
		}
		for _, more := range [][]string{nil, {"--rpmv3"}} {
			path := filepath.Join(t.TempDir(), "sample.rpm")
			if err := os.WriteFile(path, unsigned, 0o644); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"--addsign", "--define", "_gpg_name test@example.com", "--define", "_gpg_path " + home, "--define", "__gpg " + program}, more...)
			run(t, nil, "rpmsign", append(args, path)...)
			f := openFile(t, path)
			got, err := f.Verify(context.Background(), keys, openpgp.Options{})
			if err != nil || got.KeyFingerprint != keys.Fingerprints()[0] {
				t.Errorf("%s %v: %+v, %v", algorithm, more, got, err)
			}
			if old := f.Signature.Has(header.SigTagPGP) || f.Signature.Has(header.SigTagGPG); old != (more != nil) {
				t.Errorf("%s %v: signature of header and payload: %v", algorithm, more, old)
			}
		}
	}
}
