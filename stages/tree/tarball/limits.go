package tarball

import (
	"fmt"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Limits bound what one archive may take, so that a hostile one ends in an error
// instead of a full disk or memory.
type Limits struct {
	ContentBytes  int64 // of one file; who reads a compressed archive bounds the whole stream
	Entries       int   // including parents that have to be added
	MetadataBytes int64 // names, link targets, extended attributes
	Devices       int   // character and block devices
}

// DefaultLimits are far above any root file system or package of a distribution (the
// largest packages have 10^5 entries and some GiB).
var DefaultLimits = Limits{
	ContentBytes:  32 << 30,
	Entries:       1 << 21,
	MetadataBytes: 512 << 20,
	Devices:       1024,
}

// Limits of the kernel on one entry.
const (
	maxPathBytes   = 4095     // PATH_MAX without the NUL
	maxNameBytes   = 255      // NAME_MAX
	maxXattrName   = 255      // XATTR_NAME_MAX
	maxXattrBytes  = 64 << 10 // XATTR_SIZE_MAX
	maxXattrs      = 256
	maxMajorNumber = 1<<12 - 1
	maxMinorNumber = 1<<20 - 1
)

// meter counts what an archive takes.
type meter struct {
	limits        Limits
	entries       int
	devices       int
	metadataBytes int64
}

// count counts an entry. It fails when there are too many or they are too large.
func (m *meter) count(e *tree.Entry) error {
	if m.entries == m.limits.Entries {
		return fmt.Errorf("the archive has more than %d entries", m.limits.Entries)
	}
	m.entries++
	m.metadataBytes += int64(len(e.Path) + len(e.Target))
	for _, x := range e.Xattrs {
		m.metadataBytes += int64(len(x.Name) + len(x.Value))
	}
	if m.metadataBytes > m.limits.MetadataBytes {
		return fmt.Errorf("the names and attributes of the archive need more than %d bytes", m.limits.MetadataBytes)
	}
	if e.Type == tree.CharDevice || e.Type == tree.BlockDevice {
		if m.devices++; m.devices > m.limits.Devices {
			return fmt.Errorf("it is one device too many: no archive has more than %d", m.limits.Devices)
		}
	}
	return nil
}
