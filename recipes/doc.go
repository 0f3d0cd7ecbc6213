// Package recipes is the language in which an image is described, and the lock file which pins what it is made from.
//
// [Load] reads a recipe, evaluates it and checks everything that can be known before anything is built; what it returns
// is plain values. Stages never see HCL. Mistakes come back as [Problems]: each says what is wrong, where, and what to
// write instead.
//
// # The language
//
// A recipe is a file of HCL 2 (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md). Attributes stand at the
// top, blocks for the parts of the image below. Unknown attributes, blocks, variables and functions are errors, and so
// are variables and locals nothing uses. Required attributes are marked with *.
//
//	name*     string   letters, digits, . _ -; first part of the names of output files
//	version*  string   likewise, and + ~
//	distro*   string   a built-in distribution (see package distros) or the label of a distro block
//	arch*     string   "x86_64" or "amd64"; "aarch64" or "arm64"
//	hostname  string   RFC 1123, up to 64 characters; default: the name, or "localhost" when it is no host name
//	timezone  string   name in the time zone database; default: the distribution's
//	locale    string   value of LANG; default: the distribution's. Others than C.UTF-8 need packages which hold them
//	selinux   string   "enforcing", "permissive" or "disabled"; default: the distribution's. Unless it is disabled, the
//	                   policy is installed and every file labelled by it
//	include   list     recipe files to read before this one, see below
//
//	variable "NAME" { default  type  description  sensitive }
//	locals { NAME = value … }
//	distro "NAME" { inherits … }                      a definition of one's own; the format is in package distros
//
//	rootfs {
//	  installer  string   default "native"; see below
//	  repository "NAME" { url*  gpg_key  gpg_check … }      as in package distros
//
//	  where the installer takes packages:
//	  packages*  list     packages to install, besides the distribution's base
//	  exclude    list     packages never to install
//	  recommends bool     follow weak dependencies; default false
//
//	  and of RPM distributions:
//	  modules    list     module streams to enable, "nodejs:18", besides the distribution's
//	  docs       bool     install files that packages mark as documentation; default true
//	  languages  list     install translations into these languages only, "de", "pt_BR"; default: all. [] is none
//
//	  archive    string   of the installer "archive"*: path of the archive
//	  image      string   of the installer "image"*: where the container image is
//	}
//
// The installers:
//
//	native   packages, solved, verified and unpacked by imagefactory itself; needs nothing of the host
//	dnf, yum packages of an RPM distribution, by the host's dnf or yum
//	apt      packages of a deb distribution, by the host's apt
//	archive  the root comes whole, from a tar archive: plain, or compressed with gzip, xz or zstd
//	image    the root comes whole, from a container image: "docker://HOST/NAME:TAG" in a registry, "oci:DIR:TAG",
//	         "oci-archive:FILE:TAG" or "docker-archive:FILE:NAME:TAG". The lock pins it by digest
//
// A root that comes whole must hold a kernel, and what makes its initramfs. Boot programs come from the repositories all
// the same.
//
// In packages of an RPM distribution, besides names, may stand what dnf takes: a capability ("perl(Encode)"), a path
// ("/usr/sbin/ip"), a pattern ("kernel-5.14*"), a group ("@core") and an environment group ("@^minimal-environment"), by
// id or by name.
//
// A repository with the name of one of the distribution's changes what it says and keeps the rest. With url the host's
// apt configuration is not asked for a mirror. gpg_key is the path of a key or keyring, or a list of them; gpg_check =
// false turns verification off, with a warning. allow_expired = true takes a repository whose signed date of expiry has
// passed. The packages on an install DVD are a repository with url = "iso:FILE.iso".
//
//	script "NAME" {
//	  inline or run*      the program: text for /bin/sh -e, or the path of a file whose first line names its interpreter
//	  after      string   a script, or the stage "rootfs" (the same as "configure"), "configure", "customize" or
//	                      "containers" (the same as "customize": the images come with the files)
//	  before     string   a script, or the stage "customize", "harden", "trim" or "initramfs"
//	  inputs     list     files and directories, readable at /run/imagefactory/inputs/<last element of the path>
//	  env        map      environment
//	  network    bool     default false
//	  stage      string   "install": runs on the installed machine instead, see below. Not with after, before and inputs
//	}
//
// The pipeline is lock → packages → rootfs → configure (maintainer scripts) → customize (files, users) → containers →
// scripts → harden → trim → initramfs → filesystems → disk → emit. A script which says nothing runs after customize; one which only says before
// runs directly in front of that, where that runs; the others keep their order of definition.
//
//	file "/PATH" { content or source*  mode = "0644"  owner = "root"  group = "root" }
//
//	user "NAME" {
//	  uid  group  groups  home  shell  comment  system  ssh_authorized_keys  password_hash
//	}
//
// password_hash is a hash of crypt(5), "!" (locked) or "*" (no password); without it a new account is locked. See
// sha512crypt below. ssh_authorized_keys takes keys or the text of whole .pub files.
//
//	container "NAME" {
//	  runtime*   string   "containerd", "podman", "cri-o" or "docker"
//	  namespace  string   of containerd; default "k8s.io", where Kubernetes looks
//	  source     string   where the image is taken from, as rootfs.image; default: "docker://" and the name
//	  insecure   bool     the registry speaks HTTP, or HTTPS with a certificate nobody vouches for; default false
//	}
//
// The image is there on first boot, without a network. NAME is what the runtime calls it: a registry, a path, and a tag
// ("registry.example.com/pause:3.9"); without source also a digest, behind the tag or instead of it. The lock pins every
// image by digest. The same image for several runtimes is several blocks. Labels are constant: what is derived from
// variables stands in source.
//
//	harden {
//	  profile*   string   a baseline (see package baselines)
//	  skip       list     identifiers of its rules which are not applied
//	  set        map      values of rules, by identifier, where they are not to be the baseline's
//	}
//
//	trim {
//	  profile    string   what the machine is for, and so what stays (see package profiles); default "none"
//	  keep       list     packages, units and paths that stay: "tcpdump", "linux-*", "cron.service", "/usr/share/doc/**"
//	  remove     list     likewise, that go
//	  paths      list     paths that go, the same as in remove
//	  modules    list     classes of kernel modules that stay besides the profile's (see stages/trim/modules)
//	  services {
//	    enable disable mask    units, as systemctl does; without a suffix, services
//	    remove                 units whose files go
//	  }
//	  budget {
//	    packages services      at most so many installed packages, unit files as "systemctl list-unit-files" counts them
//	    size image_size        at most so many bytes of files, of each output but raw
//	  }
//	  exception { kind*  path*  need  reason* }    any number
//	}
//
// In globs of paths, "**" is any number of directories and the rest is path.Match. A path stands for what is below it, too.
// What is in the image when a budget is exceeded makes the build fail, with exit status 4. After trimming, what is left must
// be whole; an exception says what may be missing: kind is "library", "interpreter", "unit", "symlink", "module" or
// "account", path a glob of what needs it ("**" at its end only), need a glob of what is needed, by default of anything, and
// reason why the system works without.
//
//	disk {
//	  layout  string      "single", or none: then every partition is written out
//	  size    string      of the image; needed when a partition takes the rest
//	  grow    bool        the root grows to the real disk on first boot; default: when the root is last
//	  partition "LABEL" {
//	    role*          "esp", "bios", "root", "boot" or "data"
//	    size*          "512MiB", or "rest"
//	    filesystem     "ext4" or "vfat"; default: vfat for esp, none for bios, ext4 for others
//	    mount          default: "/" for root, "/boot" for boot, else not mounted
//	    mount_options  default "defaults"
//	    type           GUID of the partition type; default: that of the role
//	  }
//	}
//
// "single" stands for a BIOS boot partition "BIOS" of 1MiB (when firmware has bios), "ESP" of 100MiB with vfat (when it
// has uefi) and "ROOT" with ext4 and the rest. A partition block with one of these labels changes what it says; others
// are added before the one that takes the rest.
//
//	boot {
//	  firmware         list     "bios", "uefi"; default: all the architecture has
//	  secure_boot      string   "distro" (signed shim and GRUB; the default where they exist) or "off"
//	  console          list     "tty0", "ttyS0,115200n8"; the last is /dev/console
//	  cmdline          list     further kernel parameters, one per element
//	  timeout          number   seconds the menu is shown, 0 to 3600; default 1
//	  password_pbkdf2  string   hash by grub-mkpasswd-pbkdf2; protects editing of menu entries
//	}
//
//	output "raw" {}
//	output "qcow2" { compression = "zstd" | "deflate" | "none"  level }    level 1 is fastest; zstd to 19, deflate to 9
//
//	output "iso" {
//	  level       number  of compression of what is installed, 1 (fastest) to 19; default 3
//	  mode        string  "install" (default): writes the image to a disk of the machine it is started on; "live": runs
//	                      the system from the medium, with changes in memory
//	  label       string  volume label: 1 to 32 of A-Z 0-9 _; default: name and version
//	  confirm     bool    the default menu entry asks before anything is written; default false
//	  after       string  what follows an installation: "reboot" (default), "poweroff" or "halt"
//	  on_failure  string  what follows a failure: "shell" (default), "reboot" or "halt"
//
//	  target {
//	    match                          "only" (default), "smallest-empty" or "largest-empty"
//	    by_id by_path serial wwn model patterns of path.Match for the whole value; by_id and by_path are names below
//	                                   /dev/disk/by-id and /dev/disk/by-path
//	    min_size max_size              sizes, inclusive
//	    rotational                     true: disks that turn; false: those that do not
//	    transport                      "nvme", "sata", "ata", "sas", "scsi", "virtio", "usb", "mmc", "fc", "iscsi", "xen"
//	    wipe                           true: take disks that hold data, too; default false
//	    preserve                       labels of partitions which keep their contents where the disk has them already
//	  }
//
//	  events { console  url }          where the installer reports in JSON: "ttyS0"; a URL it posts to
//	}
//
//	output "pxe" { url*  … }           url is where the directory will be served, http or https; the rest as of iso,
//	                                   without label, and mode "install" alone
//
// There is at most one output of each type. An ISO starts from CD and from USB, with what firmware has; its menu shows for
// timeout of boot, but at least 5 seconds, and password_pbkdf2 protects it, too.
//
// All conditions of target must hold; of the disks that are left, match takes one: the only one, or the smallest or the
// largest of those that hold nothing. When that is no unique answer, nothing is installed, and a table says of every disk
// why it was not taken. The medium itself, disks in use and disks smaller than the image are never taken; removable disks
// and disks on USB only when a condition names them; disks that hold a partition table, a file system or a part of one
// (RAID, LVM, encryption) only with wipe, or when they have every partition of preserve where the image has it. A disk
// that holds nothing needs neither, so the same recipe installs machines for the first time and again. Arguments of the
// kernel change the policy by hand; they are in package installer/config.
//
// A script with stage = "install" runs on the machine when the image is on its disk: as root, with the installed root as
// its root directory, in order of definition. Besides env its environment says IMAGEFACTORY_STAGE=install,
// IMAGEFACTORY_NAME, IMAGEFACTORY_VERSION, IMAGEFACTORY_ARCH and IMAGEFACTORY_DISK, the path of the disk. A script that
// fails makes the installation fail. The image does not depend on it.
//
// Sizes are strings of a whole number and KiB, MiB, GiB or TiB. On the disk they are multiples of 1MiB.
//
// Output upgrade, layout ab and file system xfs belong to later versions; they are reported, never ignored.
//
// # Values
//
// var.NAME is a variable. Its value comes from, the later winning: default; the environment variable
// IMAGEFACTORY_VAR_NAME; files given with -var-file, in order; -var NAME=VALUE. A variable file has lines NAME = VALUE in
// HCL. On the command line and in the environment, text is taken as it is when the variable's type is string, number or
// bool, and as an HCL expression when it is a list, map or object. Without type a variable has the type of its default,
// or is a string. Values of sensitive variables do not appear in messages.
//
// local.NAME is a local; locals may refer to variables and to each other.
//
// Functions, with the meaning they have in other HCL tools: abs, base64decode, base64encode, can, ceil, chomp, coalesce
// (the first that is not null), coalescelist, compact, concat, contains, distinct, element, flatten, floor, format,
// formatlist, indent, join, jsondecode, jsonencode, keys, length, lookup (with a default), lower, max, merge, min,
// parseint, range, regex, regexall, regexreplace, replace, reverse, setintersection, setproduct, setsubtract, setunion,
// sha256, slice, sort, split, substr, title, tobool, tolist, tomap, tonumber, toset, tostring, trim, trimprefix,
// trimspace, trimsuffix, try, upper, values, zipmap; and
//
//	file(path), filebase64(path), filesha256(path), fileexists(path)
//	templatefile(path, values)       ${…} and %{…} in the file, which sees the values and the functions that read no files
//	sha512crypt(password, salt)      a hash for password_hash; the salt (8 to 16 letters, digits, . and /) stands in the
//	                                 recipe so that the same recipe gives the same image
//
// There is no function for the environment, the time or random numbers, for the same reason. Strings are Unicode in
// normal form C; source in a file block copies bytes as they are. Files read into values have at most 16 MiB.
//
// # Composition
//
// include names recipe files which are read first, in order, each once; they may include others. Later definitions
// override earlier ones, and the including file overrides what it includes: attributes by name, blocks with a label whole
// and by label. Blocks without a label (rootfs, disk, boot, harden, trim) are joined attribute by attribute, and the lists
// rootfs.packages, rootfs.exclude, rootfs.modules, boot.cmdline, harden.skip and those of trim and its services are appended
// to each other; exceptions add up. Variables and locals are shared by all files. Relative paths start from the directory of the file they are written in.
//
// # The lock file
//
// A lock file lies beside the recipe, with ".lock" appended to its name. It is JSON in UTF-8, written with one package
// per line; readers take any white space. Unknown fields and other versions are errors. All digests are SHA-256 in lower
// case hexadecimal.
//
//	version       1
//	distro        name of the distribution
//	arch          "x86_64" or "aarch64"
//	epoch         seconds since 1970: the newest date of the repositories below; timestamps of the image
//	request       what the recipe asked for when the lock was made; a lock whose request differs from the recipe's is stale
//	  distro, arch, essential, recommends
//	  repositories  list of {name, url, mirrorlist, metalink, suites, components, priority, exclude, key, key_fingerprints,
//	                gpg_check, repo_gpg_check, legacy_signatures} in order, without what does not apply; url is left out where the host's apt
//	                configuration may supply a mirror, and the file of an iso url is relative to the recipe; key is the
//	                digest of the key files the recipe names, one after the other; key_fingerprints stand for a key that
//	                is downloaded
//	  packages      sorted: base, rootfs.packages with groups as they are named, and what the initramfs, SELinux and
//	                growing the root need
//	  tools         sorted names: packages of boot tools and signed boot programs
//	  exclude, priorities
//	  installer     left out for native
//	  modules       sorted; left out when empty
//	  module_platform   of the distribution; left out where there are no modules
//	  archive       digest of the archive; of the installer archive alone
//	  image         as the recipe has it; of the installer image alone
//	  containers    sources of the container images as the recipe has them, sorted; left out when empty
//	image         of the installer image alone: {reference, digest}; digest is "sha256:…" of the manifest for arch
//	containers    one for each element of request.containers, sorted by reference; left out when empty
//	  reference     the element
//	  digest        "sha256:…" of what the reference means: a list of manifests, or the only manifest
//	  manifest      "sha256:…" of the manifest for arch
//	repositories  list, for deb one for each suite
//	  name          of the repository in the request; several suites share one
//	  url           the mirror that was used; a build may take the same files from another
//	  suite, components   of deb alone
//	  release       digest of the Release document whose signature was verified, for rpm of repomd.xml
//	  date          of that document, seconds since 1970; for rpm the newest of its revision and timestamps
//	  indexes       list of {path below the suite or url, sha256, size in bytes}
//	packages      of the image, sorted by name, architecture, version; empty where the root comes whole
//	  name, version, arch (the package manager's names; for rpm, version is [epoch:]version-release)
//	  sha256, size  of the package file, in bytes
//	  repository    name of a repository above
//	  filename      of the package file below the repository's url; relative, without "." and ".."
//	  auto          true when nothing asked for the package but dependencies; left out when false
//	tools         of the tools tree, which is never part of the image; like packages
package recipes
