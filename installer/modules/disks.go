package modules

import "strings"

// diskDrivers are the directories of the kernel's sources whose drivers make disks appear, or the buses that disks are on.
var diskDrivers = []string{
	"drivers/acpi/nfit", "drivers/ata", "drivers/block", "drivers/hv", "drivers/message", "drivers/mmc", "drivers/nvdimm", "drivers/nvme",
	"drivers/pci/controller", "drivers/scsi", "drivers/ufs", "drivers/usb/chipidea", "drivers/usb/dwc2", "drivers/usb/dwc3", "drivers/usb/host",
	"drivers/usb/storage", "drivers/virtio",
}

// ShowsDisks reports whether a module is needed to see some disks, by its path below /lib/modules/RELEASE, as modules.dep has it:
// "kernel/drivers/ata/ahci.ko.xz". Modules of other vendors, in extra/ or updates/, are judged alike where they keep the kernel's
// directories.
func ShowsDisks(file string) bool {
	_, file, _ = strings.Cut(file, "/")
	for _, dir := range diskDrivers {
		if strings.HasPrefix(file, dir+"/") {
			return true
		}
	}
	return false
}
