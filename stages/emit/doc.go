// Package emit writes what a build leaves in its output directory: disk images ([Raw], [Qcow2]), media ([ISO]), a
// NAME.sha256 beside each that `sha256sum -c` checks, and manifest.json ([Manifest]). [OpenImage] reads images back.
//
// Every file is written under a temporary name in the directory it belongs to, synced once, and renamed: it is there
// whole or not at all. While a file is being replaced, its old .sha256 is gone, so that the two never disagree.
//
// Only data costs work: holes are neither read nor written, except those of media. The SHA-256 of a raw image
// must run over the zeros too. That happens in memory, concurrently with the writing, at the speed of one
// processor: about 1.8 GB/s with SHA instructions, so 11 s for a sparse image of 20 GiB. qcow2 has no such cost.
//
// # manifest.json
//
// One JSON object, described by [Manifest] and the types of its fields. "schema" is 1; a reader must refuse what it
// does not know and ignore fields it does not know. Keys and digests of inputs are "sha256:" and 64 hexadecimal digits; a field
// named sha256, the digest of a file, is the digits alone, as sha256sum prints them. Sizes and offsets are bytes, durations are
// milliseconds, GUIDs are in lower case. Wall times and whether a stage was cached are
// the only parts that differ between two builds of the same inputs.
package emit
