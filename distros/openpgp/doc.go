// Package openpgp verifies OpenPGP signatures by keys somebody trusts: clear-signed
// and detached ones of repository metadata, and those inside RPM packages.
//
// It is github.com/ProtonMail/go-crypto with a policy of its own (see [Options]) and
// with version 3 signatures (RFC 4880, section 5.2.2), which that library refuses and
// which nearly all RPM packages up to Enterprise Linux 7 carry. Version 3 keys
// (before 1999) are refused, as rpm refuses them.
package openpgp
