// Package containers puts container images into a root, so that the container runtime
// in it has them on the first boot, without a network.
//
// An image is resolved (Resolve: its digests go into the lock), pulled (Pull: what it
// consists of goes into the store, each blob once and verified) and placed (Run: a
// function of trees). Where images come from, with which credentials, and what the
// host's signature policy has to say, is in package importer/images.
//
// # What is pinned
//
// Pinned.Digest is that of the document which the reference means: of a list of manifests
// for several platforms (OCI's index), that of the list. It is the digest people copy
// into the manifests of Kubernetes, so runtimes find the image under NAME@DIGEST also
// when only one of its platforms is there. Pinned.Manifest is the one for the recipe's
// architecture. A list with several variants of an architecture is refused: which of
// them a runtime takes depends on the machine.
//
// Names have their registry: a short name means another image on every host.
//
// # containerd
//
// Images go where containerd's own pull puts them, below /var/lib/containerd or what
// /etc/containerd/config.toml calls root:
//
//	io.containerd.content.v1.content/blobs/sha256/HEX   manifests, configurations and layers, as they came
//	io.containerd.metadata.v1.bolt/meta.db              what containerd knows of them
//
// The database is a file of bbolt. Its buckets, of which "/" separates the names, are
// those of containerd's package metadata (buckets.go), version 3, as containerd 1.6 and 1.7
// write it; later ones bring it up to date:
//
//	v1                                         version: 3
//	v1/NAMESPACE/images/NAME                   createdat, updatedat
//	v1/NAMESPACE/images/NAME/labels            in k8s.io: io.cri-containerd.image=managed, io.cri-containerd.pinned=pinned
//	v1/NAMESPACE/images/NAME/target            digest, mediatype, size
//	v1/NAMESPACE/content/blob/DIGEST           createdat, updatedat, size
//	v1/NAMESPACE/content/blob/DIGEST/labels    containerd.io/gc.ref.content.{config,l.N,m.N}=DIGEST
//
// Integers are signed LEB128 (encoding/binary's Varint), times are time.Time's binary
// form, of the build's epoch. The labels of blobs keep what a manifest names from being
// collected as garbage. An image's names are NAME:TAG, where there is a tag, and
// NAME@DIGEST; in the namespace k8s.io also the digest of its configuration, as the CRI
// service wants it. There images are pinned, too: the kubelet does not remove them when
// the disk fills, for they could not come back.
//
// Layers stay compressed, and are unpacked when a first container needs them: ctr run,
// nerdctl run and the CRI service do that without being told. It takes the time of
// unpacking and the space of the unpacked files, on the first run and not on the first
// boot; and it works with whatever snapshotter is configured.
//
// # podman and CRI-O
//
// Images go into an additional image store of containers/storage, read only, which both
// programs have besides their own: /usr/lib/containers/storage, in the form of the driver
// overlay, named in additionalimagestores of /etc/containers/storage.conf. When that file
// is missing it is made of /usr/share/containers/storage.conf or, where that is missing
// too, of what holds without any.
//
//	overlay-images/images.json                  all images
//	overlay-images/ID/…                         manifests and configuration of each
//	overlay-layers/layers.json                  all layers
//	overlay-layers/LAYER.tar-split.gz           how its archive is made of its files again (podman save, push)
//	overlay/LAYER/diff/                         its files, with overlayfs' whiteouts
//	overlay/LAYER/link, lower; overlay/l/LINK   its short name, and those of the layers below
//
// Identifiers are those the programs give themselves (an image's is the digest of its
// configuration, a layer's is made of those of it and of the layers below), so that what
// is pulled later shares layers with the store. Files are in imagefactory's store one by
// one, as those of packages are.
//
// Whiteouts are character devices 0/0 and the attribute trusted.overlay.opaque. A root
// file system that is itself a layer of overlayfs shows neither; there podman would see
// files that the images have removed.
//
// # Docker
//
// Docker has no store that could be read only, and none that another program could
// write. So its images are in one archive of `docker save`'s format,
// /usr/lib/imagefactory/containers/docker.tar, with every layer once, and the unit
// imagefactory-docker-load.service loads it into Docker at the first boot: that takes
// its time, and the space of the images once more. A stamp in /var/lib/docker, named
// after the archive, keeps it from being loaded again; another archive, after an update,
// is. Units that run containers come after it:
//
//	[Unit]
//	Requires=imagefactory-docker-load.service
//	After=imagefactory-docker-load.service
//
// Docker does not know images it has loaded by their digest, so names need a tag.
//
// # What this is not
//
// Run writes no store that is there already, of another program's making; it says so. A
// containerd whose unit has --root or --config of its own is not asked. What lies in the
// directories of Stores is data: programs there need no libraries of the system, and are
// no programs of it.
package containers
