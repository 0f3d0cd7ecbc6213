package rpmdb

import (
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb/sqlite"
)

// FileName is the name of the database in its directory.
const FileName = "rpmdb.sqlite"

// States of files (rpmfiles.h, RPMFILE_STATE_*).
const (
	FileNormal       = 0 // installed, ghosts too
	FileReplaced     = 1 // by a file of another package
	FileNotInstalled = 2 // left out on purpose: documentation, a language
	FileNetShared    = 3
	FileWrongColor   = 4 // another package's file for another word size was preferred
)

// installColor is the color of transactions where ELF files of 32 and of 64 bits are told
// apart (the macro _transaction_color), as on x86_64 and aarch64.
const installColor = 3

// Package is an installed package.
type Package struct {
	Header    *header.Header // as in the package file
	Signature *header.Header // the signature header; nil for a package that has none
	// InstallTime is when it was installed, in seconds since 1970.
	InstallTime uint32
	// TransactionID is equal for all packages of a transaction; rpm takes the time at
	// which it began.
	TransactionID uint32
	// States has the state of each file, in the order of the header; nil when all are
	// normal.
	States []byte
}

// Write returns the database of packages, which are in the order of their installation.
// Equal packages give equal bytes. The error names the package that cannot be in it.
func Write(pkgs []Package) ([]byte, error) {
	headers, err := headers(pkgs)
	if err != nil {
		return nil, err
	}
	return encode(headers)
}

// headers returns the headers of packages as the database has them.
func headers(pkgs []Package) ([]*header.Header, error) {
	result := make([]*header.Header, len(pkgs))
	for i, p := range pkgs {
		var err error
		if result[i], err = p.header(); err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Header.NEVRA(), err)
		}
	}
	return result, nil
}

// encode returns the database that has headers.
func encode(headers []*header.Header) ([]byte, error) {
	packages := sqlite.Table{Name: packagesTable, SQL: "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)"}
	sequence := sqlite.Table{Name: "sqlite_sequence", SQL: "CREATE TABLE sqlite_sequence(name,seq)"}
	rows := make([][]sqlite.Row, len(indexes))
	for i, h := range headers {
		number := int64(i + 1)
		packages.Rows = append(packages.Rows, sqlite.Row{ID: number, Values: []any{nil, h.Blob()}})
		for n, x := range indexes {
			for _, k := range x.keys(h) {
				rows[n] = append(rows[n], sqlite.Row{ID: int64(len(rows[n]) + 1), Values: []any{k.key, number, int64(k.index)}})
			}
		}
	}
	if len(headers) > 0 {
		sequence.Rows = []sqlite.Row{{ID: 1, Values: []any{packagesTable, int64(len(headers))}}}
	}
	tables := []sqlite.Table{packages, sequence}
	for n, x := range indexes {
		tables = append(tables, x.table(rows[n]))
	}
	return sqlite.Encode(tables)
}

// ExportList returns packages in the form that `rpmdb --importdb` reads on its standard
// input and `rpmdb --exportdb` writes. The error is as of Write.
func ExportList(pkgs []Package) ([]byte, error) {
	headers, err := headers(pkgs)
	if err != nil {
		return nil, err
	}
	var list []byte
	for _, h := range headers {
		list = append(append(list, header.Magic...), h.Blob()...)
	}
	return list, nil
}

// header returns the header as the database has it.
func (p *Package) header() (*header.Header, error) {
	entries := p.signatures()
	add := func(e header.Entry) { entries = append(entries, e) }
	add(header.Uint32sEntry(header.TagInstallTime, p.InstallTime))
	if files := len(p.Header.Files()); files > 0 {
		states := p.States
		if states == nil {
			states = make([]byte, files)
		}
		if len(states) != files {
			return nil, fmt.Errorf("there are states for %d files, and the package has %d", len(states), files)
		}
		add(header.CharsEntry(header.TagFileStates, states))
	}
	if prefixes := p.Header.Strings(header.TagPrefixes); len(prefixes) > 0 {
		add(header.StringsEntry(header.TagInstPrefixes, prefixes...))
	}
	add(header.Uint32sEntry(header.TagInstallColor, installColor))
	add(header.Uint32sEntry(header.TagInstallTID, p.TransactionID))
	return p.Header.With(entries...)
}

// databaseTags are the tags that signatures have in the database, where it is not the
// same. Reserved space is not kept.
var databaseTags = map[header.Tag]header.Tag{
	header.SigTagSize:                header.TagSigSize,
	header.SigTagPGP:                 header.TagSigPGP,
	header.SigTagMD5:                 header.TagSigMD5,
	header.SigTagGPG:                 header.TagSigGPG,
	header.SigTagPayloadSize:         header.TagArchiveSize,
	header.TagSigFileSignatures:      header.TagFileSignatures,
	header.TagSigFileSignatureLength: header.TagFileSignatureLength,
}

// signatures returns the entries of the signature header under the database's tags.
// What the header itself has is not overridden.
func (p *Package) signatures() []header.Entry {
	if p.Signature == nil {
		return nil
	}
	var entries []header.Entry
	for _, e := range p.Signature.Entries() {
		tag, ok := databaseTags[e.Tag]
		if !ok {
			if tag = e.Tag; tag >= header.SigTagReserved {
				continue
			}
		}
		same := func(other header.Entry) bool { return other.Tag == tag }
		if p.Header.Has(tag) || slices.ContainsFunc(entries, same) {
			continue
		}
		e.Tag = tag
		entries = append(entries, e)
	}
	return entries
}
