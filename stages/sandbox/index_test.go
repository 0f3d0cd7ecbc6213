package sandbox

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// sampleIndex is an index with all kinds of values.
func sampleIndex(t testing.TB) *index {
	t.Helper()
	tr, err := tree.New([]tree.Entry{
		{Path: ".", Type: tree.Directory, Mode: 0o755},
		{Path: "a", Type: tree.Regular, Mode: 0o4755, UID: 3e9, Digest: store.Sum([]byte("a")), Size: 1,
			Xattrs: []tree.Xattr{{Name: "security.capability", Value: []byte{1}}, {Name: "security.selinux", Value: []byte{2}}, {Name: "user.x"}}},
		{Path: "null", Type: tree.CharDevice, Major: 1, Minor: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &index{tree: tr, records: []record{
		{stat: stat{inode: inode{Ino: 1}, Mode: 0o40755}},
		{stat: stat{inode: inode{Ino: 1 << 63, Birth: tree.Time{Sec: -1, Nsec: 999999999}}, Mode: 0o104755, UID: 65534, GID: 1<<32 - 1, Size: 1 << 40,
			MTime: tree.Time{Sec: 1 << 40}, CTime: tree.Time{Sec: 5, Nsec: 6}}, skipped: []uint32{0, 2}},
		{stat: stat{inode: inode{Ino: 3}, Mode: 0o100660}},
	}}
}

func TestIndex(t *testing.T) {
	want := sampleIndex(t)
	p := encodeIndex(want, "range", "boot")
	got, err := decodeIndex(p, "range", "boot")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.tree.Encode(), want.tree.Encode()) || !reflect.DeepEqual(got.records, want.records) {
		t.Errorf("%+v\n%+v", got, want)
	}
	if !want.records[2].placeholder(&want.tree.Entries()[2]) || want.records[1].placeholder(&want.tree.Entries()[1]) {
		t.Error("placeholder")
	}
	for _, other := range [][2]string{{"single", "boot"}, {"range", "later"}} {
		if _, err := decodeIndex(p, other[0], other[1]); !errors.Is(err, errIndex) {
			t.Errorf("%v: %v", other, err)
		}
	}
	for i := range p {
		q := bytes.Clone(p)
		q[i] ^= 0x10
		if _, err := decodeIndex(q, "range", "boot"); !errors.Is(err, errIndex) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := decodeIndex(p[:i], "range", "boot"); !errors.Is(err, errIndex) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// The reader takes any bytes, with a right checksum too.
func FuzzIndex(f *testing.F) {
	p := encodeIndex(sampleIndex(f), "range", "boot")
	f.Add(p[:len(p)-sha256.Size])
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		x, err := decodeIndex(append(bytes.Clone(body), sum[:]...), "range", "boot")
		if err != nil {
			if !errors.Is(err, errIndex) {
				t.Errorf("error %v", err)
			}
			return
		}
		again, err := decodeIndex(encodeIndex(x, "range", "boot"), "range", "boot")
		if err != nil || !reflect.DeepEqual(x.records, again.records) {
			t.Errorf("does not survive another round: %v", err)
		}
	})
}

func TestParseSubordinate(t *testing.T) {
	for _, c := range []struct {
		text  string
		start int
	}{
		{"", 0},
		{"alice:100000:65536\n", 100000},
		{"bob:100000:65536\nalice:165536:65536\n", 165536},
		{"1000:231072:65536", 231072},
		{"alice:100000:65535\nalice:200000:131072\n", 200000}, // the first is too small
		{"alice:x:65536\nalice:1\n::\n\n  alice:300000:65536  \n", 300000},
		{"alice:0:65536\n", 0},
		{"alice:4294967295:65536\n", 0},
		{"alicex:100000:65536\nali:100000:65536\n", 0},
	} {
		start, ok, err := parseSubordinate(strings.NewReader(c.text), "alice", 1000)
		if start != c.start || ok != (c.start != 0) || err != nil {
			t.Errorf("%q: %d, %v, %v", c.text, start, ok, err)
		}
	}
}

func FuzzSubordinate(f *testing.F) {
	f.Add("alice:100000:65536\n")
	f.Add("1000:1:4294967295\n#\n")
	f.Fuzz(func(t *testing.T, text string) {
		start, ok, _ := parseSubordinate(strings.NewReader(text), "alice", 1000)
		if ok && (start <= 0 || start+minRange > 1<<32) {
			t.Errorf("start %d", start)
		}
	})
}
