package iso

import (
	"encoding/binary"
	"time"
)

// The byte orders that path tables come in.
var (
	littleEndian binary.AppendByteOrder = binary.LittleEndian
	bigEndian    binary.AppendByteOrder = binary.BigEndian
)

// appendBoth16 appends v in both byte orders (ECMA-119 7.2.3).
func appendBoth16(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v), v)
}

// appendBoth32 appends v in both byte orders (ECMA-119 7.3.3).
func appendBoth32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, v), v)
}

// appendText appends s, filled up with spaces to n bytes.
func appendText(b []byte, s string, n int) []byte {
	b = append(b, s...)
	for range n - len(s) {
		b = append(b, ' ')
	}
	return b
}

// recordTime is a time in directory records and Rock Ridge (ECMA-119 9.1.5), in UTC.
func recordTime(epoch int64) [7]byte {
	t := time.Unix(epoch, 0).UTC()
	return [7]byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}

// volumeTime is a time in volume descriptors (ECMA-119 8.4.26.1), in UTC.
func volumeTime(epoch int64) string {
	return time.Unix(epoch, 0).UTC().Format("20060102150405") + "00\x00"
}

// noTime is a time in volume descriptors that is not specified.
const noTime = "0000000000000000\x00"

// maxEpoch is the last second of 2155, which is the last year that directory records can express.
var maxEpoch = time.Date(2156, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - 1
