// Package rpmfile reads RPM package files: it verifies their digests and signatures
// and unpacks their payloads into trees.
//
// # Format
//
// A package file is a lead of 96 bytes, of which only the magic and the version mean
// anything; a signature header, padded to a multiple of 8 bytes; the package's header;
// and the payload, a compressed cpio archive, up to the end of the file. Both headers
// follow header.Magic. The payload may leave out what the header says already (file
// names, modes, sizes), and does so for files of 4 GiB and more.
//
// # What is verified
//
// A package is good when all its digests hold and a key of the keyring made a valid
// signature. A signature of the header and the payload proves both. A signature of
// the header alone proves the payload only through a SHA-256 or stronger digest of
// the payload in the header; without one, such a package is refused. A second
// signature by a key that is not in the keyring, or of a kind that is not understood,
// does not matter, but one by a known key that does not hold, or was made by a revoked
// or expired key, makes the package bad.
//
// Expiry of keys is judged at the time of the signature, as rpm does: a package stays
// good after its distribution's key has expired. SHA-1 signatures and 1024-bit keys,
// which distributions before Enterprise Linux 6 have, count only when the caller
// allows them (openpgp.Options.AllowLegacy); rpm accepts them wherever no crypto
// policy of its host forbids it. MD5 signatures are never accepted. The MD5 digest
// of header and payload guards against damage, as it does in rpm, and proves nothing.
//
// Nothing covers the lead; nothing but its magic, version and kind is read either.
package rpmfile
