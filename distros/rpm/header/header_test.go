package header

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// realdata is where real foreign packages lie, which are no part of the project.
const realdata = "../../../../shared/realdata"

// realPackages returns the paths of all real packages, or skips the test.
func realPackages(t testing.TB) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(realdata, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(path), ".rpm") && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not here: it holds the packages this test reads", realdata)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 30 {
		t.Fatalf("only %d packages in %s", len(paths), realdata)
	}
	return paths
}

// cut returns the two headers of a package file.
func cut(t testing.TB, p []byte) (signature, main []byte) {
	t.Helper()
	const lead = 96
	next := func(p []byte) (blob, rest []byte) {
		if !bytes.HasPrefix(p, []byte(Magic)) {
			t.Fatal("no header magic")
		}
		p = p[len(Magic):]
		n := introBytes + entryBytes*binary.BigEndian.Uint32(p) + binary.BigEndian.Uint32(p[4:])
		return p[:n], p[n:]
	}
	signature, rest := next(p[lead:])
	main, _ = next(rest[(8-len(signature)%8)%8:])
	return signature, main
}

// tool fails the test when a program is missing.
func tool(t testing.TB, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is needed for this test: install the package %s", program, pkg)
	}
}

// query returns what rpm says of a package file.
func query(t testing.TB, path, format string) string {
	t.Helper()
	tool(t, "rpm", "rpm")
	cmd := exec.Command("rpm", "-qp", "--nosignature", "--nodigest", "--qf", format, path)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rpm -qp %s: %v", path, err)
	}
	return string(out)
}

// What rpm prints of every real package is what the parser reads.
func TestRealPackagesAsRPMReadsThem(t *testing.T) {
	for _, path := range realPackages(t) {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		signature, main := cut(t, p)
		if _, err := ParseSignature(signature); err != nil {
			t.Errorf("%s: signature: %v", path, err)
		}
		h, err := Parse(main)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !bytes.Equal(h.Blob(), main) || !h.IsWhole() {
			t.Errorf("%s: the header is not whole", path)
		}
		// One query for all: values end in \x01, fields in \x02.
		var format, got strings.Builder
		field := func(tag string, values ...string) {
			format.WriteString("[%{" + tag + "}\x01]\x02")
			for _, v := range values {
				got.WriteString(v + "\x01")
			}
			got.WriteString("\x02")
		}
		field("NAME", h.Name())
		field("VERSION", h.EVR().Version)
		field("RELEASE", h.EVR().Release)
		field("ARCH", h.Arch())
		field("EPOCHNUM", strconv.Itoa(int(h.EVR().Epoch)))
		field("SUMMARY", h.String(TagSummary))
		field("BUILDTIME", numbers(h.Uint32s(TagBuildTime))...)
		field("CHANGELOGTEXT", h.Strings(TagChangelogText)...)
		field("POSTIN", h.Strings(TagPostIn)...)
		field("POSTINPROG", h.Strings(TagPostInProg)...)
		kinds := []struct {
			Kind
			name string
		}{{Provides, "PROVIDE"}, {Requires, "REQUIRE"}, {Conflicts, "CONFLICT"}, {Obsoletes, "OBSOLETE"}, {Recommends, "RECOMMEND"}}
		if h.Region() == 0 {
			kinds = kinds[1:] // to packages of rpm 3, rpm adds that they provide themselves
		}
		for _, kind := range kinds {
			var names, versions, flags []string
			for _, d := range h.Dependencies(kind.Kind) {
				names = append(names, d.Name)
				version := d.EVR.String()
				if d.EVR.Epoch == 0 && strings.HasPrefix(h.Strings(kindTags[kind.Kind].version)[len(versions)], "0:") {
					version = "0:" + version
				}
				versions = append(versions, version)
				flags = append(flags, strconv.Itoa(int(d.Flags)))
			}
			field(kind.name+"NAME", names...)
			if len(names) > 0 {
				field(kind.name+"VERSION", versions...)
				field(kind.name+"FLAGS", flags...)
			}
		}
		files := map[string][]string{}
		for _, f := range h.Files() {
			add := func(tag, value string) { files[tag] = append(files[tag], value) }
			add("FILENAMES", f.Path)
			add("FILEMODES", strconv.Itoa(int(f.Mode)))
			add("FILEUSERNAME", f.User)
			add("FILEGROUPNAME", f.Group)
			add("LONGFILESIZES", strconv.FormatUint(f.Size, 10))
			add("FILEMTIMES", strconv.Itoa(int(f.MTime)))
			add("FILEDIGESTS", f.Digest)
			add("FILELINKTOS", f.Link)
			add("FILEFLAGS", strconv.Itoa(int(f.Flags)))
			add("FILEVERIFYFLAGS", strconv.FormatUint(uint64(f.Verify), 10))
			add("FILERDEVS", strconv.Itoa(int(f.RDev)))
			add("FILELANGS", f.Langs)
			add("FILECAPS", f.Caps)
			add("FILEINODES", strconv.FormatUint(uint64(f.Ino), 10))
		}
		for tag, values := range files {
			if (tag == "FILECAPS" && !h.Has(TagFileCaps)) || (tag == "FILELANGS" && !h.Has(TagFileLangs)) {
				values = nil
			}
			field(tag, values...)
		}
		want := query(t, path, format.String())
		a, b := strings.Split(got.String(), "\x02"), strings.Split(want, "\x02")
		for i := range b {
			if i >= len(a) || a[i] != b[i] {
				t.Errorf("%s: field %d is %q, rpm says %q", filepath.Base(path), i, a[min(i, len(a)-1)], b[i])
			}
		}
	}
}

func numbers(v []uint32) []string {
	var s []string
	for _, n := range v {
		s = append(s, strconv.FormatUint(uint64(n), 10))
	}
	return s
}

// testEntries describe a small package.
func testEntries() []Entry {
	return []Entry{
		StringEntry(TagName, "sample"), StringEntry(TagVersion, "1.0"), StringEntry(TagRelease, "2"), Uint32sEntry(TagEpoch, 3),
		StringEntry(TagArch, "noarch"), StringsEntry(TagHeaderI18NTable, "C", "de"), I18NEntry(TagSummary, "A sample", "Ein Muster"),
		StringsEntry(TagRequireName, "libc.so.6", "(a or b)", "bash"), Uint32sEntry(TagRequireFlags, SenseFindRequires, 0, SenseScriptPost|SenseGreater|SenseEqual),
		StringsEntry(TagRequireVersion, "", "", "1:5.2-3"),
		StringsEntry(TagBaseNames, "sample", "sample.conf"), Uint32sEntry(TagDirIndexes, 0, 1), StringsEntry(TagDirNames, "/usr/bin/", "/etc/"),
		Uint16sEntry(TagFileModes, 0o100755, 0o100644), Uint64sEntry(TagLongFileSizes, 5<<30, 12), Uint32sEntry(TagFileFlags, 0, FileConfig),
		StringsEntry(TagTriggerScripts, "a"), StringsEntry(TagTriggerName, "b", "c"), Uint32sEntry(TagTriggerIndex, 0, 0),
	}
}

func build(t testing.TB, region Tag, entries ...Entry) []byte {
	t.Helper()
	blob, err := Build(entries, region)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestBuildAndParse(t *testing.T) {
	for _, region := range []Tag{0, TagHeaderImmutable, TagHeaderImage} {
		h, err := Parse(build(t, region, testEntries()...))
		if err != nil {
			t.Fatal(err)
		}
		if h.Region() != region || !h.IsWhole() || h.NEVRA() != "sample-3:1.0-2.noarch" {
			t.Errorf("region %v, %s", h.Region(), h.NEVRA())
		}
		deps := h.Dependencies(Requires)
		want := rpm.Dependency{Name: "bash", Sense: rpm.Greater | rpm.Equal, EVR: rpm.EVR{Epoch: 1, Version: "5.2", Release: "3"}, Pre: true}
		if len(deps) != 3 || deps[2].Dependency != want || deps[1].Name != "(a or b)" || deps[0].Pre {
			t.Errorf("%+v", deps)
		}
		files := h.Files()
		if len(files) != 2 || files[1].Path != "/etc/sample.conf" || files[0].Size != 5<<30 || files[1].Flags != FileConfig || !files[0].IsRegular() {
			t.Errorf("%+v", files)
		}
		if got := h.Strings(TagSummary); !slices.Equal(got, []string{"A sample", "Ein Muster"}) || h.String(TagSummary) != "A sample" {
			t.Errorf("summaries %q", got)
		}
		if h.Uint32s(TagName) != nil || h.Strings(TagEpoch) != nil || h.Bytes(TagName) != nil || h.Has(TagURL) || h.String(TagURL) != "" {
			t.Error("data is read as another type")
		}
	}
}

// The database adds entries after what was signed, and replaces some.
func TestWith(t *testing.T) {
	h, err := Parse(build(t, TagHeaderImmutable, testEntries()...))
	if err != nil {
		t.Fatal(err)
	}
	more, err := h.With(Uint32sEntry(TagInstallTime, 7), CharsEntry(TagFileStates, []byte{0, 1}), BytesEntry(TagSigMD5, make([]byte, 16)), StringEntry(TagVersion, "1.1"))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := more.Uint32(TagInstallTime); !ok || n != 7 || !bytes.Equal(more.Bytes(TagFileStates), []byte{0, 1}) || more.String(TagVersion) != "1.1" {
		t.Errorf("%+v", more.Entries())
	}
	if more.IsWhole() || !h.IsWhole() || more.Region() != TagHeaderImmutable {
		t.Error("the region is not what it was")
	}
	if _, err := more.With(Uint32sEntry(TagInstallTime, 7)); err == nil {
		t.Error("a second addition is possible")
	}
}

func TestParseRefuses(t *testing.T) {
	good := build(t, TagHeaderImmutable, testEntries()...)
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	il := int(binary.BigEndian.Uint32(good))
	put := func(offset int, v uint32) []byte {
		p := bytes.Clone(good)
		binary.BigEndian.PutUint32(p[offset:], v)
		return p
	}
	entry := func(i, field int) int { return introBytes + i*entryBytes + 4*field }
	without := func(drop Tag, add ...Entry) []byte {
		var entries []Entry
		for _, e := range testEntries() {
			if e.Tag != drop {
				entries = append(entries, e)
			}
		}
		blob, _ := Build(append(entries, add...), TagHeaderImmutable)
		return blob
	}
	for name, test := range map[string]struct {
		p    []byte
		want string
	}{
		"nothing":               {nil, "it is cut short"},
		"cut":                   {good[:len(good)-1], "bytes instead of"},
		"longer":                {append(bytes.Clone(good), 0), "bytes instead of"},
		"no entries":            {put(0, 0), "0 entries are none or too many"},
		"many entries":          {put(0, MaxEntries+1), "too many"},
		"much data":             {put(4, MaxData+1), "bytes of data are too many"},
		"region type":           {put(entry(0, 1), 4), "the region's entry is wrong"},
		"region outside":        {put(entry(0, 2), 1<<28), "the region's entry is wrong or its trailer lies outside"},
		"region count":          {put(entry(0, 3), 17), "the region's entry is wrong"},
		"region not its own":    {put(entry(0, 0), uint32(TagHeaderImage)), "the region has no trailer"},
		"region too long":       {put(len(good)-8, uint32(-int32(il+1)*entryBytes)), "the region is longer than the header"},
		"region too short":      {put(len(good)-8, uint32(-int32(il-1)*entryBytes)), "crosses the end of the region"},
		"region odd":            {put(len(good)-8, uint32(-int32(il*entryBytes-1))), "longer than the header"},
		"region nothing":        {put(len(good)-8, 0), "longer than the header"},
		"low tag":               {put(entry(1, 0), 99), "the tag 99 is out of range"},
		"negative tag":          {put(entry(1, 0), 1<<31), "out of range"},
		"second region":         {put(entry(1, 0), uint32(TagHeaderImmutable)), "out of range"},
		"type 0":                {put(entry(1, 1), 0), "unknown type 0"},
		"type 10":               {put(entry(1, 1), 10), "unknown type 10"},
		"count 0":               {put(entry(1, 3), 0), "has 0 items"},
		"count huge":            {put(entry(1, 3), 1<<31), "items"},
		"count beyond":          {put(entry(1, 3), 1<<20), "longer than the header"},
		"two strings":           {put(entry(2, 3), 2), "is 2 strings instead of one"},
		"offset outside":        {put(entry(1, 2), 1<<27), "lies outside of the header"},
		"overlap":               {put(entry(2, 2), 0), "overlaps what comes before"},
		"wrong type":            {without(TagName, Uint32sEntry(TagName, 5)), "tag Name has the type int32 instead of string"},
		"twice":                 {without(0, StringEntry(TagName, "other")), "tag Name is there twice"},
		"signature":             {build(t, TagHeaderSignatures, BytesEntry(SigTagMD5, make([]byte, 16))), "it is a header of another kind: its region is HeaderSignatures"},
		"versions missing":      {without(TagRequireVersion, StringsEntry(TagRequireVersion, "")), "1 items of tag RequireVersion but 3 of RequireName"},
		"names missing":         {without(TagRequireName), "items of tag Require"},
		"modes missing":         {without(TagFileModes, Uint16sEntry(TagFileModes, 0)), "1 items of tag FileModes but 2 files"},
		"directory beyond":      {without(TagDirIndexes, Uint32sEntry(TagDirIndexes, 0, 2)), "tag DirIndexes points at item 2 of DirNames, which has 2"},
		"no directories":        {without(TagDirIndexes), "names but no directories"},
		"two kinds of names":    {without(0, StringsEntry(TagOldFileNames, "/a", "/b")), "two kinds of names"},
		"trigger script beyond": {without(TagTriggerIndex, Uint32sEntry(TagTriggerIndex, 0, 1)), "tag TriggerIndex points at item 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.p)
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\nwant  %s", err, test.want)
			}
		})
	}
	if _, err := ParseSignature(good); err == nil {
		t.Error("a package's header passes as a signature header")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(build(f, TagHeaderImmutable, testEntries()...))
	f.Add(build(f, 0, testEntries()...))
	f.Add(build(f, TagHeaderSignatures, BytesEntry(SigTagMD5, make([]byte, 16)), StringEntry(TagSHA1Header, "x")))
	if h, err := Parse(build(f, TagHeaderImmutable, testEntries()...)); err == nil {
		if more, err := h.With(Uint32sEntry(TagInstallTime, 7)); err == nil {
			f.Add(more.Blob())
		}
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, parse := range []func([]byte) (*Header, error){Parse, ParseSignature} {
			h, err := parse(p)
			if err != nil {
				continue
			}
			for _, e := range h.Entries() {
				h.String(e.Tag)
				if got := h.Strings(e.Tag); got != nil && len(got) != int(e.Count) {
					t.Errorf("%d strings of %d", len(got), e.Count)
				}
				h.Uint16s(e.Tag)
				h.Uint32s(e.Tag)
				h.Uint64s(e.Tag)
				h.Bytes(e.Tag)
			}
			for kind := Provides; kind <= Order; kind++ {
				h.Dependencies(kind)
			}
			h.Files()
			h.NEVRA()
			h.IsWhole()
		}
	})
}
