package repodata

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// A tokenKind is a kind of what a scanner finds.
type tokenKind uint8

const (
	startTag tokenKind = iota + 1
	endTag             // also follows the start tag of <empty/>
	text               // with more than white space in it
	endOfFile
)

// A scanner splits an XML document (https://www.w3.org/TR/xml/) into tags and text.
// It checks that tags match and attributes are well formed. Prefixes of names are
// dropped, because repository metadata never has two elements or attributes that
// differ in nothing else. What metadata never holds is an error: entities of the
// document's own, encodings other than UTF-8.
//
// The primary metadata of a large repository is 50 MB of XML. The scanner does not
// allocate per token, which encoding/xml does for every name and value.
type scanner struct {
	name  []byte // of the tag, without its prefix
	attrs []attribute
	text  []byte

	r     io.Reader
	buf   []byte
	next  int // of buf: not read yet
	end   int // of buf: filled
	ended bool
	line  int // of buf[0], from 1

	open   []byte // names of the open elements, one after the other
	starts []int  // where each begins in open
	empty  bool   // the last tag was <empty/>: an end tag is due
	root   bool   // the root element was seen
	held   []byte // what content returned
}

// An attribute's name and value are valid until the scanner goes on.
type attribute struct{ name, value []byte }

const (
	scanChunk = 256 << 10
	maxToken  = 8 << 20 // of one tag or text, in bytes
	maxDepth  = 64      // of elements; metadata has 5
)

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: make([]byte, scanChunk), line: 1}
}

// A SyntaxError says where a document is malformed.
type SyntaxError struct {
	Line int // from 1
	Err  error
}

// Error gives the line and what is wrong there.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *SyntaxError) Unwrap() error { return e.Err }

// fail returns err with the current line.
func (s *scanner) fail(err error) error {
	return &SyntaxError{s.line + bytes.Count(s.buf[:s.next], []byte("\n")), err}
}

// fill reads more of the document, keeping what is not read yet. It returns io.EOF
// when there is no more.
func (s *scanner) fill() error {
	if s.ended {
		return io.EOF
	}
	s.line += bytes.Count(s.buf[:s.next], []byte("\n"))
	s.end = copy(s.buf, s.buf[s.next:s.end])
	s.next = 0
	if s.end == len(s.buf) {
		if s.end >= maxToken {
			return s.fail(fmt.Errorf("a tag or text longer than %d bytes", maxToken))
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := io.ReadAtLeast(s.r, s.buf[s.end:], 1)
	s.end += n
	if err == io.EOF {
		s.ended = true
	}
	return err
}

var errUnexpectedEnd = errors.New("the file ends too early")

// token goes on to the next tag or text.
func (s *scanner) token() (tokenKind, error) {
	if s.empty {
		s.empty = false
		return endTag, nil
	}
	for {
		kind, err := s.scanText()
		if kind != 0 || err != nil {
			return kind, err
		}
		kind, err = s.scanMarkup()
		if kind != 0 || err != nil {
			return kind, err
		}
	}
}

// scanText reads up to the next "<" or the end of the file.
func (s *scanner) scanText() (tokenKind, error) {
	from := 0 // of the unread bytes: looked at
	for {
		unread := s.buf[s.next:s.end]
		i := bytes.IndexByte(unread[from:], '<')
		if i < 0 {
			from = len(unread)
			err := s.fill()
			if err == io.EOF {
				break
			}
			if err != nil {
				return 0, err
			}
			continue
		}
		found := unread[:from+i]
		if isSpace(found) {
			s.next += len(found)
			return 0, nil
		}
		if len(s.starts) == 0 {
			return 0, s.fail(errors.New("it is no XML document: there is text outside the root element"))
		}
		var err error
		if s.text, err = unescape(found); err != nil {
			return 0, s.fail(err)
		}
		s.next += len(found)
		return text, nil
	}
	switch {
	case len(s.starts) > 0:
		return 0, s.fail(fmt.Errorf("%w: <%s> is not closed", errUnexpectedEnd, s.innermost()))
	case !isSpace(s.buf[s.next:s.end]):
		return 0, s.fail(errors.New("it is no XML document: there is text outside the root element"))
	case !s.root:
		return 0, s.fail(errors.New("it is empty"))
	}
	return endOfFile, nil
}

// isSpace reports whether p is nothing but white space.
func isSpace(p []byte) bool {
	for _, c := range p {
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// scanMarkup reads what begins with the "<" that is next. The kind is 0 for what is
// no tag and no text.
func (s *scanner) scanMarkup() (tokenKind, error) {
	for s.end-s.next < 2 {
		if err := s.fillMarkup(); err != nil {
			return 0, err
		}
	}
	switch s.buf[s.next+1] {
	case '/':
		return s.scanEnd()
	case '?':
		return 0, s.scanInstruction()
	case '!':
		return s.scanDeclaration()
	}
	return s.scanStart()
}

// fillMarkup is fill inside of markup, where the file must not end.
func (s *scanner) fillMarkup() error {
	err := s.fill()
	if err == io.EOF {
		return s.fail(errUnexpectedEnd)
	}
	return err
}

// until returns what is unread up to the first delimiter, and passes over both.
func (s *scanner) until(delimiter string) ([]byte, error) {
	from := 0
	for {
		unread := s.buf[s.next:s.end]
		if i := bytes.Index(unread[from:], []byte(delimiter)); i >= 0 {
			s.next += from + i + len(delimiter)
			return unread[:from+i], nil
		}
		from = max(0, len(unread)-len(delimiter)+1)
		if err := s.fillMarkup(); err != nil {
			return nil, err
		}
	}
}

func (s *scanner) scanEnd() (tokenKind, error) {
	tag, err := s.until(">")
	if err != nil {
		return 0, err
	}
	name := bytes.TrimRight(tag[2:], " \t\r\n")
	s.name = local(name)
	if len(s.starts) == 0 || !bytes.Equal(s.innermost(), s.name) {
		return 0, s.fail(fmt.Errorf("</%s> closes nothing", excerpt(name)))
	}
	s.open = s.open[:s.starts[len(s.starts)-1]]
	s.starts = s.starts[:len(s.starts)-1]
	return endTag, nil
}

func (s *scanner) innermost() []byte { return s.open[s.starts[len(s.starts)-1]:] }

// scanInstruction passes over <?...?>, the XML declaration among them.
func (s *scanner) scanInstruction() error {
	p, err := s.until("?>")
	if err != nil {
		return err
	}
	declaration, ok := bytes.CutPrefix(p, []byte("<?xml "))
	if !ok {
		return nil
	}
	_, encoding, found := bytes.Cut(declaration, []byte("encoding="))
	if found && len(encoding) > 2 {
		name, _, _ := bytes.Cut(encoding[1:], encoding[:1])
		if !bytes.EqualFold(name, []byte("utf-8")) && !bytes.EqualFold(name, []byte("us-ascii")) {
			return s.fail(fmt.Errorf("the encoding %q is not supported: metadata is UTF-8", excerpt(name)))
		}
	}
	return nil
}

// scanDeclaration reads what begins with "<!".
func (s *scanner) scanDeclaration() (tokenKind, error) {
	const comment, cdata, doctype = "<!--", "<![CDATA[", "<!DOCTYPE"
	for s.end-s.next < len(cdata) {
		if err := s.fill(); err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
	}
	unread := s.buf[s.next:s.end]
	switch {
	case bytes.HasPrefix(unread, []byte(comment)):
		s.next += len(comment)
		_, err := s.until("-->")
		return 0, err
	case bytes.HasPrefix(unread, []byte(cdata)) && len(s.starts) > 0:
		s.next += len(cdata)
		var err error
		if s.text, err = s.until("]]>"); err != nil || isSpace(s.text) {
			return 0, err
		}
		return text, nil
	case bytes.HasPrefix(unread, []byte(doctype)):
		p, err := s.until(">")
		if err == nil && bytes.IndexByte(p, '[') >= 0 {
			err = s.fail(errors.New("it declares entities or elements of its own, which metadata has no use for"))
		}
		return 0, err
	}
	return 0, s.fail(errors.New("what begins with <! here is malformed"))
}

// scanStart reads a start tag.
func (s *scanner) scanStart() (tokenKind, error) {
	for {
		n, err := s.parseStart(s.buf[s.next+1 : s.end])
		switch {
		case err == errIncomplete:
			if err := s.fillMarkup(); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, s.fail(err)
		}
		s.next += 1 + n
		if len(s.starts) == 0 {
			if s.root {
				return 0, s.fail(errors.New("there is a second root element"))
			}
			s.root = true
		}
		if !s.empty {
			if len(s.starts) == maxDepth {
				return 0, s.fail(fmt.Errorf("elements are nested deeper than %d", maxDepth))
			}
			s.starts = append(s.starts, len(s.open))
			s.open = append(s.open, s.name...)
		}
		return startTag, nil
	}
}

// errIncomplete says that a tag's end is not in the buffer.
var errIncomplete = errors.New("incomplete tag")

// parseStart parses a start tag whose "<" is read, and returns how long it is.
func (s *scanner) parseStart(p []byte) (n int, err error) {
	i := nameEnd(p)
	if i == len(p) {
		return 0, errIncomplete
	}
	if i == 0 {
		return 0, fmt.Errorf("%q is no tag; a < in text is written &lt;", "<"+excerpt(p[:min(8, len(p))]))
	}
	s.name = local(p[:i])
	s.attrs = s.attrs[:0]
	for {
		start := i
		for i < len(p) && isSpace(p[i:i+1]) {
			i++
		}
		if i == len(p) {
			return 0, errIncomplete
		}
		switch p[i] {
		case '>':
			s.empty = false
			return i + 1, nil
		case '/':
			if i+1 == len(p) {
				return 0, errIncomplete
			}
			if p[i+1] != '>' {
				return 0, fmt.Errorf("tag <%s>: there is a / within it", excerpt(s.name))
			}
			s.empty = true
			return i + 2, nil
		}
		if i == start {
			return 0, fmt.Errorf("tag <%s>: attributes must be separated by spaces", excerpt(s.name))
		}
		length, err := s.parseAttribute(p[i:])
		if err != nil {
			return 0, err
		}
		i += length
	}
}

// parseAttribute parses name="value" and returns how long it is.
func (s *scanner) parseAttribute(p []byte) (n int, err error) {
	i := nameEnd(p)
	name := p[:i]
	for i < len(p) && isSpace(p[i:i+1]) {
		i++
	}
	if i == len(p) {
		return 0, errIncomplete
	}
	if len(name) == 0 || p[i] != '=' {
		return 0, fmt.Errorf("tag <%s>: an attribute is written name=\"value\"", excerpt(s.name))
	}
	for i++; i < len(p) && isSpace(p[i:i+1]); {
		i++
	}
	if i == len(p) {
		return 0, errIncomplete
	}
	quote := p[i]
	if quote != '"' && quote != '\'' {
		return 0, fmt.Errorf("tag <%s>: the value of attribute %s is not in quotes", excerpt(s.name), excerpt(name))
	}
	length := bytes.IndexByte(p[i+1:], quote)
	if length < 0 {
		return 0, errIncomplete
	}
	value, err := unescape(p[i+1 : i+1+length])
	if err != nil {
		return 0, err
	}
	if bytes.IndexByte(value, '<') >= 0 && bytes.IndexByte(p[i+1:i+1+length], '<') >= 0 {
		return 0, fmt.Errorf("tag <%s>: the value of attribute %s holds a <, which is written &lt;", excerpt(s.name), excerpt(name))
	}
	s.attrs = append(s.attrs, attribute{local(name), value})
	return i + 1 + length + 1, nil
}

// nameEnd returns where the name ends that p begins with.
func nameEnd(p []byte) int {
	for i, c := range p {
		switch c {
		case ' ', '\t', '\n', '\r', '>', '/', '=', '<', '"', '\'', '&', 0:
			return i
		}
	}
	return len(p)
}

// local returns a name without its prefix.
func local(name []byte) []byte { return name[bytes.IndexByte(name, ':')+1:] }

// unescape replaces the references in p, which it returns as it is when there is none.
func unescape(p []byte) ([]byte, error) {
	i := bytes.IndexByte(p, '&')
	if i < 0 {
		return p, nil
	}
	out := make([]byte, 0, len(p))
	for i >= 0 {
		out = append(out, p[:i]...)
		p = p[i+1:]
		end := bytes.IndexByte(p[:min(len(p), maxReference)], ';')
		if end < 0 {
			return nil, errors.New("an & that begins no reference; in text it is written &amp;")
		}
		r, ok := reference(string(p[:end]))
		if !ok {
			return nil, fmt.Errorf("the reference &%s; is not known", excerpt(p[:end]))
		}
		out = utf8.AppendRune(out, r)
		p = p[end+1:]
		i = bytes.IndexByte(p, '&')
	}
	return append(out, p...), nil
}

// maxReference is the length of the longest reference, "#x10FFFF;", with some leading
// zeros.
const maxReference = 16

// reference returns the character that a reference stands for.
func reference(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	digits, base := name[1:], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n == 0 || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// excerpt shortens foreign text for a message.
func excerpt(p []byte) string {
	const most = 60
	if len(p) > most {
		return string(p[:most]) + "…"
	}
	return string(p)
}

// attr returns the value of the tag's attribute, nil when it has none of that name.
func (s *scanner) attr(name string) []byte {
	for _, a := range s.attrs {
		if string(a.name) == name {
			return a.value
		}
	}
	return nil
}

// skip passes over the rest of the element whose start tag was read last.
func (s *scanner) skip() error {
	for depth := 1; depth > 0; {
		kind, err := s.token()
		if err != nil {
			return err
		}
		switch kind {
		case startTag:
			depth++
		case endTag:
			depth--
		}
	}
	return nil
}

// content returns the text of the element whose start tag was read last, without that
// of elements in it, and passes over the element. It is valid until content is called
// again.
func (s *scanner) content() ([]byte, error) {
	s.held = s.held[:0]
	for depth := 1; depth > 0; {
		kind, err := s.token()
		if err != nil {
			return nil, err
		}
		switch kind {
		case startTag:
			depth++
		case endTag:
			depth--
		case text:
			if depth == 1 {
				s.held = append(s.held, s.text...)
			}
		}
	}
	return s.held, nil
}
