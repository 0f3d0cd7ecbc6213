package rpmdistro

import "fmt"

// baseDirectories belong to the package filesystem.
var baseDirectories = []string{
	"/boot", "/dev", "/etc", "/etc/pam.d", "/etc/profile.d", "/etc/skel", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/usr",
	"/usr/bin", "/usr/include", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/libexec", "/usr/local", "/usr/local/bin", "/usr/local/lib",
	"/usr/local/sbin", "/usr/local/share", "/usr/sbin", "/usr/share", "/usr/share/doc", "/usr/share/locale", "/usr/src", "/var", "/var/cache", "/var/lib", "/var/local",
	"/var/log", "/var/mail", "/var/opt", "/var/spool", "/var/tmp",
}

func directoryMode(dir string) uint32 {
	switch dir {
	case "/tmp", "/var/tmp":
		return 0o1777
	case "/root":
		return 0o700
	case "/proc", "/sys":
		return 0o555
	}
	return 0o755
}

// mergedUsrScript makes the links of merged /usr before any package is unpacked.
const mergedUsrScript = `-- Nothing is installed yet: there is no shell.
posix.mkdir("/usr")
for _, dir in ipairs({"bin", "sbin", "lib", "lib64"}) do
  posix.mkdir("/usr/" .. dir)
  local found = posix.stat("/" .. dir)
  if not found then
    posix.symlink("usr/" .. dir, "/" .. dir)
  end
end
posix.mkdir("/proc")
posix.mkdir("/sys")
posix.chmod("/proc", 0555)
posix.chmod("/sys", 0555)
`

// shellsScript is what Fedora's bash has.
const shellsScript = `nl = '\n'
sh = '/bin/sh' .. nl
bash = '/bin/bash' .. nl
f = io.open('/etc/shells', 'a+')
if f then
  local shells = nl .. f:read('*all') .. nl
  if not shells:find(nl .. sh) then f:write(sh) end
  if not shells:find(nl .. bash) then f:write(bash) end
  f:close()
end
`

// userScript makes a system user with a group of its own.
func userScript(name, home string) string {
	return fmt.Sprintf(`getent group %[1]s >/dev/null || groupadd -r %[1]s || exit 1
getent passwd %[1]s >/dev/null || useradd -r -g %[1]s -d %[2]s -M -s /usr/sbin/nologin -c "System user" %[1]s || exit 1
exit 0
`, name, home)
}

// preset enables units on their first installation.
func preset(units ...string) string {
	s := "if [ $1 -eq 1 ] && [ -x /usr/bin/systemctl ]; then\n  systemctl --no-reload preset"
	for _, u := range units {
		s += " " + u
	}
	return s + " || :\nfi\n"
}

// systemdTriggers are those of Fedora's systemd.
var systemdTriggers = []Trigger{
	{Kind: "transfiletriggerin", Priority: 900900, On: OnFiles("/usr/lib/systemd/system", "/etc/systemd/system"),
		Script: Script{Body: "if test -d /run/systemd/system; then systemctl daemon-reload || :; fi\n"}},
	{Kind: "transfiletriggerin", Priority: 1000700, On: OnFiles("/usr/lib/sysusers.d"), Script: Script{Body: "systemd-sysusers || :\n"}},
	{Kind: "transfiletriggerin", Priority: 1000500, On: OnFiles("/usr/lib/tmpfiles.d"), Script: Script{Body: "systemd-tmpfiles --create || :\n"}},
	{Kind: "transfiletriggerin", Priority: 1000400, On: OnFiles("/usr/lib/systemd/catalog"), Script: Script{Body: "journalctl --update-catalog || :\n"}},
}

// depmodScript reads from standard input the files that caused it to run.
const depmodScript = `while read -r file; do
  version=${file#/usr/lib/modules/}
  version=${version%%/*}
  [ -n "$version" ] && echo "$version"
done | sort -u | while read -r version; do
  [ -d "/usr/lib/modules/$version/kernel" ] && depmod "$version"
done
:
`

// dracutInstall is called with "add VERSION DIRECTORY IMAGE".
const dracutInstall = `#!/bin/sh
[ "$1" = add ] || exit 0
exec dracut --force --no-hostonly --kver "$2" "/boot/initramfs-$2.img"
`

// dracutConfig makes an initramfs that is small and quick to load in an emulator.
const dracutConfig = `compress="zstd"
omit_dracutmodules+=" crypt dm lunmask nvdimm qemu resume "
`

// grubInstall puts kernels where GRUB is told that they are.
const grubInstall = `#!/bin/sh
case $1 in
add) cp --force "$4" "/boot/vmlinuz-$2" ;;
remove) rm -f "/boot/vmlinuz-$2" "/boot/initramfs-$2.img" ;;
esac
`

// editenvWrapper has the default file that grub2-editenv has elsewhere.
const editenvWrapper = `#!/bin/sh
case ${1-} in
list | set | unset | create | -) set -- /boot/grub2/grubenv "$@" ;;
esac
if [ "${2-}" = - ]; then
  file=$1
  shift 2
  set -- "$file" "$@"
fi
exec /usr/libexec/grub2/grub-editenv "$@"
`

const rpmMacros = `%_dbpath /var/lib/rpm
%_db_backend sqlite
`

const osRelease = `NAME="RPM Test Linux"
ID=rpmtest
VERSION_ID=1
PRETTY_NAME="RPM Test Linux 1"
PLATFORM_ID="platform:rpmtest1"
`

const nsswitch = `passwd: files
group: files
shadow: files
gshadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
`

const sshdConfig = `Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
`

// pamConfig is what the donor's services include.
var pamConfig = map[string]string{
	"common-auth": `auth [success=1 default=ignore] pam_unix.so nullok
auth requisite pam_deny.so
auth required pam_permit.so
`,
	"common-account": `account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so
account requisite pam_deny.so
account required pam_permit.so
`,
	"common-password": `password [success=1 default=ignore] pam_unix.so obscure yescrypt
password requisite pam_deny.so
password required pam_permit.so
`,
	"common-session": `session [default=1] pam_permit.so
session requisite pam_deny.so
session required pam_permit.so
session required pam_unix.so
session optional pam_systemd.so
`,
	"common-session-noninteractive": `session [default=1] pam_permit.so
session requisite pam_deny.so
session required pam_permit.so
session required pam_unix.so
`,
	"other": `@include common-auth
@include common-account
@include common-password
@include common-session
`,
}

// setupFiles are the accounts and names every system begins with.
var setupFiles = map[string]string{
	"/etc/passwd": `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`,
	"/etc/group": `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
sudo:x:27:
audio:x:29:
shadow:x:42:
utmp:x:43:
video:x:44:
staff:x:50:
games:x:60:
users:x:100:
input:x:101:
kvm:x:102:
render:x:103:
sgx:x:104:
nogroup:x:65534:
`,
	"/etc/shadow": `root:*:19700:0:99999:7:::
daemon:*:19700:0:99999:7:::
bin:*:19700:0:99999:7:::
mail:*:19700:0:99999:7:::
nobody:*:19700:0:99999:7:::
`,
	"/etc/gshadow": `root:*::
daemon:*::
bin:*::
sys:*::
adm:*::
tty:*::
disk:*::
lp:*::
mail:*::
kmem:*::
dialout:*::
cdrom:*::
sudo:*::
audio:*::
shadow:*::
utmp:*::
video:*::
staff:*::
games:*::
users:*::
input:*::
kvm:*::
render:*::
sgx:*::
nogroup:*::
`,
	"/etc/shells":    "/usr/bin/sh\n",
	"/etc/hosts":     "127.0.0.1 localhost\n::1 localhost\n",
	"/etc/host.conf": "multi on\n",
	"/etc/motd":      "",
	"/etc/issue":     "RPM Test Linux 1 \\n \\l\n\n",
	"/etc/subuid":    "",
	"/etc/subgid":    "",
	"/etc/profile": `PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
export PATH
for file in /etc/profile.d/*.sh; do
  [ -r "$file" ] && . "$file"
done
unset file
`,
}
