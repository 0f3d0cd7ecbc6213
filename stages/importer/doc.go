// Package importer is the stage that makes a root file system of something that holds
// one already: a tar archive (Archive), or a container image (Image).
//
// # Archives
//
// How an archive is read, and what is refused of it, is said in package tarball.
// POSIX ACLs must have numeric ids: GNU tar writes the names of the host's accounts,
// even with --numeric-owner, where there are such, and bsdtar writes both.
//
// # Container images
//
// How images are found and read, and what the host's signature policy has to say, is in
// package images.
//
// Pinned is the digest of that manifest. From it hangs everything else: the
// configuration and the layers by their digests, and what layers decompress to by the
// digests in the configuration. The order of layers matters, so what is remembered is
// the tree that a layer gives over a certain tree: images that begin alike share it.
//
// Manifests, configurations and layers of registries are kept in the cache's directory of
// downloads, in objects/ by their SHA-256, like what package fetch downloads; offline, a
// locked image comes from there.
package importer
