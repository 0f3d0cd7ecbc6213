// Package rpmdistro makes a distribution of RPM packages for tests: some hundred and twenty
// real packages with an RPM distribution's layout, signed, with everything in them
// that makes such packages difficult.
//
// The binaries are Debian's, fetched from where this machine's apt gets its
// packages and unpacked; all else is made here:
//
//   - names, merged packages and dependencies: versioned, on files, on the symbol
//     versions of libraries as rpm's own generator writes them, and rich ones;
//   - a merged /usr whose links the %pretrans of filesystem makes, in Lua;
//   - scriptlets, triggers, file triggers and transaction file triggers after
//     Fedora's: ldconfig, sysusers, tmpfiles, hwdb, catalog, presets, kernel-install;
//   - users that a %pre makes and that own files, file capabilities, %config, %doc,
//     %license, %lang and %ghost files;
//   - a kernel in /usr/lib/modules, a GRUB named grub2-* with a vendor directory and
//     prefix of its own, a shim: all signed with a key that no firmware has but the
//     one whose variables Vars writes;
//   - a module with two streams, a group and an environment, signed metadata.
//
// The package files are written here rather than by rpmbuild, which would take
// minutes, and with nothing of distros/rpm, so that neither hides the other's
// mistakes; the tests have rpm itself check them.
package rpmdistro
