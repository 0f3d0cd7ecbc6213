package rpmdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb/sqlite"
)

// Read returns the headers of the installed packages in the file rpmdb.sqlite at path, in
// the order of their installation, keys that rpm imported ("gpg-pubkey") among them. The
// error says what is damaged, or that changes lie in the write-ahead log beside the file,
// which every program that ends in good order empties.
func Read(path string) ([]*header.Header, error) {
	switch info, err := os.Stat(path + "-wal"); {
	case err == nil && info.Size() > 0:
		return nil, fmt.Errorf("%s-wal has changes that are not in the database yet: something has it open, or was killed; run rpm -qa on it", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	headers, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return headers, nil
}

// Decode returns the headers in the contents of rpmdb.sqlite, as Read does. It keeps
// data, which must not change afterwards.
func Decode(data []byte) ([]*header.Header, error) {
	rows, err := sqlite.Rows(data, packagesTable)
	if err != nil {
		return nil, err
	}
	headers := make([]*header.Header, len(rows))
	for i, row := range rows {
		if len(row.Values) != 2 {
			return nil, fmt.Errorf("package %d has %d columns instead of 2", row.ID, len(row.Values))
		}
		blob, ok := row.Values[1].([]byte)
		if !ok {
			return nil, fmt.Errorf("package %d is no blob", row.ID)
		}
		if headers[i], err = header.Parse(blob); err != nil {
			return nil, fmt.Errorf("package %d: %w", row.ID, err)
		}
	}
	return headers, nil
}

// Rewrite returns the contents of rpmdb.sqlite as Write would have made them: the same
// packages in the same order, numbered from 1, and nothing of how they came there.
// What another program installed becomes readable on a read-only root, and equal for
// equal packages. The error is as of Decode.
func Rewrite(data []byte) ([]byte, error) {
	headers, err := Decode(data)
	if err != nil {
		return nil, err
	}
	return encode(headers)
}
