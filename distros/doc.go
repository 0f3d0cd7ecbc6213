// Package distros holds what differs between distributions, as data. No Go code names a distribution: adding one is
// adding a file to this directory.
//
// # Data files
//
// A file NAME.hcl is HCL 2 without variables and functions and holds one block
//
//	distro "NAME" { … }
//
// A recipe can hold such a block too; there, expressions may use variables. Required attributes are marked with *. Paths
// are absolute and inside the image unless something else is said.
//
//	inherits       string  a built-in definition to start from. Attributes written here win; blocks are joined, attribute
//	                       by attribute, with the inherited block of the same label
//	abstract       bool    only to be inherited from; not a distribution by itself
//	title          string  for people; default: the name
//	family*        string  package format: "deb" or "rpm"
//	version, codename      of the release
//	locale         string  default "C.UTF-8"
//	timezone       string  default "Etc/UTC"
//	host_packages  list    packages of a minimal container host, for starter recipes
//	host_services  list    units to enable on it
//	host_group     string  the group whose members may become root
//	host_size      string  of a disk it fits on; default "2GiB"
//	notes          list    what whoever uses it must know, one sentence each
//	verified       map     kind of fact → how it was checked, one sentence. The kinds are repositories, keys, packages,
//	                       kernel, initramfs, grub, efi, filesystems, selinux, database and boot; what is not there was
//	                       not checked
//	unverified     list    remarks about what nobody has checked, one sentence each
//
// verified and unverified are not inherited: what is true of one release may be wrong of another.
//
//	repository "NAME" {       at least one*
//	  url*             base URL, used when nothing else supplies a mirror; see below
//	  gpg_check        default true
//	  gpg_key          key or keyring file, or a list of them; relative to the file this is written in
//	  keyrings         list; keyring files to look for on the build host, when there is no gpg_key; all that exist count
//	  keyring_package  the host's package which ships them
//	  key_source       where a person finds the key, when the definition has none and the recipe must bring it: the end of
//	                   a sentence "the key is …"
//
//	  of family deb:
//	  suites*          list; directories below dists/
//	  components*      list
//	  allow_expired    take a repository after its Valid-Until; default false
//	  apt_origin       Origin and Label of the repository's Release file: a mirror in the host's apt configuration with
//	  apt_label        these replaces url. Ignored when a later definition sets url
//
//	  of family rpm:
//	  mirrorlist       URL of a list of base URLs, one in a line
//	  metalink         URL of a Metalink document (RFC 5854) of repomd.xml
//	  priority         1 to 99, default 99: of packages with one name only those of the lowest number count
//	  exclude          list of names and patterns of packages to pass over
//	  legacy_signatures  accept SHA-1 and keys of 1024 bits, which old packages have nothing better than; default false
//	  repo_gpg_check   repomd.xml must be signed; default false: a signature is verified where there is one
//	  key_url          where a key can be downloaded, when none of the keyrings exists
//	  key_fingerprints list; of the keys behind key_url those with one of these OpenPGP fingerprints are taken, no others
//	}
//
// The url of a deb repository begins with http, https or file. That of an rpm repository may also be iso:FILE or
// iso:FILE!/DIR: a directory of an ISO 9660 image, whose path is relative to the file this is written in. The directory
// holds repodata/, or just packages. In url, mirrorlist, metalink and key_url of an rpm repository $basearch stands for
// package_arch and $releasever for version. With mirrorlist or metalink, url is not required. A later definition that
// sets one of the three replaces all three.
//
// gpg_check is about the Release files of deb repositories, which pin every package; of rpm repositories it is about each
// package, and about repomd.xml where that is signed.
//
//	architecture "x86_64" {   or "aarch64"; at least one*
//	  package_arch*    the package manager's name: "amd64", "x86_64"
//	  efi_name         suffix of EFI programs: "x64"
//	  efi_fallback     program firmware starts from EFI/BOOT by itself: "BOOTX64.EFI"
//	  links            map path → target: links made before packages are unpacked, where no package ships them
//	  kernels          list; packages of the usual kernel
//	  console          list; kernel consoles, the last is /dev/console
//	  grub "bios" { platform*  packages  modules*  boot_img* }
//	  grub "uefi" { platform*  packages  modules* }
//	  signed {                boot programs signed for Secure Boot
//	    packages         list; packages that hold them; their dependencies are not needed
//	    prefix*          directory on the ESP where the signed GRUB looks for grub.cfg, as built into it. Where that is not
//	                     known, "/EFI/*": here and in sources, * stands for the one directory of the packages with the GRUB
//	    cd_prefix        the same for the role grub-cd: directory on the file system that GRUB is started from
//	    file "ROLE" { sources*  name* }     ROLE: shim, mokmanager, grub, and grub-cd, a GRUB for installation media, without
//	                                        which grub serves them. sources are paths in the packages, the first that exists
//	                                        is taken; name is the file's name on the ESP
//	  }
//	}
//
//	base {*                   packages every image has
//	  essential        bool, of family deb; all packages marked essential; default true
//	  priorities       list, of family deb; all packages of these priorities
//	  packages         list; these too
//	}
//
//	scripts {*                how maintainer scripts and script stages run
//	  env              map
//	  file "/PATH" { content*  mode = "0644" }     exists while they run; what the tree has at the path comes back after
//	}
//
//	kernel {*
//	  image*           "/boot/vmlinuz-{version}"; {version} stands for the release of the kernel
//	  source           another such path: where packages put a kernel that is not at image; it is copied there
//	}
//
//	initramfs {*
//	  image*           "/boot/initrd.img-{version}"
//	  command*         list; program and arguments, run in the image; {version} and {image} are replaced
//	  packages         list; what it needs in the image
//	  env              map
//	  file "/PATH" { content  mode }   there while command runs; {filesystem} stands for the root's
//	}
//
//	grub {*
//	  mkimage*         program in the tools tree
//	  dir*             GRUB's directory in the image
//	  vendor*          directory of the distribution on the ESP
//	  bls              bool; menu entries are files in /boot/loader/entries (the Boot Loader Specification); default false
//	}
//
//	rpm {                     of family rpm, there *
//	  database*        directory of the package database
//	  backend          "sqlite" (default): the build writes rpmdb.sqlite; "rpmdb": the image's own rpmdb --importdb writes
//	                   whatever format that rpm has
//	  module_platform  platform that module streams are for, "platform:el9"; default: there are no modules
//	  modules          list of streams to enable besides the default ones, "nodejs:18"
//	}
//
//	selinux {                 default: disabled
//	  mode*            "enforcing", "permissive" or "disabled": the default of a recipe's selinux
//	  packages         list; what an image needs unless the mode is disabled
//	}
//
//	ext4 {* features }        list of names of mke2fs(8): what the distribution's kernel, e2fsprogs and GRUB read
//
//	grow {                    how the root grows to the real disk on first boot
//	  packages         list; what it needs in the image
//	  mount_options    added to the root's options in fstab
//	  file "/PATH" { content*  mode }              written into the image
//	}
//
//	clean {                   what must never be in an image
//	  remove           list of paths; * and ? match within one element, a last element ** everything below
//	  truncate         list of files which exist, but are empty
//	}
//
//	unit "NAME" {             a systemd unit for images which need it
//	  when             path that must exist in the image; default: always
//	  wanted_by*       target
//	  content*
//	}
package distros
