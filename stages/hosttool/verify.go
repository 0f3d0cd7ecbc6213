package hosttool

import (
	"context"
	"fmt"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmfile"
)

// verifyAll verifies the digests inside of package files, and the signatures of those
// that a repository's keys must have signed. dnf does so too; but here the reason is
// told, before anything is installed.
func verifyAll(ctx context.Context, sources []Source, paths []string, keys map[string][]byte) error {
	keyrings := map[string]openpgp.Keyring{}
	for name, p := range keys {
		keyring, err := openpgp.ParseKeyring(p)
		if err != nil {
			return fmt.Errorf("the keys of the repository %s: %w", name, err)
		}
		keyrings[name] = keyring
	}
	for i, s := range sources {
		var keyring openpgp.Keyring
		if s.Repository != "" {
			if keyring = keyrings[s.Repository]; len(keyring) == 0 {
				return fmt.Errorf("package %s: there are no keys of the repository %s to verify it with", &s, s.Repository)
			}
		}
		if err := verify(ctx, paths[i], keyring); err != nil {
			return fmt.Errorf("package %s: %w", &s, err)
		}
	}
	return nil
}

func verify(ctx context.Context, path string, keyring openpgp.Keyring) error {
	f, err := rpmfile.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Verify(ctx, keyring, openpgp.Options{})
	return err
}
