package rpm

import "strconv"

// An EVR is the epoch, version and release of a package. In a dependency the release
// may be empty, which means any.
type EVR struct {
	Epoch   uint32
	Version string
	Release string
}

// String returns "[epoch:]version[-release]"; an epoch of 0 is left out.
func (e EVR) String() string {
	s := e.Version
	if e.Epoch != 0 {
		s = strconv.FormatUint(uint64(e.Epoch), 10) + ":" + s
	}
	if e.Release != "" {
		s += "-" + e.Release
	}
	return s
}
