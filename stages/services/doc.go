// Package services reads and changes the unit files of systemd in a tree: which there are, in which state, and the links
// that enable them. List says what `systemctl list-unit-files --root` says of the same tree, and Apply does what
// `systemctl --root enable`, `disable` and `mask` do, without running anything: both follow systemd's src/shared/install.c
// (versions 252 to 257) and are tested against the real program.
//
// # Where units are
//
// Directories come in this order, the first that has a name wins: /etc/systemd/system.control,
// /run/systemd/system.control, /run/systemd/transient, /run/systemd/generator.early, /etc/systemd/system,
// /etc/systemd/system.attached, /run/systemd/system, /run/systemd/system.attached, /run/systemd/generator,
// /usr/local/lib/systemd/system, /usr/lib/systemd/system, /lib/systemd/system where that is a directory of its own, and
// /run/systemd/generator.late. Drop-ins (NAME.d/*.conf) take part with their [Install] section.
//
// # States
//
//	enabled          a link of [Install] is in /etc: NAME in a *.wants, *.requires or *.upholds directory, or an alias
//	enabled-runtime  the same in /run
//	linked           /etc holds a link to a unit file that lies outside of the directories above
//	linked-runtime   the same in /run
//	alias            the name is a link to a unit of another name
//	masked           the first of the name is a link to /dev/null, or empty
//	masked-runtime   the same in /run
//	static           no [Install] section, and no link that [Install] could have made
//	disabled         [Install] says what to link, and nothing is linked
//	indirect         [Install] has only Also=, or the unit is linked by names that [Install] does not know
//	generated        the file lies in a directory of generators
//	transient        the file lies in /run/systemd/transient
//	bad              the file cannot be read as a unit: a dangling link, a link to a unit of another kind, a loop
//
// What presets say is independent of the state: the first line of /etc/systemd/system-preset,
// /run/systemd/system-preset, /usr/local/lib/systemd/system-preset, /usr/lib/systemd/system-preset (files in order of
// their names, the first directory that has a name wins) that matches.
//
// # Limits
//
// Only system units are listed. Specifiers in [Install] that depend on the machine (%H, %m, %v, …) are an error, because
// an image is for many machines. Scripts in /etc/init.d are not touched: where one has the name of a unit, systemctl also
// calls systemd-sysv-install, which changes links in /etc/rc?.d that systemd does not look at.
package services
