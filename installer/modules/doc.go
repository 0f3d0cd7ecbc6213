// Package modules loads kernel modules as kmod's modprobe does, without it: the installer has no program but itself.
//
// [Read] takes the text indexes that depmod(8) leaves beside the modules: modules.dep (module and dependencies, by
// path), modules.alias and modules.symbols' siblings with `alias PATTERN NAME`, modules.softdep (`softdep NAME pre: …
// post: …`), modules.builtin. All but the first may be missing. Names are compared with '-' and '_' taken as the same,
// as the kernel does. A module that the index lists and the directory lacks was left out of the initramfs on purpose:
// it is not an error unless something that is there depends on it.
//
// Modules may be compressed by gzip, xz or zstd (.ko.gz, .ko.xz, .ko.zst); the kernel is handed plain ones.
package modules
