// Package disks says which disks a machine has, from what the kernel publishes in sysfs.
//
// The initramfs of the installer has no udev, so /dev holds nothing but kernel names, which change from boot to boot.
// The names people put into recipes are those of /dev/disk/by-id and /dev/disk/by-path; [Disk.ByID] and [Disk.ByPath]
// are computed as udev's 60-persistent-storage.rules and its programs ata_id, scsi_id, usb_id and path_id do (systemd
// 252 and later), so that a name read on a running system selects the same disk here. Two differences are known:
// disks behind a USB bridge are named by the bridge only ("usb-…"), never by the disk's own IDENTIFY data ("ata-…"),
// because asking for that takes a command to the device; and the obsolete name of an NVMe namespace without its
// number is given to the first namespace only, where it cannot be mistaken.
//
// Nothing in this package opens a device.
package disks
