package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages/packages"
)

// keys returns the keys a repository is verified with, or why there are none. They
// are files of this host or the recipe's, or, where there are none, downloaded: then
// only those count whose fingerprints are known beforehand.
func (env *Environment) keys(ctx context.Context, repo distros.Repository) (openpgp.Keyring, error) {
	keys, err := keyring(repo)
	var missing *HostError
	if err == nil || len(repo.KeyFiles) > 0 || repo.KeyURL == "" || !errors.As(err, &missing) {
		return keys, err
	}
	_, err = env.client.Fresh(ctx, repo.KeyURL, func(p []byte) (err error) {
		keys, err = pinned(p, repo.KeyFingerprints)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the key of repository %s: %w", repo.Name, err)
	}
	return keys, nil
}

// pinned returns those of the keys in p that have one of the fingerprints.
func pinned(p []byte, fingerprints []string) (openpgp.Keyring, error) {
	all, err := openpgp.ParseKeyring(p)
	if err != nil {
		return nil, err
	}
	var keys openpgp.Keyring
	found := all.Fingerprints()
	for i, fingerprint := range found {
		if slices.Contains(fingerprints, fingerprint) {
			keys = append(keys, all[i])
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of its keys (%s) is the one that is trusted (%s)", strings.Join(found, ", "), strings.Join(fingerprints, ", "))
	}
	return keys, nil
}

// keyring returns the keys in files a repository is verified with, or why there are none.
func keyring(repo distros.Repository) (openpgp.Keyring, error) {
	var keys openpgp.Keyring
	files, named := repo.Keyrings, false
	if len(repo.KeyFiles) > 0 {
		files, named = repo.KeyFiles, true
	}
	for _, file := range files {
		p, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && !named {
			continue
		}
		if err != nil {
			return nil, &HostError{fmt.Sprintf("repository %s: the keyring cannot be read: %v", repo.Name, err)}
		}
		more, err := openpgp.ParseKeyring(p)
		if err != nil {
			return nil, &HostError{fmt.Sprintf("repository %s: keyring %s: %v", repo.Name, file, err)}
		}
		keys = openpgp.Merge(keys, more)
	}
	if len(keys) > 0 {
		return keys, nil
	}
	remedy := "set gpg_key in its repository block"
	if repo.KeySource != "" {
		remedy += "; the key is " + repo.KeySource
	}
	if repo.KeyringPackage != "" {
		remedy = fmt.Sprintf("install the package %s, or %s", repo.KeyringPackage, remedy)
	}
	var looked string
	if len(files) > 0 {
		looked = fmt.Sprintf(" (looked for %s)", strings.Join(files, ", "))
	}
	return nil, &HostError{fmt.Sprintf("repository %s: no keyring to verify it with%s; %s", repo.Name, looked, remedy)}
}

// keyrings are the keys of a recipe's repositories whose packages are signed.
type keyrings struct {
	names map[string]string        // of keys, by repository: the fingerprints, and whether weak signatures count
	keys  map[string]packages.Keys // by name
}

// keyrings finds the keys that packages are verified with as they are unpacked. The
// packages of the deb family are not signed, its repositories are.
func (env *Environment) keyrings(ctx context.Context, r *recipes.Recipe) (keyrings, error) {
	k := keyrings{names: map[string]string{}, keys: map[string]packages.Keys{}}
	if r.Distro.Family != distros.FamilyRPM {
		return k, nil
	}
	for _, repo := range r.Rootfs.Repositories {
		if !repo.GPGCheck {
			continue
		}
		keys, err := env.keys(ctx, repo)
		if err != nil {
			return k, err
		}
		name := strings.Join(keys.Fingerprints(), " ")
		if repo.LegacySignatures {
			name += " legacy"
			env.warn("repository %s may have signatures with SHA-1 or short keys (legacy_signatures = true), which can be forged with effort", repo.Name)
		}
		k.names[repo.Name], k.keys[name] = name, packages.Keys{Keyring: keys, AllowLegacy: repo.LegacySignatures}
	}
	return k, nil
}

// encoded returns the keys, by name, as files have them.
func (k keyrings) encoded() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, keys := range k.keys {
		encoded, err := keys.Encode()
		if err != nil {
			return nil, err
		}
		files[name] = encoded
	}
	return files, nil
}
