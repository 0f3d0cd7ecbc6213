package deb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// limits bound what one package may take. They are far above any package of a
// distribution (the largest have 10^5 entries and some GiB).
type limits struct {
	tarball.Limits
	streamBytes int64 // of data.tar, decompressed
}

var defaultLimits = limits{
	Limits:      tarball.Limits{ContentBytes: 32 << 30, Entries: 1 << 19, MetadataBytes: 128 << 20, Devices: 1024},
	streamBytes: 32 << 30,
}

// Unpacked is a package whose files are in the store. It can be encoded as
// JSON, and so be cached under the package's digest.
type Unpacked struct {
	// Tree is the digest of the package's files, a tree.Tree: for tree.Load.
	Tree store.Digest `json:"tree"`

	// Control holds the files of control.tar by name: control, md5sums,
	// conffiles, preinst and so on. A package that ships no md5sums gets the
	// one dpkg would make for it.
	Control map[string][]byte `json:"control"`

	// ControlModes holds the permission bits of the files in Control.
	ControlModes map[string]uint32 `json:"control_modes"`

	// InstalledBytes is the length of all regular files together; hard links to
	// one inode count once.
	InstalledBytes int64 `json:"installed_bytes"`

	// Files is the number of entries that are not directories.
	Files int `json:"files"`
}

// Unpack reads the binary package in the file path (deb(5), format 2.0) and puts
// its files and its tree into st: all of them together or, when it returns an
// error, nothing.
//
// It reads tar as dpkg does (v7, ustar and GNU with long names) and, beyond dpkg,
// PAX headers with exact times, extended attributes and ACLs. Owners are the
// archive's numeric ids. Directories that are needed but not in the archive are
// root's with mode 0755 and the time of the entry that needed them.
//
// The package is data of a stranger: absolute names, "..", entries below
// symbolic links, names used twice, hard links to anything but an earlier entry,
// truncated members and quantities beyond any real package are refused with an
// error naming the file and the entry. Nothing is ever written outside st.
//
// Unpack uses one processor; callers unpack several packages at a time, the
// largest first.
func Unpack(ctx context.Context, st *store.Store, path string) (*Unpacked, error) {
	u, err := unpack(ctx, st, path, defaultLimits)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", filepath.Base(path), err)
	}
	return u, nil
}

func unpack(ctx context.Context, st *store.Store, path string, limits limits) (*Unpacked, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	members, err := readAr(f, info.Size())
	if err != nil {
		return nil, err
	}
	deb, err := findDebMembers(f, members)
	if err != nil {
		return nil, err
	}

	u := &Unpacked{}
	err = readMember(ctx, f, deb.control, maxControlBytes, func(r io.Reader) error {
		u.Control, u.ControlModes, err = readControl(r)
		return err
	})
	if err != nil {
		return nil, err
	}

	batch, err := st.NewBatch()
	if err != nil {
		return nil, err
	}
	defer batch.Abort()
	_, hasSums := u.Control[md5sumsFile]
	im := tarball.NewImporter(batch, limits.Limits, !hasSums)
	if err := readMember(ctx, f, deb.data, limits.streamBytes, im.Read); err != nil {
		return nil, err
	}
	t, err := im.Tree()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", deb.data.name, err)
	}
	if !hasSums {
		u.Control[md5sumsFile] = im.MD5Sums()
		u.ControlModes[md5sumsFile] = 0o644
	}
	u.InstalledBytes = im.ContentBytes()
	for _, e := range t.Entries() {
		if e.Type != tree.Directory {
			u.Files++
		}
	}
	// The tree goes into the same batch as the contents it names.
	if u.Tree, err = batch.AddBytes(t.Encode()); err != nil {
		return nil, err
	}
	if err := batch.Commit(); err != nil {
		return nil, err
	}
	return u, nil
}

// readMember gives read the decompressed contents of a member, at most limit
// bytes, and afterwards makes sure that the member ends where read stopped: the
// decompressors verify their checksums only at the end.
func readMember(ctx context.Context, r io.ReaderAt, m arMember, limit int64, read func(io.Reader) error) error {
	wrap := func(err error) error { return fmt.Errorf("%s: %w", m.name, err) }
	_, suffix, _ := strings.Cut(m.name, ".tar")
	plain, release, err := compress.NewReader(suffix, io.NewSectionReader(r, m.offset, m.size))
	if err != nil {
		return wrap(err)
	}
	defer release()
	in := &memberReader{ctx: ctx, r: plain, left: limit, limit: limit}
	if err := read(in); err != nil {
		return wrap(err)
	}
	if err := in.expectZeros(); err != nil {
		return wrap(err)
	}
	return nil
}

// A memberReader reads decompressed bytes until its limit is exceeded or its
// context is done.
type memberReader struct {
	ctx         context.Context
	r           io.Reader
	left, limit int64
}

func (m *memberReader) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.left -= int64(n)
	switch {
	case m.left < 0:
		return 0, fmt.Errorf("it decompresses to more than %d bytes", m.limit)
	case err != nil && err != io.EOF:
		err = fmt.Errorf("the compressed data is damaged or cut short: %w", err)
	}
	return n, err
}

// expectZeros reads to the end, over the padding tar leaves there.
func (m *memberReader) expectZeros() error {
	buf := make([]byte, 16<<10)
	for {
		n, err := m.Read(buf)
		for _, c := range buf[:n] {
			if c != 0 {
				return errors.New("there is data after the end of the tar archive")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
