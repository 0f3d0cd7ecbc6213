// Package stages is the engine: it runs a build as a graph of stages, each a pure
// function with a key, and keeps their results in a cache.
//
// # Stages and keys
//
// A stage declares everything its result depends on: named inputs (recipe
// attributes, digests of files and packages), other stages, and the version of its
// own code. Its key is the SHA-256 of the JSON document
//
//	{"format":1,"kind":…,"version":…,"inputs":[{"name":…,"digest":"sha256:…"},…]}
//
// with the inputs in the order they were declared; the digest of an input is that
// of its JSON encoding (Go's encoding/json: object keys of maps sorted), and a
// stage that is depended on is an input named after it whose value is its result.
// Since results enter keys, and not the keys that led to them, a stage that ran
// again but gave the same result stops the change there.
//
// # The cache directory
//
//	store/             objects: file contents, trees, image metadata (package store)
//	results/<hex>.json what the stage with that key gave
//	locks/<hex>        flock(2): who computes that key now
//	last/<hex>.json    the inputs of the last build of a recipe, for plan; the name
//	                   is the SHA-256 of the recipe's absolute path
//	downloads/         package fetch's
//	roots/             package sandbox's
//	scratch-*/         of one build each, gone when it ends
//
// A result is a JSON document:
//
//	{"key":"sha256:…","stage":"rootfs","value":…}
//
// Every string "sha256:…" in the value, names of members included, is a reference to
// an object of the store; other digests are written in another way. A result counts
// as present only while all objects it refers to are, through trees and images too.
// Its modification time is when it was last used, which is what collection goes by.
// Results are written under another name and renamed, so a result is there whole or
// not at all.
//
// The record of a recipe's last build is a JSON document with each stage's key and
// inputs, and their values where those are short:
//
//	{"stages":{"disk":{"key":"sha256:…","inputs":[{"name":"size","digest":"sha256:…","text":"\"8GiB\""},
//	{"name":"rootfs","digest":"sha256:…","stage":true}]}}}
//
// It only serves explanations, as that of plan: without it a build is the same.
//
// # Collection
//
// Whoever has the cache open holds the store's lock shared. Collection and repair
// hold it exclusively, from counting to the last removal, so that they cannot take
// away what a build has just stored and is about to refer to; builds that start
// meanwhile wait. Everything in the directory may be deleted at any time when nobody
// has it open.
//
// # Events
//
// What happens is told as a sequence of Event values; the command line draws
// progress bars from them or prints them as JSON, one a line.
package stages
