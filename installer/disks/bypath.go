package disks

import (
	"fmt"
	"strconv"
	"strings"
)

// pathNames is what path_id composes while it walks from the disk to the root of the device tree, innermost part last.
type pathNames struct {
	path []string
	// compat is the name that ATA disks had before systemd 249, without the number of the device on its port.
	compat []string
	// parent and transport say that the name has an end to hang on, and a way from there: without both, other disks may
	// have the same.
	parent, transport bool
}

func (p *pathNames) prepend(part string) {
	p.path = append([]string{part}, p.path...)
	if p.compat != nil {
		p.compat = append([]string{part}, p.compat...)
	}
}

// byPath returns the names of the disk in /dev/disk/by-path, in no particular order.
func (d device) byPath() []string {
	var names pathNames
	disk := d
	for at, ok := d, true; ok; at, ok = at.parent() {
		switch subsystem := at.subsystem(); subsystem {
		case "scsi":
			if at.devtype() != "scsi_device" {
				continue
			}
			names.transport = true
			if at, ok = at.scsiPath(&names); !ok {
				return nil
			}
		case "usb":
			names.transport = true
			if kind := at.devtype(); kind == "usb_interface" || kind == "usb_device" {
				// The number of the bus changes between starts; where on the bus the device is does not.
				if _, port, ok := strings.Cut(at.name(), "-"); ok {
					names.prepend("usb-0:" + port)
					at = at.outermost(subsystem)
				}
			}
		case "pci", "acpi", "xen":
			names.prepend(subsystem + "-" + at.name())
			names.parent = true
			at = at.outermost(subsystem)
		case "platform":
			names.prepend(subsystem + "-" + at.name())
			names.parent, names.transport = true, true
			at = at.outermost(subsystem)
		case "virtio":
			names.transport = true
			at = at.outermost(subsystem)
		case "nvme", "nvme-subsystem":
			namespace := disk.attr("nsid")
			if namespace == "" {
				continue
			}
			names.prepend("nvme-" + namespace)
			names.parent, names.transport = true, true
			at = disk.controller().outermost("nvme")
		}
	}
	if len(names.path) == 0 || !names.parent || !names.transport {
		return nil
	}
	path := strings.Join(names.path, "-")
	list := []string{path}
	if names.compat != nil {
		list = append(list, strings.Join(names.compat, "-"))
	}
	if strings.HasPrefix(d.name(), "vd") && strings.HasPrefix(path, "pci-") {
		list = append(list, "virtio-"+path) // as it was called long ago, and still is
	}
	return list
}

// scsiPath adds the part of a SCSI device and returns where to go on; false when the disk has no stable path.
func (d device) scsiPath(names *pathNames) (device, bool) {
	lun := scsiUnit(d.name())
	target, hasTarget := d.ancestor("scsi", "scsi_target")
	switch {
	case strings.Contains(d.path, "/rport-"):
		port, ok := d.class("fc_transport", target.name())
		if !hasTarget || !ok || port.attr("port_name") == "" {
			return d, false
		}
		names.parent = true
		names.prepend("fc-" + port.attr("port_name") + "-" + lun)
	case strings.Contains(d.path, "/end_device-"):
		part := d.sasPath(target)
		if !hasTarget || part == "" {
			return d, false
		}
		names.parent = true
		names.prepend(part + "-" + lun)
	case strings.Contains(d.path, "/session"):
		part := d.iscsiPath()
		if part == "" {
			return d, false
		}
		names.parent = true
		names.prepend(part + "-" + lun)
	case strings.Contains(d.path, "/ata"):
		return d.ataPath(names)
	case strings.Contains(d.path, "/vmbus_"), strings.Contains(d.path, "/VMBUS"):
		host, ok := d.ancestor("scsi", "scsi_host")
		if !ok {
			return d, false
		}
		bus, ok := host.parent()
		guid := strings.NewReplacer("-", "", "{", "", "}", "").Replace(bus.attr("device_id"))
		if !ok || guid == "" {
			return d, false
		}
		names.prepend("vmbus-" + guid + "-" + lun)
	default:
		return d.hostPath(names)
	}
	return d, true
}

// scsiUnit returns the logical unit of a device named host:bus:target:unit.
func scsiUnit(name string) string {
	unit, err := strconv.ParseUint(name[strings.LastIndexByte(name, ':')+1:], 10, 32)
	if err != nil {
		return ""
	}
	if unit < 256 {
		return fmt.Sprintf("lun-%d", unit)
	}
	return fmt.Sprintf("lun-0x%04x%04x00000000", unit&0xffff, unit>>16&0xffff)
}

// ataPath adds the number of the port on its controller, and of the device on the port.
func (d device) ataPath(names *pathNames) (device, bool) {
	var number, bus, target, unit int
	if _, err := fmt.Sscanf(d.name(), "%d:%d:%d:%d", &number, &bus, &target, &unit); err != nil {
		return d, false
	}
	host, ok := d.ancestor("scsi", "scsi_host")
	if !ok {
		return d, false
	}
	parent, ok := host.parent()
	if !ok {
		return d, false
	}
	port, ok := d.class("ata_port", parent.name())
	if !ok || port.attr("port_no") == "" {
		return d, false
	}
	names.compat = []string{"ata-" + port.attr("port_no")}
	if bus != 0 { // behind a port multiplier
		names.path = []string{fmt.Sprintf("ata-%s.%d.0", port.attr("port_no"), bus)}
	} else {
		names.path = []string{fmt.Sprintf("ata-%s.%d", port.attr("port_no"), target)}
	}
	return d, true
}

// hostPath adds host, bus, target and unit; the host counts from the first of its controller.
func (d device) hostPath(names *pathNames) (device, bool) {
	var number, bus, target, unit int
	if _, err := fmt.Sscanf(d.name(), "%d:%d:%d:%d", &number, &bus, &target, &unit); err != nil {
		return d, false
	}
	host, ok := d.ancestor("scsi", "scsi_host")
	if !ok {
		return d, false
	}
	first := -1
	for _, sibling := range host.child("..").entries("") {
		digits, isHost := strings.CutPrefix(sibling, "host")
		if n, err := strconv.Atoi(digits); isHost && err == nil && (first < 0 || n < first) {
			first = n
		}
	}
	if first >= 0 {
		names.prepend(fmt.Sprintf("scsi-%d:%d:%d:%d", number-first, bus, target, unit))
	}
	return host, true
}

// sasPath returns the phy a SAS disk hangs on, and the expander if there is one; a disk on several phys is named by its
// address.
func (d device) sasPath(target device) string {
	end, ok := target.parent()
	if !ok {
		return ""
	}
	sas, ok := d.class("sas_device", end.name())
	if !ok {
		return ""
	}
	port, ok := end.parent()
	if !ok {
		return ""
	}
	sasPort, ok := d.class("sas_port", port.name())
	if !ok {
		return ""
	}
	switch sasPort.attr("num_phys") {
	case "":
		return ""
	case "1":
	default:
		return "sas-" + sas.attr("sas_address")
	}
	phy := "phy" + sas.attr("phy_identifier")
	if above, ok := port.parent(); ok {
		if expander, ok := d.class("sas_device", above.name()); ok {
			return "sas-exp" + expander.attr("sas_address") + "-" + phy
		}
	}
	return "sas-" + phy
}

// iscsiPath returns the portal and the name of an iSCSI target.
func (d device) iscsiPath() string {
	for at, ok := d.parent(); ok; at, ok = at.parent() {
		number, isSession := strings.CutPrefix(at.name(), "session")
		if !isSession {
			continue
		}
		session, ok := d.class("iscsi_session", at.name())
		if !ok {
			return ""
		}
		connection, ok := d.class("iscsi_connection", "connection"+number+":0")
		if !ok {
			return ""
		}
		return fmt.Sprintf("ip-%s:%s-iscsi-%s", connection.attr("persistent_address"), connection.attr("persistent_port"), session.attr("targetname"))
	}
	return ""
}
