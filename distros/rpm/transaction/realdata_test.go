package transaction

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// marinerPackages returns the packages of a real system, a CBL-Mariner 2.0 container, as
// its database has them.
func marinerPackages(t testing.TB) []*Member {
	t.Helper()
	database := "../../../../shared/realdata/go-rpmdb/cbl-mariner-2.0/rpmdb.sqlite"
	if _, err := os.Stat(database); err != nil {
		t.Skipf("the real packages are not here: %v", err)
	}
	database, err := filepath.Abs(database)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(need(t, "sqlite3"), "file:"+database+"?immutable=1", "select hex(blob) from Packages order by hnum").Output()
	if err != nil {
		t.Fatal(err)
	}
	var members []*Member
	for line := range bytes.Lines(out) {
		blob, err := hex.DecodeString(strings.TrimSpace(string(line)))
		if err != nil {
			t.Fatal(err)
		}
		h, err := header.Parse(blob)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name() != "gpg-pubkey" {
			members = append(members, &Member{Header: h})
		}
	}
	return members
}

// packageFile writes a package file without a payload that has m's header.
func packageFile(t testing.TB, dir string, m *Member) string {
	t.Helper()
	ofDatabase := []header.Tag{header.TagInstallTime, header.TagFileStates, header.TagInstallColor, header.TagInstallTID, header.TagArchiveSize}
	entries := slices.DeleteFunc(slices.Clone(m.Header.Entries()), func(e header.Entry) bool {
		return e.Tag >= header.TagSigSize && e.Tag < header.TagName || slices.Contains(ofDatabase, e.Tag)
	})
	main, err := header.Build(entries, header.TagHeaderImmutable)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := header.Build([]header.Entry{header.Uint32sEntry(header.SigTagSize, uint32(len(main)+8))}, header.TagHeaderSignatures)
	if err != nil {
		t.Fatal(err)
	}
	magic := []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}
	lead := make([]byte, 96)
	copy(lead, []byte{0xed, 0xab, 0xee, 0xdb, 3, 0})
	binary.BigEndian.PutUint16(lead[8:], 1)
	copy(lead[10:76], m.Header.Name())
	binary.BigEndian.PutUint16(lead[76:], 1)
	binary.BigEndian.PutUint16(lead[78:], 5) // signatures are a header
	file := slices.Concat(lead, magic, signature)
	for len(file)%8 != 0 {
		file = append(file, 0)
	}
	path := filepath.Join(dir, m.Header.NEVRA()+".rpm")
	if err := os.WriteFile(path, slices.Concat(file, magic, main), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

var anySortedLine = regexp.MustCompile(`(?m)^D:(?: +\d+){4} +\+(\S+)$`)

// TestOrderOfRealPackages compares the order of a real system's packages with rpm's.
func TestOrderOfRealPackages(t *testing.T) {
	members := marinerPackages(t)
	dir := t.TempDir()
	var paths []string
	for _, m := range sorted(members) {
		paths = append(paths, packageFile(t, dir, m))
	}
	cmd := exec.Command(need(t, "rpm"), append([]string{"-i", "--test", "-vv", "--nodeps", "--nosignature", "--nodigest", "--ignorearch", "--ignoreos", "--root", dir, "--dbpath", "/db",
		"--define", "_db_backend sqlite", "--define", "_transaction_color 3", "--define", "_prefer_color 2"}, paths...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want []string
	for _, m := range anySortedLine.FindAllSubmatch(out, -1) {
		want = append(want, string(m[1]))
	}
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	ordered, err := Order(members)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range ordered {
		got = append(got, m.Header.NEVRA())
	}
	if !slices.Equal(got, want) {
		t.Errorf("order\n%v\nrpm's is\n%v", got, want)
	}
	t.Logf("%d packages", len(got))
}

// TestStepsOfRealPackages checks what must hold for any transaction.
func TestStepsOfRealPackages(t *testing.T) {
	ordered, err := Order(marinerPackages(t))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Steps(ordered)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[Kind]int{}
	last := PreTrans
	for _, s := range steps {
		counts[s.Kind]++
		if s.Kind == PreTrans && last != PreTrans || last == TransFileTriggerIn && s.Kind != last || last == PostTrans && s.Kind != PostTrans && s.Kind != TransFileTriggerIn {
			t.Errorf("%s comes after a %s", s.Name(), last)
		}
		last = s.Kind
		if s.HasInput && len(s.Input) == 0 {
			t.Errorf("%s runs for nothing", s.Name())
		}
	}
	t.Logf("%d steps: %v", len(steps), counts)
	if counts[PostIn] == 0 || counts[PreIn] == 0 || counts[Owners] == 0 {
		t.Errorf("the packages have scriptlets and owners, the steps are %v", counts)
	}
}

// BenchmarkRealPackages orders a real system's packages and finds their steps.
func BenchmarkRealPackages(b *testing.B) {
	members := marinerPackages(b)
	for b.Loop() {
		ordered, err := Order(members)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Steps(ordered); err != nil {
			b.Fatal(err)
		}
	}
}
