package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Names in a root's directory.
const (
	rootName  = "root"
	indexName = "index"
	lockName  = "lock"
)

const indexMagic = "IFINDEX1\n"

// stat is what the kernel says of a file on disk. Two equal values mean that
// nothing has changed: every change sets CTime, which nobody can set back.
type stat struct {
	inode
	Mode     uint32 // st_mode: type and permissions
	UID, GID uint32
	Size     uint64
	MTime    tree.Time
	CTime    tree.Time
}

// inode identifies a file for as long as it exists. Birth tells it from another
// one that got the same number later; it is zero where the file system has none.
type inode struct {
	Ino   uint64
	Birth tree.Time
}

// record is how an entry of the index's tree is represented on disk.
type record struct {
	stat
	// skipped are the positions in the entry's Xattrs that could not be set on disk.
	skipped []uint32
}

// placeholder reports whether the record stands for e by an empty regular file
// because a node like it could not be made.
func (r *record) placeholder(e *tree.Entry) bool {
	return r.Mode&unix.S_IFMT == unix.S_IFREG && e.Type != tree.Regular
}

// index says what a root's directory holds: records[i] belongs to the tree's i-th
// entry.
type index struct {
	tree    *tree.Tree
	records []record
}

// encodeIndex returns the index in its file format, see the package documentation.
func encodeIndex(x *index, identity, boot string) []byte {
	t := x.tree.Encode()
	p := make([]byte, 0, len(t)+64*len(x.records)+256)
	p = append(p, indexMagic...)
	p = appendBytes(p, []byte(identity))
	p = appendBytes(p, []byte(boot))
	d := store.Sum(t)
	p = append(p, d[:]...)
	p = appendBytes(p, t)
	for i := range x.records {
		r := &x.records[i]
		for _, v := range []uint64{r.Ino, uint64(r.Mode), uint64(r.UID), uint64(r.GID), r.Size} {
			p = binary.AppendUvarint(p, v)
		}
		for _, t := range []tree.Time{r.Birth, r.MTime, r.CTime} {
			p = binary.AppendVarint(p, t.Sec)
			p = binary.AppendUvarint(p, uint64(t.Nsec))
		}
		p = binary.AppendUvarint(p, uint64(len(r.skipped)))
		for _, n := range r.skipped {
			p = binary.AppendUvarint(p, uint64(n))
		}
	}
	sum := sha256.Sum256(p)
	return append(p, sum[:]...)
}

func appendBytes(p, b []byte) []byte {
	p = binary.AppendUvarint(p, uint64(len(b)))
	return append(p, b...)
}

// errIndex says that an index cannot be used, whatever the reason: the directory is
// then filled from nothing.
var errIndex = errors.New("no usable index")

// indexHeader is what precedes the records.
type indexHeader struct {
	identity, boot string
	digest         store.Digest // of the tree
	tree           []byte       // its encoding
}

// decodeHeader checks the checksum and returns the header and what follows it.
func decodeHeader(p []byte) (h indexHeader, rest indexReader, err error) {
	if len(p) < len(indexMagic)+sha256.Size || string(p[:len(indexMagic)]) != indexMagic {
		return h, rest, fmt.Errorf("%w: no magic number", errIndex)
	}
	body := p[:len(p)-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], p[len(body):]) {
		return h, rest, fmt.Errorf("%w: it does not match its checksum", errIndex)
	}
	rest = indexReader{p: body[len(indexMagic):]}
	h.identity = string(rest.bytes(rest.uvarint()))
	h.boot = string(rest.bytes(rest.uvarint()))
	copy(h.digest[:], rest.bytes(sha256.Size))
	h.tree = rest.bytes(rest.uvarint())
	if rest.bad {
		return h, rest, fmt.Errorf("%w: it ends too early", errIndex)
	}
	return h, rest, nil
}

// decodeIndex reads an index. It is an error when it was written for another
// identity or before a reboot: after a power cut, files on disk may have lost
// contents that their stat data promises.
func decodeIndex(p []byte, identity, boot string) (*index, error) {
	h, d, err := decodeHeader(p)
	if err != nil {
		return nil, err
	}
	if h.identity != identity || h.boot != boot {
		return nil, fmt.Errorf("%w: it is of %q, boot %q", errIndex, h.identity, h.boot)
	}
	t, err := tree.Decode(h.tree)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	x := &index{tree: t, records: make([]record, t.Len())}
	for i := range x.records {
		r := &x.records[i]
		r.Ino, r.Mode, r.UID, r.GID, r.Size = d.uvarint(), d.uint32(), d.uint32(), d.uint32(), d.uvarint()
		r.Birth, r.MTime, r.CTime = d.time(), d.time(), d.time()
		xattrs := t.Entries()[i].Xattrs
		for n := d.uvarint(); n > 0 && !d.bad; n-- {
			k := d.uint32()
			if uint64(k) >= uint64(len(xattrs)) || len(r.skipped) > 0 && r.skipped[len(r.skipped)-1] >= k {
				d.bad = true
			}
			r.skipped = append(r.skipped, k)
		}
	}
	if d.bad || len(d.p) > 0 {
		return nil, fmt.Errorf("%w: its records do not fit its tree", errIndex)
	}
	return x, nil
}

// indexReader takes values off the front of p until something is bad.
type indexReader struct {
	p   []byte
	bad bool
}

func (d *indexReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *indexReader) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<32-1 {
		d.bad = true
	}
	return uint32(v)
}

func (d *indexReader) time() tree.Time {
	sec, n := binary.Varint(d.p)
	if n <= 0 {
		d.bad = true
		return tree.Time{}
	}
	d.p = d.p[n:]
	return tree.Time{Sec: sec, Nsec: d.uint32()}
}

func (d *indexReader) bytes(n uint64) []byte {
	if d.bad || n > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	b := d.p[:n]
	d.p = d.p[n:]
	return b
}

// bootID tells one boot of the host from the next.
func bootID() string {
	p, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // a masked /proc: then power cuts go unnoticed, like everywhere else
	}
	return strings.TrimSpace(string(p))
}

// loadIndex returns the directory's index or nil when there is none to trust.
func (s *server) loadIndex() (*index, error) {
	if s.idx != nil {
		return s.idx, nil
	}
	p, err := os.ReadFile(filepath.Join(s.Dir, indexName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	x, err := decodeIndex(p, s.Identity, bootID())
	if errors.Is(err, errIndex) {
		return nil, nil
	}
	return x, err
}

// dropIndex makes a crash from now on start over.
func (s *server) dropIndex() error {
	s.idx = nil
	if err := os.Remove(filepath.Join(s.Dir, indexName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// saveIndex waits until later changes are sure to give another ctime than any in
// x, and then writes x.
func (s *server) saveIndex(x *index) error {
	settle(x)
	path := filepath.Join(s.Dir, indexName)
	if err := os.WriteFile(path+".new", encodeIndex(x, s.Identity, bootID()), 0o600); err != nil {
		return fmt.Errorf("the scratch directory cannot be written: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	s.idx = x
	return nil
}

// settle waits until the clock that file systems take ctimes from is past every
// ctime in x: at most a tick, 10 ms. Without this, a command could change a file
// in the same tick as Checkout did and leave the same stat data.
func settle(x *index) {
	var newest tree.Time
	for i := range x.records {
		if c := x.records[i].CTime; c.After(newest) {
			newest = c
		}
	}
	for range 100 { // a clock set back must not hang us
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
			return
		}
		if (tree.Time{Sec: int64(now.Sec), Nsec: uint32(now.Nsec)}).After(newest) {
			return
		}
		pause := unix.Timespec{Nsec: 1e6}
		_ = unix.Nanosleep(&pause, nil) // a shorter pause is as good
	}
}
