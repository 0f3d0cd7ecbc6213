# The baseline of a container host: what costs no function there. Where hardening guides ask for more than containers, kubelet and
# network plugins bear, it is left out, and a comment says why. The format is described in doc.go.
profile "baseline" {
  title = "Container host"

  # Kernel parameters. Left alone on purpose, because container networks, kubelet or tools of a container host need
  # them otherwise: net.*.ip_forward and forwarding, rp_filter (overlay networks answer on other interfaces than they
  # are asked on), log_martians, accept_ra, net.bridge.*, user.max_user_namespaces, kernel.kexec_load_disabled (kdump),
  # kernel.modules_disabled.

  rule "sysctl-kptr-restrict" {
    title      = "Kernel addresses are hidden from users"
    reason     = "An address of the kernel is what an exploit of a memory error in it needs first."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.kptr_restrict"
    value      = "1"
    accept     = ["2"]
  }

  rule "sysctl-dmesg-restrict" {
    title      = "Only administrators read the kernel's log"
    reason     = "The log shows addresses and hardware details to every process, also to those in containers."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.dmesg_restrict"
    value      = "1"
  }

  rule "sysctl-unprivileged-bpf" {
    title      = "Users cannot load BPF programs"
    reason     = "The verifier of BPF programs has had many privilege escalations. Network plugins load theirs as root, which stays possible."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.unprivileged_bpf_disabled"
    value      = "1"
    accept     = ["2"]
  }

  rule "sysctl-bpf-jit-harden" {
    title      = "BPF programs of users are compiled hardened"
    reason     = "It keeps users from spraying code into the kernel by constants. Level 2 would slow down network plugins that are BPF programs."
    severity   = "low"
    references = ["kernel documentation, admin-guide/sysctl/net"]
    kind       = "sysctl"
    key        = "net.core.bpf_jit_harden"
    value      = "1"
    accept     = ["2"]
  }

  rule "sysctl-ptrace-scope" {
    title      = "Processes cannot be traced by others of the same user"
    reason     = "A compromised process could read keys and passwords out of every other one of the same user."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R11", "kernel documentation, admin-guide/LSM/Yama"]
    kind       = "sysctl"
    key        = "kernel.yama.ptrace_scope"
    value      = "1"
    accept     = ["2", "3"]
  }

  rule "sysctl-randomize-va-space" {
    title      = "Address spaces are randomized"
    reason     = "Exploits of memory errors have to guess where code and data lie."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.randomize_va_space"
    value      = "2"
  }

  rule "sysctl-perf-event-paranoid" {
    title      = "Users cannot profile the kernel"
    reason     = "Performance events are a large attack surface and a side channel."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.perf_event_paranoid"
    value      = "2"
    compare    = "at-least"
  }

  rule "sysctl-sysrq" {
    title      = "The keyboard cannot command the kernel"
    reason     = "Whoever reaches a keyboard or a serial console could kill processes or restart the host without logging in. 16, which syncs file systems only, passes too."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysrq"]
    kind       = "sysctl"
    key        = "kernel.sysrq"
    value      = "0"
    accept     = ["16"]
  }

  rule "sysctl-ldisc-autoload" {
    title      = "Users cannot load terminal line disciplines"
    reason     = "Rarely used drivers with a history of errors would be loaded for any user who asks."
    severity   = "low"
    references = ["kernel documentation, dev.tty.ldisc_autoload in drivers/tty/Kconfig"]
    kind       = "sysctl"
    key        = "dev.tty.ldisc_autoload"
    value      = "0"
  }

  rule "sysctl-userfaultfd" {
    title      = "Users cannot handle page faults of the kernel"
    reason     = "Handling its own page faults lets an exploit stop the kernel wherever it reads user memory, which makes races easy to win."
    severity   = "low"
    references = ["kernel documentation, admin-guide/sysctl/vm"]
    kind       = "sysctl"
    key        = "vm.unprivileged_userfaultfd"
    value      = "0"
  }

  rule "sysctl-mmap-min-addr" {
    title      = "The lowest pages cannot be mapped"
    reason     = "A null pointer in the kernel would become a pointer to data of the attacker."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/vm"]
    kind       = "sysctl"
    key        = "vm.mmap_min_addr"
    value      = "65536"
    compare    = "at-least"
  }

  rule "sysctl-panic-on-oops" {
    title      = "The kernel stops when it is damaged"
    reason     = "After an oops the kernel goes on in a state nobody knows; kubelet expects this value as well (protectKernelDefaults)."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R9", "kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.panic_on_oops"
    value      = "1"
  }

  rule "sysctl-panic" {
    title      = "A stopped kernel restarts by itself"
    reason     = "Without it a panic leaves the host standing until somebody comes; kubelet expects this value (protectKernelDefaults)."
    severity   = "low"
    references = ["kernel documentation, admin-guide/sysctl/kernel"]
    kind       = "sysctl"
    key        = "kernel.panic"
    value      = "10"
  }

  rule "sysctl-suid-dumpable" {
    title      = "Programs with set-user-ID leave no core dumps"
    reason     = "A dump of such a program has what only root may read."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R14", "kernel documentation, admin-guide/sysctl/fs"]
    kind       = "sysctl"
    key        = "fs.suid_dumpable"
    value      = "0"
  }

  rule "sysctl-protected-symlinks" {
    title      = "Links in shared directories are not followed"
    reason     = "The usual attack on careless use of /tmp is a link somebody else has put there."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R14", "kernel documentation, admin-guide/sysctl/fs"]
    kind       = "sysctl"
    key        = "fs.protected_symlinks"
    value      = "1"
  }

  rule "sysctl-protected-hardlinks" {
    title      = "Users cannot link files they cannot write"
    reason     = "A link keeps a vulnerable set-user-ID program alive after its update, and lures scripts of root."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R14", "kernel documentation, admin-guide/sysctl/fs"]
    kind       = "sysctl"
    key        = "fs.protected_hardlinks"
    value      = "1"
  }

  rule "sysctl-protected-fifos" {
    title      = "FIFOs of others in shared directories are not opened"
    reason     = "A program that means to create a file would write into the hands of somebody else."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R14", "kernel documentation, admin-guide/sysctl/fs"]
    kind       = "sysctl"
    key        = "fs.protected_fifos"
    value      = "1"
    compare    = "at-least"
  }

  rule "sysctl-protected-regular" {
    title      = "Files of others in shared directories are not opened for creation"
    reason     = "A program that means to create a file would write into one that somebody else owns."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R14", "kernel documentation, admin-guide/sysctl/fs"]
    kind       = "sysctl"
    key        = "fs.protected_regular"
    value      = "2"
    accept     = ["1"]
  }

  rule "sysctl-syncookies" {
    title      = "Floods of connection requests are answered with cookies"
    reason     = "Half-open connections would fill the queue of a service and keep others out."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.tcp_syncookies"
    value      = "1"
    accept     = ["2"]
  }

  rule "sysctl-rfc1337" {
    title      = "Closing connections ignore resets"
    reason     = "RFC 1337 describes how late resets end connections they do not belong to."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.tcp_rfc1337"
    value      = "1"
  }

  rule "sysctl-icmp-broadcasts" {
    title      = "Echo requests to broadcast addresses are not answered"
    reason     = "Answering makes the host a part of amplification attacks."
    severity   = "low"
    references = ["kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.icmp_echo_ignore_broadcasts"
    value      = "1"
  }

  rule "sysctl-icmp-bogus" {
    title      = "Wrong ICMP errors are not logged"
    reason     = "Broken routers could fill the log."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.icmp_ignore_bogus_error_responses"
    value      = "1"
  }

  rule "sysctl-ipv4-redirects-all" {
    title      = "IPv4 redirects are not accepted on every interface"
    reason     = "Anybody on the same network could send the host's traffic through their own machine."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.all.accept_redirects"
    value      = "0"
  }

  rule "sysctl-ipv4-source-route-all" {
    title      = "IPv4 source routes are not accepted on every interface"
    reason     = "The sender would choose the way of packets, past firewalls."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.all.accept_source_route"
    value      = "0"
  }

  rule "sysctl-ipv4-redirects-default" {
    title      = "IPv4 redirects are not accepted on interfaces to come"
    reason     = "Anybody on the same network could send the host's traffic through their own machine."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.default.accept_redirects"
    value      = "0"
  }

  rule "sysctl-ipv4-source-route-default" {
    title      = "IPv4 source routes are not accepted on interfaces to come"
    reason     = "The sender would choose the way of packets, past firewalls."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.default.accept_source_route"
    value      = "0"
  }

  rule "sysctl-ipv6-redirects-all" {
    title      = "IPv6 redirects are not accepted on every interface"
    reason     = "Anybody on the same network could send the host's traffic through their own machine."
    severity   = "medium"
    references = ["kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv6.conf.all.accept_redirects"
    value      = "0"
  }

  rule "sysctl-ipv6-source-route-all" {
    title      = "IPv6 source routes are not accepted on every interface"
    reason     = "The sender would choose the way of packets, past firewalls."
    severity   = "medium"
    references = ["kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv6.conf.all.accept_source_route"
    value      = "0"
  }

  rule "sysctl-ipv6-redirects-default" {
    title      = "IPv6 redirects are not accepted on interfaces to come"
    reason     = "Anybody on the same network could send the host's traffic through their own machine."
    severity   = "medium"
    references = ["kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv6.conf.default.accept_redirects"
    value      = "0"
  }

  rule "sysctl-ipv6-source-route-default" {
    title      = "IPv6 source routes are not accepted on interfaces to come"
    reason     = "The sender would choose the way of packets, past firewalls."
    severity   = "medium"
    references = ["kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv6.conf.default.accept_source_route"
    value      = "0"
  }

  rule "sysctl-ipv4-secure-redirects-all" {
    title      = "IPv4 redirects of gateways are not accepted on every interface"
    reason     = "A gateway's address is easily forged on the same network."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.all.secure_redirects"
    value      = "0"
  }

  rule "sysctl-ipv4-send-redirects-all" {
    title      = "IPv4 redirects are not sent on every interface"
    reason     = "The host forwards for its containers, but is no router for its neighbours."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.all.send_redirects"
    value      = "0"
  }

  rule "sysctl-ipv4-secure-redirects-default" {
    title      = "IPv4 redirects of gateways are not accepted on interfaces to come"
    reason     = "A gateway's address is easily forged on the same network."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.default.secure_redirects"
    value      = "0"
  }

  rule "sysctl-ipv4-send-redirects-default" {
    title      = "IPv4 redirects are not sent on interfaces to come"
    reason     = "The host forwards for its containers, but is no router for its neighbours."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R12", "kernel documentation, networking/ip-sysctl"]
    kind       = "sysctl"
    key        = "net.ipv4.conf.default.send_redirects"
    value      = "0"
  }

  # The SSH server. Only keywords that every sshd since OpenSSH 8.2 knows: one it does not know keeps it from starting.

  rule "sshd-root-login" {
    title      = "root cannot log in with a password"
    reason     = "The name of this account is known, so its password is what gets guessed. A key passes; \"no\" is stricter."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "PermitRootLogin"
    value      = "prohibit-password"
    accept     = ["no", "forced-commands-only"]
    default    = "prohibit-password"
  }

  rule "sshd-passwords" {
    title      = "Users log in with keys"
    reason     = "Every host of a fleet has the passwords of its image, and they are guessed all day on every reachable host."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "PasswordAuthentication"
    value      = "no"
    default    = "yes"
  }

  rule "sshd-keyboard-interactive" {
    title      = "Passwords cannot be asked for by PAM"
    reason     = "Keyboard-interactive authentication is password authentication by another name. The old name of KbdInteractiveAuthentication is used because OpenSSH before 8.7 needs it."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "ChallengeResponseAuthentication"
    value      = "no"
    default    = "yes"
  }

  rule "sshd-empty-passwords" {
    title      = "Accounts with empty passwords cannot log in"
    reason     = "Such an account is open to the network."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "PermitEmptyPasswords"
    value      = "no"
    default    = "no"
  }

  rule "sshd-hostbased" {
    title      = "Hosts do not vouch for users"
    reason     = "One compromised host would open all that trust it."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "HostbasedAuthentication"
    value      = "no"
    default    = "no"
  }

  rule "sshd-rhosts" {
    title      = "Files of users name no trusted hosts"
    reason     = "A user could let everybody in."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "IgnoreRhosts"
    value      = "yes"
    default    = "yes"
  }

  rule "sshd-user-environment" {
    title      = "Users set no environment for the server"
    reason     = "LD_PRELOAD and the like get around forced commands."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "PermitUserEnvironment"
    value      = "no"
    default    = "no"
  }

  rule "sshd-strict-modes" {
    title      = "Key files that others can write are refused"
    reason     = "Whoever can write authorized_keys can log in as its owner."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "StrictModes"
    value      = "yes"
    default    = "yes"
  }

  rule "sshd-x11" {
    title      = "X11 is not forwarded"
    reason     = "A container host shows no windows, and the server of the display could be attacked through it."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "X11Forwarding"
    value      = "no"
    default    = "no"
  }

  rule "sshd-max-auth-tries" {
    title      = "Connections end after a few failed logins"
    reason     = "Guessing gets slower and shows in the log."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "MaxAuthTries"
    value      = "4"
    compare    = "at-most"
    default    = "6"
  }

  rule "sshd-login-grace-time" {
    title      = "Connections that do not log in end soon"
    reason     = "Unauthenticated connections take up the few places the server has for them."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "LoginGraceTime"
    value      = "60"
    compare    = "at-most"
    default    = "120"
  }

  rule "sshd-log-level" {
    title      = "Logins are logged"
    reason     = "Without it nobody can say who was there."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "sshd"
    when       = ["/usr/sbin/sshd"]
    key        = "LogLevel"
    value      = "INFO"
    accept     = ["VERBOSE"]
    default    = "INFO"
  }

  # Accounts and passwords.

  rule "empty-passwords" {
    title      = "No account has an empty password"
    reason     = "Whoever knows the name is in."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, User Accounts and Environment"]
    kind       = "empty-passwords"
  }

  rule "root-password" {
    title    = "root has no password"
    reason   = "It would be the same on every host made from the image, and can be guessed from the hash by whoever reads the image."
    severity = "medium"
    kind     = "root-password"
    remedy   = "leave out password_hash of the user root, and log in as another user or with a key"
  }

  rule "password-hashes" {
    title      = "Passwords are hashed with a slow method"
    reason     = "Hashes of DES, MD5 and SHA-256 are reversed for common passwords within hours."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R68"]
    kind       = "password-hash"
    value      = "y gy 7 6 2a 2b 2y"
    remedy     = "make a new hash, with: openssl passwd -6"
  }

  rule "login-encrypt-method" {
    title      = "New passwords are hashed with a slow method"
    reason     = "passwd and chpasswd use the method of login.defs where PAM does not say otherwise."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R68"]
    kind       = "login-defs"
    when       = ["/etc/login.defs"]
    key        = "ENCRYPT_METHOD"
    value      = "SHA512"
    accept     = ["YESCRYPT", "BCRYPT"]
  }

  rule "login-umask" {
    title      = "Files of users cannot be read by others"
    reason     = "What users create is nobody else's unless they say so."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R36"]
    kind       = "login-defs"
    when       = ["/etc/login.defs"]
    key        = "UMASK"
    value      = "027"
    accept     = ["077", "0027", "0077"]
  }

  rule "system-shells" {
    title      = "System accounts cannot log in"
    reason     = "They exist to own processes and files; a shell makes them of use to an attacker."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R34"]
    kind       = "system-shells"
    value      = "root sync shutdown halt"
  }

  rule "unique-ids" {
    title      = "Names and numbers of accounts are unique"
    reason     = "Two names of one number are the same user with two passwords; a second 0 is a hidden root."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, Local User and Group Settings"]
    kind       = "unique-ids"
    remedy     = "correct the accounts in the recipe or in the package that makes them"
  }

  rule "homes" {
    title      = "Home directories are closed to others"
    reason     = "They hold keys, histories and tokens."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Local User and Group Settings"]
    kind       = "homes"
    value      = "0750"
  }

  rule "root-home" {
    title    = "The home directory of root is closed to others"
    reason   = "It holds keys, histories and tokens."
    severity = "medium"
    kind     = "permissions"
    value    = "0750"
    paths    = ["/root"]
    owners   = ["root"]
    groups   = ["root"]
  }

  # Permissions of files. Groups are those of the families: Debian's shadow, and ssh_keys of RHEL and its relatives.

  rule "permissions-passwd" {
    title      = "Everybody reads the accounts, only root changes them"
    reason     = "Writing them is being root."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, System File Permissions"]
    kind       = "permissions"
    value      = "0644"
    paths      = ["/etc/passwd", "/etc/passwd-", "/etc/group", "/etc/group-"]
    owners     = ["root"]
    groups     = ["root"]
  }

  rule "permissions-shadow" {
    title      = "Password hashes are readable by root alone"
    reason     = "A hash can be tried at home, as fast as computers allow."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, System File Permissions", "ANSSI-BP-028 2.0, R50"]
    kind       = "permissions"
    value      = "0640"
    paths      = ["/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-"]
    owners     = ["root"]
    groups     = ["root", "shadow"]
  }

  rule "permissions-sudoers" {
    title      = "Rules of sudo are readable and changed by root alone"
    reason     = "They say which account is worth attacking; writing them is being root."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R50"]
    kind       = "permissions"
    value      = "0440"
    paths      = ["/etc/sudoers", "/etc/sudoers.d/*"]
    owners     = ["root"]
    groups     = ["root"]
  }

  rule "permissions-sudoers-dir" {
    title      = "Only root adds rules of sudo"
    reason     = "A file in this directory makes its writer root."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R50"]
    kind       = "permissions"
    value      = "0755"
    paths      = ["/etc/sudoers.d"]
    owners     = ["root"]
    groups     = ["root"]
  }

  rule "permissions-sshd-config" {
    title      = "The configuration of sshd is readable by root alone"
    reason     = "It names who may log in and how."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "permissions"
    value      = "0600"
    paths      = ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/*"]
    owners     = ["root"]
    groups     = ["root"]
  }

  rule "permissions-ssh-host-keys" {
    title      = "Private host keys are readable by root alone"
    reason     = "With the key another machine can pretend to be this one."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, Configure SSH Server"]
    kind       = "permissions"
    value      = "0640"
    paths      = ["/etc/ssh/ssh_host_*_key"]
    owners     = ["root"]
    groups     = ["root", "ssh_keys"]
  }

  # Readable grub.cfg is no failure: without a password in it nothing is secret, and with one imagefactory writes it for root
  # alone.
  rule "permissions-boot-loader" {
    title      = "Only root changes the boot loader's configuration"
    reason     = "Whoever can write it decides which kernel starts, with which parameters: init=/bin/sh is root."
    severity   = "high"
    references = ["CIS Debian Linux 12 Benchmark, Configure Bootloader", "ANSSI-BP-028 2.0, R29"]
    kind       = "permissions"
    value      = "0644"
    paths = [
      "/boot/grub/grub.cfg",
      "/boot/grub/grubenv",
      "/boot/grub2/grub.cfg",
      "/boot/grub2/grubenv",
      "/boot/efi/EFI/*/grub.cfg",
      "/boot/loader/entries/*.conf",
    ]
    owners = ["root"]
    groups = ["root"]
  }

  rule "permissions-boot-password" {
    title      = "The boot loader's password is readable by root alone"
    reason     = "Its hash can be tried at home, as fast as computers allow."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure Bootloader", "ANSSI-BP-028 2.0, R29"]
    kind       = "permissions"
    value      = "0600"
    paths      = ["/boot/grub/user.cfg", "/boot/grub2/user.cfg", "/boot/efi/EFI/*/user.cfg"]
    owners     = ["root"]
    groups     = ["root"]
  }

  rule "permissions-cron" {
    title      = "Jobs of cron are readable and changed by root alone"
    reason     = "They run as root, and may hold passwords."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Job Schedulers"]
    kind       = "permissions"
    value      = "0700"
    paths = [
      "/etc/crontab",
      "/etc/cron.hourly",
      "/etc/cron.daily",
      "/etc/cron.weekly",
      "/etc/cron.monthly",
      "/etc/cron.yearly",
      "/etc/cron.d",
    ]
    owners = ["root"]
    groups = ["root"]
  }

  rule "permissions-logs" {
    title      = "Logs are closed to others"
    reason     = "They hold addresses, names and now and then passwords typed in the wrong place. wtmp and lastlog, which everybody's tools read, are left out."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Configure Logging"]
    kind       = "permissions"
    value      = "2750"
    paths      = ["/var/log/**"]
    except = [
      "/var/log",
      "/var/log/wtmp",
      "/var/log/btmp",
      "/var/log/lastlog",
      "/var/log/faillog",
      "/var/log/journal",
      "/var/log/README",
    ]
  }

  rule "permissions-private-ssl" {
    title      = "Private keys of services are closed to others"
    reason     = "With the key another machine can pretend to be this one."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R50"]
    kind       = "permissions"
    value      = "0750"
    paths      = ["/etc/ssl/private", "/etc/ssl/private/**", "/etc/pki/tls/private/**"]
    owners     = ["root"]
    groups     = ["root", "ssl-cert"]
  }

  rule "world-writable" {
    title      = "Nothing can be written by everybody"
    reason     = "Anybody could change what others use. Shared directories have the sticky bit, so that users cannot remove each other's files."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R54"]
    kind       = "world-writable"
  }

  rule "unowned" {
    title      = "All files belong to accounts that exist"
    reason     = "The next account that gets the number owns them."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R53"]
    kind       = "unowned"
    remedy     = "make the account in the recipe, or give the files to one that exists"
  }

  rule "setuid" {
    title      = "Only known programs run with the rights of their owner"
    reason     = "Every such program is a way to root for whoever finds an error in it. A recipe adds its own: set = { setuid = \"/usr/bin/mine\" }."
    severity   = "high"
    references = ["ANSSI-BP-028 2.0, R56"]
    kind       = "setuid"
    paths = [
      "/usr/bin/at",
      "/usr/bin/bsd-write",
      "/usr/bin/chage",
      "/usr/bin/chfn",
      "/usr/bin/chsh",
      "/usr/bin/crontab",
      "/usr/bin/doas",
      "/usr/bin/dotlockfile",
      "/usr/bin/expiry",
      "/usr/bin/fusermount",
      "/usr/bin/fusermount3",
      "/usr/bin/gpasswd",
      "/usr/bin/locate",
      "/usr/bin/mlocate",
      "/usr/bin/plocate",
      "/usr/bin/mount",
      "/usr/bin/newgidmap",
      "/usr/bin/newgrp",
      "/usr/bin/newuidmap",
      "/usr/bin/passwd",
      "/usr/bin/ping",
      "/usr/bin/pkexec",
      "/usr/bin/ssh-agent",
      "/usr/bin/staprun",
      "/usr/bin/su",
      "/usr/bin/sudo",
      "/usr/bin/sudoedit",
      "/usr/bin/umount",
      "/usr/bin/wall",
      "/usr/bin/write",
      "/usr/bin/write.ul",
      "/usr/sbin/grub2-set-bootflag",
      "/usr/sbin/mount.nfs",
      "/usr/sbin/mount.cifs",
      "/usr/sbin/pam_timestamp_check",
      "/usr/sbin/unix_chkpwd",
      "/usr/sbin/pam_extrausers_chkpwd",
      "/usr/sbin/lockdev",
      "/usr/sbin/postdrop",
      "/usr/sbin/postqueue",
      "/usr/sbin/sudo",
      "/usr/sbin/userhelper",
      "/usr/sbin/usernetctl",
      "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
      "/usr/lib/openssh/ssh-keysign",
      "/usr/lib/polkit-1/polkit-agent-helper-1",
      "/usr/lib/snapd/snap-confine",
      "/usr/lib/utempter/utempter",
      "/usr/lib/x86_64-linux-gnu/utempter/utempter",
      "/usr/lib/aarch64-linux-gnu/utempter/utempter",
      "/usr/libexec/cockpit-session",
      "/usr/libexec/dbus-1/dbus-daemon-launch-helper",
      "/usr/libexec/openssh/ssh-keysign",
      "/usr/libexec/polkit-agent-helper-1",
      "/usr/libexec/sssd/krb5_child",
      "/usr/libexec/sssd/ldap_child",
      "/usr/libexec/sssd/proxy_child",
      "/usr/libexec/sssd/selinux_child",
      "/usr/libexec/sssd/p11_child",
      "/usr/libexec/utempter/utempter",
    ]
  }

  rule "cron-allow" {
    title      = "Only root plans jobs with cron"
    reason     = "A job outlives the login, and the account it belongs to."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Job Schedulers"]
    kind       = "allow"
    when       = ["/usr/bin/crontab"]
    value      = "root"
    paths      = ["/etc/cron.allow"]
  }

  rule "at-allow" {
    title      = "Only root plans jobs with at"
    reason     = "A job outlives the login, and the account it belongs to."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Job Schedulers"]
    kind       = "allow"
    when       = ["/usr/bin/at"]
    value      = "root"
    paths      = ["/etc/at.allow"]
  }

  # Mounts. /tmp, /var/tmp and /home may hold programs (build tools and installers put them there), so noexec is not asked
  # for. /var and /var/lib are left alone: containers' file systems, volumes and devices lie there.

  rule "mount-dev-shm" {
    title      = "Shared memory holds no programs"
    reason     = "Everybody can write there, so it is where attackers put their tools. Containers have a /dev/shm of their own."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    when       = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]
    key        = "/dev/shm"
    value      = "nosuid nodev noexec"
    default    = "tmpfs"
  }

  rule "mount-tmp" {
    title      = "/tmp holds no devices and no set-user-ID programs"
    reason     = "Everybody can write there."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    key        = "/tmp"
    value      = "nosuid nodev"
  }

  rule "mount-var-tmp" {
    title      = "/var/tmp holds no devices and no set-user-ID programs"
    reason     = "Everybody can write there."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    key        = "/var/tmp"
    value      = "nosuid nodev"
  }

  rule "mount-var-log" {
    title      = "Logs hold no devices and no programs"
    reason     = "What services write for others to read is nothing to execute."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    key        = "/var/log"
    value      = "nosuid nodev noexec"
  }

  rule "mount-home" {
    title      = "Home directories hold no devices and no set-user-ID programs"
    reason     = "Users have no use for them."
    severity   = "medium"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    key        = "/home"
    value      = "nosuid nodev"
  }

  rule "mount-boot" {
    title      = "/boot holds no devices and no programs"
    reason     = "The boot loader reads it; nothing there is executed."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    key        = "/boot"
    value      = "nosuid nodev noexec"
  }

  rule "mount-boot-efi" {
    title      = "The EFI partition holds no devices and no programs for Linux"
    reason     = "FAT has no permissions: what is mounted without these options can be executed by everybody."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R28"]
    kind       = "mount"
    key        = "/boot/efi"
    value      = "nosuid nodev noexec"
  }

  # Core dumps hold what processes had in memory: keys, passwords, data of customers.

  rule "coredump-storage" {
    title      = "systemd keeps no core dumps"
    reason     = "A dump has the keys and passwords the process had in memory, and stays on the disk."
    severity   = "low"
    references = ["coredump.conf(5)"]
    kind       = "systemd-conf"
    when       = ["/usr/lib/systemd/systemd-coredump"]
    key        = "coredump.conf/Coredump/Storage"
    value      = "none"
  }

  rule "coredump-size" {
    title      = "systemd does not look into core dumps"
    reason     = "Backtraces of large processes take long and end in the log."
    severity   = "low"
    references = ["coredump.conf(5)"]
    kind       = "systemd-conf"
    when       = ["/usr/lib/systemd/systemd-coredump"]
    key        = "coredump.conf/Coredump/ProcessSizeMax"
    value      = "0"
  }

  rule "coredump-limit" {
    title      = "Sessions leave no core dumps"
    reason     = "A dump has the keys and passwords the process had in memory, and stays on the disk."
    severity   = "low"
    references = ["limits.conf(5)"]
    kind       = "limits"
    when = [
      "/etc/security/limits.conf",
      "/etc/security/limits.d",
      "/usr/lib/*/security/pam_limits.so",
      "/usr/lib64/security/pam_limits.so",
    ]
    key   = "*/hard/core"
    value = "0"
  }

  # Ways around the login that systemd offers.

  rule "debug-shell" {
    title      = "No shell of root waits on a console"
    reason     = "With this unit, which a word on the kernel's command line starts too, a terminal is root without a password."
    severity   = "high"
    references = ["systemd-debug-generator(8)"]
    kind       = "unit"
    key        = "debug-shell.service"
    value      = "masked"
  }

  rule "ctrl-alt-del" {
    title      = "Ctrl+Alt+Del does not restart the host"
    reason     = "A keyboard at the wrong screen would stop every container. Power buttons work as before."
    severity   = "low"
    references = ["systemd.special(7)"]
    kind       = "unit"
    key        = "ctrl-alt-del.target"
    value      = "masked"
  }

  rule "ctrl-alt-del-burst" {
    title      = "Repeated Ctrl+Alt+Del does not restart the host"
    reason     = "Pressed seven times in two seconds it restarts at once, also where the target is masked."
    severity   = "low"
    references = ["systemd-system.conf(5)"]
    kind       = "systemd-conf"
    when       = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]
    key        = "system.conf/Manager/CtrlAltDelBurstAction"
    value      = "none"
  }

  # Drivers nobody needs here. sctp stays: network plugins and Kubernetes' services of the protocol SCTP use it. squashfs and
  # udf stay as well: images of clouds and snaps are of these.

  rule "modules-network" {
    title      = "Rare network protocols cannot be loaded"
    reason     = "The kernel loads a protocol for any user who opens a socket of it, and errors in the rarely used ones were ways to root."
    severity   = "medium"
    references = ["CIS Debian Linux 12 Benchmark, Configure Network Kernel Modules"]
    kind       = "modules"
    value      = "dccp dccp_ipv4 dccp_ipv6 rds tipc ax25 netrom rose x25 appletalk phonet ieee802154 atm"
  }

  rule "modules-filesystems" {
    title      = "Rare file systems cannot be loaded"
    reason     = "A prepared medium can attack the kernel through drivers that hardly anybody maintains."
    severity   = "low"
    references = ["CIS Debian Linux 12 Benchmark, Configure Filesystem Kernel Modules"]
    kind       = "modules"
    value      = "cramfs freevxfs hfs hfsplus jffs2"
  }

  # What belongs to one machine, and secrets that would be the same on all.

  rule "machine-id" {
    title      = "The image has no machine id"
    reason     = "Machines with the same id get the same addresses from DHCP and overwrite each other's logs."
    severity   = "high"
    references = ["machine-id(5)"]
    kind       = "machine-id"
  }

  rule "ssh-host-keys" {
    title    = "The image has no SSH host keys"
    reason   = "Whoever has the image could pretend to be any of its machines."
    severity = "high"
    kind     = "absent"
    value    = "remove"
    paths    = ["/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub"]
  }

  rule "random-seed" {
    title    = "The image has no saved random numbers"
    reason   = "Machines that start from the same seed may make the same keys."
    severity = "medium"
    kind     = "absent"
    value    = "remove"
    paths = [
      "/var/lib/systemd/random-seed",
      "/var/lib/urandom/random-seed",
      "/var/lib/systemd/credential.secret",
      "/var/lib/NetworkManager/secret_key",
    ]
  }

  rule "histories" {
    title    = "The image has no histories of shells"
    reason   = "They have what was typed while it was made, passwords among it."
    severity = "medium"
    kind     = "absent"
    value    = "remove"
    paths = [
      "/root/.bash_history",
      "/root/.zsh_history",
      "/root/.python_history",
      "/root/.mysql_history",
      "/root/.psql_history",
      "/home/*/.bash_history",
      "/home/*/.zsh_history",
      "/home/*/.python_history",
    ]
  }

  rule "rhosts" {
    title    = "No files name trusted hosts"
    reason   = "Programs that still read them let those hosts in without a password."
    severity = "medium"
    kind     = "absent"
    value    = "remove"
    paths = [
      "/etc/hosts.equiv",
      "/etc/ssh/shosts.equiv",
      "/root/.rhosts",
      "/root/.shosts",
      "/home/*/.rhosts",
      "/home/*/.shosts",
    ]
  }

  rule "credentials" {
    title    = "The image has no credentials of services"
    reason   = "Everybody who can read the image, and every machine made from it, has them."
    severity = "high"
    kind     = "absent"
    value    = "report"
    paths = [
      "/root/.docker/config.json",
      "/home/*/.docker/config.json",
      "/var/lib/kubelet/config.json",
      "/root/.kube/config",
      "/home/*/.kube/config",
      "/etc/kubernetes/*.conf",
      "/root/.aws/credentials",
      "/home/*/.aws/credentials",
      "/root/.config/gcloud/**",
      "/root/.azure/**",
      "/root/.netrc",
      "/home/*/.netrc",
      "/root/.git-credentials",
      "/home/*/.git-credentials",
      "/root/.pgpass",
      "/home/*/.pgpass",
      "/root/.vault-token",
      "/home/*/.vault-token",
    ]
    remedy = "leave the file out of the image and give it to machines when they are set up; skip this rule where it is meant for every machine"
  }

  rule "private-keys" {
    title    = "The image has no private keys"
    reason   = "Everybody who can read the image, and every machine made from it, has the key."
    severity = "high"
    kind     = "private-keys"
    except = [
      "/usr/share/doc/**",
      "/usr/share/perl/**",
      "/usr/lib/python3*/test/**",
      "/usr/lib64/python3*/test/**",
    ]
    remedy = "leave the key out of the image and give it to machines when they are set up, or make it at the first boot"
  }

  rule "weak-keys" {
    title    = "SSH keys are strong"
    reason   = "DSA keys and short RSA keys can be computed from their public halves."
    severity = "high"
    kind     = "weak-keys"
    value    = "2048"
    remedy   = "replace the key, with: ssh-keygen -t ed25519"
  }

  rule "known-keys" {
    title      = "No published key opens the image"
    reason     = "The private half of these keys is on the Internet: Vagrant's insecure keys are meant for virtual machines on one's own computer."
    severity   = "high"
    references = ["Vagrant's documentation, keys/README.md"]
    kind       = "known-keys"
    value      = "SHA256:1M4RzhMyWuFS/86uPY/ce2prh/dVTHW7iD2RhpquOZA SHA256:WkvqjnyPAeC0cbPErYiGP9vqHdgL1MqqvPdIe3lvHgI"
    remedy     = "remove the key from ssh_authorized_keys, or from the image the root comes from"
  }

  # The kernel's command line is the boot loader's: these are looked at where a scan knows it, and written in the recipe as
  # boot { cmdline = […] }.

  rule "cmdline-slab-nomerge" {
    title      = "Caches of the kernel are kept apart"
    reason     = "An overflow in one kind of object does not reach objects of another kind."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R8", "kernel documentation, admin-guide/kernel-parameters"]
    kind       = "cmdline"
    key        = "slab_nomerge"
    remedy     = "add \"slab_nomerge\" to cmdline in the recipe's boot block"
  }

  rule "cmdline-init-on-alloc" {
    title      = "Memory is cleared before the kernel uses it"
    reason     = "Leftovers of other processes do not leak through memory that is used before it is written."
    severity   = "low"
    references = ["kernel documentation, admin-guide/kernel-parameters"]
    kind       = "cmdline"
    key        = "init_on_alloc"
    value      = "1"
    remedy     = "add \"init_on_alloc=1\" to cmdline in the recipe's boot block"
  }

  rule "cmdline-page-shuffle" {
    title      = "Pages are given out in random order"
    reason     = "Attackers cannot tell which page comes next."
    severity   = "low"
    references = ["ANSSI-BP-028 2.0, R8", "kernel documentation, admin-guide/kernel-parameters"]
    kind       = "cmdline"
    key        = "page_alloc.shuffle"
    value      = "1"
    remedy     = "add \"page_alloc.shuffle=1\" to cmdline in the recipe's boot block"
  }

  rule "cmdline-kstack-offset" {
    title      = "Stacks of the kernel begin at random offsets"
    reason     = "Exploits that need the layout of the stack have to guess it in every system call."
    severity   = "low"
    references = ["kernel documentation, admin-guide/kernel-parameters"]
    kind       = "cmdline"
    key        = "randomize_kstack_offset"
    value      = "on"
    accept     = ["1", "y"]
    remedy     = "add \"randomize_kstack_offset=on\" to cmdline in the recipe's boot block"
  }

  rule "cmdline-vsyscall" {
    title      = "The fixed page of old system calls is not mapped"
    reason     = "It is executable code at an address that is the same everywhere."
    severity   = "low"
    references = ["kernel documentation, admin-guide/kernel-parameters"]
    kind       = "cmdline"
    key        = "vsyscall"
    value      = "none"
    remedy     = "add \"vsyscall=none\" to cmdline in the recipe's boot block"
  }

  rule "cmdline-mitigations" {
    title      = "Mitigations of processor errors are on"
    reason     = "Containers of different owners share processors, and could read each other's memory."
    severity   = "high"
    references = ["kernel documentation, admin-guide/kernel-parameters"]
    kind       = "cmdline"
    key        = "mitigations"
    value      = "auto"
    accept     = ["auto,nosmt"]
    default    = "auto"
    remedy     = "remove \"mitigations\" from cmdline in the recipe's boot block"
  }
}
