package payload

import (
	"errors"
	"fmt"
)

// ErrReadBack says that a device does not hold what was written to it, though it reported no error.
var ErrReadBack = errors.New("the device does not hold what was written there, though it reported no error: replace it")

// TooSmallError says that a device has too little room. Nothing was written to it.
type TooSmallError struct {
	Device     string
	Have, Need int64 // bytes
}

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("%s has %d bytes (%s) and the system needs %d (%s): nothing was written; choose a larger disk",
		e.Device, e.Have, bytesText(e.Have), e.Need, bytesText(e.Need))
}

// WriteError says what ended an installation after the first write, and what the device no longer holds.
type WriteError struct {
	Device string
	// Offset is the byte of the device where it ended; -1 when that is no particular one.
	Offset int64
	// Doing is what was done there: "writing", "zeroing", "reading back", "flushing".
	Doing string
	// Written are the ranges that were overwritten, or may have been: sorted, apart.
	Written []Range
	// Err is the cause.
	Err error
}

// Bytes is the number of bytes that were overwritten.
func (e *WriteError) Bytes() int64 {
	var n int64
	for _, r := range e.Written {
		n += r.Length
	}
	return n
}

func (e *WriteError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = fmt.Sprintf(" at byte %d", e.Offset)
	}
	written := "nothing was written"
	if len(e.Written) > 0 {
		written = fmt.Sprintf("%s of it were overwritten (bytes %s)", bytesText(e.Bytes()), describe(e.Written))
	}
	return fmt.Sprintf("%s %s%s: %v; %s; the installation can be repeated", e.Doing, e.Device, at, e.Err, written)
}

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// ioError is where and doing what something went wrong, before it becomes a WriteError.
type ioError struct {
	offset int64
	doing  string
	err    error
}

func (e *ioError) Error() string { return fmt.Sprintf("%s at byte %d: %v", e.doing, e.offset, e.err) }
func (e *ioError) Unwrap() error { return e.err }
