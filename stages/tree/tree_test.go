package tree

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Short ways to write entries.

func dir(path string) Entry { return Entry{Path: path, Type: Directory, Mode: 0o755} }

func file(path, contents string) Entry {
	return Entry{Path: path, Type: Regular, Mode: 0o644, Digest: store.Sum([]byte(contents)), Size: int64(len(contents))}
}

func link(path, target string) Entry {
	return Entry{Path: path, Type: Symlink, Mode: 0o777, Target: target}
}

func linked(group uint32, e Entry) Entry { e.Link = group; return e }

func changed(e Entry, change func(*Entry)) Entry { change(&e); return e }

func mustNew(t testing.TB, entries ...Entry) *Tree {
	t.Helper()
	tr, err := New(append([]Entry{dir(Root)}, entries...))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mustTree(t testing.TB, e *Editor) *Tree {
	t.Helper()
	tr, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func paths(entries []Entry) []string {
	var p []string
	for _, e := range entries {
		p = append(p, e.Path)
	}
	return p
}

// sample has an entry of every type with every field in use.
func sample(t testing.TB) *Tree {
	t.Helper()
	return mustNew(t,
		dir("dev"),
		Entry{Path: "dev/null", Type: CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		Entry{Path: "dev/sda", Type: BlockDevice, Mode: 0o660, GID: 6, Major: 8, Minor: 1<<32 - 1},
		Entry{Path: "dev/initctl", Type: FIFO, Mode: 0o600},
		Entry{Path: "dev/log", Type: Socket, Mode: 0o666, MTime: Time{Sec: -1, Nsec: 999_999_999}},
		dir("usr"), dir("usr/bin"),
		Entry{Path: "usr/bin/ping", Type: Regular, Mode: 0o4755, UID: 3_000_000_000, GID: 1<<32 - 1, MTime: Time{Sec: 2_524_608_000, Nsec: 1},
			Xattrs: []Xattr{{Name: "security.capability", Value: []byte{1, 0, 0, 2}}, {Name: "user.empty"}},
			Digest: store.Sum([]byte("ping")), Size: 4},
		linked(9, file("usr/bin/perl", "perl")),
		linked(9, file("usr/bin/perl5.36.0", "perl")),
		link("usr/bin/sh", "dash"),
		file("usr/\xff odd\nname", ""),
	)
}

func TestNewRefuses(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for _, c := range []struct {
		entries []Entry
		err     string
	}{
		{nil, "the tree has no root directory"},
		{[]Entry{dir("a")}, "the tree has no root directory"},
		{[]Entry{file(Root, "")}, "the tree has no root directory"},
		{[]Entry{dir(Root), dir(Root)}, "/.: the path is twice in the tree"},
		{[]Entry{dir(Root), file("a", ""), file("a", "")}, "/a: the path is twice in the tree"},
		{[]Entry{dir(Root), file("a/b", "")}, "/a/b: /a is not a directory of the tree"},
		{[]Entry{dir(Root), file("a", ""), file("a/b", "")}, "/a/b: /a is not a directory of the tree"},
		{[]Entry{dir(Root), link("a", "."), file("a/b", "")}, "/a/b: /a is not a directory of the tree"},
		{[]Entry{dir(Root), dir("a"), dir("a-b"), file("a/b/c", "")}, "/a/b/c: /a/b is not a directory of the tree"},
		{[]Entry{dir(Root), file("", "")}, "/: the path is empty"},
		{[]Entry{dir(Root), file("/a", "")}, "//a: the path is absolute or has an empty element"},
		{[]Entry{dir(Root), dir("a"), file("a/", "")}, "/a/: the path is absolute or has an empty element"},
		{[]Entry{dir(Root), dir("a"), file("a//b", "")}, "/a//b: the path is absolute or has an empty element"},
		{[]Entry{dir(Root), file("./a", "")}, `/./a: the path has an element "."`},
		{[]Entry{dir(Root), dir("a"), file("a/.", "")}, `/a/.: the path has an element "."`},
		{[]Entry{dir(Root), file("..", "")}, `/..: the path has an element ".."`},
		{[]Entry{dir(Root), dir("a"), file("a/../b", "")}, `/a/../b: the path has an element ".."`},
		{[]Entry{dir(Root), file("a\x00b", "")}, "/a\x00b: the path holds a NUL byte"},
		{[]Entry{dir(Root), dir(long)}, "/" + long + ": a path element has 256 bytes, 255 is the most"},
		{[]Entry{dir(Root), {Path: "a"}}, "/a: type 0 is unknown"},
		{[]Entry{dir(Root), {Path: "a", Type: 8}}, "/a: type 8 is unknown"},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Mode = 0o100644 })}, "/a: mode 0100644 has more than permission bits"},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.MTime.Nsec = 1e9 })}, "/a: 1000000000 nanoseconds are a second or more"},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Xattrs = []Xattr{{}} })}, `/a: extended attribute name "" is empty or holds a NUL byte`},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Xattrs = []Xattr{{Name: "user.\x00"}} })}, `/a: extended attribute name "user.\x00" is empty or holds a NUL byte`},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Xattrs = []Xattr{{Name: "user.b"}, {Name: "user.a"}} })}, `/a: extended attribute "user.a" is out of order or twice there`},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Xattrs = []Xattr{{Name: "user.a"}, {Name: "user.a"}} })}, `/a: extended attribute "user.a" is out of order or twice there`},
		{[]Entry{dir(Root), {Path: "a", Type: Regular}}, "/a: the file has no digest"},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Size = -1 })}, "/a: the size -1 is negative"},
		{[]Entry{dir(Root), changed(dir("a"), func(e *Entry) { e.Digest = store.Sum(nil) })}, "/a: a directory cannot have contents"},
		{[]Entry{dir(Root), changed(link("a", "b"), func(e *Entry) { e.Size = 1 })}, "/a: a symlink cannot have contents"},
		{[]Entry{dir(Root), link("a", "")}, `/a: the symlink's target "" is empty or holds a NUL byte`},
		{[]Entry{dir(Root), link("a", "b\x00")}, `/a: the symlink's target "b\x00" is empty or holds a NUL byte`},
		{[]Entry{dir(Root), changed(file("a", ""), func(e *Entry) { e.Target = "b" })}, "/a: a file cannot have a target"},
		{[]Entry{dir(Root), {Path: "a", Type: FIFO, Major: 1}}, "/a: a FIFO cannot have device numbers"},
		{[]Entry{dir(Root), {Path: "a", Type: Socket, Minor: 1}}, "/a: a socket cannot have device numbers"},
		{[]Entry{dir(Root), linked(1, dir("a")), linked(1, dir("b"))}, "/a: a directory cannot be hard linked"},
		{[]Entry{dir(Root), linked(1, file("a", "x")), linked(1, file("b", "y"))}, "/b: it is a hard link of /a but differs from it"},
		{[]Entry{dir(Root), linked(1, file("a", "")), linked(1, changed(file("b", ""), func(e *Entry) { e.UID = 1 }))}, "/b: it is a hard link of /a but differs from it"},
		{[]Entry{dir(Root), linked(1, file("a", "")), linked(1, changed(file("b", ""), func(e *Entry) { e.Xattrs = []Xattr{{Name: "user.a"}} }))}, "/b: it is a hard link of /a but differs from it"},
	} {
		if _, err := New(c.entries); err == nil || err.Error() != c.err {
			t.Errorf("%v:\n got %v\nwant %s", paths(c.entries), err, c.err)
		}
	}
}

func TestNewSortsAndNumbersLinks(t *testing.T) {
	tr, err := New([]Entry{
		linked(7, file("z", "z")), dir("b"), linked(3, file("b/x", "x")), linked(3, file("a", "x")), dir(Root),
		linked(5, file("b-", "single")), linked(7, file("b/y", "z")),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{dir(Root), linked(1, file("a", "x")), dir("b"), linked(1, file("b/x", "x")), linked(2, file("b/y", "z")), file("b-", "single"), linked(2, file("z", "z"))}
	if !reflect.DeepEqual(tr.Entries(), want) {
		t.Errorf("got %+v", tr.Entries())
	}
	if n := tr.Bytes(); n != int64(len("x")+len("z")+len("single")) {
		t.Errorf("Bytes: %d", n)
	}
}

func TestCompareOrdersSubtreesTogether(t *testing.T) {
	want := []string{".", "-", "...", ".a", "a", "a/\x01", "a/-", "a/b", "a/b/c", "a/b!", "a\x01", "a-b", "ab", "\xff"}
	shuffled := slices.Clone(want)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortFunc(shuffled, Compare)
	if !slices.Equal(shuffled, want) {
		t.Errorf("got %q", shuffled)
	}
}

func TestCompareProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		all := randomPaths(r, 40)
		for _, a := range all {
			for _, b := range all {
				c := Compare(a, b)
				if (c == 0) != (a == b) || cmp.Compare(c, 0) != -cmp.Compare(Compare(b, a), 0) {
					t.Fatalf("Compare(%q, %q) is %d, the other way round %d", a, b, c, Compare(b, a))
				}
				for _, d := range all {
					if c < 0 && Compare(b, d) < 0 && Compare(a, d) >= 0 {
						t.Fatalf("%q < %q < %q, but not the first before the last", a, b, d)
					}
				}
			}
		}
		slices.SortFunc(all, Compare)
		for i, p := range all {
			below := func(q string) bool { return p == Root || strings.HasPrefix(q, p+"/") }
			end := i + 1
			for end < len(all) && below(all[end]) {
				end++
			}
			if slices.ContainsFunc(all[:i], below) || p != Root && slices.ContainsFunc(all[end:], below) {
				t.Fatalf("what lies below %q is not together in %q", p, all)
			}
		}
	}
}

// randomPaths returns Root, n different paths, and the directories above them.
func randomPaths(r *rand.Rand, n int) []string {
	names := []string{"a", "b", "ab", "a!", "a-", ".", "..", "\x01", "\xff", "é", "a b"}
	set := map[string]bool{Root: true}
	for range n {
		var elements []string
		for range 1 + r.IntN(4) {
			elements = append(elements, "x"[:r.IntN(2)]+names[r.IntN(len(names))])
		}
		p := strings.Join(elements, "/")
		if CheckPath(p) != nil {
			continue
		}
		for ; p != Root; p = Parent(p) {
			set[p] = true
		}
	}
	var paths []string
	for p := range set {
		paths = append(paths, p)
	}
	slices.Sort(paths) // for the same paths in every run
	r.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths
}

// randomTree returns a valid tree with entries of every type.
func randomTree(t testing.TB, r *rand.Rand, n int) *Tree {
	t.Helper()
	paths := randomPaths(r, n)
	isDir := map[string]bool{}
	for _, p := range paths {
		isDir[Parent(p)] = true
	}
	var entries []Entry
	for _, p := range paths {
		e := Entry{Path: p, Type: Type(1 + r.IntN(int(Socket))), Mode: r.Uint32() & 0o7777, UID: r.Uint32() >> r.IntN(32), GID: r.Uint32() >> r.IntN(32),
			MTime: Time{Sec: int64(r.Uint64()) >> r.IntN(64), Nsec: r.Uint32N(1e9)}}
		if isDir[p] {
			e.Type = Directory
		}
		for i := range r.IntN(3) {
			e.Xattrs = append(e.Xattrs, Xattr{Name: fmt.Sprintf("user.%d", i), Value: []byte(strings.Repeat("v", r.IntN(3)))})
		}
		switch e.Type {
		case Regular:
			e.Size = int64(r.Uint64() >> (1 + r.IntN(62)))
			e.Digest = store.Sum(binary.LittleEndian.AppendUint64(nil, uint64(e.Size)))
			if r.IntN(4) == 0 { // one of several links: all that concerns the inode follows from the number
				e.Link = 1 + r.Uint32N(3)
				e.Digest, e.Size = store.Sum([]byte{byte(e.Link)}), int64(e.Link)
				e.Mode, e.UID, e.GID, e.MTime, e.Xattrs = 0o644, e.Link, 0, Time{}, nil
			}
		case Symlink:
			e.Target = strings.Repeat("t", 1+r.IntN(4))
		case CharDevice, BlockDevice:
			e.Major, e.Minor = r.Uint32(), r.Uint32()
		}
		entries = append(entries, e)
	}
	tr, err := New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestLookups(t *testing.T) {
	tr := mustNew(t, dir("a"), dir("a/b"), file("a/b/c", "1"), file("a/d", "2"), file("a-b", "3"), dir("e"))
	if tr.Len() != 7 {
		t.Errorf("Len: %d", tr.Len())
	}
	if e, ok := tr.Lookup("a/b/c"); !ok || e.Path != "a/b/c" || e.Name() != "c" {
		t.Errorf("Lookup: %+v, %v", e, ok)
	}
	for _, p := range []string{"", "/", "a/", "a/b/c/d", "b", "..", "zz"} {
		if e, ok := tr.Lookup(p); ok {
			t.Errorf("Lookup(%q): %+v", p, e)
		}
	}
	for _, c := range []struct {
		path, children, subtree string
	}{
		{Root, "a a-b e", ". a a/b a/b/c a/d a-b e"},
		{"a", "a/b a/d", "a a/b a/b/c a/d"},
		{"a/b", "a/b/c", "a/b a/b/c"},
		{"a/d", "", "a/d"},
		{"e", "", "e"},
		{"zz", "", ""},
	} {
		if got := strings.Join(paths(tr.Children(c.path)), " "); got != c.children {
			t.Errorf("Children(%q): %s", c.path, got)
		}
		if got := strings.Join(paths(tr.Subtree(c.path)), " "); got != c.subtree {
			t.Errorf("Subtree(%q): %s", c.path, got)
		}
	}
	for _, c := range []struct{ path, parent, name string }{{Root, Root, "."}, {"a", Root, "a"}, {"a/b/c", "a/b", "c"}} {
		e := dir(c.path)
		if Parent(c.path) != c.parent || e.Name() != c.name {
			t.Errorf("%q: parent %q, name %q", c.path, Parent(c.path), e.Name())
		}
		if c.path != Root && Join(c.parent, c.name) != c.path {
			t.Errorf("Join(%q, %q): %q", c.parent, c.name, Join(c.parent, c.name))
		}
	}
	empty := Empty(Time{Sec: 5})
	if err := validate(empty.Entries()); err != nil || empty.Len() != 1 || empty.Entries()[0].MTime.Sec != 5 {
		t.Errorf("Empty: %+v, %v", empty.Entries(), err)
	}
	for _, c := range []struct {
		a, b Time
		want bool
	}{{Time{1, 0}, Time{0, 5}, true}, {Time{1, 5}, Time{1, 4}, true}, {Time{1, 5}, Time{1, 5}, false}, {Time{-1, 9}, Time{0, 0}, false}} {
		if c.a.After(c.b) != c.want {
			t.Errorf("%v after %v: %v", c.a, c.b, !c.want)
		}
	}
	for want, typ := range map[string]Type{"file": Regular, "socket": Socket, "type 0": 0, "type 200": 200} {
		if typ.String() != want {
			t.Errorf("type %d is called %q", typ, typ)
		}
	}
}

// TestEncodingGolden holds an encoding made by hand from doc.go.
func TestEncodingGolden(t *testing.T) {
	tr := mustNew(t,
		changed(dir("bin"), func(e *Entry) { e.UID = 300; e.MTime = Time{Sec: -2, Nsec: 128} }),
		linked(1, changed(file("bin/a", "x"), func(e *Entry) { e.Xattrs = []Xattr{{Name: "user.n", Value: []byte{0}}} })),
		linked(1, changed(file("bin/ab", "x"), func(e *Entry) { e.Xattrs = []Xattr{{Name: "user.n", Value: []byte{0}}} })),
		link("c", "bin"),
		Entry{Path: "d", Type: CharDevice, Major: 1, Minor: 256},
	)
	x := "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	want := strings.Join([]string{
		"4946545245453" + "10a", "06",
		"00 01 2e", "02 ed03 00 00 00 00 00 00",
		"00 03 62696e", "02 ed03 ac02 00 03 8001 00 00",
		"03 02 2f61", "01 a403 00 00 00 00 01", "01 06 757365722e6e 01 00", x, "01",
		"05 01 62", "01 a403 00 00 00 00 01", "01 06 757365722e6e 01 00", x, "01",
		"00 01 63", "03 ff03 00 00 00 00 00 00 03 62696e",
		"00 01 64", "04 00 00 00 00 00 00 00 01 8002",
	}, "")
	want = strings.ReplaceAll(want, " ", "")
	if got := hex.EncodeToString(tr.Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if tr.Digest() != store.Sum(tr.Encode()) {
		t.Error("the digest is not that of the encoding")
	}
}

func TestEncodeDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	trees := []*Tree{sample(t), Empty(Time{})}
	for range 200 {
		trees = append(trees, randomTree(t, r, r.IntN(40)))
	}
	for _, tr := range trees {
		p := tr.Encode()
		back, err := Decode(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(Diff(tr, back)) != 0 || !bytes.Equal(back.Encode(), p) {
			t.Fatalf("decoded otherwise: %+v", Diff(tr, back))
		}
		checkReferences(t, back, p)
	}
}

func checkReferences(t testing.TB, tr *Tree, p []byte) {
	t.Helper()
	var want []store.Digest
	for _, e := range tr.Entries() {
		if e.Type == Regular {
			want = append(want, e.Digest)
		}
	}
	if got, ok := References(p); !ok || !slices.Equal(got, want) {
		t.Errorf("References: %v, %v, want %v", got, ok, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	p := sample(t).Encode()
	for n := range p {
		if _, err := Decode(p[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes decode", n, len(p))
		}
		if _, ok := References(p[:n]); ok {
			t.Fatalf("the first %d of %d bytes have references", n, len(p))
		}
	}
	const head = "IFTREE1\n"
	root := "\x00\x01." + "\x02\xed\x03\x00\x00\x00\x00\x00\x00"
	fifo := "\x06\x00\x00\x00\x00\x00\x00\x00"
	file := func(size string) string {
		return "\x01\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x01", 32) + size
	}
	for _, c := range []struct{ encoding, err string }{
		{"", "not a tree: no magic number"},
		{"IFTREE2\n\x01" + root, "not a tree: no magic number"},
		{head, "not a tree: an integer is cut off, too large or overlong"},
		{head + "\x00", "the tree has no root directory"},
		{head + "\x02" + root, "not a tree: 2 entries cannot fit in 21 bytes"},
		{head + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + root, "not a tree: 18446744073709551615 entries cannot fit in 30 bytes"},
		{head + "\x01" + root + "\x00", "1 bytes follow the last entry"},
		{head + "\x81\x00" + root, "not a tree: an integer is cut off, too large or overlong"},
		{head + "\x01\x00\x01.\x02\xed\x83\x00\x00\x00\x00\x00\x00\x00", "entry 0, /.: an integer is cut off, too large or overlong"},
		{head + "\x01\x00\x01.\x02\xed\x03\x80\x80\x80\x80\x10\x00\x00\x00\x00\x00", "entry 0, /.: an integer is larger than 32 bits"},
		{head + "\x01\x00\x01.\x02\xed\x03\x00\x00\x00\x00\x00\xff\x7f", "entry 0, /.: more extended attributes than bytes"},
		{head + "\x03" + root + "\x00\x01b" + fifo + "\x00\x01a" + fifo, "/a: the entry is out of order"},
		{head + "\x03" + root + "\x00\x01b" + fifo + "\x01\x00" + fifo, "/b: the path is twice in the tree"},
		{head + "\x03" + root + "\x00\x01b" + fifo + "\x00\x02bc" + fifo, "entry 2: a path's shared prefix is wrong"},
		{head + "\x03" + root + "\x00\x01b" + fifo + "\x02\x01c" + fifo, "entry 2: a path's shared prefix is wrong"},
		{head + "\x02" + root + "\x00\x01b" + file("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "/b: the size -1 is negative"},
		{head + "\x02" + root + "\x00\x01b\x01\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 33), "/b: the file has no digest"},
		{head + "\x02" + root + "\x00\x01b\x06\x00\x00\x00\x00\x00\x01\x00", "/b: hard link group 1 has one entry"},
		{head + "\x03" + root + "\x00\x01b\x06\x00\x00\x00\x00\x00\x02\x00" + "\x00\x01c\x06\x00\x00\x00\x00\x00\x02\x00", "/b: hard link group 2 is out of order"},
	} {
		if _, err := Decode([]byte(c.encoding)); err == nil || err.Error() != c.err {
			t.Errorf("%q:\n got %v\nwant %s", c.encoding, err, c.err)
		}
	}
}

func TestSaveLoad(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	tr := sample(t)
	d, err := Save(st, tr)
	if err != nil || d != tr.Digest() {
		t.Fatalf("Save: %s, %v", d, err)
	}
	if back, err := Load(st, d); err != nil || len(Diff(tr, back)) != 0 {
		t.Errorf("Load: %v", err)
	}
	if _, err := Load(st, store.Sum([]byte("absent"))); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Load of what is not there: %v", err)
	}
	other, err := st.Put([]byte("no tree"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(st, other); err == nil || err.Error() != "tree "+other.String()+": not a tree: no magic number" {
		t.Errorf("Load of what is no tree: %v", err)
	}
	if _, ok := References([]byte("no tree")); ok {
		t.Error("what is no tree has references")
	}
}

func TestEditor(t *testing.T) {
	base := mustNew(t, dir("a"), dir("a/b"), file("a/b/c", "1"), file("a/d", "2"), file("a-b", "3"), link("l", "a"))
	for _, c := range []struct {
		name string
		edit func(e *Editor)
		want string // paths, or the error
	}{
		{"nothing", func(e *Editor) {}, ". a a/b a/b/c a/d a-b l"},
		{"remove a file", func(e *Editor) { e.Remove("a/d") }, ". a a/b a/b/c a-b l"},
		{"remove a subtree", func(e *Editor) { e.Remove("a") }, ". a-b l"},
		{"remove what is not there", func(e *Editor) { e.Remove("x"); e.Remove("a/b/c/d") }, ". a a/b a/b/c a/d a-b l"},
		{"remove a prefix of names only", func(e *Editor) { e.Remove("a/"); e.Remove("") }, ". a a/b a/b/c a/d a-b l"},
		{"remove and put the directory", func(e *Editor) { e.Remove("a"); e.Put(dir("a")) }, ". a a-b l"},
		{"remove and put a child", func(e *Editor) { e.Remove("a"); e.Put(dir("a")); e.Put(file("a/new", "")) }, ". a a/new a-b l"},
		{"remove and put the same", func(e *Editor) { e.Remove("a/d"); e.Put(file("a/d", "4")) }, ". a a/b a/b/c a/d a-b l"},
		{"remove and put below nothing", func(e *Editor) { e.Remove("a"); e.Put(file("a/new", "")) }, "/a/new: /a is not a directory of the tree"},
		{"put and remove", func(e *Editor) { e.Put(dir("a/x")); e.Put(file("a/x/y", "")); e.Remove("a/x") }, ". a a/b a/b/c a/d a-b l"},
		{"put and remove above", func(e *Editor) { e.Put(dir("n")); e.Put(file("n/y", "")); e.Remove("n") }, ". a a/b a/b/c a/d a-b l"},
		{"a file for a directory", func(e *Editor) { e.Put(file("a", "")) }, ". a a-b l"},
		{"a file for a directory and back", func(e *Editor) { e.Put(file("a", "")); e.Put(dir("a")) }, ". a a-b l"},
		{"a directory for a file", func(e *Editor) { e.Put(dir("a/d")); e.Put(file("a/d/e", "")) }, ". a a/b a/b/c a/d a/d/e a-b l"},
		{"another directory", func(e *Editor) { e.Put(changed(dir("a"), func(e *Entry) { e.Mode = 0o700 })) }, ". a a/b a/b/c a/d a-b l"},
		{"a file for a new directory", func(e *Editor) { e.Put(dir("n")); e.Put(file("n/x", "")); e.Put(file("n", "")) }, ". a a/b a/b/c a/d a-b l n"},
		{"below a symlink", func(e *Editor) { e.Put(file("l/x", "")) }, "/l/x: /l is not a directory of the tree"},
		{"a bad entry", func(e *Editor) { e.Put(Entry{Path: "x"}) }, "/x: type 0 is unknown"},
		{"everything", func(e *Editor) { e.Remove(Root) }, "the tree has no root directory"},
		{"everything anew", func(e *Editor) { e.Put(file("x", "")); e.Remove(Root); e.Put(dir(Root)); e.Put(file("y", "")) }, ". y"},
	} {
		e := base.Edit()
		c.edit(e)
		tr, err := e.Tree()
		got := fmt.Sprint(err)
		if err == nil {
			got = strings.Join(paths(tr.Entries()), " ")
			for _, entry := range tr.Entries() {
				if now, ok := e.Get(entry.Path); !ok || !now.Equal(&entry) {
					t.Errorf("%s: Get(%q) is %+v, %v", c.name, entry.Path, now, ok)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if got := strings.Join(paths(base.Entries()), " "); got != ". a a/b a/b/c a/d a-b l" {
		t.Errorf("the edited tree itself changed: %s", got)
	}
}

// TestEditorAgainstModel compares random edits with those of a plain map.
func TestEditorAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	failed := 0
	for range 400 {
		base := randomTree(t, r, 15)
		editor := base.Edit()
		model := map[string]Entry{}
		for _, e := range base.Entries() {
			model[e.Path] = e
		}
		remove := func(path string) {
			for p := range model {
				if p == path || path == Root || strings.HasPrefix(p, path+"/") {
					delete(model, p)
				}
			}
		}
		for range 1 + r.IntN(12) {
			path := randomPaths(r, 3)[0]
			switch r.IntN(4) {
			case 0:
				editor.Remove(path)
				remove(path)
			case 1:
				// Directories only, so that there is an expected answer in the model.
				err := editor.MkdirAll(path, dir(Root))
				var fault error
				for p := path; p != Root; p = Parent(p) {
					if e, ok := model[p]; ok && e.Type != Directory {
						fault = errors.New("no directory")
					}
				}
				if (err == nil) != (fault == nil) {
					t.Fatalf("MkdirAll(%q): %v, want %v", path, err, fault)
				}
				if err == nil {
					for p := path; p != Root; p = Parent(p) {
						if _, ok := model[p]; !ok {
							model[p] = dir(p)
						}
					}
				}
			default:
				e := file(path, "new")
				if path == Root || r.IntN(2) == 0 {
					e = dir(path)
				}
				editor.Put(e)
				if old, ok := model[path]; ok && old.Type == Directory && e.Type != Directory {
					remove(path)
				}
				model[path] = e
			}
		}
		var entries []Entry
		for _, e := range model {
			entries = append(entries, e)
		}
		want, wantErr := New(entries)
		got, err := editor.Tree()
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("the editor gives %v, the model %v", err, wantErr)
		}
		if err != nil {
			failed++
			continue
		}
		if changes := Diff(want, got); len(changes) != 0 {
			t.Fatalf("the editor differs from the model: %+v", changes)
		}
	}
	if failed == 0 || failed > 300 {
		t.Errorf("%d of 400 edits failed: the test tests little", failed)
	}
}

func TestMkdirAll(t *testing.T) {
	e := mustNew(t, dir("a"), link("l", "a"), file("f", "")).Edit()
	template := Entry{Path: "ignored", Type: Regular, Mode: 0o750, UID: 1, GID: 2, MTime: Time{3, 4}, Size: 5}
	if err := e.MkdirAll("a/b/c", template); err != nil {
		t.Fatal(err)
	}
	if err := e.MkdirAll(Root, template); err != nil {
		t.Fatal(err)
	}
	tr := mustTree(t, e)
	for _, p := range []string{"a/b", "a/b/c"} {
		want := Entry{Path: p, Type: Directory, Mode: 0o750, UID: 1, GID: 2, MTime: Time{3, 4}}
		if got, _ := tr.Lookup(p); !got.Equal(&want) {
			t.Errorf("%+v", got)
		}
	}
	if got, _ := tr.Lookup("a"); got.Mode != 0o755 {
		t.Errorf("a directory that was there changed: %+v", got)
	}
	for path, want := range map[string]string{"l/x": "/l is a symlink, not a directory", "f": "/f is a file, not a directory"} {
		if err := e.MkdirAll(path, template); err == nil || err.Error() != want {
			t.Errorf("MkdirAll(%q): %v, want %s", path, err, want)
		}
	}
}

func TestHardLinksThroughEdits(t *testing.T) {
	base := mustNew(t, linked(1, file("a", "1")), linked(1, file("b", "1")), linked(2, file("c", "2")), linked(2, file("d", "2")), linked(2, file("e", "2")))
	groups := func(tr *Tree) string {
		var s []string
		for _, e := range tr.Entries()[1:] {
			s = append(s, fmt.Sprintf("%s=%d", e.Path, e.Link))
		}
		return strings.Join(s, " ")
	}
	for _, c := range []struct {
		name string
		edit func(e *Editor)
		want string // groups, or the error
	}{
		{"none", func(e *Editor) {}, "a=1 b=1 c=2 d=2 e=2"},
		{"one of two goes", func(e *Editor) { e.Remove("a") }, "b=0 c=1 d=1 e=1"},
		{"one of three goes", func(e *Editor) { e.Remove("c") }, "a=1 b=1 d=2 e=2"},
		{"one of two is changed alone", func(e *Editor) { e.Put(file("a", "3")) }, "a=0 b=0 c=1 d=1 e=1"},
		{"one of three is changed with the group's number", func(e *Editor) { e.Put(linked(2, file("d", "3"))) }, "/d: it is a hard link of /c but differs from it"},
		{"all of a group are changed", func(e *Editor) { e.Put(linked(1, file("a", "3"))); e.Put(linked(1, file("b", "3"))) }, "a=1 b=1 c=2 d=2 e=2"},
		{"one more", func(e *Editor) { e.Put(linked(1, file("z", "1"))) }, "a=1 b=1 c=2 d=2 e=2 z=1"},
		{"a new group comes first", func(e *Editor) {
			n := e.NewLink()
			e.Put(linked(n, file("0", "4")))
			e.Put(linked(n, file("z", "4")))
		}, "0=1 a=2 b=2 c=3 d=3 e=3 z=1"},
		{"two new groups", func(e *Editor) {
			n, m := e.NewLink(), e.NewLink()
			e.Put(linked(n, file("x", "4")))
			e.Put(linked(m, file("y", "5")))
			e.Put(linked(n, file("y2", "4")))
			e.Put(linked(m, file("z", "5")))
		}, "a=1 b=1 c=2 d=2 e=2 x=3 y=4 y2=3 z=4"},
	} {
		e := base.Edit()
		c.edit(e)
		tr, err := e.Tree()
		got := fmt.Sprint(err)
		if err == nil {
			got = groups(tr)
			if err := validate(tr.Entries()); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if got := groups(base); got != "a=1 b=1 c=2 d=2 e=2" {
		t.Errorf("the edited tree itself changed: %s", got)
	}
}

func TestResolve(t *testing.T) {
	tr := mustNew(t,
		dir("etc"), link("bin", "usr/bin"), dir("usr"), dir("usr/bin"), file("usr/bin/sh", ""), link("usr/bin/up", "../../../../etc"),
		link("abs", "/usr/./bin//sh"), link("self", "self"), link("dangling", "usr/none"), link("deep", "usr/none/none"), link("dot", "."),
	)
	for _, c := range []struct{ path, want string }{
		{"", "."}, {"/", "."}, {"..", "."}, {"../../etc", "etc"}, {"/bin/sh", "usr/bin/sh"}, {"bin/up", "etc"}, {"bin/up/new", "etc/new"},
		{"abs", "usr/bin/sh"}, {"dangling", "usr/none"}, {"dot/dot/etc", "etc"}, {"etc/../bin/../bin", "usr/bin"},
		{"new", "new"}, {"self", "error /self: too many levels of symbolic links"},
		{"none/x", "error /none is not a directory"}, {"none/..", "error /none is not a directory"}, {"abs/x", "error /usr/bin/sh is not a directory"},
		{"deep", "error /usr/none is not a directory"},
	} {
		got, err := tr.Resolve(c.path)
		if err != nil {
			got = "error " + err.Error()
		}
		if got != c.want {
			t.Errorf("Resolve(%q): %s, want %s", c.path, got, c.want)
		}
		e := Empty(Time{}).Edit()
		for _, entry := range tr.Entries() {
			e.Put(entry)
		}
		if again, err := e.Resolve(c.path); err == nil && again != got {
			t.Errorf("the editor's Resolve(%q): %s, want %s", c.path, again, got)
		}
	}
	chain := []Entry{dir("x")}
	for i := range 41 {
		chain = append(chain, link(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	tr = mustNew(t, append(chain, link("l41", "x"))...)
	if got, err := tr.Resolve("l2"); got != "x" || err != nil { // 40 links
		t.Errorf("40 links: %q, %v", got, err)
	}
	if _, err := tr.Resolve("l1"); err == nil {
		t.Error("41 links are followed")
	}
}

// TestResolveAgainstKernel asks the kernel (openat2(2), RESOLVE_IN_ROOT) the same.
func TestResolveAgainstKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	names := []string{"a", "b", "c", "..", "/a", "/b", "d"}
	random := func() string {
		var s []string
		for range 1 + r.IntN(3) {
			s = append(s, names[r.IntN(len(names))])
		}
		return strings.Join(s, "/")
	}
	agreed := 0
	for range 30 {
		root := t.TempDir()
		editor := Empty(Time{}).Edit()
		for _, d := range []string{"", "a/", "b/", "a/b/"} {
			for _, n := range []string{"a", "b", "c", "d"} {
				p := d + n
				if parent, ok := editor.Get(Parent(p)); !ok || parent.Type != Directory {
					continue
				}
				host := filepath.Join(root, p)
				var err error
				switch r.IntN(4) {
				case 0, 1:
					editor.Put(dir(p))
					err = os.Mkdir(host, 0o755)
				case 2:
					target := random()
					editor.Put(link(p, target))
					err = os.Symlink(target, host)
				default:
					editor.Put(file(p, ""))
					err = os.WriteFile(host, nil, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		tr := mustTree(t, editor)
		rootFD, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			path := random()
			got, gotErr := tr.Resolve(path)
			if gotErr == nil {
				if _, ok := tr.Lookup(got); !ok {
					gotErr = errors.New("it does not exist")
				}
			}
			fd, err := unix.Openat2(rootFD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
			if (err == nil) != (gotErr == nil) {
				t.Fatalf("%q in %+v: the kernel says %v, Resolve %v", path, tr.Entries(), err, gotErr)
			}
			if err != nil {
				continue
			}
			host, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			unix.Close(fd)
			if err != nil {
				t.Fatal(err)
			}
			want, err := filepath.Rel(root, host)
			if err != nil || got != want {
				t.Fatalf("%q in %+v: the kernel says %s, Resolve %s", path, tr.Entries(), want, got)
			}
			agreed++
		}
		unix.Close(rootFD)
	}
	if agreed < 300 {
		t.Errorf("only %d paths exist: the test tests little", agreed)
	}
}

func TestDiff(t *testing.T) {
	a := mustNew(t, dir("a"), file("a/gone", ""), file("a/same", "1"), file("a/was", "1"), file("t", ""))
	b := mustNew(t, dir("a"), file("a/new", ""), file("a/same", "1"), file("a/was", "2"), link("t", "a"), file("z", ""))
	var got []string
	for _, c := range Diff(a, b) {
		switch {
		case c.Before == nil && c.After.Path == c.Path:
			got = append(got, "+"+c.Path)
		case c.After == nil && c.Before.Path == c.Path:
			got = append(got, "-"+c.Path)
		case c.Before.Path == c.Path && c.After.Path == c.Path:
			got = append(got, "~"+c.Path)
		}
	}
	if want := "-a/gone +a/new ~a/was ~t +z"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if changes := Diff(a, a); len(changes) != 0 {
		t.Errorf("a tree differs from itself: %+v", changes)
	}
}

// TestDiffIsAPatch applies the differences of random trees.
func TestDiffIsAPatch(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		a, b := randomTree(t, r, 15), randomTree(t, r, 15)
		e := a.Edit()
		for _, c := range Diff(a, b) {
			if c.After == nil {
				e.Remove(c.Path)
			}
		}
		for _, c := range Diff(a, b) {
			if c.After != nil {
				e.Put(*c.After)
			}
		}
		if got := mustTree(t, e); len(Diff(got, b)) != 0 {
			t.Fatalf("patched otherwise: %+v", Diff(got, b))
		}
	}
}

func TestEqual(t *testing.T) {
	e, _ := sample(t).Lookup("usr/bin/ping")
	same := e
	same.Xattrs = slices.Clone(e.Xattrs)
	same.Xattrs[1].Value = []byte{} // nil and empty are the same
	if !e.Equal(&same) {
		t.Error("an entry is not equal to its copy")
	}
	for i := range reflect.TypeFor[Entry]().NumField() {
		other := e
		f := reflect.ValueOf(&other).Elem().Field(i)
		switch f.Kind() {
		case reflect.String:
			f.SetString("other")
		case reflect.Int64:
			f.SetInt(99)
		case reflect.Uint8, reflect.Uint32:
			f.SetUint(7)
		default:
			f.SetZero()
		}
		if e.Equal(&other) {
			t.Errorf("a difference in %s is not seen", reflect.TypeFor[Entry]().Field(i).Name)
		}
	}
}

func FuzzDecodeTree(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(magic + "\x00"))
	f.Add(Empty(Time{}).Encode())
	f.Add(sample(f).Encode())
	r := rand.New(rand.NewPCG(11, 12))
	for range 5 {
		f.Add(randomTree(f, r, 5).Encode())
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		tr, err := Decode(p)
		if err != nil {
			References(p) // must not panic either
			return
		}
		if !bytes.Equal(tr.Encode(), p) {
			t.Error("a tree has two encodings")
		}
		checkReferences(t, tr, p)
		again, err := New(slices.Clone(tr.Entries()))
		if err != nil || len(Diff(tr, again)) != 0 {
			t.Errorf("New does not give the decoded tree: %v", err)
		}
		for _, e := range tr.Entries() {
			if _, ok := tr.Lookup(e.Path); !ok {
				t.Errorf("Lookup does not find %q", e.Path)
			}
		}
	})
}

// rootFS returns a tree of about 20,000 entries like a distribution's.
func rootFS(tb testing.TB) *Tree {
	tb.Helper()
	entries := []Entry{dir(Root), dir("usr"), dir("usr/share")}
	for p := range 400 {
		d := fmt.Sprintf("usr/share/package-%03d", p)
		entries = append(entries, dir(d))
		for i := range 49 {
			entries = append(entries, file(fmt.Sprintf("%s/some-file-%02d.conf", d, i), fmt.Sprint(p, i)))
		}
	}
	tr, err := New(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

func BenchmarkEncode(b *testing.B) {
	tr := rootFS(b)
	for b.Loop() {
		b.SetBytes(int64(len(tr.Encode())))
	}
}

func BenchmarkDecode(b *testing.B) {
	p := rootFS(b).Encode()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := Decode(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReferences(b *testing.B) {
	p := rootFS(b).Encode()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		References(p)
	}
}

func BenchmarkDiff(b *testing.B) {
	before := rootFS(b)
	e := before.Edit()
	e.Remove("usr/share/package-100")
	e.Put(file("usr/share/new", ""))
	after := mustTree(b, e)
	for b.Loop() {
		if len(Diff(before, after)) != 51 {
			b.Fatal("other differences")
		}
	}
}

// BenchmarkMerge puts the 20,000 entries of 400 packages into an empty tree.
func BenchmarkMerge(b *testing.B) {
	tr := rootFS(b)
	for b.Loop() {
		e := Empty(Time{}).Edit()
		for _, entry := range tr.Entries() {
			if old, ok := e.Get(entry.Path); !ok || old.Type != Directory {
				e.Put(entry)
			}
		}
		if got := mustTree(b, e); got.Len() != tr.Len() {
			b.Fatal(got.Len())
		}
	}
}

// BenchmarkEdit changes a few entries of 20,000.
func BenchmarkEdit(b *testing.B) {
	tr := rootFS(b)
	for b.Loop() {
		e := tr.Edit()
		e.Put(file("usr/share/new", ""))
		e.Remove("usr/share/package-100")
		mustTree(b, e)
	}
}
