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
//	family*        string  package format: "deb"
//	version, codename      of the release
//	locale         string  default "C.UTF-8"
//	timezone       string  default "Etc/UTC"
//	host_packages  list    packages of a minimal container host, for starter recipes
//	verified       string  how the facts were checked, one sentence
//	unverified     list    what nobody has checked, one sentence each
//
//	repository "NAME" {       at least one*
//	  url*             base URL, used when nothing else supplies a mirror
//	  suites*          list; directories below dists/
//	  components*      list
//	  gpg_check        default true
//	  allow_expired    take a repository after its Valid-Until; default false
//	  gpg_key          key or keyring file; relative to the file this is written in
//	  keyrings         list; keyring files to try on the build host, when there is no gpg_key
//	  keyring_package  the host's package which ships them
//	  apt_origin       Origin and Label of the repository's Release file: a mirror in the host's apt configuration with
//	  apt_label        these replaces url. Ignored when a later definition sets url
//	}
//
//	architecture "x86_64" {   or "aarch64"; at least one*
//	  package_arch*    the package manager's name: "amd64"
//	  efi_name         suffix of EFI programs: "x64"
//	  efi_fallback     program firmware starts from EFI/BOOT by itself: "BOOTX64.EFI"
//	  links            map path → target: links made before packages are unpacked, where no package ships them
//	  kernels          list; packages of the usual kernel
//	  console          list; kernel consoles, the last is /dev/console
//	  grub "bios" { platform*  packages  modules*  boot_img* }
//	  grub "uefi" { platform*  packages  modules* }
//	  signed {                boot programs signed for Secure Boot
//	    packages         list; packages that hold them; their dependencies are not needed
//	    prefix*          directory on the ESP where the signed GRUB looks for grub.cfg, as built into it
//	    file "ROLE" { sources*  name* }     ROLE: shim, mokmanager, grub. sources are paths in the packages, the first that
//	                                        exists is taken; name is the file's name on the ESP
//	  }
//	}
//
//	base {*                   packages every image has
//	  essential        bool; all packages marked essential; default true
//	  priorities       list; all packages of these priorities
//	  packages         list; these too
//	}
//
//	scripts {*                how maintainer scripts and script stages run
//	  env              map
//	  file "/PATH" { content*  mode = "0644" }     exists while they run; what the tree has at the path comes back after
//	}
//
//	kernel {* image* }        "/boot/vmlinuz-{version}"; {version} stands for the release of the kernel
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
