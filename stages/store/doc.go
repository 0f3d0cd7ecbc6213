// Package store keeps the contents of files, trees and image metadata once
// each, under the SHA-256 digest of their bytes.
//
// # Layout
//
// A store is a directory:
//
//	lock              flock(2): shared by every open store, exclusive for Sweep
//	packs/<hex>.pack  objects, many in one file
//	tmp/              batches being written; anything here is garbage once
//	                  nobody holds the lock, and removed by who opens the store next
//
// Objects come in packs because a package of a distribution is a few hundred
// small files: one file to create, one to open, sequential reads, instead of
// hundreds of each. A pack is written under tmp/ and renamed into packs/, so it
// is there whole or not at all; packs never change afterwards.
//
// # Pack format, version 1
//
// All integers are little endian.
//
//	0        8 bytes  magic "IFPACK1\n"
//	8        …        the objects' bytes, one after the other, unpadded
//	I        48·n     index: n records sorted by digest, each
//	                    32 bytes  SHA-256 of the object
//	                    8 bytes   offset of the object from the start of the file
//	                    8 bytes   length of the object in bytes
//	I+48·n   56 bytes footer:
//	                    8 bytes   offset I of the index
//	                    8 bytes   number of records n
//	                    32 bytes  SHA-256 of the index
//	                    8 bytes   magic "IFPACKE\n"
//
// The file is named after the SHA-256 of its index, in hexadecimal. A file whose
// footer or index does not check out (a power cut between rename and write-back
// can leave one) is treated as absent: the stages that need its objects run
// again. Nothing is fsynced, deliberately: a cache that is verified when read
// does not have to survive a power cut, it has to notice one.
//
// # Verification
//
// An object's bytes are hashed before this process first hands them out, unless
// this process wrote them itself. When they do not match, a copy in another pack
// takes their place; without one that is a *CorruptError, and the store no longer
// has the object, so that it can be stored anew.
package store
