package sbom

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"unicode/utf8"
)

// writer writes a JSON document, one member of its lists a line. After an error it does
// nothing.
type writer struct {
	w     *bufio.Writer
	buf   []byte
	first bool // nothing has been written in the object or list so far
	err   error
}

func newWriter(w io.Writer) *writer { return &writer{w: bufio.NewWriterSize(w, 1<<16)} }

func (w *writer) flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

func (w *writer) raw(s string) {
	if w.err == nil {
		_, w.err = w.w.WriteString(s)
	}
}

func (w *writer) open() { w.raw("{"); w.first = true }

func (w *writer) close() { w.raw("\n}\n") }

// next separates members.
func (w *writer) next() {
	if w.first {
		w.raw("\n")
	} else {
		w.raw(",\n")
	}
	w.first = false
}

// field writes a member of the document.
func (w *writer) field(name string, value any) {
	w.next()
	w.raw("  " + quote(name) + ": ")
	w.value(value)
}

// list writes a member of the document that is a list; write calls item for each of its members.
func (w *writer) list(name string, write func()) {
	w.next()
	w.raw("  " + quote(name) + ": [")
	w.first = true
	write()
	if w.first {
		w.raw("]")
	} else {
		w.raw("\n  ]")
	}
	w.first = false
}

// item writes a member of a list.
func (w *writer) item(value any) {
	w.next()
	w.raw("    ")
	w.value(value)
}

// value writes any value as JSON.
func (w *writer) value(value any) {
	if w.err != nil {
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if w.err = e.Encode(value); w.err == nil {
		_, w.err = w.w.Write(bytes.TrimRight(b.Bytes(), "\n"))
	}
}

// appended writes a member of a list that append assembles; it is for lists with as many members as there
// are files.
func (w *writer) appended(assemble func(p []byte) []byte) {
	w.next()
	w.buf = assemble(append(w.buf[:0], "    "...))
	if w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
}

// quote returns s as JSON.
func quote(s string) string { return string(appendString(nil, s)) }

// appendString appends s as a JSON string. s is UTF-8.
func appendString(p []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		p = append(p, '"')
		p = append(p, s...)
		return append(p, '"')
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("sbom: a string cannot be encoded: " + err.Error()) // it always can
	}
	return append(p, bytes.TrimRight(b.Bytes(), "\n")...)
}

// appendHex appends bytes as a JSON string of hexadecimal digits.
func appendHex(p, sum []byte) []byte {
	p = append(p, '"')
	p = hex.AppendEncode(p, sum)
	return append(p, '"')
}

// text returns a path as text: those that are not UTF-8 have their other bytes, and percent signs,
// percent-encoded. encoded reports whether that was so.
func text(path string) (name string, encoded bool) {
	if utf8.ValidString(path) {
		return path, false
	}
	const digits = "0123456789ABCDEF"
	var b []byte
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		if r == utf8.RuneError && n == 1 || path[i] == '%' {
			b = append(b, '%', digits[path[i]>>4], digits[path[i]&15])
			i++
			continue
		}
		b = append(b, path[i:i+n]...)
		i += n
	}
	return string(b), true
}
