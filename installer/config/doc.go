// Package config holds the one document that tells the installer everything about the medium it was started from:
// what to write, where it may be written, and what happens afterwards.
//
// # The document
//
// It is UTF-8 JSON, one object, at [MediumPath] on an ISO and at [NetworkPath] below the URL of a network boot. [Config]
// and the types below it are its schema; names of members are the json tags. Members that are unknown, of another
// type, or outside their range make the whole document invalid ([Decode]): an installer that guesses destroys data.
// `format` comes first in meaning: readers refuse every number but [Format], before they look at anything else.
//
// Sizes and offsets are bytes. Digests are lower-case hexadecimal SHA-256. Paths of files are absolute slash-separated
// paths from the root of the medium; over the network the root is the URL.
//
// # The kernel command line
//
// What is written on the medium can be overridden by hand when the machine starts, by arguments of the kernel that
// begin with "imagefactory." ([ParseArguments]). In names, '-' and '_' mean the same, as for the kernel; values may be
// quoted with '"'; the last of several counts. A switch is on without a value, and takes 0, 1, no, yes, off, on, false,
// true.
//
//	imagefactory.id=HEX          only the medium with this id is taken; boot menus say it
//	imagefactory.url=URL         nothing is looked for on disks: install.json and all files come from URL (http, https)
//	imagefactory.wait=SECONDS    how long to wait for the medium, or for the network (default 90)
//	imagefactory.mode=MODE       install, live, or rescue: no installation, only the installer's own prompt
//	imagefactory.target=DISK     the disk to install on: a device path (/dev/sda), by-id:GLOB, by-path:GLOB, serial:GLOB,
//	                             wwn:GLOB, model:GLOB, or smallest-empty, largest-empty, only. It replaces every condition of
//	                             the medium's policy except wipe and preserve
//	imagefactory.wipe[=SWITCH]   a disk that holds data may be overwritten
//	imagefactory.preserve=LABELS partitions to keep, separated by commas; empty for none
//	imagefactory.dry_run[=SWITCH] decide, print the decision as JSON, write nothing
//	imagefactory.confirm[=SWITCH] ask before anything is written
//	imagefactory.after=WHAT      reboot, poweroff, halt
//	imagefactory.on_failure=WHAT shell, reboot, halt
//	imagefactory.events=WHERE    a console (ttyS0) or a URL; empty for none
//
// An argument with this prefix that is none of these is an error: a misspelt imagefactory.dry_run must not install.
package config
