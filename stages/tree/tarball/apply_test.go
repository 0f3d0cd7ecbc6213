package tarball_test

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// An entry is one of an archive under test.
type entry struct {
	tar.Header
	contents string
}

func header(kind byte, name string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o644, ModTime: time.Unix(stagetest.Epoch, 0)}}
}

func file(name, contents string) entry {
	e := header(tar.TypeReg, name)
	e.contents = contents
	return e
}

func dir(name string) entry {
	e := header(tar.TypeDir, name)
	e.Mode = 0o755
	return e
}

func link(kind byte, name, target string) entry {
	e := header(kind, name)
	e.Linkname, e.Mode = target, 0o777
	return e
}

func symlink(name, target string) entry  { return link(tar.TypeSymlink, name, target) }
func hardlink(name, target string) entry { return link(tar.TypeLink, name, target) }

func pax(e entry, records map[string]string) entry {
	e.PAXRecords, e.Format = records, tar.FormatPAX
	return e
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.contents))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.contents)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var small = tarball.Limits{ContentBytes: 1 << 20, Entries: 200, MetadataBytes: 100_000, Devices: 5}

// apply applies archives one after the other, to nothing at first.
func apply(t testing.TB, st *store.Store, layer bool, archives ...[]byte) (*tree.Tree, error) {
	t.Helper()
	root := tree.Empty(tree.Time{Sec: stagetest.Epoch})
	for _, a := range archives {
		batch, err := st.NewBatch()
		if err != nil {
			t.Fatal(err)
		}
		if root, err = tarball.Apply(root, bytes.NewReader(a), batch, tarball.Options{Limits: small, Layer: layer}); err != nil {
			batch.Abort()
			return nil, err
		}
		if err := batch.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return root, nil
}

func TestApply(t *testing.T) {
	st := stagetest.Cache(t).Store
	for name, test := range map[string]struct {
		entries []entry
		want    string
	}{
		"forms of names": {[]entry{file("./a", "1"), file("/b", "2"), file("c//d", "3"), dir("e/./f/")}, "a \"1\"\nb \"2\"\nc/\nc/d \"3\"\ne/\ne/f/\n"},
		"odd names":      {[]entry{file("a\nb", "1"), file(" ", "2"), file("..a", "3"), file("\xff", "4")}, "  \"2\"\n..a \"3\"\na\nb \"1\"\n\xff \"4\"\n"},
		"later ones count": {[]entry{file("a", "1"), file("a", "2"), dir("d"), file("d/x", "3"), {Header: tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o700,
			ModTime: time.Unix(stagetest.Epoch, 0)}}, file("l", "4"), symlink("l", "a")}, "a \"2\"\nd/ 0700\nd/x \"3\"\nl -> a\n"},
		"the root":               {[]entry{{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700, Uid: 3, ModTime: time.Unix(stagetest.Epoch, 0)}}}, "./ 0700 3:0\n"},
		"hard links":             {[]entry{file("a", "1"), hardlink("b", "./a"), hardlink("d/c", "/b")}, "a link1 \"1\"\nb link1 \"1\"\nd/\nd/c link1 \"1\"\n"},
		"one of them replaced":   {[]entry{file("a", "1"), hardlink("b", "a"), hardlink("c", "a"), file("b", "2"), hardlink("a", "a")}, "a link1 \"1\"\nb \"2\"\nc link1 \"1\"\n"},
		"through a link":         {[]entry{symlink("lib", "usr/lib"), dir("usr/lib"), file("lib/x", "1"), hardlink("y", "lib/x")}, "lib -> usr/lib\nusr/\nusr/lib/\nusr/lib/x link1 \"1\"\ny link1 \"1\"\n"},
		"through an absolute":    {[]entry{symlink("a", "/b"), dir("b"), file("a/x", "1")}, "a -> /b\nb/\nb/x \"1\"\n"},
		"never out":              {[]entry{symlink("a", "../../../b"), file("a/x", "1")}, "a -> ../../../b\nb/\nb/x \"1\"\n"},
		"a hanging link":         {[]entry{symlink("a", "b"), file("a/x", "1")}, "a -> b\nb/\nb/x \"1\"\n"},
		"whiteouts mean nothing": {[]entry{file("a", "1"), file(".wh.a", "2"), file("d/.wh..wh..opq", "")}, ".wh.a \"2\"\na \"1\"\nd/\nd/.wh..wh..opq \"\"\n"},
		"global headers": {[]entry{pax(entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader}}, map[string]string{"comment": "x"}), file("a", "1")},
			"a \"1\"\n"},
	} {
		got, err := apply(t, st, false, archive(t, test.entries...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := stagetest.Text(t, st, got)
		if root, _ := got.Lookup(tree.Root); root.Mode != 0o755 && !strings.HasPrefix(text, "./") {
			text = "./ 0700 3:0\n" + text
		}
		if text != test.want {
			t.Errorf("%s:\n%q\nwant\n%q", name, text, test.want)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	st := stagetest.Cache(t).Store
	many := make([]entry, 201)
	for i := range many {
		many[i] = dir(strings.Repeat("x", i+1))
	}
	devices := make([]entry, 6)
	for i := range devices {
		devices[i] = header(tar.TypeChar, strings.Repeat("x", i+1))
	}
	whole := archive(t, file("a", "contents"), file("b", strings.Repeat("x", 600)))
	for name, test := range map[string]struct {
		archive []byte
		want    string
	}{
		"dot dot":            {archive(t, file("a/../../b", "")), `entry "a/../../b": the name "a/../../b" has the element ".."`},
		"dot dot alone":      {archive(t, dir("..")), `has the element ".."`},
		"hard link outside":  {archive(t, hardlink("a", "../../etc/shadow")), `it is a hard link: the name "../../etc/shadow" has the element ".."`},
		"hard link to none":  {archive(t, hardlink("a", "b")), `it is a hard link to "b", which is not there`},
		"hard link to dir":   {archive(t, dir("b"), hardlink("a", "b")), `it is a hard link to the directory "b"`},
		"hard link upwards":  {archive(t, file("d/b", "1"), hardlink("d", "d/b")), `which lies below it`},
		"below a file":       {archive(t, file("a", "1"), file("a/b", "2")), `it lies below "a", which is not a directory`},
		"a loop":             {archive(t, symlink("a", "b"), symlink("b", "a"), file("a/x", "1")), "too many levels of symbolic links"},
		"root as a file":     {archive(t, symlink("./", "b")), "the root must be a directory"},
		"long name":          {archive(t, file(strings.Repeat("x", 256), "")), "Linux allows 255"},
		"too many":           {archive(t, many...), "more than 200 entries"},
		"too many devices":   {archive(t, devices...), "one device too many"},
		"too large":          {archive(t, file("a", strings.Repeat("x", 1<<20+1))), "no archive has a file of more than 1048576"},
		"cut":                {whole[:700], "the archive ends"},
		"without an end":     {whole[:len(whole)-1024], "without its end mark"},
		"no tar":             {[]byte(strings.Repeat("text", 500)), "it is not a valid tar header"},
		"attribute name":     {archive(t, pax(file("a", ""), map[string]string{"SCHILY.xattr.x": "1"})), "there is no such name space on Linux"},
		"attribute encoding": {archive(t, pax(file("a", ""), map[string]string{"LIBARCHIVE.xattr.user.x": "!"})), "illegal base64 data"},
		"ACL by name":        {archive(t, pax(file("a", ""), map[string]string{"SCHILY.acl.access": "user::rwx,user:lisa:r--,group::r--,mask::r--,other::r--"})), "without a numeric id"},
	} {
		if _, err := apply(t, st, false, test.archive); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", name, err, test.want)
		}
	}
}

func TestApplyAttributes(t *testing.T) {
	st := stagetest.Cache(t).Store
	root, err := apply(t, st, false, archive(t, pax(file("a", ""), map[string]string{
		"SCHILY.xattr.user.a": "exact\x00\xff", "LIBARCHIVE.xattr.user.a": "d3Jvbmc", "LIBARCHIVE.xattr.user.b%20c": "dmFsdWU",
		"RHT.security.selinux": "system_u:object_r:etc_t:s0", "SCHILY.acl.access": "user::rw-,group::r--,other::r--",
	})))
	if err != nil {
		t.Fatal(err)
	}
	e, _ := root.Lookup("a")
	var got []string
	for _, x := range e.Xattrs {
		got = append(got, x.Name+"="+string(x.Value))
	}
	want := "security.selinux=system_u:object_r:etc_t:s0 user.a=exact\x00\xff user.b c=value"
	if strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLayers(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := archive(t, dir("d"), file("d/a", "1"), file("d/b", "1"), dir("d/sub"), file("d/sub/x", "1"), file("top", "1"), dir("usr/lib"), file("usr/lib/y", "1"), symlink("lib", "usr/lib"))
	const kept = "lib -> usr/lib\ntop \"1\"\nusr/\nusr/lib/\nusr/lib/y \"1\"\n"
	for name, test := range map[string]struct {
		layers [][]byte
		want   string
	}{
		"a file":               {[][]byte{archive(t, file("d/.wh.a", ""))}, "d/\nd/b \"1\"\nd/sub/\nd/sub/x \"1\"\n" + kept},
		"a directory":          {[][]byte{archive(t, file(".wh.d", ""))}, kept},
		"not of its own layer": {[][]byte{archive(t, file("d/.wh.a", ""), file("d/a", "2"), file("d/c", "2"), file("d/.wh.c", ""))}, "d/\nd/a \"2\"\nd/b \"1\"\nd/c \"2\"\nd/sub/\nd/sub/x \"1\"\n" + kept},
		"a directory anew":     {[][]byte{archive(t, dir("d"), file("d/new", "2"), file(".wh.d", ""))}, "d/\nd/new \"2\"\n" + kept},
		"opaque, first":        {[][]byte{archive(t, dir("d"), file("d/.wh..wh..opq", ""), file("d/new", "2"))}, "d/\nd/new \"2\"\n" + kept},
		"opaque, last":         {[][]byte{archive(t, dir("d"), file("d/new", "2"), file("d/a", "2"), file("d/.wh..wh..opq", ""))}, "d/\nd/a \"2\"\nd/new \"2\"\n" + kept},
		"opaque below":         {[][]byte{archive(t, file("d/sub/.wh..wh..opq", ""))}, "d/\nd/a \"1\"\nd/b \"1\"\nd/sub/\n" + kept},
		"what is not there":    {[][]byte{archive(t, file("d/.wh.zzz", ""), file("no/such/.wh.x", ""), file("top/.wh.x", ""), file("no/.wh..wh..opq", ""))}, "d/\nd/a \"1\"\nd/b \"1\"\nd/sub/\nd/sub/x \"1\"\n" + kept},
		"of aufs":              {[][]byte{archive(t, file("d/.wh..wh.plnk", ""), dir(".wh..wh.orph"))}, "d/\nd/a \"1\"\nd/b \"1\"\nd/sub/\nd/sub/x \"1\"\n" + kept},
		"through a link":       {[][]byte{archive(t, file(".wh.d", ""), file("lib/.wh.y", ""))}, "lib -> usr/lib\ntop \"1\"\nusr/\nusr/lib/\n"},
		"not through a link that is replaced": {[][]byte{archive(t, file(".wh.d", ""), dir("lib"), file("lib/.wh..wh..opq", ""), file("lib/z", "2"))},
			"lib/\nlib/z \"2\"\ntop \"1\"\nusr/\nusr/lib/\nusr/lib/y \"1\"\n"},
		"a file in the place of a directory": {[][]byte{archive(t, file("d", "2"))}, "d \"2\"\n" + kept},
		"a directory in the place of a file": {[][]byte{archive(t, file(".wh.d", ""), file("top/x", "2"), dir("top"))}, ""},
		"removed and made again":             {[][]byte{archive(t, file(".wh.d", "")), archive(t, file("d/a", "3"))}, "d/\nd/a \"3\"\n" + kept},
		"hard link to a lower layer":         {[][]byte{archive(t, file(".wh.d", ""), hardlink("again", "top"))}, "again link1 \"1\"\n" + strings.Replace(kept, "top", "top link1", 1)},
	} {
		got, err := apply(t, st, true, append([][]byte{base}, test.layers...)...)
		if test.want == "" {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text := stagetest.Text(t, st, got); text != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, test.want)
		}
	}
	for _, name := range []string{".wh.", "d/.wh..", "d/.wh..."} {
		if _, err := apply(t, st, true, base, archive(t, file(name, ""))); err == nil || !strings.Contains(err.Error(), "whiteout of nothing") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzApply applies any archive as a layer over a fixed one: what is accepted must be a
// valid tree whose contents are in the store.
func FuzzApply(f *testing.F) {
	f.Add(archive(f, file(".wh.d", ""), file("d/.wh..wh..opq", ""), hardlink("again", "top"), symlink("lib", "../d")), true)
	f.Add(archive(f, symlink("a", "b/../.."), file("a/x", "1"), dir("a"), header(tar.TypeChar, "null")), false)
	f.Add(archive(f, pax(file("a", "x"), map[string]string{"SCHILY.xattr.user.a": "1", "LIBARCHIVE.xattr.user.b": "dmFsdWU"})), false)
	st := stagetest.Cache(f).Store
	base, err := apply(f, st, true, archive(f, dir("d"), file("d/a", "1"), file("top", "1"), hardlink("other", "top"), dir("usr/lib"), symlink("lib", "usr/lib"), symlink("loop", "loop")))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte, layer bool) {
		batch, err := st.NewBatch()
		if err != nil {
			t.Fatal(err)
		}
		defer batch.Abort()
		root, err := tarball.Apply(base, bytes.NewReader(p), batch, tarball.Options{Limits: small, Layer: layer})
		if err != nil {
			return
		}
		if _, err := tree.Decode(root.Encode()); err != nil {
			t.Errorf("the tree is invalid: %v", err)
		}
		for _, e := range root.Entries() {
			if layer && strings.HasPrefix(e.Name(), ".wh.") {
				t.Errorf("a whiteout is in the tree: %q", e.Path)
			}
		}
	})
}
