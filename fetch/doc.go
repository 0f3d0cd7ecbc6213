// Package fetch downloads files whose digest is known into a cache, and small
// documents that change, like the index of a repository.
//
// # The cache
//
// The cache is a directory that any number of processes share:
//
//	objects/<hex>   files that were downloaded and verified, named by their
//	                SHA-256, never changed afterwards
//	partial/<hex>   what has arrived of such a file. The process that holds
//	                flock(2) on it writes it; when it is whole it is renamed into
//	                objects/. A download that is broken off goes on from here.
//	fresh/<hex>     the last accepted copy of a changing document, named by the
//	                SHA-256 of its URL: one line of JSON (url, etag,
//	                last_modified, fetched), then the document
//
// Files of this machine are fetched by URLs, too: file:///dir/name, and
// iso:/dir/image.iso!/dir/name for what an ISO 9660 image holds, which is read without
// mounting it. The first "!/" ends the path of the image.
//
// Everything in it can be deleted at any time when no build is running.
//
// # Trust
//
// A download has the digest that was asked for or it is an error; neither the
// network nor the cache is believed: a file of the cache is hashed again each time
// it is handed out. Because of this a broken-off download may be
// continued from another mirror without asking whether it is the same file
// (If-Range): if it was not, the digest tells and the file is fetched from
// the start.
package fetch
