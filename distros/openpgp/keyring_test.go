package openpgp

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realdata is where real foreign packages and keys lie, which are no part of the
// project.
const realdata = "../../../shared/realdata"

// realFile reads a file of realdata, or skips the test.
func realFile(t testing.TB, name string) []byte {
	t.Helper()
	if _, err := os.Stat(realdata); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not here: it holds the keys this test reads", realdata)
	}
	p, err := os.ReadFile(filepath.Join(realdata, name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The fingerprints are what gpg prints; gpg 2.2 knows no version 6 keys, so those
// two are the fingerprints named in rpm's own tests.
func TestParseRealKeyrings(t *testing.T) {
	for name, want := range map[string]string{
		"cavaliergopher-rpm/RPM-GPG-KEY-CentOS-2":             "881271F0B66849E2FA8687602802E89216FF0E46",
		"cavaliergopher-rpm/RPM-GPG-KEY-CentOS-3":             "31C942C47E8D1F5CA6A7F1FC7049E44D025E513B",
		"cavaliergopher-rpm/RPM-GPG-KEY-CentOS-7":             "6341AB2753D78A78A7C27BB124C6A8A7F4A80EB5",
		"librepo/repo_yum_01/repodata/repomd.xml.key":         "F4FC5B6AC58696023B9DBFB197BDB7906441EDF5",
		"librepo/repo_yum_01/repodata/repomd.xml.key.asc":     "F4FC5B6AC58696023B9DBFB197BDB7906441EDF5",
		"librepo/repo_yum_01/repodata/repomd.xml_bad.key.asc": "BC8D780DE3308581B2E0708533DE8FB7C8DA93D2 5A3ED6F1EAB8F4D69734E38AA5955DFCBAA2D212",
		"rpm-tests/keys/rpm.org-rsa-2048-test.pgp":            "771B18D3D7BAA28734333C424344591E1964C5FC",
		"rpm-tests/keys/rpm.org-nistp256-test.pub":            "E8A62C0512B06B5D2183BA207F1C21F95F65BBE8",
		"rpm-tests/keys/rpm.org-ed25519-test.pub":             "152BB32FD9CA982797E835CFB0645AEC757BF69E",
		"rpm-tests/keys/rpm.org-v6-ed25519-test.asc":          "036824F0AC60AED6F1A3256F88190469F6D7255E3D8E41C577233AA03E0BB9D3",
		"rpm-tests/keys/rpm.org-v6-rsa4k-test.asc":            "B0C818335157193717C146BC4092292808D5C705710509340033080EBE457ECA",
	} {
		keys, err := ParseKeyring(realFile(t, name))
		if got := strings.Join(keys.Fingerprints(), " "); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
}

// Keys made to deceive parsers, from rpm's own tests.
func TestParseKeyringRefuses(t *testing.T) {
	for _, name := range []string{"CVE-2021-3521-badbind.asc", "CVE-2021-3521-nosubsig.asc", "CVE-2021-3521-nosubsig-last.asc", "type-confusion.asc", "privkey.pem"} {
		if keys, err := ParseKeyring(realFile(t, "rpm-tests/keys/"+name)); err == nil {
			t.Errorf("%s: keys %v", name, keys.Fingerprints())
		}
	}
	_, err := ParseKeyring(realFile(t, "rpm-tests/keys/alice.secret"))
	if err == nil || !strings.Contains(err.Error(), "private key") {
		t.Errorf("a private key: error %v", err)
	}
}

func TestMergeAndArmor(t *testing.T) {
	a, err := ParseKeyring(realFile(t, "cavaliergopher-rpm/RPM-GPG-KEY-CentOS-6"))
	if err != nil {
		t.Fatal(err)
	}
	binary := realFile(t, "rpm-tests/keys/rpm.org-rsa-2048-test.pgp")
	b, err := ParseKeyring(binary)
	if err != nil {
		t.Fatal(err)
	}
	want := append(a.Fingerprints(), b.Fingerprints()...)
	if got := Merge(a, nil, b).Fingerprints(); !slices.Equal(got, want) {
		t.Errorf("merged %v, want %v", got, want)
	}
	text, err := Armor(binary)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeyring([]byte(text))
	if err != nil || !slices.Equal(again.Fingerprints(), b.Fingerprints()) {
		t.Errorf("after armoring %v, %v", again.Fingerprints(), err)
	}
	encoded, err := Merge(a, b).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err = ParseKeyring(encoded); err != nil || !slices.Equal(again.Fingerprints(), want) {
		t.Errorf("after encoding %v, %v", again.Fingerprints(), err)
	}
}

func TestVerifyRealMetadata(t *testing.T) {
	const dir = "librepo/repo_yum_01/repodata/"
	keys, err := ParseKeyring(realFile(t, dir+"repomd.xml.key"))
	if err != nil {
		t.Fatal(err)
	}
	signature := realFile(t, dir+"repomd.xml.asc")
	signer, err := keys.VerifyDetached(bytes.NewReader(realFile(t, dir+"repomd.xml")), signature, Options{})
	if err != nil || signer != "F4FC5B6AC58696023B9DBFB197BDB7906441EDF5" {
		t.Errorf("%s, %v", signer, err)
	}
	_, err = keys.VerifyDetached(bytes.NewReader(realFile(t, dir+"repomd.xml_bad")), signature, Options{})
	wantReason(t, err, Bad)
	other, err := ParseKeyring(realFile(t, "cavaliergopher-rpm/RPM-GPG-KEY-CentOS-7"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.VerifyDetached(bytes.NewReader(nil), signature, Options{})
	wantReason(t, err, UnknownKey)
}

// wantReason fails the test unless err says that one signature failed for a reason.
func wantReason(t *testing.T, err error, want Reason) {
	t.Helper()
	var none *NoSignatureError
	if !errors.As(err, &none) || len(none.Failures) != 1 || none.Failures[0].Reason != want {
		t.Errorf("error %v, want the reason %q", err, want)
	}
}
