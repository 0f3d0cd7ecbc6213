package rpmfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// A File is an open package file whose headers were read, but not verified.
type File struct {
	Signature *header.Header // with the header.SigTag tags
	Header    *header.Header

	name          string // for messages
	file          io.ReaderAt
	close         func() error
	size          int64 // of the file
	headerOffset  int64 // of the main header with its magic
	payloadOffset int64
}

const (
	leadBytes  = 96
	leadMagic  = "\xed\xab\xee\xdb"
	introBytes = len(header.Magic) + 8 // magic, entries, length of the data
)

// Open reads the headers of the package in the file path.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	f, err := Read(file, info.Size(), filepath.Base(path))
	if err != nil {
		file.Close()
		return nil, err
	}
	f.close = file.Close
	return f, nil
}

// Read reads the headers of a package of some size (in bytes) that lies anywhere, like
// in an ISO image. The name is for messages. Close does nothing to r.
func Read(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{name: name, file: r, size: size, close: func() error { return nil }}
	if err := f.readHeaders(); err != nil {
		return nil, err
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.close() }

func (f *File) readHeaders() error {
	if err := f.checkLead(); err != nil {
		return err
	}
	blob, end, err := f.readHeader("signature header", leadBytes, header.MaxSignatureEntries, header.MaxSignatureData)
	if err != nil {
		return err
	}
	if f.Signature, err = header.ParseSignature(blob); err != nil {
		return f.fail(Malformed, "its signature header cannot be read: %w", err)
	}
	const align = 8
	padding := make([]byte, (align-end%align)%align)
	if _, err := f.file.ReadAt(padding, end); err != nil {
		return f.fail(Truncated, "it ends after the signature header")
	}
	for _, c := range padding {
		if c != 0 {
			return f.fail(Malformed, "there is data between its headers")
		}
	}
	f.headerOffset = end + int64(len(padding))
	if blob, f.payloadOffset, err = f.readHeader("header", f.headerOffset, header.MaxEntries, header.MaxData); err != nil {
		return err
	}
	if f.Header, err = header.Parse(blob); err != nil {
		return f.fail(Malformed, "its header cannot be read: %w", err)
	}
	if !f.Header.IsWhole() {
		return f.fail(Malformed, "its header has entries that no signature can cover")
	}
	return f.checkNames()
}

// checkLead checks that the file begins as a package does.
func (f *File) checkLead() error {
	lead := make([]byte, leadBytes)
	if n, err := f.file.ReadAt(lead, 0); err == io.EOF {
		if n >= len(leadMagic) && string(lead[:len(leadMagic)]) == leadMagic {
			return f.fail(Truncated, "it ends in its first %d bytes", leadBytes)
		}
		return f.fail(Malformed, "it is not an RPM package")
	} else if err != nil {
		return err
	}
	const (
		kindBinary, kindSource = 0, 1
		headerSignature        = 5
	)
	if string(lead[:len(leadMagic)]) != leadMagic {
		return f.fail(Malformed, "it is not an RPM package")
	}
	if major := lead[4]; major != 3 && major != 4 {
		return f.fail(Malformed, "its format version is %d; only 3 and 4 are understood", major)
	}
	if kind := binary.BigEndian.Uint16(lead[6:]); kind != kindBinary && kind != kindSource {
		return f.fail(Malformed, "its lead names the unknown kind %d of package", kind)
	}
	if kind := binary.BigEndian.Uint16(lead[78:]); kind != headerSignature {
		return f.fail(Malformed, "its lead names the unknown kind %d of signature", kind)
	}
	return nil
}

// readHeader reads the header at an offset, without its magic, and returns where it
// ends.
func (f *File) readHeader(what string, offset int64, maxEntries, maxData uint32) (blob []byte, end int64, err error) {
	intro := make([]byte, introBytes)
	if _, err := f.file.ReadAt(intro, offset); err == io.EOF {
		return nil, 0, f.fail(Truncated, "it ends before its %s", what)
	} else if err != nil {
		return nil, 0, err
	}
	if string(intro[:len(header.Magic)]) != header.Magic {
		return nil, 0, f.fail(Malformed, "there is no %s at byte %d", what, offset)
	}
	counts := intro[len(header.Magic):]
	entries, data := binary.BigEndian.Uint32(counts), binary.BigEndian.Uint32(counts[4:])
	if entries > maxEntries || data > maxData {
		return nil, 0, f.fail(Malformed, "its %s claims %d entries and %d bytes of data, which is too much", what, entries, data)
	}
	length := 8 + 16*int64(entries) + int64(data)
	start := offset + int64(len(header.Magic))
	if start+length > f.size {
		return nil, 0, f.fail(Truncated, "it ends inside its %s", what)
	}
	blob = make([]byte, length)
	if _, err := f.file.ReadAt(blob, start); err != nil {
		return nil, 0, err
	}
	return blob, start + length, nil
}

// checkNames checks what every package has.
func (f *File) checkNames() error {
	for _, t := range []header.Tag{header.TagName, header.TagVersion, header.TagRelease, header.TagArch} {
		if f.Header.String(t) == "" {
			return f.fail(Malformed, "its header has no %v", t)
		}
	}
	return nil
}

// A Reason says why a package file is refused.
type Reason string

// The reasons.
const (
	Malformed      Reason = "malformed"
	Truncated      Reason = "truncated"
	DigestMismatch Reason = "digest mismatch"
	Unsigned       Reason = "unsigned"
	UnknownKey     Reason = "unknown key"
	WeakSignature  Reason = "weak signature" // or one of a kind that is not understood
	BadSignature   Reason = "bad signature"
)

// An Error says why a package file is refused.
type Error struct {
	File   string // its name without the directory; empty where the caller says which package it is
	Reason Reason
	Err    error
}

// Error names the file, says what is wrong and what to do.
func (e *Error) Error() string {
	text := e.Err.Error() + e.advice()
	if e.File != "" {
		text = "package " + e.File + ": " + text
	}
	return text
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) advice() string {
	switch e.Reason {
	case Truncated, DigestMismatch:
		return "; download it again, or choose another mirror"
	case Unsigned:
		return "; take a signed one, or write gpg_check = false in the repository's block if you trust how it comes here"
	case UnknownKey:
		return "; name the key of its vendor as gpg_key in the repository's block if you trust it"
	case WeakSignature:
		return "; take a package that its vendor has signed again, or accept it with legacy_signatures = true in the repository's block"
	case BadSignature:
		return "; do not use this mirror"
	}
	return ""
}

func (f *File) fail(reason Reason, format string, args ...any) error {
	return &Error{File: f.name, Reason: reason, Err: fmt.Errorf(format, args...)}
}
