package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of the deb822 reader. They are far above anything an archive
// publishes (the longest value in Debian is a few hundred KiB) and exist so
// that a hostile document cannot make the reader allocate without bound.
const (
	// MaxStanzaSize is the largest size in bytes of one stanza.
	MaxStanzaSize = 16 << 20
	// MaxStanzaFields is the largest number of fields in one stanza.
	MaxStanzaFields = 512
	// maxFieldName is the largest length in bytes of a field's name.
	maxFieldName = 256
)

// A SyntaxError says which line of a document is malformed, and how.
type SyntaxError struct {
	Line int    // line of the document, counted from 1
	Msg  string // what is wrong with it
}

// Error returns the line number and the message.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// A Field is one "Name: value" of a stanza.
type Field struct {
	Name string
	// Value is the text after the colon without surrounding white space.
	// Continuation lines follow, each after a "\n" and with the white space it
	// begins with, so that "Name: Value\n" is the field as it was read.
	Value string
	// Line is where the field begins, counted from 1.
	Line int
}

// Lines splits the value of a multi-line field (deb-control(5): the
// checksums of a Release file, a Description) into its lines, without the
// white space around each. Empty lines are left out.
func (f Field) Lines() []string {
	var lines []string
	for line := range strings.SplitSeq(f.Value, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// A Stanza is one paragraph of a deb822(5) document: a binary package of a
// Packages index or of dpkg's status file, a Release file, an apt source.
type Stanza struct {
	// Fields in the order of the document. Names differ from each other, not
	// only in case.
	Fields []Field
	// Line is where the stanza begins, counted from 1.
	Line int
}

// Get returns the value of a field, or "" when the stanza does not have it.
// Case does not matter in names.
func (s Stanza) Get(name string) string {
	f, _ := s.Lookup(name)
	return f.Value
}

// Lookup returns a field and whether the stanza has it. Case does not matter
// in names.
func (s Stanza) Lookup(name string) (Field, bool) {
	for _, f := range s.Fields {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Field{}, false
}

// String returns the stanza in deb822 form, each line ended by "\n".
func (s Stanza) String() string {
	var b strings.Builder
	for _, f := range s.Fields {
		b.WriteString(f.Name)
		b.WriteByte(':')
		if f.Value != "" && f.Value[0] != '\n' {
			b.WriteByte(' ')
		}
		b.WriteString(f.Value)
		b.WriteByte('\n')
	}
	return b.String()
}

// ParseStanzas calls yield for every stanza of a deb822(5) document and stops
// at the first error, its own or yield's. Stanzas are separated by blank
// lines; lines that begin with "#" are comments; lines that begin with a
// space or a tab continue the field before. A stanza that names a field twice
// is an error. Errors about the document are of type *SyntaxError.
func ParseStanzas(r io.Reader, yield func(Stanza) error) error {
	fields := newFieldReader(r)
	var s Stanza
	for {
		err := fields.next()
		if err == errEndOfStanza || err == io.EOF {
			if len(s.Fields) > 0 {
				if err := yield(s); err != nil {
					return err
				}
				s = Stanza{}
			}
			if err == io.EOF {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		name := string(fields.name)
		if first, dup := s.Lookup(name); dup {
			return &SyntaxError{fields.fieldLine, fmt.Sprintf("field %s was given before, in line %d", name, first.Line)}
		}
		if len(s.Fields) == 0 {
			s.Line = fields.fieldLine
		}
		s.Fields = append(s.Fields, Field{name, string(fields.value), fields.fieldLine})
	}
}

// errEndOfStanza is what fieldReader.next returns between two stanzas.
var errEndOfStanza = errors.New("end of stanza")

// A fieldReader splits a deb822 document into fields without allocating: it
// is shared by ParseStanzas and by the reader of Packages indexes, which looks
// at 64,000 stanzas and keeps a fraction of them.
type fieldReader struct {
	r         *bufio.Reader
	line      int    // number of lines read
	fields    int    // fields of the stanza so far
	size      int    // bytes of the stanza so far
	ended     bool   // a line that ends the stanza was read
	fieldLine int    // first line of the current field
	name      []byte // valid until the next call of next
	value     []byte // valid until the next call of next
	buf       []byte // name, ':' and value of the current field
}

func newFieldReader(r io.Reader) *fieldReader {
	return &fieldReader{r: bufio.NewReaderSize(r, 128<<10)}
}

// next reads one field into name and value. It returns errEndOfStanza after
// the last field of a stanza and io.EOF at the end of the document, which
// ends a stanza too.
func (f *fieldReader) next() error {
	if f.ended {
		return f.endStanza()
	}
	for {
		f.buf = f.buf[:0]
		if err := f.appendLine(); err != nil {
			return err
		}
		if len(f.buf) > 0 && f.buf[0] == '#' {
			continue
		}
		if !isBlank(f.buf) {
			break
		}
		if f.fields > 0 {
			return f.endStanza()
		}
	}
	f.fieldLine = f.line
	if f.fields++; f.fields > MaxStanzaFields {
		return f.errorf("more than %d fields in one stanza", MaxStanzaFields)
	}
	colon, err := f.checkName()
	if err != nil {
		return err
	}
	if err := f.appendContinuations(); err != nil {
		return err
	}
	value := colon + 1
	for value < len(f.buf) && isSpace(f.buf[value]) {
		value++
	}
	f.name, f.value = f.buf[:colon], f.buf[value:]
	return nil
}

func (f *fieldReader) endStanza() error {
	f.fields, f.size, f.ended = 0, 0, false
	return errEndOfStanza
}

// checkName returns the position of the colon that ends the field's name at
// the beginning of buf.
func (f *fieldReader) checkName() (int, error) {
	if isSpace(f.buf[0]) {
		return 0, f.errorf("a continuation line without a field before it")
	}
	if f.buf[0] == '-' {
		return 0, f.errorf("a field name cannot begin with %q", '-')
	}
	for i, c := range f.buf {
		switch {
		case c == ':' && i == 0:
			return 0, f.errorf("a field without a name")
		case c == ':':
			return i, nil
		case c <= ' ' || c >= 0x7f || i == maxFieldName:
			return 0, f.errorf("expected a field, \"Name: value\", found %q", excerpt(f.buf))
		}
	}
	return 0, f.errorf("expected a field, \"Name: value\", found %q", excerpt(f.buf))
}

// appendContinuations appends the continuation lines that follow to buf,
// passing over comments between them.
func (f *fieldReader) appendContinuations() error {
	for {
		peeked, err := f.r.Peek(1)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		first := peeked[0]
		if !isSpace(first) && first != '#' {
			return nil
		}
		mark := len(f.buf)
		f.buf = append(f.buf, '\n')
		if err := f.appendLine(); err != nil {
			return err
		}
		switch {
		case first == '#':
			f.buf = f.buf[:mark]
		case isBlank(f.buf[mark+1:]):
			// A line of white space separates stanzas like an empty one.
			f.buf, f.ended = f.buf[:mark], true
			return nil
		}
	}
}

// appendLine reads one line and appends it to buf without the white space at
// its end. It returns io.EOF when there is no further line.
func (f *fieldReader) appendLine() error {
	start := len(f.buf)
	for {
		part, err := f.r.ReadSlice('\n')
		f.buf = append(f.buf, part...)
		if f.size += len(part); f.size > MaxStanzaSize {
			f.line++
			return f.errorf("a stanza of more than %d bytes", MaxStanzaSize)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && (err != io.EOF || len(f.buf) == start) {
			return err
		}
		break
	}
	f.line++
	for len(f.buf) > start && isLineSpace(f.buf[len(f.buf)-1]) {
		f.buf = f.buf[:len(f.buf)-1]
	}
	return nil
}

func (f *fieldReader) errorf(format string, args ...any) error {
	return &SyntaxError{f.line, fmt.Sprintf(format, args...)}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func isLineSpace(c byte) bool { return isSpace(c) || c == '\r' || c == '\n' }

func isBlank(line []byte) bool {
	for _, c := range line {
		if !isLineSpace(c) {
			return false
		}
	}
	return true
}

// excerpt shortens a line for an error message.
func excerpt(line []byte) []byte {
	const limit = 60
	if len(line) > limit {
		return append(line[:limit:limit], "..."...)
	}
	return line
}
