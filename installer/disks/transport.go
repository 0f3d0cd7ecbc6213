package disks

import "strings"

// transport returns how the disk is connected, from the chain of devices it hangs on.
func (d device) transport() string {
	contains := func(part string) bool { return strings.Contains(d.path, part) }
	if _, ok := d.ancestor("scsi", ""); ok {
		_, virtio := d.ancestor("virtio", "")
		switch {
		case contains("/usb"):
			return USB
		case contains("/ata"):
			return d.ataLink()
		case contains("/end_device-"):
			return SAS
		case contains("/rport-"):
			return FC
		case contains("/session"):
			return ISCSI
		case virtio:
			return VirtIO
		}
		return SCSI
	}
	for _, bus := range []struct{ subsystem, transport string }{
		{"nvme", NVMe}, {"nvme-subsystem", NVMe}, {"virtio", VirtIO}, {"mmc", MMC}, {"xen", Xen}, {"usb", USB},
	} {
		if _, ok := d.ancestor(bus.subsystem, ""); ok {
			return bus.transport
		}
	}
	return ""
}

// ataLink tells serial from parallel ATA: only a serial link has a speed.
func (d device) ataLink() string {
	for a, ok := d, true; ok; a, ok = a.parent() {
		number, isPort := strings.CutPrefix(a.name(), "ata")
		if !isPort || !startsWithDigit(number) {
			continue
		}
		if link, ok := d.class("ata_link", "link"+number); ok && strings.Contains(link.attr("sata_spd"), "Gbps") {
			return SATA
		}
		break
	}
	return ATA
}
