// Package sqlite writes and reads whole SQLite database files, as sqlite.org/fileformat2.html
// describes them: tables with rowids and their indexes on one column. It knows no SQL and
// changes no database: Encode lays sorted rows out once, so that equal tables give
// equal bytes on every machine, and Rows reads them back.
package sqlite

import "errors"

// Table is an ordinary rowid table.
type Table struct {
	Name    string
	SQL     string // its CREATE TABLE statement, as sqlite_schema has it
	Rows    []Row  // IDs ascending
	Indexes []Index
}

// Row is a row of a table.
type Row struct {
	ID int64 // the rowid
	// Values are the columns: nil, int64, string or []byte. A column declared INTEGER
	// PRIMARY KEY is the rowid itself, and its value is nil.
	Values []any
}

// Index is an index on one column of a table, ascending, with the collation BINARY.
type Index struct {
	Name   string
	SQL    string // its CREATE INDEX statement, as sqlite_schema has it
	Column int    // of Row.Values
}

// ErrNoTable is the error of Rows when the database has no table of the name.
var ErrNoTable = errors.New("the database has no such table")

// What both directions know of the format.
const (
	magic    = "SQLite format 3\x00"
	pageSize = 4096 // of what Encode writes; SQLite's default

	// The file header lies before the b-tree header of page 1.
	fileHeader = 100

	// Types of b-tree pages.
	interiorIndex = 2
	interiorTable = 5
	leafIndex     = 10
	leafTable     = 13
)

// localSize returns how many of a cell's payload bytes lie in the b-tree page itself, of
// usable bytes; the rest is in overflow pages. It is section 1.6 of the format.
func localSize(kind byte, usable, payload int) int {
	most := usable - 35
	if kind != leafTable {
		most = (usable-12)*64/255 - 23
	}
	if payload <= most {
		return payload
	}
	least := (usable-12)*32/255 - 23
	local := least + (payload-least)%(usable-4)
	if local > most {
		return least
	}
	return local
}
