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
// Images come from registries (docker://NAME[:TAG|@DIGEST]), OCI layouts (oci:DIR[:TAG])
// and archives (oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG]), by
// github.com/containers/image, in the formats of OCI and of Docker's version 2,
// schema 2. Of a list of manifests the one for the recipe's architecture is taken.
//
// Pinned is the digest of that manifest. From it hangs everything else: the
// configuration and the layers by their digests, and what layers decompress to by the
// digests in the configuration. The order of layers matters, so what is remembered is
// the tree that a layer gives over a certain tree: images that begin alike share it.
//
// Registries are asked as podman and skopeo ask them: with the credentials in
// REGISTRY_AUTH_FILE, else in the user's containers/auth.json and Docker's config.json
// with its credential helpers; mirrors, and which registries may be insecure, are in
// registries.conf (CONTAINERS_REGISTRIES_CONF). Manifests, configurations and layers of
// registries are kept in the cache's directory of downloads, in objects/ by their
// SHA-256, like what package fetch downloads; offline, a locked image comes from there.
//
// # Signature policy
//
// The user's or the host's policy.json (containers-policy.json(5)) decides which images
// may be used. Signatures cannot be verified here: the library's package for that needs
// gpgme, or a build tag that everybody who builds imagefactory would have to know. So an
// image of which the policy demands a signature is refused, with the way round. Where
// there is no policy, an image of a registry must be named by digest in the recipe; the
// error tells the one it has today. Once it is in the lock, only that one is used.
package importer
