// Package rpmdb writes the package database of an RPM root, and reads the one of a root
// that rpm installed.
//
// # rpmdb.sqlite
//
// It is an SQLite 3 database (rpm's lib/backend/sqlite.c; rpm 4.16 and later):
//
//   - Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL): a package is
//     a header, and hnum counts from 1 in the order of installation;
//   - 18 tables (key, hnum, idx) named as the tag of the header they index. idx is the
//     number of the key in its tag, in the two tables of file triggers the
//     number of the script. Keys are text, in Sigmd5 and Installtid blobs, the
//     latter of a little-endian integer;
//   - indexes on key and hnum, as rpm makes them, and sqlite_sequence.
//
// What the tables hold is rpm's tag2index (lib/rpmdb.c): Group is "Unknown" where a package
// has none; Requirename is without what only the installation needed; Triggername has
// every name once; a rich dependency stands there whole and by the names in it, those of a
// negated condition after a "!".
//
// rpm turns the database to WAL mode when it first writes to it. Until then it is not:
// SQLite cannot open a database in WAL mode on a read-only root, and leaves files beside
// one.
//
// # Headers
//
// The header of a package stays as it was signed, and gets entries after its region:
// those of the signature header, where the two have different numbers under the
// database's (rpm's headerMergeLegacySigs), and what is known of the installation: its time,
// transaction and color, the state of each file, and the prefixes of a relocatable package.
//
// # Other databases
//
// rpm before 4.16 has Berkeley DB, and some distributions have ndb. For both, ExportList
// writes what the image's own `rpmdb --importdb` reads.
package rpmdb
