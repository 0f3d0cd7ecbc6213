package disks

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// byID returns the names of the disk in /dev/disk/by-id, in no particular order.
func (d device) byID(id identity, transport string) []string {
	var names []string
	add := func(prefix string, parts ...string) {
		for _, part := range parts {
			if part == "" {
				return
			}
		}
		names = append(names, prefix+devname(strings.Join(parts, "_")))
	}
	name := d.name()
	switch {
	case transport == NVMe:
		add("nvme-", id.wwn)
		namespace := d.attr("nsid")
		if namespace == "1" {
			add("nvme-", id.model, id.serial)
		}
		add("nvme-", id.model, id.serial, namespace)
	case strings.HasPrefix(name, "vd"):
		add("virtio-", id.serial)
	case transport == MMC:
		add("mmc-", id.model, id.serial)
	case transport == USB:
		add("usb-", d.usbSerial())
	case strings.HasPrefix(name, "sd") && id.vendor == "ATA":
		if id.serial == "" {
			add("ata-", id.model)
		} else {
			// Each part by itself, as ata_id does: white space at the seam must not join them.
			names = append(names, "ata-"+devname(id.model)+"_"+devname(id.serial))
		}
	case strings.HasPrefix(name, "sd"):
		add("scsi-", id.pages.scsiID(id.vendor, id.model))
	case strings.HasPrefix(name, "cciss!"):
		add("cciss-", id.pages.scsiID(id.vendor, id.model))
	}
	if strings.HasPrefix(name, "sd") && strings.HasPrefix(id.wwn, "0x") && transport != USB {
		add("wwn-", id.wwn)
	}
	return names
}

// usbSerial returns what usb_id calls a mass storage device: vendor, model and serial number, then the target and unit,
// for some devices have one serial number for all units.
func (d device) usbSerial() string {
	usb, ok := d.ancestor("usb", "usb_device")
	if !ok {
		return ""
	}
	var vendor, model, instance string
	if face, ok := d.ancestor("usb", "usb_interface"); ok && face.attr("bInterfaceClass") == "08" {
		// SCSI transparent and ATAPI command sets: the unit's own vendor and model are meant.
		if subclass := face.attr("bInterfaceSubClass"); subclass == "06" || subclass == "02" {
			if scsi, ok := d.ancestor("scsi", "scsi_device"); ok {
				var host, bus, target, unit int
				if _, err := fmt.Sscanf(scsi.name(), "%d:%d:%d:%d", &host, &bus, &target, &unit); err == nil {
					vendor, model = devname(scsi.attr("vendor")), devname(scsi.attr("model"))
					instance = fmt.Sprintf("-%d:%d", target, unit)
				}
			}
		}
	}
	first := func(names ...string) string {
		for _, name := range names {
			if name != "" {
				return devname(name)
			}
		}
		return ""
	}
	if vendor == "" {
		vendor = first(usb.attr("manufacturer"), usb.attr("idVendor"))
	}
	if model == "" {
		model = first(usb.attr("product"), usb.attr("idProduct"))
	}
	serial := usb.attr("serial")
	// Serial numbers with other characters are made up by broken devices, says the USB mass storage specification.
	if strings.ContainsFunc(serial, func(r rune) bool { return r < 0x20 || r > 0x7f || r == ',' }) {
		serial = ""
	}
	if serial != "" {
		serial = "_" + devname(serial)
	}
	return vendor + "_" + model + serial + instance
}

// devname makes a string fit for a device's name as udev does: white space around it goes, within it becomes one
// underscore, and so does every character that is neither safe nor a valid multi-byte one.
func devname(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }), "_")
	var out strings.Builder
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		safe := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("#+-.:=@_", r)
		switch {
		case safe, size > 1:
			out.WriteString(s[:size])
		case strings.HasPrefix(s, `\x`):
			size = 2
			out.WriteString(s[:size])
		default:
			out.WriteByte('_')
		}
		s = s[size:]
	}
	return out.String()
}
