package disks

import "strings"

// identity is what a disk says of itself.
type identity struct {
	vendor, model, serial, wwn string
	pages                      pages
}

// identity asks the attributes that the disk's subsystem has.
func (d device) identity(transport string) identity {
	var id identity
	scsi, isSCSI := d.ancestor("scsi", "scsi_device")
	switch {
	case isSCSI:
		id = scsi.scsiIdentity()
		if transport == USB {
			if usb, ok := d.ancestor("usb", "usb_device"); ok && usb.attr("serial") != "" {
				id.serial = usb.attr("serial")
			}
		}
	case transport == NVMe:
		controller := d.controller()
		id.model, id.serial = controller.inherited("model"), controller.inherited("serial")
		id.wwn = d.inherited("wwid")
	case transport == MMC:
		id.model, id.serial = d.inherited("name"), d.inherited("serial")
	default: // virtio-blk has its serial on the disk itself
		id.model, id.serial = d.attr("device/model"), d.inherited("serial")
	}
	return id
}

// controller returns the NVMe controller of a namespace. With multipathing in the kernel the namespace hangs on a
// virtual subsystem, and only its name leads to the controller, as udev's path_id knows too.
func (d device) controller() device {
	if controller, ok := d.ancestor("nvme", ""); ok {
		return controller
	}
	name := strings.TrimPrefix(d.name(), "nvme")
	if number, _, ok := strings.Cut(name, "n"); ok {
		if controller, ok := d.class("nvme", "nvme"+number); ok {
			return controller
		}
	}
	return d
}

// scsiIdentity reads the vital product data that the kernel has kept of a SCSI device.
func (d device) scsiIdentity() identity {
	id := identity{
		vendor: d.attr("vendor"),
		model:  d.attr("model"),
		serial: d.attr("serial"),
		pages:  pages{serial: parseSerialPage(d.raw("vpd_pg80")), designators: parseIdentificationPage(d.raw("vpd_pg83"))},
	}
	if id.serial == "" {
		id.serial = id.pages.serial
	}
	// The model in the standard inquiry data is cut off after 16 characters; an ATA disk's whole one is in the
	// identification page.
	if id.vendor == "ATA" {
		if model, serial, ok := id.pages.ata(); ok {
			id.model, id.serial = model, serial
		}
	}
	switch wwid := d.attr("wwid"); {
	case id.pages.naa() != "":
		id.wwn = "0x" + id.pages.naa()
	case strings.HasPrefix(wwid, "naa."):
		id.wwn = "0x" + strings.TrimPrefix(wwid, "naa.")
	case strings.HasPrefix(wwid, "eui."):
		id.wwn = wwid
	}
	return id
}
