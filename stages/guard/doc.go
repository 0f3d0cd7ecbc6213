// Package guard is the safety net under everything that takes files out of a tree: Check compares a tree with what it was
// made from, and finds what still needs something that is gone.
//
// Only news is found: a library that was missing before is missing still, and nobody's fault. Each finding names the file
// that has the need, the need, and the file and package that met it before.
//
// # What is looked at
//
//   - library: shared libraries by DT_NEEDED, found as ld.so(8) finds them: DT_RPATH of the object and of those that load
//     it, DT_RUNPATH, the directories of /etc/ld.so.conf and what it includes, those built into the dynamic linker (which
//     are read out of it; /lib, /usr/lib and the architecture's own where that fails), with $ORIGIN, $LIB and $PLATFORM.
//     Files for other architectures are passed over. Versions of symbols (DT_VERNEED) must be defined by the library found
//     (DT_VERDEF), as ld.so demands. A library that only lies in glibc-hwcaps counts: such a tree is for processors that
//     have them. When a need was not met by these rules before either (a plugin whose library is loaded first by
//     who loads the plugin), it is found when there was a library of that name anywhere, and there is none now. PAM modules
//     in /etc/pam.d and /usr/lib/pam.d and the modules of /etc/nsswitch.conf count as libraries.
//   - interpreter: the dynamic linker of a program (PT_INTERP), and what executable scripts name in their first line; of
//     `env NAME` both, NAME by the usual PATH.
//   - unit: Exec lines of systemd's units for the system and for users, with drop-ins, prefixes (@-:+!|), `;` and resets;
//     the unit that a timer, socket or path starts; Requires=, Requisite= and BindsTo=. Lenient where systemd is: a unit
//     whose ConditionPathExists= (or another condition on files) does not hold is not started, and "-" before a command
//     other than that of ExecStart= means that the unit can do without. Paths with specifiers or variables, and units with
//     another root, are not looked at.
//   - symlink: links that lead nowhere. Links into /proc, /sys, /dev, /run, /tmp, /var/run, /var/lock and /var/tmp are
//     none: what is there comes when the system runs.
//   - module: kernel modules without those they depend on, by modules.dep and modules.softdep of the tree before, and
//     modules that are there and that modules.dep does not list.
//   - account: owners and groups of files, User= and Group= of units, tmpfiles.d, D-Bus policies and udev rules. Accounts
//     that sysusers.d describes are there, as long as systemd-sysusers is.
//
// # What cannot be seen
//
// Libraries that a program opens by name with dlopen(3), other than those of PAM and the name service; programs that
// scripts and programs execute by name; modules of Python, Perl and other languages. /etc/ld.so.cache is not looked at: it
// is made from the directories that are. An entry of it that is gone does no harm, but a library that lies in a directory of
// ld.so.conf and was never in the cache is not found by ld.so: run ldconfig in a script where such a file is added.
//
// # Cost
//
// Needs are only looked at when the change can concern them, each file's facts are read once by the digest of its contents,
// and of an ELF file only its headers and dynamic section are read. The store verifies each file when it is first read in a
// process, which is most of the time of a first check, and which whoever writes the image has to do anyway.
package guard
