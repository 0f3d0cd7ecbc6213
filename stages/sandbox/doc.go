// Package sandbox runs programs of the target system, the only place where
// imagefactory does: maintainer scripts of packages, scripts of recipes, and tools
// such as dracut. It needs no privilege.
//
// A Root is a scratch directory that, like git's working tree, is made to hold a
// tree (Checkout), in which commands run (Run), and whose new contents become a
// tree again (Capture). Checkout writes and Capture reads only what differs. A Pool
// keeps such directories between builds.
//
// # Modes
//
// Range is for ordinary users: a user namespace in which root is the user, and the
// ids 1 to 65535 are subordinate ids of the user from /etc/subuid and /etc/subgid,
// mapped by the set-user-id programs newuidmap and newgidmap. Chroot is for root:
// the same without a user namespace. Plain is what Chroot falls back to in a
// container that may not create namespaces. Single, a user namespace with one id,
// is for users without subordinate ids, and only when the caller allows it. Detect
// says which one a host gets and why; Mode.Limits what Plain and Single cannot do.
//
// # Processes
//
// All work happens in child processes that are this executable under another name
// (see Init). A Root has a helper, which lives in the user namespace as its root and
// serves requests over a socket; it ends with the caller. In Range mode it first
// waits for the caller to map its ids and then executes itself once more, which
// gives it its capabilities. For each Run, the helper starts init as process 1 of
// new mount, pid, ipc, uts, cgroup and, unless the command may use the network,
// network namespaces. Init mounts, enters the root with pivot_root, starts the
// command and reaps orphans. When the command ends, or the caller cancels or dies,
// init ends, and with it every process of its pid namespace.
//
// # What commands find
//
//   - /dev with null, zero, full, random, urandom, tty, a devpts instance of its
//     own, shm, and the links fd, stdin, stdout, stderr and ptmx;
//   - /proc of the pid namespace, with an empty cmdline and without ways to change
//     the host; where the kernel refuses that because the surrounding container's
//     /proc is masked, a read-only view of that one;
//   - /sys read-only, without firmware, DMI and control groups; empty where the
//     kernel gives none;
//   - empty /run and /tmp;
//   - the Binds of the command, and with Network the host's /etc/resolv.conf, where
//     a symbolic link of that name in the root points;
//   - a loopback interface and nothing else, or with Network the host's network;
//   - the host name of the command and no NIS domain, a new session without a
//     terminal, a new session keyring, umask 022, 1024 open files (at most 524288),
//     no core dumps, no supplementary groups;
//   - PATH, HOME=/root, LANG=C.UTF-8, TERM=dumb, and what Command.Env says;
//   - root's identity with the capabilities that installing software takes, the
//     same in every mode: mknod of devices and mounting give EPERM in all of them,
//     so that a script which works for one user works for all;
//   - fsync, fdatasync, sync, syncfs, sync_file_range and msync that succeed and do
//     nothing, by a seccomp filter. Flags like O_SYNC still work.
//
// None of what is mounted is captured. Mount points that the tree lacks are made
// for the time of a Run and removed, and times of directories are put back. A root
// in which /dev, /proc, /sys, /run or /tmp is something else than a directory is
// refused.
//
// # What cannot be represented
//
// The disk cannot hold everything a tree can: in a user namespace no devices and no
// owners above 65535 (in Single mode: but 0), and no file system has all times. Of
// extended attributes only user.*, security.capability and POSIX ACLs are kept on
// disk, in every mode: others there, such as security.selinux, are the host's. Such
// things are virtual: a device is an empty file, an owner is 65534 (in Single mode
// 0), an attribute is left out. Capture returns what the tree said as long as the same inode (number and time of
// birth) is there and what stands for the value on disk is unchanged, also after a
// rename; what a command sets or makes anew counts from then on.
//
// security.capability is version 2 in trees and inside; the kernel stores it with
// the namespace's root (version 3) and converts it back. Ids in POSIX ACLs are
// converted likewise.
//
// # Trust
//
// Trees and commands may be hostile. Everything on disk is reached by opening one
// path element after the other without following symbolic links, and only while no
// command runs. Directories may be nested 1000 deep; deeper ones make Capture fail
// and are removed by the next Checkout. A root's directory is closed to other users,
// because set-user-id programs in it belong, outside, to the user. In Plain mode
// commands are root on the host but for some capabilities, and only chroot keeps
// them in: that is no protection.
//
// # Directory and index format, version 1
//
// A root's directory holds root/ (the tree), index, lock (flock(2): held while
// somebody uses the directory) and sometimes trash/ (garbage). The index says what
// root/ held when it was last in step with a tree. It is removed before anything is
// changed and written afterwards by rename, so that after a crash there is none, and
// Checkout starts over. Integers are unsigned LEB128 unless said otherwise, strings
// a length and bytes.
//
//	magic     "IFINDEX1\n"
//	identity  string: mode and id maps; with others, the index is useless
//	boot      string: /proc/sys/kernel/random/boot_id. Files are not fsynced, so
//	          after a power cut their contents need not be what stat data promises
//	digest    32 bytes SHA-256 of the next field's bytes
//	tree      string: the encoding of package tree
//	then for each entry of the tree
//	  inode number, st_mode, uid, gid (as seen in the namespace), size
//	  birth, mtime, ctime, each seconds signed (zigzag), nanoseconds unsigned;
//	          birth is 0, 0 where the file system has none
//	  skipped count, then positions, ascending, of the entry's extended attributes
//	          that are not on disk
//	checksum  32 bytes SHA-256 of all before
//
// A file whose stat data is equal has not changed: every change sets the ctime, and
// nobody can set it back. After writing, the sandbox waits until the clock of ctimes
// has moved on (at most 10 ms), so that no later change gets the same one.
package sandbox
