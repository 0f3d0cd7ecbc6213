// Package images reads container images where they lie, by
// github.com/containers/image: in registries (docker://NAME[:TAG|@DIGEST]), OCI layouts
// (oci:DIR[:TAG]), archives (oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG]) and
// directories (dir:DIR), in the formats of OCI and of Docker's version 2, schema 2. Of a
// list of manifests the one for the wanted architecture is taken.
//
// Registries are asked as podman and skopeo ask them: with the credentials in
// REGISTRY_AUTH_FILE, else in the user's containers/auth.json and Docker's config.json
// with its credential helpers; mirrors, and which registries may be insecure, are in
// registries.conf (CONTAINERS_REGISTRIES_CONF).
//
// # Signature policy
//
// The user's or the host's policy.json (containers-policy.json(5)) decides which images
// may be used. Signatures cannot be verified here: the library's package for that needs
// gpgme, or a build tag that everybody who builds imagefactory would have to know. So an
// image of which the policy demands a signature is refused, with the way round. Where
// there is no policy, an image of a registry must be named by digest in the recipe; the
// error tells the one it has today. Once it is in the lock, only that one is used.
package images
