// Package hosttool is the stage that has the host's own package manager make a root
// file system: dnf (also under the name yum) for distributions of the RPM family, apt
// for those of the Debian family. It is there for people who trust their package
// manager more than imagefactory's own (installer = "native"), which needs none.
//
// It works in two steps, so that a lock pins what the first one found:
//
//   - Resolving: the tool gets the repositories' metadata, which has been fetched and
//     verified before, as local repositories, and says which packages it would install
//     into an empty root. ResolveRPM and ResolveDeb look these up in the metadata, for
//     their digests.
//   - Installing: RunRPM and RunDeb fetch exactly the locked packages, verify them, and
//     have the tool install them from local files. Then they ask the root's package
//     database what is installed: anything but the lock is an error.
//
// Neither step uses the network, the host's repositories, or its configuration, but
// for that of its crypto library.
//
// # Where the tool runs
//
// In the sandbox, in a root of its own whose /usr is the host's, read-only, and which
// has little else of it. The target lies at /sysroot in it, with the sandbox's /dev,
// /proc and /sys: dnf itself mounts nothing, and without a /dev the first script that
// writes to /dev/null makes a file of it. What programs of the target see, after the
// package manager has changed its root to there, is what they see in any other stage.
//
// Ownership needs a range of ids (the sandbox's mode "range") or root ("chroot"). The
// modes "single" and "plain" are refused with exit status 3.
//
// Files that a session puts in the place of packages' files, such as a generator of
// initramfs images that does nothing, are there from the beginning, and the packages'
// own only when everything is installed: rpm is told to leave these paths alone, like
// those of /dev, and dpkg that they are diverted.
//
// # RPM
//
// rpm is told where the target has its database and of what kind it is, by macros:
// Debian's rpm, for one, has it in $HOME/.rpmdb. Only SQLite databases are written: of
// a target whose rpm has another one, installing is refused. Plugins of the host's rpm
// and dnf are off. Files of packages below /dev, /proc and /sys are left out
// (%_netsharedpath), because nothing of these is captured. In the target's database they
// count as shared over the network, as do the files that a session's stood in for, and
// rpm -V passes them over.
//
// Keys of repositories are imported into the target's database, where dnf would put
// them too: as packages named gpg-pubkey. They verify each package again before dnf
// installs it.
//
// The database holds the time of installation, and dnf's history (unless the
// distribution's data has it removed) as well: two builds
// are alike in everything but these.
//
// Only dnf 4 is driven, also under the name yum: of dnf 5 and of yum 3 it is not known
// here what they print and how they verify, so they are refused. Packages with device
// nodes cannot be installed by an ordinary user, because rpm cannot make them.
//
// # Debian
//
// apt cannot install into an empty root, because maintainer scripts need what is not
// there yet. As debootstrap and mmdebstrap do, the essential packages with what they
// depend on are unpacked first, by imagefactory, and then installed once more by the
// target's own dpkg, as if nothing were there. The others are installed by the host's
// apt-get, which decides about their order and runs the target's dpkg.
package hosttool
