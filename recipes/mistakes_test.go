package recipes

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the program says now")

// base is a recipe without mistakes; every mistake is one edit of it.
const base = `name    = "node"
version = var.version
distro  = "debian-12"
arch    = "x86_64"

variable "version" {
  default = "1.0"
}

rootfs {
  packages = ["systemd-sysv", "openssh-server"]
}

script "tune" {
  inline = "true"
}

script "late" {
  after  = "tune"
  inline = "true"
}

file "/etc/motd" {
  content = "hello"
}

user "admin" {
  groups = ["sudo"]
}

disk {
  layout = "single"
  size   = "2GiB"
}

boot {
  firmware = ["bios", "uefi"]
}

output "raw" {}
`

// files are what recipes of the tests can refer to, below /work.
func files() fstest.MapFS {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o644} }
	return fstest.MapFS{
		"work/motd":             text("welcome\n"),
		"work/binary":           text("\xff\xfe\x00"),
		"work/run.sh":           text("#!/bin/sh -e\ntrue\n"),
		"work/program":          text("\x7fELF\x02\x01\x01"),
		"work/bare.sh":          text("true\n"),
		"work/list.tmpl":        text("%{ for n in names }${n},%{ endfor }"),
		"work/broken.tmpl":      text("line\n${nme}"),
		"work/inputs/a":         text("a"),
		"work/other/inputs/b":   text("b"),
		"work/key.gpg":          text("key"),
		"work/admin.pub":        text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB6dN0O3mGm6dJ4m4f5F4Zk0eI3Y8a1l1tQwV3mD3o2m admin@desk\n"),
		"work/loop.hcl":         text("include = [\"node.hcl\"]\n"),
		"work/wrong.hcl":        text("user \"admin\" {\n  shel = \"/bin/sh\"\n}\n"),
		"work/unused.hcl":       text("locals {\n  unused = 1\n}\n"),
		"work/good.vars":        text("version = \"2.0\"\n"),
		"work/bad.vars":         text("versoin = \"2.0\"\n"),
		"work/sub/harden.hcl":   text("file \"/etc/issue\" {\n  source = \"issue\"\n}\nrootfs {\n  packages = [\"auditd\"]\n}\nuser \"admin\" {\n  groups = [\"wheel\"]\n}\n"),
		"work/sub/issue":        text("harden\n"),
		"work/common.hcl":       text("variable \"role\" {\n  default = \"worker\"\n}\nlocals {\n  greeting = \"from common\"\n}\nhostname = \"common\"\n"),
		"work/examples/README":  text("x"),
		"work/dir/script/a":     text("x"),
		"work/private.pem":      text("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n"),
		"work/repositories.hcl": text(""),
	}
}

func loadText(t testing.TB, text string, o Options) (*Recipe, *Problems) {
	t.Helper()
	fsys := files()
	fsys["work/node.hcl"] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	return load(fsys, "/work", "node.hcl", o)
}

// mistake is one edit of the base recipe, or its options, and stands in the golden file under its name.
type mistake struct {
	name     string
	old, new string // the edit; an empty old appends
	options  Options
}

var mistakes = []mistake{
	// Syntax and names.
	{name: "syntax error", old: `packages = [`, new: `packages = [[`},
	{name: "single quotes", old: `arch    = "x86_64"`, new: `arch    = 'x86_64'`},
	{name: "unquoted string", old: `arch    = "x86_64"`, new: `arch    = x86_64`},
	{name: "unknown attribute", old: `  packages =`, new: `  pakages =`},
	{name: "unknown attribute at the top", old: `arch    =`, new: `architecture =`},
	{name: "unknown block", old: `script "late"`, new: `scirpt "late"`},
	{name: "block written as attribute", old: `rootfs {`, new: `rootfs = {`},
	{name: "attribute written as block", old: ``, new: "hostname {}\n"},
	{name: "missing label", old: `script "late"`, new: `script`},
	{name: "label on rootfs", old: `rootfs {`, new: `rootfs "main" {`},
	{name: "duplicate block", old: ``, new: "boot {}\n"},
	{name: "duplicate script", old: `script "late"`, new: `script "tune"`},
	{name: "duplicate user", old: ``, new: "user \"admin\" {}\n"},
	{name: "duplicate file", old: ``, new: "file \"/etc/motd\" {\n  content = \"\"\n}\n"},
	{name: "duplicate output", old: ``, new: "output \"raw\" {}\n"},

	// Types.
	{name: "string for a list", old: `groups = ["sudo"]`, new: `groups = "sudo"`},
	{name: "number in a list of lists", old: `groups = ["sudo"]`, new: `groups = ["sudo", ["adm"]]`},
	{name: "string for true or false", old: `after  = "tune"`, new: `network = "yes"`},
	{name: "null", old: `"hello"`, new: `null`},
	{name: "map expected", old: `after  = "tune"`, new: `env = ["A"]`},

	// Variables, locals, functions, includes.
	{name: "undefined variable", old: `var.version`, new: `var.verison`},
	{name: "undefined local", old: `var.version`, new: `local.version`},
	{name: "unused variable", old: `var.version`, new: `"1"`},
	{name: "unused local", old: ``, new: "locals {\n  a = 1\n  b = local.a\n}\n"},
	{name: "locals in a circle", old: `var.version`, new: "\"${var.version}${local.a}\"\nlocals {\n  a = local.b\n  b = \"x${local.a}\"\n}\n"},
	{name: "variable without a value", old: `  default = "1.0"`, new: `  description = "release"`},
	{name: "default refers to a value", old: `"1.0"`, new: `local.x`},
	{name: "variable of the wrong type", old: `default = "1.0"`, new: "type    = number\n  default = \"one\""},
	{name: "invalid variable type", old: `default = "1.0"`, new: "type    = strin\n  default = \"one\""},
	{name: "environment value of the wrong type", old: `default = "1.0"`, new: "default = 1", options: Options{Environ: []string{"IMAGEFACTORY_VAR_version=new"}}},
	{name: "list value that is no expression", old: `default = "1.0"`, new: "type = list(string)\n  default = []", options: Options{Vars: map[string]string{"version": "[1,"}}},
	{name: "unknown -var", options: Options{Vars: map[string]string{"versio": "2"}}},
	{name: "unknown variable in file", options: Options{VarFiles: []string{"bad.vars"}}},
	{name: "missing variable file", options: Options{VarFiles: []string{"none.vars"}}},
	{name: "unknown function", old: `"hello"`, new: `fiel("motd")`},
	{name: "environment function", old: `"hello"`, new: `env("HOME")`},
	{name: "environment object", old: `"hello"`, new: `env.HOME`},
	{name: "time of the build", old: `"hello"`, new: `timestamp()`},
	{name: "wrong argument", old: `"hello"`, new: `join(",", 5)`},
	{name: "file() of nothing", old: `"hello"`, new: `file("mtod")`},
	{name: "file() of binary data", old: `"hello"`, new: `file("binary")`},
	{name: "broken template", old: `"hello"`, new: `templatefile("broken.tmpl", { name = "a" })`},
	{name: "short salt", old: `groups = ["sudo"]`, new: `password_hash = sha512crypt("secret", "abc")`},
	{name: "sensitive value stays hidden", old: `var.version`, new: "\"1\"\nhostname = var.secret\nvariable \"secret\" {\n  default   = \"not a host\"\n  sensitive = true\n}\nlocale = \"C.UTF-8\"\ntimezone = var.version\n"},
	{name: "missing include", old: `name    =`, new: "include = [\"commn.hcl\"]\nname    ="},
	{name: "include cycle", old: `name    =`, new: "include = [\"loop.hcl\"]\nname    ="},
	{name: "include from a variable", old: `name    =`, new: "include = [var.version]\nname    ="},
	{name: "unused local in an include", old: `name    =`, new: "include = [\"unused.hcl\"]\nname    ="},

	// Top level.
	{name: "missing name", old: `name    = "node"`, new: ``},
	{name: "invalid name", old: `"node"`, new: `"my node"`},
	{name: "invalid version", old: `"1.0"`, new: `"1.0/rc1"`},
	{name: "unknown architecture", old: `"x86_64"`, new: `"x86-64"`},
	{name: "unknown distribution", old: `"debian-12"`, new: `"debian-21"`},
	{name: "unknown distribution without a neighbour", old: `"debian-12"`, new: `"slackware"`},
	{name: "architecture the distribution lacks", old: "distro  = \"debian-12\"\narch    = \"x86_64\"", new: "distro  = \"ubuntu-24.04\"\narch    = \"arm64\""},
	{name: "invalid hostname", old: ``, new: `hostname = "-node_1"`},
	{name: "invalid timezone", old: ``, new: `timezone = "Asia Shanghai"`},
	{name: "invalid locale", old: ``, new: `locale = "english"`},
	{name: "distro block nobody uses", old: ``, new: "distro \"mine\" {\n  inherits = \"debian-12\"\n}\n"},
	{name: "distro inherits from nothing", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  inherits = \"debian-11\"\n}\n"},
	{name: "distro without anything", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  family = \"rpm\"\n}\n"},

	// rootfs.
	{name: "missing rootfs", old: "rootfs {\n  packages = [\"systemd-sysv\", \"openssh-server\"]\n}\n", new: ``},
	{name: "missing packages", old: `packages = ["systemd-sysv", "openssh-server"]`, new: ``},
	{name: "unknown installer", old: `packages =`, new: "installer = \"pacman\"\n  packages ="},
	{name: "pinned package", old: `"openssh-server"]`, new: `"openssh-server=1:9.2"]`},
	{name: "two packages in one string", old: `"openssh-server"]`, new: `"openssh-server sudo"]`},
	{name: "upper case package", old: `"openssh-server"]`, new: `"NetworkManager"]`},
	{name: "package twice", old: `"openssh-server"]`, new: `"systemd-sysv"]`},
	{name: "package wanted and excluded", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  exclude = [\"openssh-server\"]"},
	{name: "repository without url", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"extra\" {\n    suites = [\"stable\"]\n    components = [\"main\"]\n    gpg_key = \"key.gpg\"\n  }"},
	{name: "repository with a host name", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"debian\" {\n    url = \"mirror.example.com/debian\"\n  }"},
	{name: "missing key", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"debian\" {\n    gpg_key = \"keys/none.gpg\"\n  }"},
	{name: "repository nobody signed", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"extra\" {\n    url = \"https://example.com/x\"\n    suites = [\"stable\"]\n    components = [\"main\"]\n  }"},
	{name: "signatures turned off", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"debian\" {\n    gpg_check = false\n  }"},

	// Installers.
	{name: "installer of another family", old: `packages =`, new: "installer = \"yum\"\n  packages ="},
	{name: "installer of another family, rpm", old: debRootfs, new: rpmRootfs(`installer = "apt"`)},
	{name: "installer iso", old: debRootfs, new: rpmRootfs(`installer = "iso"`)},
	{name: "archive without a file", old: `packages = ["systemd-sysv", "openssh-server"]`, new: `installer = "archive"`},
	{name: "archive that is not there", old: `packages = ["systemd-sysv", "openssh-server"]`, new: "installer = \"archive\"\n  archive = \"root.tar\""},
	{name: "archive that is a directory", old: `packages = ["systemd-sysv", "openssh-server"]`, new: "installer = \"archive\"\n  archive = \"inputs\""},
	{name: "archive and packages", old: `packages =`, new: "installer = \"archive\"\n  archive = \"binary\"\n  packages ="},
	{name: "archive without an installer", old: `packages =`, new: "archive = \"binary\"\n  packages ="},
	{name: "image without a reference", old: `packages = ["systemd-sysv", "openssh-server"]`, new: `installer = "image"`},
	{name: "image without a place", old: `packages = ["systemd-sysv", "openssh-server"]`, new: "installer = \"image\"\n  image = \"registry.example.com/node:1\""},
	{name: "image of a wrong name", old: `packages = ["systemd-sysv", "openssh-server"]`, new: "installer = \"image\"\n  image = \"docker://Node\""},
	{name: "image directory that is not there", old: `packages = ["systemd-sysv", "openssh-server"]`, new: "installer = \"image\"\n  image = \"oci:images/node:1\""},
	{name: "image without a path", old: `packages = ["systemd-sysv", "openssh-server"]`, new: "installer = \"image\"\n  image = \"oci-archive:\""},

	// RPM.
	{name: "deb repository with attributes of rpm", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"debian\" {\n    metalink = \"https://example.com/metalink\"\n    priority = 10\n  }"},
	{name: "deb repository on a DVD", old: `"openssh-server"]`, new: "\"openssh-server\"]\n  repository \"debian\" {\n    url = \"iso:dvd.iso\"\n  }"},
	{name: "deb without documentation", old: `packages =`, new: "docs = false\n  packages ="},
	{name: "deb group", old: `"openssh-server"]`, new: `"@core"]`},
	{name: "rpm repository with suites", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    suites = [\"stable\"]\n  }")},
	{name: "rpm repository without an address", old: debRootfs, new: rpmRootfs("repository \"extra\" {\n    gpg_key = \"key.gpg\"\n  }")},
	{name: "variable that does not exist in a URL", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    url = \"https://example.com/$stream/$arch\"\n  }")},
	{name: "metalink on a DVD", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    metalink = \"iso:dvd.iso\"\n  }")},
	{name: "iso URL without a file", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    url = \"iso:!/Packages\"\n  }")},
	{name: "iso URL with a relative directory", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    url = \"iso:dvd.iso!BaseOS\"\n  }")},
	{name: "key that is not pinned", old: debRootfs, new: rpmRootfs("repository \"extra\" {\n    url = \"https://example.com/x\"\n    key_url = \"https://example.com/key\"\n  }")},
	{name: "short key id", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    key_fingerprints = [\"8483C65D\"]\n  }")},
	{name: "empty list of keys", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    gpg_key = []\n  }")},
	{name: "one key of a list missing", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    gpg_key = [\"key.gpg\", \"none.gpg\"]\n  }")},
	{name: "priority out of range", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    priority = 100\n  }")},
	{name: "signed and not verified", old: debRootfs, new: rpmRootfs("repository \"baseos\" {\n    gpg_check = false\n    repo_gpg_check = true\n  }")},
	{name: "vendor whose key must come with the recipe", old: debRootfs, new: strings.Replace(rpmRootfs(""), "centos-stream-9", "kylin-v10-sp3", 1)},
	{name: "rpm with a version", old: debRootfs, new: rpmRootfs(`exclude = ["bash >= 5"]`)},
	{name: "two rpms in one string", old: debRootfs, new: rpmRootfs(`exclude = ["vim tmux"]`)},
	{name: "rpm that is an option", old: debRootfs, new: rpmRootfs(`exclude = ["--nogpgcheck"]`)},
	{name: "group that is excluded", old: debRootfs, new: rpmRootfs(`exclude = ["@core"]`)},
	{name: "group without a name", old: debRootfs, new: strings.Replace(rpmRootfs(""), `"systemd"`, `"@"`, 1)},
	{name: "module without a stream", old: debRootfs, new: rpmRootfs(`modules = ["nodejs"]`)},
	{name: "language that is none", old: debRootfs, new: rpmRootfs(`languages = ["de", "all languages"]`)},
	{name: "unknown SELinux mode", old: ``, new: `selinux = "off"`},
	{name: "rpm block in a deb distribution", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  inherits = \"debian-12\"\n  rpm {\n    database = \"/var/lib/rpm\"\n  }\n}\n"},
	{name: "unknown database and mode", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  inherits = \"rocky-9\"\n  rpm {\n    backend = \"bdb\"\n  }\n  selinux {\n    mode = \"on\"\n  }\n}\n"},
	{name: "kernel pattern without a version", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  inherits = \"rocky-9\"\n  kernel {\n    source = \"/boot/vmlinuz\"\n  }\n}\n"},
	{name: "fact of no kind", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  inherits = \"debian-12\"\n  verified = {\n    kernels = \"Booted.\"\n  }\n}\n"},
	{name: "rpm base with essential packages", old: `"debian-12"`, new: "\"mine\"\ndistro \"mine\" {\n  inherits = \"rocky-9\"\n  base {\n    essential = true\n  }\n}\n"},

	// Scripts.
	{name: "script cycle", old: `script "tune" {`, new: "script \"tune\" {\n  after = \"late\""},
	{name: "script after an unknown one", old: `after  = "tune"`, new: `after  = "tnue"`},
	{name: "script after a stage behind it", old: `after  = "tune"`, new: `after  = "disk"`},
	{name: "script after customize and before configure's", old: `after  = "tune"`, new: "after  = \"customize\"\n  before = \"customize\""},
	{name: "script without a program", old: "after  = \"tune\"\n  inline = \"true\"", new: `after  = "tune"`},
	{name: "script with two programs", old: `after  = "tune"`, new: `run = "run.sh"`},
	{name: "script file missing", old: "after  = \"tune\"\n  inline = \"true\"", new: `run = "scripts/late.sh"`},
	{name: "script file without interpreter", old: "after  = \"tune\"\n  inline = \"true\"", new: `run = "bare.sh"`},
	{name: "script input missing", old: `after  = "tune"`, new: `inputs = ["file"]`},
	{name: "script inputs of one name", old: `after  = "tune"`, new: `inputs = ["inputs", "other/inputs"]`},
	{name: "script environment", old: `after  = "tune"`, new: `env = { "MY-ROLE" = "worker" }`},
	{name: "script of an unknown stage", old: `after  = "tune"`, new: `stage = "instal"`},
	{name: "script of a stage of the build", old: `after  = "tune"`, new: `stage = "customize"`},
	{name: "script of the installation with a place", old: "output \"raw\" {}", new: "output \"iso\" {}\nscript \"x\" {\n  stage  = \"install\"\n  after  = \"tune\"\n  inline = \"true\"\n}"},
	{name: "script of the installation with inputs", old: "output \"raw\" {}", new: "output \"iso\" {}\nscript \"x\" {\n  stage  = \"install\"\n  inputs = [\"inputs\"]\n  inline = \"true\"\n}"},
	{name: "script of the installation that is compiled", old: "output \"raw\" {}", new: "output \"iso\" {}\nscript \"x\" {\n  stage = \"install\"\n  run   = \"program\"\n}"},
	{name: "script after one of the installation", old: "after  = \"tune\"\n  inline = \"true\"\n}", new: "after  = \"x\"\n  inline = \"true\"\n}\nscript \"x\" {\n  stage  = \"install\"\n  inline = \"true\"\n}\noutput \"iso\" {}"},
	{name: "script of an installation that never is", old: `after  = "tune"`, new: `stage = "install"`},
	{name: "script named like a stage", old: `script "late"`, new: `script "customize"`},

	// Files and users.
	{name: "relative path", old: `"/etc/motd"`, new: `"etc/motd"`},
	{name: "path with dots", old: `"/etc/motd"`, new: `"/etc/../motd"`},
	{name: "file in /run", old: `"/etc/motd"`, new: `"/run/motd"`},
	{name: "file below a file", old: ``, new: "file \"/etc/motd/today\" {\n  content = \"\"\n}\n"},
	{name: "file without content", old: `content = "hello"`, new: ``},
	{name: "file with two contents", old: `content = "hello"`, new: "content = \"hello\"\n  source  = \"motd\""},
	{name: "source missing", old: `content = "hello"`, new: `source = "mtod"`},
	{name: "source is a directory", old: `content = "hello"`, new: `source = "inputs"`},
	{name: "mode as a number", old: `content = "hello"`, new: "content = \"hello\"\n  mode = 0644"},
	{name: "mode out of range", old: `content = "hello"`, new: "content = \"hello\"\n  mode = \"0888\""},
	{name: "owner with a space", old: `content = "hello"`, new: "content = \"hello\"\n  owner = \"the admin\""},
	{name: "invalid user name", old: `user "admin"`, new: `user "Admin"`},
	{name: "uid out of range", old: `groups = ["sudo"]`, new: `uid = 4294967295`},
	{name: "password in clear text", old: `groups = ["sudo"]`, new: `password_hash = "secret"`},
	{name: "private key", old: `groups = ["sudo"]`, new: `ssh_authorized_keys = [file("private.pem")]`},
	{name: "path instead of a key", old: `groups = ["sudo"]`, new: `ssh_authorized_keys = ["admin.pub"]`},
	{name: "relative home", old: `groups = ["sudo"]`, new: `home = "home/admin"`},

	// Disk.
	{name: "missing disk", old: "disk {\n  layout = \"single\"\n  size   = \"2GiB\"\n}\n", new: ``},
	{name: "decimal unit", old: `"2GiB"`, new: `"2GB"`},
	{name: "short unit", old: `"2GiB"`, new: `"2G"`},
	{name: "no unit", old: `"2GiB"`, new: `"2147483648"`},
	{name: "size as a number", old: `"2GiB"`, new: `2147483648`},
	{name: "fraction", old: `"2GiB"`, new: `"1.5GiB"`},
	{name: "space in a size", old: `"2GiB"`, new: `"2 GiB"`},
	{name: "unaligned size", old: `"2GiB"`, new: `"2000001KiB"`},
	{name: "size beyond any disk", old: `"2GiB"`, new: `"99999999999TiB"`},
	{name: "no size for the rest", old: "  size   = \"2GiB\"\n", new: ``},
	{name: "layout of a later version", old: `"single"`, new: `"ab"`},
	{name: "unknown layout", old: `"single"`, new: `"lvm"`},
	{name: "disk too small", old: `"2GiB"`, new: `"64MiB"`},
	{name: "partitions do not fit", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ROOT\" {\n    size = \"4GiB\"\n  }"},
	{name: "two partitions take the rest", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"DATA\" {\n    role = \"data\"\n    size = \"rest\"\n  }"},
	{name: "partition without role and size", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"DATA\" {}"},
	{name: "unknown role", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"DATA\" {\n    role = \"date\"\n    size = \"1GiB\"\n  }"},
	{name: "role of a later version", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"SWAP\" {\n    role = \"swap\"\n    size = \"1GiB\"\n  }"},
	{name: "file system of a later version", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ROOT\" {\n    filesystem = \"xfs\"\n  }"},
	{name: "unknown file system", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ROOT\" {\n    filesystem = \"ext5\"\n  }"},
	{name: "ESP with ext4", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ESP\" {\n    filesystem = \"ext4\"\n  }"},
	{name: "ESP too small", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ESP\" {\n    size = \"1MiB\"\n  }"},
	{name: "label too long for FAT", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"TRANSFERDATA\" {\n    role = \"data\"\n    size = \"32MiB\"\n    filesystem = \"vfat\"\n  }"},
	{name: "label too long for ext4", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"CONTAINER-STORAGE\" {\n    role = \"data\"\n    size = \"32MiB\"\n  }"},
	{name: "invalid label", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"my data\" {\n    role = \"data\"\n    size = \"32MiB\"\n  }"},
	{name: "duplicate partition", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"DATA\" {\n    role = \"data\"\n    size = \"32MiB\"\n  }\n  partition \"DATA\" {\n    role = \"data\"\n    size = \"32MiB\"\n  }"},
	{name: "two mounts at one place", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"A\" {\n    role = \"data\"\n    size = \"32MiB\"\n    mount = \"/srv\"\n  }\n  partition \"B\" {\n    role = \"data\"\n    size = \"32MiB\"\n    mount = \"/srv\"\n  }"},
	{name: "data mounted as root", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"A\" {\n    role = \"data\"\n    size = \"32MiB\"\n    mount = \"/\"\n  }"},
	{name: "no root", old: `layout = "single"`, new: "partition \"BIOS\" {\n    role = \"bios\"\n    size = \"1MiB\"\n  }\n  partition \"ESP\" {\n    role = \"esp\"\n    size = \"64MiB\"\n  }"},
	{name: "UEFI without an ESP", old: `layout = "single"`, new: "partition \"BIOS\" {\n    role = \"bios\"\n    size = \"1MiB\"\n  }\n  partition \"ROOT\" {\n    role = \"root\"\n    size = \"rest\"\n  }"},
	{name: "BIOS without a boot partition", old: `layout = "single"`, new: "partition \"ESP\" {\n    role = \"esp\"\n    size = \"64MiB\"\n  }\n  partition \"ROOT\" {\n    role = \"root\"\n    size = \"rest\"\n  }"},
	{name: "rest is not last", old: `layout = "single"`, new: "partition \"ROOT\" {\n    role = \"root\"\n    size = \"rest\"\n  }\n  partition \"BIOS\" {\n    role = \"bios\"\n    size = \"1MiB\"\n  }\n  partition \"ESP\" {\n    role = \"esp\"\n    size = \"64MiB\"\n  }"},
	{name: "two roots", old: `layout = "single"`, new: "layout = \"single\"\n  partition \"ROOT2\" {\n    role = \"root\"\n    size = \"64MiB\"\n  }"},
	{name: "root that cannot grow", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  grow   = true\n  partition \"ROOT\" {\n    size = \"1GiB\"\n  }\n  partition \"DATA\" {\n    role = \"data\"\n    size = \"rest\"\n  }"},
	{name: "no partitions", old: `layout = "single"`, new: ``},
	{name: "mount options with a space", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ROOT\" {\n    mount_options = \"noatime, nodev\"\n  }"},
	{name: "invalid type", old: `size   = "2GiB"`, new: "size   = \"2GiB\"\n  partition \"ROOT\" {\n    type = \"8300\"\n  }"},

	// Boot and outputs.
	{name: "unknown firmware", old: `"bios", "uefi"`, new: `"efi"`},
	{name: "firmware the architecture lacks", old: `arch    = "x86_64"`, new: `arch    = "aarch64"`},
	{name: "no firmware", old: `"bios", "uefi"`, new: ``},
	{name: "Secure Boot without UEFI", old: `["bios", "uefi"]`, new: "[\"bios\"]\n  secure_boot = \"distro\""},
	{name: "unknown Secure Boot setting", old: `["bios", "uefi"]`, new: "[\"uefi\"]\n  secure_boot = \"on\""},
	{name: "invalid console", old: `["bios", "uefi"]`, new: "[\"uefi\"]\n  console = [\"/dev/ttyS0\"]"},
	{name: "console in cmdline", old: `["bios", "uefi"]`, new: "[\"uefi\"]\n  cmdline = [\"console=ttyS0\"]"},
	{name: "two parameters in one string", old: `["bios", "uefi"]`, new: "[\"uefi\"]\n  cmdline = [\"quiet splash\"]"},
	{name: "timeout out of range", old: `["bios", "uefi"]`, new: "[\"uefi\"]\n  timeout = -1"},
	{name: "GRUB password in clear text", old: `["bios", "uefi"]`, new: "[\"uefi\"]\n  password_pbkdf2 = \"secret\""},
	{name: "missing output", old: `output "raw" {}`, new: ``},
	{name: "output of a later version", old: `output "raw" {}`, new: `output "upgrade" {}`},
	{name: "unknown output", old: `output "raw"`, new: `output "qcow"`},
	{name: "unknown compression", old: `output "raw" {}`, new: "output \"qcow2\" {\n  compression = \"gzip\"\n}"},
	{name: "level out of range", old: `output "raw" {}`, new: "output \"qcow2\" {\n  compression = \"deflate\"\n  level = 22\n}"},
	{name: "level of a live medium", old: `output "raw" {}`, new: "output \"iso\" {\n  mode = \"live\"\n  level = 3\n}"},
	{name: "level without compression", old: `output "raw" {}`, new: "output \"qcow2\" {\n  compression = \"none\"\n  level = 1\n}"},
	{name: "compressed raw", old: `output "raw" {}`, new: "output \"raw\" {\n  compression = \"zstd\"\n}"},

	// Media.
	{name: "unknown mode", old: `output "raw" {}`, new: iso(`mode = "installer"`)},
	{name: "mode only the command line has", old: `output "raw" {}`, new: iso(`mode = "rescue"`)},
	{name: "label too long", old: `output "raw" {}`, new: iso(`label = "KUBERNETES_NODE_WITH_EVERYTHING_IN_IT"`)},
	{name: "label in lower case", old: `output "raw" {}`, new: iso(`label = "kube-node"`)},
	{name: "empty label", old: `output "raw" {}`, new: iso(`label = ""`)},
	{name: "unknown after", old: `output "raw" {}`, new: iso(`after = "shutdown"`)},
	{name: "unknown on_failure", old: `output "raw" {}`, new: iso(`on_failure = "poweroff"`)},
	{name: "compressed iso", old: `output "raw" {}`, new: iso(`compression = "zstd"`)},
	{name: "two isos", old: `output "raw" {}`, new: iso(``) + "\n" + iso(`mode = "live"`)},
	{name: "live with a target", old: `output "raw" {}`, new: iso("mode = \"live\"\n  confirm = true\n  after = \"reboot\"\n  target {}")},
	{name: "live and a script of the installation", old: "output \"raw\" {}", new: iso(`mode = "live"`) + "\nscript \"x\" {\n  stage  = \"install\"\n  inline = \"true\"\n}"},
	{name: "iso nothing can start", old: "distro  = \"debian-12\"\narch    = \"x86_64\"", new: "distro  = \"mine\"\narch    = \"arm64\"\n" + iso(``) + "\ndistro \"mine\" {\n  inherits = \"ubuntu-24.04\"\n  architecture \"aarch64\" {\n    package_arch = \"arm64\"\n  }\n}\n"},
	{name: "unknown match", old: `output "raw" {}`, new: target(`match = "smallest"`)},
	{name: "match that is a device", old: `output "raw" {}`, new: target(`match = "/dev/sda"`)},
	{name: "empty disk that is wiped", old: `output "raw" {}`, new: target("match = \"smallest-empty\"\n    wipe = true")},
	{name: "empty disk that keeps something", old: "}\n\nboot {\n  firmware = [\"bios\", \"uefi\"]\n}\n\noutput \"raw\" {}\n", new: "  partition \"DATA\" {\n    role = \"data\"\n    size = \"1GiB\"\n  }\n}\n" + target("match = \"largest-empty\"\n    preserve = [\"DATA\"]") + "\n"},
	{name: "sizes the wrong way round", old: `output "raw" {}`, new: target("min_size = \"2TiB\"\n    max_size = \"1TiB\"")},
	{name: "disk smaller than the image", old: `output "raw" {}`, new: target(`max_size = "1GiB"`)},
	{name: "disk size of a vendor", old: `output "raw" {}`, new: target(`min_size = "480GB"`)},
	{name: "unknown transport", old: `output "raw" {}`, new: target(`transport = "ahci"`)},
	{name: "flash that turns", old: `output "raw" {}`, new: target("transport = \"nvme\"\n    rotational = true")},
	{name: "invalid pattern", old: `output "raw" {}`, new: target(`serial = "S3Z[0"`)},
	{name: "empty pattern", old: `output "raw" {}`, new: target(`model = ""`)},
	{name: "path for an id", old: `output "raw" {}`, new: target("by_id = \"/dev/disk/by-id/ata-*\"\n    by_path = \"/dev/sda\"")},
	{name: "preserve a partition the disk lacks", old: `output "raw" {}`, new: target(`preserve = ["PERSIST"]`)},
	{name: "preserve the system", old: `output "raw" {}`, new: target(`preserve = ["ROOT", "ESP", "BIOS"]`)},
	{name: "unknown attribute of target", old: `output "raw" {}`, new: target(`device = "/dev/sda"`)},
	{name: "events to nowhere", old: `output "raw" {}`, new: iso(`events {}`)},
	{name: "events to a console with a speed", old: `output "raw" {}`, new: iso("events {\n    console = \"ttyS0,115200n8\"\n  }")},
	{name: "events to a host", old: `output "raw" {}`, new: iso("events {\n    url = \"events.example.com/x\"\n  }")},
	{name: "iso with a url", old: `output "raw" {}`, new: iso(`url = "http://boot.example.com/node"`)},
	{name: "pxe without a url", old: `output "raw" {}`, new: `output "pxe" {}`},
	{name: "pxe with a url of another scheme", old: `output "raw" {}`, new: "output \"pxe\" {\n  url = \"tftp://boot.example.com/node\"\n}"},
	{name: "pxe with a query", old: `output "raw" {}`, new: "output \"pxe\" {\n  url = \"http://boot.example.com/node?x=1\"\n}"},
	{name: "pxe with a label", old: `output "raw" {}`, new: "output \"pxe\" {\n  url = \"http://boot.example.com/node\"\n  label = \"NODE\"\n}"},
	{name: "pxe that runs live", old: `output "raw" {}`, new: "output \"pxe\" {\n  url  = \"http://boot.example.com/node\"\n  mode = \"live\"\n}"},

	// Trim.
	{name: "unknown profile", new: trim(`profile = "container"`)},
	{name: "unknown profile without a neighbour", new: trim(`profile = "desktop"`)},
	{name: "two trim blocks", new: trim(``) + trim(``)},
	{name: "trim as it may be spelled elsewhere", new: trim(`packages = ["vim"]`)},
	{name: "kept and removed", new: trim("keep = [\"vim\"]\n  remove = [\"vim\"]")},
	{name: "kept and removed path", new: trim("keep = [\"/usr/share/doc/**\"]\n  paths = [\"/usr/share/doc/**\"]")},
	{name: "installed and removed", new: trim(`remove = ["openssh-server"]`)},
	{name: "kept twice", new: trim(`keep = ["vim", "vim"]`)},
	{name: "kept group", new: trim(`keep = ["@core"]`)},
	{name: "relative path to keep", new: trim(`keep = ["usr/share/zoneinfo/**"]`)},
	{name: "two packages to keep in one string", new: trim(`keep = ["vim tmux"]`)},
	{name: "kept sentence", new: trim(`keep = ["perl(Encode)"]`)},
	{name: "everything removed", new: trim("remove = [\"*\"]\n  paths = [\"/**\"]")},
	{name: "root removed", new: trim(`paths = ["/"]`)},
	{name: "removed path with dots", new: trim(`paths = ["/usr/../etc"]`)},
	{name: "removed path with a slash", new: trim(`paths = ["/usr/share/doc/"]`)},
	{name: "removed path with a broken pattern", new: trim(`paths = ["/usr/share/[a"]`)},
	{name: "removed path with stars in a name", new: trim(`paths = ["/usr/share/**.md"]`)},
	{name: "package for a path", new: trim(`paths = ["vim"]`)},
	{name: "broken pattern of packages", new: trim(`remove = ["vim-["]`)},
	{name: "unknown class of modules", new: trim(`modules = ["blue-tooth", "ethernet"]`)},
	{name: "enabled and masked", new: trim("services {\n    enable = [\"ssh\"]\n    mask = [\"ssh.service\"]\n  }")},
	{name: "masked and removed unit", new: trim("services {\n    disable = [\"ssh\"]\n    mask = [\"ssh\"]\n    remove = [\"ssh\"]\n  }")},
	{name: "removed and enabled", new: trim("remove = [\"cron.service\"]\n  services {\n    enable = [\"cron\"]\n  }")},
	{name: "kept and removed service", new: trim("keep = [\"cron.service\"]\n  services {\n    remove = [\"cron.service\"]\n  }")},
	{name: "path for a unit", new: trim("services {\n    mask = [\"/usr/lib/systemd/system/debug-shell.service\"]\n  }")},
	{name: "pattern for a unit", new: trim("services {\n    disable = [\"apt-*\"]\n  }")},
	{name: "unit with a space", new: trim("services {\n    disable = [\"cron daily\"]\n  }")},
	{name: "budget of no packages", new: trim("budget {\n    packages = 0\n  }")},
	{name: "budget of less than nothing", new: trim("budget {\n    services = -1\n  }")},
	{name: "budget of no bytes", new: trim("budget {\n    size = \"0MiB\"\n  }")},
	{name: "budget in decimal units", new: trim("budget {\n    image_size = \"770MB\"\n  }")},
	{name: "budget of nothing at all", new: trim(`budget {}`)},
	{name: "exception without anything", new: trim(`exception {}`)},
	{name: "exception of an unknown kind", new: trim("exception {\n    kind = \"lib\"\n    path = \"/usr/lib/x.so\"\n    reason = \"never loaded\"\n  }")},
	{name: "exception for a relative path", new: trim("exception {\n    kind = \"library\"\n    path = \"x.so\"\n    need = \"\"\n    reason = \" \"\n  }")},
	{name: "exception for stars in the middle", new: trim("exception {\n    kind = \"library\"\n    path = \"/usr/**/x.so\"\n    reason = \"never loaded\"\n  }")},
	{name: "exception with a label", new: trim("exception \"library\" {}")},

	// Containers.
	{name: "container without a runtime", new: `container "registry.example.com/pause:1" {}`},
	{name: "container of an unknown runtime", new: container("registry.example.com/pause:1", `runtime = "crio"`)},
	{name: "container without a name", new: "container {\n  runtime = \"docker\"\n}"},
	{name: "container without a registry", new: container("pause:1", `runtime = "docker"`)},
	{name: "container without a host", new: container("library/pause:1", `runtime = "docker"`)},
	{name: "container without a tag", new: container("registry.example.com/pause", `runtime = "docker"`)},
	{name: "container with a transport", new: container("docker://registry.example.com/pause:1", `runtime = "docker"`)},
	{name: "container in capitals", new: container("registry.example.com/Pause:1", `runtime = "docker"`)},
	{name: "container with a variable in its label", new: container("${var.version}/pause:1", `runtime = "docker"`)},
	{name: "container from an unknown place", new: container("registry.example.com/pause:1", "runtime = \"docker\"\n  source = \"registry.example.com/pause:1\"")},
	{name: "container from no file", new: container("registry.example.com/pause:1", "runtime = \"docker\"\n  source = \"oci:images/pause:1\"")},
	{name: "container from a file of an insecure registry", new: container("registry.example.com/pause:1", "runtime = \"docker\"\n  source = \"oci:inputs:1\"\n  insecure = true")},
	{name: "container with a tag and a digest", new: container("registry.example.com/pause:1", "runtime = \"docker\"\n  source = \"docker://registry.example.com/pause:1@sha256:"+sum+"\"")},
	{name: "container with a digest beside a source", new: container("registry.example.com/pause@sha256:"+sum, "runtime = \"docker\"\n  source = \"docker://mirror.example.com/pause:1\"")},
	{name: "container without a tag for docker", new: container("registry.example.com/pause@sha256:"+sum, `runtime = "docker"`)},
	{name: "container twice", new: container("registry.example.com/pause:1", `runtime = "containerd"`) + "\n" + container("registry.example.com/pause:1", "runtime = \"containerd\"\n  namespace = \"k8s.io\"")},
	{name: "namespace of a runtime without", new: container("registry.example.com/pause:1", "runtime = \"podman\"\n  namespace = \"default\"")},
	{name: "namespace of no shape", new: container("registry.example.com/pause:1", "runtime = \"containerd\"\n  namespace = \"my namespace\"")},
	{name: "script after what follows it", old: `after  = "tune"`, new: `after  = "trim"`},
	{name: "script before the containers", old: `after  = "tune"`, new: `before = "containers"`},
	{name: "script named like the stage that trims", old: `script "late"`, new: `script "trim"`},

	// Harden.
	{name: "harden without a profile", new: `harden {}`},
	{name: "unknown baseline", new: "harden {\n  profile = \"base\"\n}"},
	{name: "unknown rule", new: "harden {\n  profile = \"baseline\"\n  skip = [\"sshd-root-logins\", \"sshd-01\"]\n}"},
	{name: "rule twice", new: "harden {\n  profile = \"baseline\"\n  skip = [\"sshd-x11\", \"sshd-x11\"]\n}"},
	{name: "rule set to a value it cannot have", new: "harden {\n  profile = \"baseline\"\n  set = { permissions-shadow = \"rw-r-----\" }\n}"},
	{name: "rule set and skipped", new: "harden {\n  profile = \"baseline\"\n  skip = [\"sshd-passwords\"]\n  set = { sshd-passwords = \"yes\" }\n}"},
}

// trim is a trim block.
func trim(more string) string { return "trim {\n  " + more + "\n}\n" }

// container is a container block.
func container(name, more string) string { return "container \"" + name + "\" {\n  " + more + "\n}" }

// iso is an output "iso" with attributes or blocks.
func iso(more string) string { return "output \"iso\" {\n  " + more + "\n}" }

// target is an output "iso" with attributes of its target.
func target(more string) string { return iso("target {\n    " + more + "\n  }") }

// debRootfs is the part of the base recipe from the distribution to its packages.
const debRootfs = `distro  = "debian-12"
arch    = "x86_64"

variable "version" {
  default = "1.0"
}

rootfs {
  packages = ["systemd-sysv", "openssh-server"]
`

// rpmRootfs is debRootfs with an RPM distribution and more attributes or blocks.
func rpmRootfs(more string) string {
	text := strings.NewReplacer("debian-12", "centos-stream-9", "systemd-sysv", "systemd").Replace(debRootfs)
	return text + "  " + more + "\n"
}

func TestBaseHasNoMistakes(t *testing.T) {
	if _, p := loadText(t, base, Options{}); len(p.Diagnostics) > 0 {
		t.Fatal(p.Error())
	}
}

func TestMistakes(t *testing.T) {
	var b strings.Builder
	for _, m := range mistakes {
		text := base + m.new
		if m.old != "" {
			if !strings.Contains(base, m.old) {
				t.Errorf("%s: the base recipe has no %q", m.name, m.old)
			}
			text = strings.Replace(base, m.old, m.new, 1)
		}
		r, p := loadText(t, text, m.options)
		if len(p.Diagnostics) == 0 {
			t.Errorf("%s: nothing was reported", m.name)
		}
		if (r == nil) != p.HasErrors() || (p.Err() == nil) == p.HasErrors() {
			t.Errorf("%s: recipe %v with errors %v", m.name, r != nil, p.Err())
		}
		fmt.Fprintf(&b, "=== %s\n%s\n\n", m.name, p.Error())
	}
	b.WriteString("=== no such recipe\n")
	_, p := load(files(), "/work", "none.hcl", Options{})
	fmt.Fprintf(&b, "%s\n", p.Error())
	golden(t, "testdata/mistakes.golden", b.String())
	if len(mistakes) < 45 {
		t.Errorf("only %d mistakes", len(mistakes))
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n=== "), strings.Split(string(want), "\n=== ")
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			t.Fatalf("%s has more: %s", path, w[i])
		case i >= len(w) || g[i] != w[i]:
			t.Errorf("differs from %s (go test -update rewrites it):\n%s", path, g[i])
		}
	}
}
