package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

// realRPM returns a package, by its file name, and the keys in the file beside it, of the
// real ones that lie beside the project.
func realRPM(t *testing.T, name, key string) (Source, openpgp.Keyring) {
	t.Helper()
	dir := "../../../shared/realdata/cavaliergopher-rpm"
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("there are no real packages here: %v", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.ReadFile(filepath.Join(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openpgp.ParseKeyring(p)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Name: name, Digest: store.Sum(data), Size: int64(len(data)), URLs: []string{"file://" + path}, Keys: key}, keys
}

func TestRunRPM(t *testing.T) {
	source, keys := realRPM(t, "centos-release-7-2.1511.el7.centos.2.10.x86_64.rpm", "RPM-GPG-KEY-CentOS-7")
	cache := stagetest.Cache(t)
	format := RPM{Keys: map[string]Keys{source.Keys: {Keyring: keys}}}
	out, _, err := runFormat(t, cache, format, source)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadRPM(t.Context(), cache.Store, out.Packages)
	if err != nil {
		t.Fatal(err)
	}
	if name := loaded[0].Header.NEVRA(); name != "centos-release-7-2.1511.el7.centos.2.10.x86_64" {
		t.Errorf("it is %s", name)
	}
	if e, ok := loaded[0].Tree.Lookup("etc/centos-release"); !ok || !strings.HasPrefix(stagetest.Contents(t, cache.Store, e), "CentOS Linux release 7.2") {
		t.Errorf("/etc/centos-release is %+v", e)
	}

	// What one key vouches for another does not.
	_, other := realRPM(t, "centos-release-6-0.el6.centos.5.x86_64.rpm", "RPM-GPG-KEY-CentOS-6")
	source.Keys = "another"
	if _, _, err = runFormat(t, cache, RPM{Keys: map[string]Keys{source.Keys: {Keyring: other}}}, source); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("with another key: %v", err)
	}
	source.Keys = "none"
	if _, _, err = runFormat(t, cache, RPM{}, source); err == nil || !strings.Contains(err.Error(), "there is no key to verify it with") {
		t.Errorf("without a key: %v", err)
	}
}

// TestWeakSignature is about packages that are signed as one did once.
func TestWeakSignature(t *testing.T) {
	source, keys := realRPM(t, "centos-release-5-0.0.el5.centos.2.x86_64.rpm", "RPM-GPG-KEY-CentOS-5")
	cache := stagetest.Cache(t)
	_, _, err := runFormat(t, cache, RPM{Keys: map[string]Keys{source.Keys: {Keyring: keys}}}, source)
	if err == nil || !strings.HasSuffix(err.Error(), "or accept it with legacy_signatures = true in the repository's block") {
		t.Errorf("strictly: %v", err)
	}
	if _, _, err := runFormat(t, cache, RPM{Keys: map[string]Keys{source.Keys: {Keyring: keys, AllowLegacy: true}}}, source); err != nil {
		t.Errorf("leniently: %v", err)
	}
}
