package deb

import (
	"archive/tar"
	"errors"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// maxControlBytes bounds control.tar, decompressed; the md5sums of the largest
// packages have 10 MiB.
const maxControlBytes = 64 << 20

// Files of control.tar this package knows.
const (
	controlFile = "control"
	md5sumsFile = "md5sums"
)

// readControl reads control.tar: a flat set of small files.
func readControl(r io.Reader) (files map[string][]byte, modes map[string]uint32, err error) {
	files, modes = map[string][]byte{}, map[string]uint32{}
	err = tarball.Walk(r, func(h *tar.Header, contents io.Reader) error {
		if err := tarball.CheckForm(h); err != nil {
			return err
		}
		path, err := tarball.Path(h)
		if err != nil {
			return err
		}
		switch {
		case path == tree.Root:
			return nil
		case h.Typeflag != tar.TypeReg || strings.Contains(path, "/"):
			return errors.New("control information is made of regular files in one directory")
		case files[path] != nil:
			return errors.New("it is in the archive twice")
		}
		// readMember bounds the length, whatever the header claims.
		if files[path], err = io.ReadAll(contents); err != nil {
			return err
		}
		modes[path] = uint32(h.Mode & 0o7777)
		return nil
	})
	if err == nil && len(files[controlFile]) == 0 {
		err = errors.New("it has no control file")
	}
	return files, modes, err
}
