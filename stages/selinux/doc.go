// Package selinux is the stage that labels a root for SELinux, from the policy the root
// itself holds, as setfiles(8) would on the running system. Nothing of the host is
// used: neither its policy nor its libraries, nor whether its kernel knows SELinux.
//
// It is the last stage that sees the root: whatever a later one adds is without a label,
// and a system that enforces its policy refuses what it cannot tell apart.
//
// # What decides a label
//
// /etc/selinux/config names the policy (SELINUXTYPE, "targeted" without one) and the mode
// (SELINUX); the recipe's mode, where it gives one, is written there. Below
// /etc/selinux/TYPE/contexts/files, in this order, lie file_contexts, .homedirs and
// .local; a line is an expression, an optional type of file ("--", "-d", "-l" …) and a
// context or <<none>>. The paths of .subs and .subs_dist are replaced first. The rules are
// those of libselinux 3.0 to 3.7 (label_file.c):
//
//   - expressions without metacharacters come after all others, and otherwise order stays;
//     the last one that matches wins;
//   - an expression is anchored by ^ and $, whatever | it has outside of parentheses;
//   - one whose first path element has no metacharacter applies to paths with that very
//     first element only, even where it has an escaped character;
//   - <<none>>, and no match, leave an entry as it is.
//
// Names of one inode get the label of the first of them, in order of path, that has one;
// setfiles takes the first it comes across. The compiled *.bin files hold the same and are not
// read. libselinux 3.8 prefers the longer fixed beginning where two expressions match;
// policies are sorted that way already.
//
// Expressions are Perl's for libselinux and RE2's here. Policies use what both know; an
// expression with anything else is an error that names its file and line. They match bytes,
// not characters.
package selinux
