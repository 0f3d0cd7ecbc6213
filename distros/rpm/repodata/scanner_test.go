package repodata

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// scanAll writes down what a scanner finds.
func scanAll(r io.Reader) (string, error) {
	s := newScanner(r)
	var b strings.Builder
	for {
		kind, err := s.token()
		if err != nil {
			return b.String(), err
		}
		switch kind {
		case startTag:
			fmt.Fprintf(&b, "<%s", s.name)
			for _, a := range s.attrs {
				fmt.Fprintf(&b, " %s=%q", a.name, a.value)
			}
			b.WriteString(">")
		case endTag:
			b.WriteString("</>")
		case text:
			fmt.Fprintf(&b, "%q", s.text)
		case endOfFile:
			return b.String(), nil
		}
	}
}

func TestScanner(t *testing.T) {
	for in, want := range map[string]string{
		"<a/>":      "<a></>",
		"<a></a>\n": "<a></>",
		"<?xml version='1.0' encoding=\"UTF-8\"?>\n<!-- > --><!DOCTYPE a PUBLIC '-//x' \"y\">\n<p:a p:b=\"1\" c = '\"' >x</p:a ><!-- - -- -->": `<a b="1" c="\"">"x"</>`,
		"<a>1<b/> 2 <![CDATA[<&]]>3</a>":                             `<a>"1"<b></>" 2 ""<&""3"</>`,
		"<a b='&lt;&#65;&#x42;&amp;lt;&quot;&apos;&gt;'> &#32; </a>": `<a b="<AB&lt;\"'>">"   "</>`,
		"<a\nb='1'\tc='2'\n/>":                                       `<a b="1" c="2"></>`,
		"<a b='>'>é</a>":                                             `<a b=">">"é"</>`,
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "by bytes": iotest.OneByteReader(strings.NewReader(in))} {
			if got, err := scanAll(r); got != want || err != nil {
				t.Errorf("%q %s: %s, %v; want %s", in, name, got, err, want)
			}
		}
	}
}

func TestScannerErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "line 1: it is empty",
		" \n":                                "line 1: it is empty",
		"text":                               "line 1: it is no XML document: there is text outside the root element",
		"<a/>\ntext":                         "line 1: it is no XML document: there is text outside the root element",
		"<a>\n<b></a>":                       "line 2: </a> closes nothing",
		"</a>":                               "line 1: </a> closes nothing",
		"<a>\n":                              "line 1: the file ends too early: <a> is not closed",
		"<a><b":                              "line 1: the file ends too early",
		"<a b='":                             "line 1: the file ends too early",
		"<a/><b/>":                           "line 1: there is a second root element",
		"<a>&nbsp;</a>":                      "line 1: the reference &nbsp; is not known",
		"<a>AT&T</a>":                        "line 1: an & that begins no reference; in text it is written &amp;",
		"<a b='&#0;'/>":                      "line 1: the reference &#0; is not known",
		"<a b='&#xD800;'/>":                  "line 1: the reference &#xD800; is not known",
		"<a b=1/>":                           "line 1: tag <a>: the value of attribute b is not in quotes",
		"<a b/>":                             "line 1: tag <a>: an attribute is written name=\"value\"",
		"<a b='1'c='2'/>":                    "line 1: tag <a>: attributes must be separated by spaces",
		"<a b='<'/>":                         "line 1: tag <a>: the value of attribute b holds a <, which is written &lt;",
		"<a / >":                             "line 1: tag <a>: there is a / within it",
		"< a/>":                              `line 1: "< a/>" is no tag; a < in text is written &lt;`,
		"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>": "line 1: it declares entities or elements of its own, which metadata has no use for",
		"<a><!ELEMENT></a>":                  "line 1: what begins with <! here is malformed",
		"<?xml version='1.0' encoding='latin1'?><a/>": `line 1: the encoding "latin1" is not supported: metadata is UTF-8`,
		strings.Repeat("<a>", 100):                    "line 1: elements are nested deeper than 64",
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "by bytes": iotest.OneByteReader(strings.NewReader(in))} {
			_, err := scanAll(r)
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !strings.HasPrefix(err.Error(), want) {
				// Where a tag ends in the buffer decides what can be shown of it.
				if name == "by bytes" && strings.HasPrefix(want, `line 1: "<`) {
					continue
				}
				t.Errorf("%q %s: error %v, want %s", in, name, err, want)
			}
		}
	}
	long := io.MultiReader(strings.NewReader("<a>"), &repeat{'x'})
	if _, err := scanAll(long); err == nil || err.Error() != "line 1: a tag or text longer than 8388608 bytes" {
		t.Errorf("error %v", err)
	}
	if _, err := scanAll(io.MultiReader(strings.NewReader("<a>\n<b>"), iotest.ErrReader(errors.New("broken")))); err == nil || err.Error() != "broken" {
		t.Errorf("error %v", err)
	}
}

// repeat is an endless reader.
type repeat struct{ b byte }

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.b
	}
	return len(p), nil
}

// scanStandard is scanAll with encoding/xml.
func scanStandard(p []byte) (string, error) {
	d := xml.NewDecoder(bytes.NewReader(p))
	var b strings.Builder
	depth := 0
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			fmt.Fprintf(&b, "<%s", token.Name.Local)
			for _, a := range token.Attr {
				fmt.Fprintf(&b, " %s=%q", a.Name.Local, a.Value)
			}
			b.WriteString(">")
		case xml.EndElement:
			depth--
			b.WriteString("</>")
		case xml.CharData:
			if depth > 0 && !isSpace(token) {
				fmt.Fprintf(&b, "%q", []byte(token))
			}
		}
	}
}

// Whatever the scanner takes, encoding/xml takes for the same, where it takes it.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("<?xml version='1.0'?><a b='1'>x&lt;<c:d/> <!-- --> y</a>"))
	f.Add([]byte(testPrimary))
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := scanAll(bytes.NewReader(p))
		slow, slowErr := scanAll(iotest.OneByteReader(bytes.NewReader(p)))
		if (err == nil) != (slowErr == nil) || err == nil && got != slow {
			t.Fatalf("%s, %v\nbyte by byte:\n%s, %v", got, err, slow, slowErr)
		}
		if err != nil {
			return
		}
		want, err := scanStandard(p)
		// It makes line ends canonical and joins text with references differently, and it takes
		// colons for more than prefixes.
		if err != nil || bytes.ContainsAny(p, "\r:&") || bytes.Contains(p, []byte("<!")) || bytes.Contains(p, []byte("<?")) {
			return
		}
		if got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
