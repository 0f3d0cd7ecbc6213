package partition

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

// GUID is an identifier of RFC 9562 in the order of its text form. The table on the disk stores the first three
// fields little endian (UEFI 2.10, appendix A).
type GUID [16]byte

// Partition types of UEFI 2.10 section 5.3.3, of GRUB and of the Discoverable Partitions Specification.
var (
	TypeESP             = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") // EFI system partition
	TypeBIOSBoot        = mustGUID("21686148-6449-6e6f-744e-656564454649") // GRUB's core image
	TypeLinux           = mustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4") // any Linux file system
	TypeLinuxBoot       = mustGUID("bc13c2ff-59e6-4262-a352-b275fd6f7172") // extended boot loader partition
	TypeLinuxHome       = mustGUID("933ac7e1-2eb4-4f13-b844-0e14e2aef915")
	TypeLinuxRootX86_64 = mustGUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	TypeLinuxRootARM64  = mustGUID("b921b045-1df0-41c3-af44-4c6f280d3fae")
	TypeLinuxSwap       = mustGUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")
	TypeLinuxVar        = mustGUID("4d21b016-b534-45c2-a9fb-5c16e091fd2d")
)

// Attribute bits of a partition (UEFI 2.10 table 5.8).
const (
	AttributeRequired       uint64 = 1 << 0 // the platform needs it: do not delete
	AttributeNoBlockIO      uint64 = 1 << 1 // firmware must not offer it
	AttributeLegacyBootable uint64 = 1 << 2
)

// ParseGUID reads the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	parts := strings.Split(s, "-")
	if len(parts) == 5 && len(parts[0]) == 8 && len(parts[1]) == 4 && len(parts[2]) == 4 && len(parts[3]) == 4 {
		if n, err := hex.Decode(g[:], []byte(strings.Join(parts, ""))); err == nil && n == len(g) && len(s) == 36 {
			return g, nil
		}
	}
	return GUID{}, fmt.Errorf("%q is not a GUID: write it like 0fc63daf-8483-4772-8e79-3d69d8477de4", s)
}

func mustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// String returns the text form in lower case, as blkid and udev print it.
func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// IsZero reports whether g is the nil GUID, which marks an unused entry.
func (g GUID) IsZero() bool { return g == GUID{} }

// MarshalText writes the form of String.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what [ParseGUID] reads.
func (g *GUID) UnmarshalText(p []byte) error {
	v, err := ParseGUID(string(p))
	if err != nil {
		return err
	}
	*g = v
	return nil
}

// swapped returns the bytes in the order of the disk, or back.
func (g GUID) swapped() GUID {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}

// UUID derives an identifier from the key of a build and the name of the thing it identifies, such as "disk" or
// "partition/ROOT-A": the first 16 bytes of SHA-256(seed ‖ name) with the bits that RFC 9562 section 5.8 sets for version
// 8, "custom". The same build always has the same identifiers; two builds never share one.
func UUID(seed store.Digest, name string) GUID {
	sum := sha256.Sum256(append(seed[:], name...))
	g := GUID(sum[:16])
	g[6] = g[6]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}
