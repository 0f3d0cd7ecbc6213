package repodata

import (
	"strings"
	"testing"
)

const testRepomd = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo">
  <revision>1700000000</revision>
  <data type="primary">
    <checksum type="SHA256">8B9d1ee60c2b2b8a4ff1bbd9ac2b2b0d5d1bb2a77e7a4b7bbe7d4c6a0a8a1bb1</checksum>
    <open-checksum type="sha256">00</open-checksum>
    <location href="repodata/primary.xml.gz" xml:base="http://host"/>
    <timestamp>1736761560.84</timestamp>
    <size>3597627</size>
  </data>
  <data type="group"><checksum type="md5">d41d8cd98f00b204e9800998ecf8427e</checksum><location href="repodata/comps.xml"/></data>
</repomd>
`

func TestParseRepomd(t *testing.T) {
	r, err := parseRepomd([]byte(testRepomd))
	if err != nil {
		t.Fatal(err)
	}
	primary := record{"primary", checksum{"sha256", "8b9d1ee60c2b2b8a4ff1bbd9ac2b2b0d5d1bb2a77e7a4b7bbe7d4c6a0a8a1bb1"}, "repodata/primary.xml.gz", "http://host", 3597627, 1736761560}
	if got := *r.record("none", "primary"); got != primary || r.revision != "1700000000" || r.date() != 1736761560 {
		t.Errorf("%+v of %d", got, r.date())
	}
	group := r.record("group")
	if err := group.check(false); err == nil || !strings.HasPrefix(err.Error(), "group has no checksum but md5, which anybody can forge") {
		t.Errorf("error %v", err)
	}
	if err := group.check(true); err != nil {
		t.Error(err)
	}
	if err := group.checksum.verify(nil); err != nil {
		t.Error(err)
	}
	if err := group.checksum.verify([]byte("a")); err == nil || err.Error() != "it has 1 bytes with the digest md5:0cc175b9c0f1b6a831c399e269772661 instead of md5:d41d8cd98f00b204e9800998ecf8427e" {
		t.Errorf("error %v", err)
	}
	for _, test := range []struct{ old, new, want string }{
		{"<repomd", "<metadata", "expected element type <repomd> but have <metadata>"},
		{`type="group"`, `type="primary"`, `it lists "primary" twice`},
		{"3597627", "many", `primary: "many" is not a size`},
		{"</repomd>", "", "XML syntax error on line 13: unexpected EOF"},
		{"</repomd>", "</repomd><a/>", "there is a second root element"},
	} {
		in := strings.Replace(testRepomd, test.old, test.new, 1)
		if test.old == "<repomd" {
			in = strings.Replace(in, "</repomd>", "</metadata>", 1)
		}
		if _, err := parseRepomd([]byte(in)); err == nil || err.Error() != test.want {
			t.Errorf("%q: error %v, want %s", test.new, err, test.want)
		}
	}
	for want, in := range map[int64]string{1700000000: strings.Replace(testRepomd, "1736761560.84", "", 1), 0: "<repomd><revision>9-stream</revision></repomd>"} {
		if r, err := parseRepomd([]byte(in)); err != nil || r.date() != want {
			t.Errorf("made on %d, want %d; %v", r.date(), want, err)
		}
	}
}

func FuzzRepomd(f *testing.F) {
	f.Add([]byte(testRepomd))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseRepomd(p)
		if err != nil {
			return
		}
		for _, rec := range r.records {
			if rec.check(false) == nil && rec.checksum.weak() {
				t.Errorf("%+v", rec)
			}
		}
		r.date()
	})
}

func FuzzMirrorList(f *testing.F) {
	f.Add([]byte("# comment\nhttp://host/a/\nftp://host\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		bases, err := parseMirrorList(p, false)
		if (err == nil) != (len(bases) > 0) {
			t.Errorf("%q, %v", bases, err)
		}
		for _, b := range bases {
			if !usableMirror(b, false) {
				t.Errorf("%q", b)
			}
		}
	})
}

func FuzzMetalink(f *testing.F) {
	f.Add([]byte(metalinkFor([]byte("a"), 1, []string{"http://host/a"}, []byte("b"))))
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := parseMetalink(p, false)
		if err != nil {
			return
		}
		if len(m.bases) == 0 || len(m.versions) == 0 {
			t.Errorf("%+v", m)
		}
		for _, v := range m.versions {
			if v.checksum.weak() {
				t.Errorf("%+v", v)
			}
		}
	})
}
