// Package target is the part of imagefactory that runs inside the root of the target
// system when packages of an RPM distribution are configured there: it does the steps of
// package transaction, one after the other, and reports what they printed and how they
// ended.
//
// One process does all steps, because entering the sandbox costs more than most
// scriptlets do. It is this very program, made visible in the root at Program by a bind
// (or a copy, where nothing can be mounted), outside of what becomes the image; it must be
// statically linked, because the root may have another C library or none.
//
// Scriptlets find what rpm gives them: PATH=/sbin:/bin:/usr/sbin:/usr/bin, the
// variables RPM_INSTALL_PREFIX and RPM_INSTALL_PREFIX0 and so on for relocatable packages,
// the root as working directory, an empty standard input or the files that set a
// trigger off, one per line, and their body in a file whose name comes before their
// arguments. That file is in /run/imagefactory, not in /var/tmp as rpm's, so that it
// leaves no trace.
//
// # Protocol
//
// Standard input is a gob (encoding/gob) of []transaction.Step, standard output a
// stream of gobs of Event. The process ends with status 0 unless it could not do its work;
// that a step failed is an event.
package target
