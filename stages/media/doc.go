// Package media is the stages that make installation media: of the image's own root tree, the tools tree and the payload,
// everything that an ISO or a directory for network boots holds.
//
//   - MakeInitramfs takes the newest kernel of the root and makes the installer's initial RAM file system for it: the
//     installer itself as /init, and the modules package drivers chooses.
//   - MakeLoaders makes GRUB for BIOS, and GRUB for UEFI or takes the distribution's signed boot programs.
//   - MakeISO composes a hybrid ISO of these, of the payload (package stages/payload) and of the root file system for
//     live mode; MakePXE lists the files to serve for network boots.
//
// What the installer does is in one document, installer/config.Config, which Options.Config makes. Its id is a digest of
// all that is on the medium. Boot loaders find the medium by a file with that name, the installer by the volume set
// identifier: other media in the same machine, of other versions or other images, cannot be taken for it.
//
// # How a medium boots
//
// BIOS starts /boot/grub/bios.img, from the El Torito catalog of a CD or through the boot sector of a disk; that image
// takes its menu from /boot/grub on the device it was started from. UEFI starts EFI/BOOT/BOOTX64.EFI in the FAT file
// system /boot/grub/efi.img, which is the second image of the catalog and the EFI system partition of the disk. A GRUB
// that a distribution signed has the directory of its configuration built in: there, in the FAT file system, lies a
// configuration of three lines that goes on with /boot/grub/grub.cfg of the medium.
package media
