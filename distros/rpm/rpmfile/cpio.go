package rpmfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// A cpioEntry is the header of one entry of a payload.
type cpioEntry struct {
	// Index is the entry's file in the package's header, in the stripped form, in which
	// nothing else is known; else it is -1.
	Index int

	Name     string // as in the archive, usually with "./" before it
	Mode     uint32 // with its type, as in stat.h
	Links    uint32
	Dev, Ino uint32 // together: equal for hard links to one file; Dev is major<<8 | minor
	Size     int64  // of the contents that follow
	Sum      uint32 // of the contents' bytes, in the crc form
	HasSum   bool
}

// A cpioReader reads a cpio archive of the forms newc (070701), crc (070702) and
// rpm's stripped one (07070X) (cpio(5), rpm's format_payload.md).
type cpioReader struct {
	r       io.Reader
	files   int   // in the package's header
	left    int64 // of the current contents
	padding int64 // after them
	sum     uint32
	current cpioEntry
}

const (
	cpioMagicBytes = 6
	magicNewc      = "070701"
	magicCRC       = "070702"
	magicStripped  = "07070X"

	newcFields     = 13 // of 8 hexadecimal digits each
	cpioTrailer    = "TRAILER!!!"
	maxCpioName    = 4096 // PATH_MAX
	cpioAlign      = 4
	strippedHeader = cpioMagicBytes + 8
	newcHeader     = cpioMagicBytes + newcFields*8
)

// Next skips what is left of the current entry and returns the next one, or io.EOF
// after the last. Contents of an entry of the stripped form are announced with
// Expect.
func (c *cpioReader) Next() (*cpioEntry, error) {
	if err := c.finish(); err != nil {
		return nil, err
	}
	var p [newcHeader]byte
	if err := c.readFull(p[:cpioMagicBytes]); err != nil {
		return nil, err
	}
	switch magic := string(p[:cpioMagicBytes]); magic {
	case magicStripped:
		return c.readStripped(p[cpioMagicBytes:strippedHeader])
	case magicNewc, magicCRC:
		return c.readNewc(p[cpioMagicBytes:], magic == magicCRC)
	default:
		return nil, fmt.Errorf("%q is not the beginning of a cpio entry", magic)
	}
}

func (c *cpioReader) readStripped(p []byte) (*cpioEntry, error) {
	if err := c.readFull(p); err != nil {
		return nil, err
	}
	index, err := parseHex(p)
	if err != nil {
		return nil, err
	}
	if int64(index) >= int64(c.files) {
		return nil, fmt.Errorf("an entry is of file %d, but the header has %d files", index, c.files)
	}
	if err := c.skip(pad(strippedHeader)); err != nil {
		return nil, err
	}
	c.current = cpioEntry{Index: int(index)}
	return &c.current, nil
}

func (c *cpioReader) readNewc(p []byte, crc bool) (*cpioEntry, error) {
	if err := c.readFull(p); err != nil {
		return nil, err
	}
	var v [newcFields]uint32
	for i := range v {
		var err error
		if v[i], err = parseHex(p[8*i : 8*i+8]); err != nil {
			return nil, err
		}
	}
	const ino, mode, nlink, size, devMajor, devMinor, nameSize, sum = 0, 1, 4, 6, 7, 8, 11, 12
	if v[nameSize] == 0 || v[nameSize] > maxCpioName {
		return nil, fmt.Errorf("a name has %d bytes", v[nameSize])
	}
	name := make([]byte, v[nameSize])
	if err := c.readFull(name); err != nil {
		return nil, err
	}
	if i := bytes.IndexByte(name, 0); i != len(name)-1 {
		return nil, fmt.Errorf("the name %q does not end where it should", name)
	}
	if err := c.skip(pad(int64(newcHeader) + int64(len(name)))); err != nil {
		return nil, err
	}
	c.current = cpioEntry{Index: -1, Name: string(name[:len(name)-1]), Mode: v[mode], Links: v[nlink], Ino: v[ino],
		Dev: v[devMajor]<<8 | v[devMinor], Size: int64(v[size]), Sum: v[sum]}
	if c.current.Name == cpioTrailer {
		return nil, c.readEnd()
	}
	// Links without contents have the sum of the one with contents in some archives.
	c.current.HasSum = crc && c.current.Mode&header.ModeType == header.ModeRegular && c.current.Size > 0
	c.Expect(c.current.Size)
	return &c.current, nil
}

// readEnd reads over the zeros that may follow the trailer and returns io.EOF.
func (c *cpioReader) readEnd() error {
	buf := make([]byte, 4096)
	for {
		n, err := c.r.Read(buf)
		if len(bytes.TrimLeft(buf[:n], "\x00")) > 0 {
			return errors.New("there is data after the end of the cpio archive")
		}
		if err != nil {
			return err
		}
	}
}

// Expect says how long the contents of the current entry are.
func (c *cpioReader) Expect(size int64) {
	c.current.Size, c.left, c.padding, c.sum = size, size, pad(size), 0
}

// Read reads the contents of the current entry.
func (c *cpioReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.current.HasSum {
		for _, b := range p[:n] {
			c.sum += uint32(b)
		}
	}
	if err == io.EOF && c.left > 0 {
		err = errCutShort
	}
	return n, err
}

var errCutShort = errors.New("the cpio archive is cut short")

// finish reads over what is left of the current entry and checks its sum.
func (c *cpioReader) finish() error {
	if c.left > 0 {
		if _, err := io.Copy(io.Discard, c); err != nil {
			return err
		}
	}
	if c.current.HasSum && c.sum != c.current.Sum {
		return fmt.Errorf("%s: the sum of its bytes is %08x instead of %08x", c.current.Name, c.sum, c.current.Sum)
	}
	padding := c.padding
	c.padding, c.current.HasSum = 0, false
	return c.skip(padding)
}

func (c *cpioReader) skip(n int64) error {
	var p [cpioAlign]byte
	return c.readFull(p[:n])
}

func (c *cpioReader) readFull(p []byte) error {
	_, err := io.ReadFull(c.r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errCutShort
	}
	return err
}

// pad returns how many bytes follow n to make a multiple of 4.
func pad(n int64) int64 { return (cpioAlign - n%cpioAlign) % cpioAlign }

func parseHex(p []byte) (uint32, error) {
	n, err := strconv.ParseUint(string(p), 16, 32)
	if err != nil || strings.ContainsAny(string(p), "+-_") {
		return 0, fmt.Errorf("%q is not a number of a cpio header", p)
	}
	return uint32(n), nil
}
