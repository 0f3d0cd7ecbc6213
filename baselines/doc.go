// Package baselines has the rules that images are hardened by and scanned against,
// as data: what is looked at, what it has to be, and why.
//
// # Format
//
// A profile is a file of this directory in HCL, read as the recipes are: a block
//
//	profile "NAME" {
//	  title = "…"
//	  rule "IDENTIFIER" { … }
//	}
//
// A rule is named by its identifier, which never changes its meaning once released:
// recipes name it to skip the rule or to set another value. Attributes of a rule:
//
//	title       what holds when the rule passes; required
//	reason      why that matters, in a sentence or two; required
//	severity    "low", "medium" or "high"; required
//	references  documents that ask for the same, by name and number
//	kind        what the rule looks at, one of the kinds below; required
//	when        absolute paths with * and ?: the rule applies to trees that have one
//	            of them; without it, to every tree
//	key         which setting, where a kind has several
//	value       the rule's parameter: what is wanted and set. Recipes can replace it
//	accept      other values that pass too, and are then left alone
//	compare     "at-most" or "at-least": numbers on that side of value pass too
//	default     what holds where nothing is set: the built-in default of the program
//	paths       absolute paths with *, ? and a last element ** for all that lies below
//	except      paths that are left out, written the same
//	owners      names of accounts that may own the paths, the first of which is set;
//	            without it, anybody
//	groups      the same for groups
//	remedy      what to do about a failure that cannot be set in the tree; required
//	            for the kinds of which that is true
//
// # Kinds
//
// Lists in value are separated by blanks. "Checked only" kinds are never set: what
// is right there is known to nobody but the author of the recipe.
//
//	sysctl          key is a kernel parameter (sysctl(8)); its value as
//	                systemd-sysctl would write it last. Set in sysctl.d.
//	sshd            key is a keyword of sshd_config(5); its value outside of Match
//	                blocks, none of which may set one that does not pass. Set in
//	                sshd_config.d, or at the top of sshd_config where that is not
//	                included early enough.
//	login-defs      key is an item of login.defs(5). Set in the file.
//	systemd-conf    key is FILE/SECTION/KEY: "coredump.conf/Coredump/Storage". Set in
//	                a drop-in.
//	limits          key is DOMAIN/TYPE/ITEM of limits.conf(5): "*/hard/core". Set in
//	                limits.d.
//	mount           key is a mount point, value the options it has to have, where it
//	                is a mount of its own: by fstab(5) or a systemd unit. With default,
//	                a file system type, a missing line is added to fstab for that.
//	permissions     paths have no more permissions than the octal mode value, and one
//	                of owners and groups. Files that are missing are no failure.
//	unit            key is a systemd unit, value "masked".
//	modules         kernel modules named in value cannot be loaded (modprobe.d(5),
//	                install lines), where the tree has them.
//	cmdline         key is a parameter of the kernel's command line. Checked only, and
//	                only where the command line is known: it belongs to the boot loader.
//	allow           paths is a file that lists no other users than those in value, and
//	                is there: cron.allow, at.allow.
//	absent          paths do not exist. Set by removal with value "remove", checked
//	                only with value "report".
//	machine-id      /etc/machine-id is missing, empty or "uninitialized".
//	setuid          no files with set-user-ID or set-group-ID but those of paths. Set
//	                by taking away the bits. What a recipe sets as its value are further
//	                absolute paths, separated by blanks.
//	world-writable  no file may be written by everybody, and no directory without the
//	                sticky bit.
//	unowned         user and group of every file have an account. Checked only.
//	empty-passwords no account has an empty password. Set by locking the password.
//	root-password   root has no password. Checked only.
//	password-hash   passwords are hashed with one of the methods in value, which are
//	                named as in crypt(5): "y" for "$y$…". Checked only.
//	system-shells   accounts below UID_MIN have no shell to log in with, except those
//	                in value.
//	unique-ids      names and numbers of users and groups are unique, and only root is
//	                0. Checked only.
//	homes           home directories of people belong to them and have no more
//	                permissions than the octal mode value.
//	private-keys    no private key lies in the image outside of except. Checked only.
//	weak-keys       SSH keys (authorized_keys, host keys) are not DSA, nor RSA of
//	                fewer bits than value. Checked only.
//	known-keys      no authorized_keys has a key that is public knowledge with its
//	                private half: value has fingerprints as ssh-keygen -l prints them
//	                (SHA256:…). Checked only.
package baselines
