package signature

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// A ZFS device has four labels of 256 KiB, two at each end: a list of names and values at 16 KiB, a ring of uberblocks at
// 128 KiB (ZFS On-Disk Specification, 1.2).
const (
	zfsLabel      = 256 << 10
	zfsValues     = 16 << 10
	zfsUberblocks = 128 << 10
	zfsUberblock  = 1 << 10
	zfsUberMagic  = 0x00bab10c
	zfsValuesRead = 16 << 10
	zfsTypeUint64 = 8
	zfsTypeString = 9
)

func (a *area) zfs() (Found, bool) {
	end := a.size / zfsLabel * zfsLabel
	for i, offset := range []int64{0, zfsLabel, end - 2*zfsLabel, end - zfsLabel} {
		if a.inPartition(offset, offset+zfsLabel) {
			continue
		}
		for n := range int64((zfsLabel - zfsUberblocks) / zfsUberblock) {
			at := offset + zfsUberblocks + n*zfsUberblock
			if a.le64(at) != zfsUberMagic && a.be64(at) != zfsUberMagic {
				continue
			}
			found := Found{Kind: "zfs_member", Usage: VolumeManager, Offset: at, Backup: i > 1}
			found.Label, found.UUID = zfsNames(a.at(offset+zfsValues, zfsValuesRead))
			return found, true
		}
	}
	return Found{}, false
}

// zfsNames returns the name and the GUID of the pool from a list in XDR encoding: for each pair the encoded size, the
// decoded size, the name and the value with its type and count. Strings are padded to four bytes.
func zfsNames(list []byte) (name, guid string) {
	const header = 12 // encoding, version, flags
	if len(list) < header {
		return "", ""
	}
	for rest := list[header:]; len(rest) >= 12; {
		size, length := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[8:])
		value := 12 + (int64(length)+3)/4*4
		if size == 0 || int64(size) > int64(len(rest)) || value+16 > int64(size) {
			break
		}
		key := string(rest[12 : 12+length])
		data := rest[value:size]
		switch kind := binary.BigEndian.Uint32(data); {
		case kind == zfsTypeString && key == "name":
			n := int64(binary.BigEndian.Uint32(data[8:]))
			name = strings.ToValidUTF8(string(data[12:min(12+n, int64(len(data)))]), "\uFFFD")
		case kind == zfsTypeUint64 && key == "pool_guid":
			guid = strconv.FormatUint(binary.BigEndian.Uint64(data[8:]), 10)
		}
		rest = rest[size:]
	}
	return name, guid
}
