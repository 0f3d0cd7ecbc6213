// Package installer is what runs on an installation medium: process 1 of an initramfs that holds nothing but this program,
// kernel modules and their firmware. There is no shell, no udev, no library; the binary is static.
//
// # How it gets control
//
// The initramfs has the imagefactory binary itself as /init. [Init], the first thing that program calls, takes over when it is
// process 1 and was started as "/init"; anywhere else it returns and nothing of this package runs. The program is also the
// kernel's helper for loading modules (/proc/sys/kernel/modprobe): the kernel asks for file systems and their character sets by
// itself. cmd/installer is the same without the rest of imagefactory, for whoever wants a small initramfs.
//
// # What happens, in order
//
//	start.go     mount proc, sysfs, devtmpfs, a tmpfs on /run, efivarfs; find the consoles; read the command line
//	drivers.go   load the modules of the devices there are, and of those that appear
//	source.go    find the medium by its id, or bring up the network and fetch install.json; apply the command line
//	live.go      live mode: loop device, overlay, switch to the system's own init
//	decide.go    list disks and what they hold, choose one, print why; ask, or end a dry run
//	write.go     verify the payload, write it, read it back; grow, boot entry
//	scripts.go   run the recipe's scripts in the installed root
//	end.go       report, unmount, restart
//	failure.go   say what failed, on which device, and what was written
//	rescue.go    the prompt, which needs no program either
//
// Nothing is written to any disk before all of it is decided, and confirmed when the medium or the command line wants that. On a
// local medium the payload is verified completely before that first write.
//
// # Waiting
//
// Whatever is waited for has a bound that is printed: the medium and the network (imagefactory.wait, 90 seconds), quiet among the
// devices before a disk is chosen, a disk that does not answer while it is looked at. Writing has no bound, as a slow disk is
// no broken one, but half a minute without progress is said on the consoles. A question waits for its answer.
//
// # The interface of scripts
//
// A script finds the installed root as its root, with /proc, /sys, /dev and an empty /run. Its environment is PATH, HOME, LANG,
// IMAGEFACTORY_STAGE=install, IMAGEFACTORY_NAME, IMAGEFACTORY_VERSION, IMAGEFACTORY_ARCH, IMAGEFACTORY_DISK (the device's path),
// and what the recipe adds. Its input is empty, its output goes to the consoles. What it leaves running is killed. Any exit status but 0
// makes the installation fail.
package installer
