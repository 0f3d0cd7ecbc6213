package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func parseAll(r io.Reader) ([]Stanza, error) {
	var all []Stanza
	err := ParseStanzas(r, func(s Stanza) error {
		all = append(all, s)
		return nil
	})
	return all, err
}

func TestParseStanzas(t *testing.T) {
	const doc = "# a comment\n" +
		"\n" +
		"Package: a\n" +
		"Description: short \t\r\n" +
		" long text\n" +
		"# a comment inside\n" +
		" .\n" +
		"\tmore\n" +
		"Empty:\n" +
		"Tight:x:y\n" +
		" \t\n" +
		"\n" +
		"SHA256:\n" +
		" aa 1 f\n" +
		"  bb 2 g"
	want := []Stanza{
		{Line: 3, Fields: []Field{
			{"Package", "a", 3},
			{"Description", "short\n long text\n .\n\tmore", 4},
			{"Empty", "", 9},
			{"Tight", "x:y", 10},
		}},
		{Line: 13, Fields: []Field{{"SHA256", "\n aa 1 f\n  bb 2 g", 13}}},
	}
	for name, r := range map[string]io.Reader{
		"whole":          strings.NewReader(doc),
		"byte by byte":   iotest.OneByteReader(strings.NewReader(doc)),
		"data with EOF":  iotest.DataErrReader(strings.NewReader(doc)),
		"final newlines": strings.NewReader(doc + "\n\n\n"),
	} {
		got, err := parseAll(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := want[0].Get("tIGHT"); got != "x:y" {
		t.Errorf("Get ignores case: got %q", got)
	}
	if got := want[0].Get("Absent"); got != "" {
		t.Errorf("Get of an absent field: got %q", got)
	}
	if got, want := want[1].Fields[0].Lines(), []string{"aa 1 f", "bb 2 g"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Lines: got %q, want %q", got, want)
	}
}

func TestParseStanzasErrors(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"Package: a\nno colon here\n", `line 2: expected a field, "Name: value", found "no colon here"`},
		{"\n\n folded\n", "line 3: a continuation line without a field before it"},
		{": value\n", "line 1: a field without a name"},
		{"A: 1\n-B: 2\n", "line 2: a field name cannot begin with '-'"},
		{"A: 1\nB: 2\n\nA: 1\nb: 2\na: 3\n", "line 6: field a was given before, in line 4"},
		{"N\xc3\xa4me: 1\n", `line 1: expected a field, "Name: value", found "Näme: 1"`},
		{strings.Repeat("x", 300) + ": 1\n", `line 1: expected a field, "Name: value", found "` + strings.Repeat("x", 60) + `..."`},
		{"A: 1\n" + strings.Repeat(" "+strings.Repeat("y", 1<<20)+"\n", 17), "line 17: a stanza of more than 16777216 bytes"},
		{manyFields(MaxStanzaFields + 1), "line 513: more than 512 fields in one stanza"},
	} {
		_, err := parseAll(strings.NewReader(c.doc))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.40q: got error %v, want %s", c.doc, err, c.want)
		}
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%.40q: the error is no *SyntaxError", c.doc)
		}
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "F%d: x\n", i)
	}
	return b.String()
}

func TestParseStanzasStopsAtForeignErrors(t *testing.T) {
	stop := errors.New("stop")
	calls := 0
	err := ParseStanzas(strings.NewReader("A: 1\n\nA: 2\n"), func(Stanza) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("got %v after %d calls, want the callback's error after 1", err, calls)
	}
	broken := errors.New("connection lost")
	for _, doc := range []string{"", "A: 1", "A: 1\n", "A: 1\n b", "A: 1\n\n"} {
		_, err := parseAll(io.MultiReader(strings.NewReader(doc), iotest.ErrReader(broken)))
		if err != broken {
			t.Errorf("%q: got %v, want the reader's error", doc, err)
		}
	}
}

// FuzzStanzas checks that whatever is accepted survives being written and
// read again.
func FuzzStanzas(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nDescription: x\n y\n .\n z\n\nPackage: b\n"))
	f.Add([]byte("# c\nA:\n\tb\n# d\n e\n \t \nB: c\r\n"))
	f.Add([]byte("Types: deb\nURIs: http://a b\nSigned-By:\n -----BEGIN PGP\n .\n =\n"))
	f.Add([]byte(":\n-\n a"))
	f.Add([]byte("0:\n#00000"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		first, err := parseAll(bytes.NewReader(doc))
		if err != nil {
			return
		}
		var text strings.Builder
		for _, s := range first {
			text.WriteString(s.String())
			text.WriteByte('\n')
		}
		second, err := parseAll(strings.NewReader(text.String()))
		if err != nil {
			t.Fatalf("reading back %q: %v", text.String(), err)
		}
		if !reflect.DeepEqual(withoutLines(first), withoutLines(second)) {
			t.Fatalf("read %q, then %q", first, second)
		}
	})
}

func withoutLines(stanzas []Stanza) []Stanza {
	var out []Stanza
	for _, s := range stanzas {
		plain := Stanza{}
		for _, f := range s.Fields {
			plain.Fields = append(plain.Fields, Field{Name: f.Name, Value: f.Value})
		}
		out = append(out, plain)
	}
	return out
}
