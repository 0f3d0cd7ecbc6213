package disks

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const pci = "pci0000:00/0000:00:17.0"

// controller makes the devices from the root to a PCI function.
func (s tree) controller() {
	s.device("pci0000:00", "")
	s.device(pci, "pci")
}

// scsi makes a SCSI host, target and device below a path, and returns the path of the device.
func (s tree) scsi(path, host, address string, values ...string) string {
	base := path + "/host" + host
	target := base + "/target" + address[:strings.LastIndex(address, ":")]
	s.device(base, "scsi/scsi_host")
	s.device(target, "scsi/scsi_target")
	s.device(target+"/"+address, "scsi/scsi_device", values...)
	return target + "/" + address
}

// TestKinds has a disk of every kind, with the devices it hangs on.
func TestKinds(t *testing.T) {
	naa := named(codeBinary, 0, designatorNAA, "\x50\x00\xc5\x00\x94\x00\x00\x01")
	for _, test := range []struct {
		name string
		make func(s tree)
		want Disk
	}{
		{
			name: "SATA",
			make: func(s tree) {
				s.device(pci+"/ata3", "", "uevent", "")
				s.device(pci+"/ata3/ata_port/ata3", "ata_port", "port_no", "1")
				s.class("ata_port", pci+"/ata3/ata_port/ata3")
				s.device(pci+"/ata3/link3/ata_link/link3", "ata_link", "sata_spd", "6.0 Gbps")
				s.class("ata_link", pci+"/ata3/link3/ata_link/link3")
				path := s.scsi(pci+"/ata3", "2", "2:0:0:0", "vendor", "ATA     ", "model", "SAMSUNG MZ7LH960", "vpd_pg80", page80("S45NNE0M500001      "),
					"wwid", "naa.5002538e00000001", "vpd_pg83", page83(
						named(codeASCII, 0, designatorVendor, "S45NNE0M500001      "),
						named(codeASCII, 0, designatorT10, fmt.Sprintf("ATA     %-40s%-20s", "SAMSUNG MZ7LH960HAJR-00005", "S45NNE0M500001")),
						named(codeBinary, 0, designatorNAA, "\x50\x02\x53\x8e\x00\x00\x00\x01")))
				s.disk(path+"/block/sda", "queue/physical_block_size", "4096")
			},
			want: Disk{
				Name: "sda", Transport: SATA, Vendor: "ATA", Model: "SAMSUNG MZ7LH960HAJR-00005", Serial: "S45NNE0M500001",
				WWN: "0x5002538e00000001", PhysicalSector: 4096,
				ByID:   []string{"ata-SAMSUNG_MZ7LH960HAJR-00005_S45NNE0M500001", "wwn-0x5002538e00000001"},
				ByPath: []string{"pci-0000:00:17.0-ata-1", "pci-0000:00:17.0-ata-1.0"},
			},
		},
		{
			name: "SATA behind a port multiplier, without a WWN",
			make: func(s tree) {
				s.device(pci+"/ata3", "")
				s.device(pci+"/ata3/ata_port/ata3", "ata_port", "port_no", "3")
				s.class("ata_port", pci+"/ata3/ata_port/ata3")
				path := s.scsi(pci+"/ata3", "2", "2:1:0:0", "vendor", "ATA     ", "model", "WDC WD10EZEX-08W", "vpd_pg83", page83(
					named(codeASCII, 0, designatorT10, fmt.Sprintf("ATA     %-40s%20s", "WDC WD10EZEX-08WN4A0", "WD-WCC6Y0000001"))))
				s.disk(path + "/block/sdb")
			},
			want: Disk{
				Name: "sdb", Transport: ATA, Vendor: "ATA", Model: "WDC WD10EZEX-08WN4A0", Serial: "WD-WCC6Y0000001",
				ByID:   []string{"ata-WDC_WD10EZEX-08WN4A0_WD-WCC6Y0000001"},
				ByPath: []string{"pci-0000:00:17.0-ata-3", "pci-0000:00:17.0-ata-3.1.0"},
			},
		},
		{
			name: "NVMe",
			make: func(s tree) {
				s.device(pci+"/nvme/nvme0", "nvme", "model", "Samsung SSD 970 EVO Plus 1TB            ", "serial", "S4EWNX0M000001      ")
				s.class("nvme", pci+"/nvme/nvme0")
				s.disk(pci+"/nvme/nvme0/nvme0n1", "nsid", "1", "wwid", "eui.0025385b71b0cf2d")
			},
			want: Disk{
				Name: "nvme0n1", Transport: NVMe, Model: "Samsung SSD 970 EVO Plus 1TB", Serial: "S4EWNX0M000001", WWN: "eui.0025385b71b0cf2d",
				ByID:   []string{"nvme-Samsung_SSD_970_EVO_Plus_1TB_S4EWNX0M000001", "nvme-Samsung_SSD_970_EVO_Plus_1TB_S4EWNX0M000001_1", "nvme-eui.0025385b71b0cf2d"},
				ByPath: []string{"pci-0000:00:17.0-nvme-1"},
			},
		},
		{
			name: "virtio-blk",
			make: func(s tree) {
				s.device(pci+"/virtio2", "virtio")
				s.disk(pci+"/virtio2/block/vda", "serial", "VIRT-0001")
			},
			want: Disk{
				Name: "vda", Transport: VirtIO, Serial: "VIRT-0001", ByID: []string{"virtio-VIRT-0001"},
				ByPath: []string{"pci-0000:00:17.0", "virtio-pci-0000:00:17.0"},
			},
		},
		{
			name: "virtio-scsi",
			make: func(s tree) {
				s.device(pci+"/virtio1", "virtio")
				path := s.scsi(pci+"/virtio1", "2", "2:0:1:0", "vendor", "QEMU    ", "model", "QEMU HARDDISK   ",
					"vpd_pg80", page80("VSCSI-0001"), "vpd_pg83", page83(named(codeASCII, 0, designatorVendor, "drive-scsi0")))
				s.disk(path + "/block/sda")
			},
			want: Disk{
				Name: "sda", Transport: VirtIO, Vendor: "QEMU", Model: "QEMU HARDDISK", Serial: "VSCSI-0001",
				ByID: []string{"scsi-0QEMU_QEMU_HARDDISK_drive-scsi0"}, ByPath: []string{"pci-0000:00:17.0-scsi-0:0:1:0"},
			},
		},
		{
			name: "NVMe with multipathing in the kernel",
			make: func(s tree) {
				s.device(pci+"/nvme", "")
				s.device(pci+"/nvme/nvme0", "nvme", "model", "Dell Ent NVMe CM6 RI 1.92TB             ", "serial", "X1Y0A000T9Z1        ")
				s.class("nvme", pci+"/nvme/nvme0")
				s.device("virtual/nvme-subsystem/nvme-subsys0", "nvme-subsystem", "model", "Dell Ent NVMe CM6 RI 1.92TB", "serial", "X1Y0A000T9Z1")
				s.disk("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "nsid", "1", "wwid", "eui.8ce38ee2000000010025385b71b0cf2d")
				s.disk(pci+"/nvme/nvme0/nvme0c0n1", "hidden", "1")
			},
			want: Disk{
				Name: "nvme0n1", Transport: NVMe, Model: "Dell Ent NVMe CM6 RI 1.92TB", Serial: "X1Y0A000T9Z1", WWN: "eui.8ce38ee2000000010025385b71b0cf2d",
				ByID:   []string{"nvme-Dell_Ent_NVMe_CM6_RI_1.92TB_X1Y0A000T9Z1", "nvme-Dell_Ent_NVMe_CM6_RI_1.92TB_X1Y0A000T9Z1_1", "nvme-eui.8ce38ee2000000010025385b71b0cf2d"},
				ByPath: []string{"pci-0000:00:17.0-nvme-1"},
			},
		},
		{
			name: "SAS behind an expander",
			make: func(s tree) { s.sas(naa, "1", true) },
			want: Disk{
				Name: "sda", Transport: SAS, Vendor: "SEAGATE", Model: "ST4000NM0095", Serial: "ZC1A0001", WWN: "0x5000c50094000001",
				ByID:   []string{"scsi-35000c50094000001", "wwn-0x5000c50094000001"},
				ByPath: []string{"pci-0000:00:17.0-sas-exp0x500304800000003f-phy5-lun-0"},
			},
		},
		{
			name: "SAS on two phys",
			make: func(s tree) { s.sas(naa, "2", false) },
			want: Disk{
				Name: "sda", Transport: SAS, Vendor: "SEAGATE", Model: "ST4000NM0095", Serial: "ZC1A0001", WWN: "0x5000c50094000001",
				ByID:   []string{"scsi-35000c50094000001", "wwn-0x5000c50094000001"},
				ByPath: []string{"pci-0000:00:17.0-sas-0x5000c50094000002-lun-0"},
			},
		},
		{
			name: "Fibre Channel, a high unit",
			make: func(s tree) {
				host := pci + "/host3"
				target := host + "/rport-3:0-0/target3:0:0"
				s.device(host, "scsi/scsi_host")
				s.device(host+"/rport-3:0-0", "")
				s.device(target, "scsi/scsi_target")
				s.device(target+"/fc_transport/target3:0:0", "fc_transport", "port_name", "0x50060e8000000001")
				s.class("fc_transport", target+"/fc_transport/target3:0:0")
				s.device(target+"/3:0:0:300", "scsi/scsi_device", "vendor", "HITACHI ", "model", "OPEN-V          ",
					"vpd_pg83", page83(named(codeBinary, 0, designatorNAA, "\x60\x06\x0e\x80\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2a")))
				s.disk(target + "/3:0:0:300/block/sdc")
			},
			want: Disk{
				Name: "sdc", Transport: FC, Vendor: "HITACHI", Model: "OPEN-V", WWN: "0x60060e8000000001000000000000002a",
				ByID:   []string{"scsi-360060e8000000001000000000000002a", "wwn-0x60060e8000000001000000000000002a"},
				ByPath: []string{"pci-0000:00:17.0-fc-0x50060e8000000001-lun-0x012c000000000000"},
			},
		},
		{
			name: "iSCSI, without a controller",
			make: func(s tree) {
				s.device("platform", "")
				s.device("platform/host4", "scsi/scsi_host")
				s.device("platform/host4/session2", "")
				s.device("platform/host4/session2/iscsi_session/session2", "iscsi_session", "targetname", "iqn.2026-01.com.example:storage")
				s.class("iscsi_session", "platform/host4/session2/iscsi_session/session2")
				s.device("platform/host4/session2/connection2:0/iscsi_connection/connection2:0", "iscsi_connection", "persistent_address", "192.0.2.1", "persistent_port", "3260")
				s.class("iscsi_connection", "platform/host4/session2/connection2:0/iscsi_connection/connection2:0")
				s.device("platform/host4/session2/target4:0:0", "scsi/scsi_target")
				s.device("platform/host4/session2/target4:0:0/4:0:0:1", "scsi/scsi_device", "vendor", "LIO-ORG ", "model", "disk            ", "vpd_pg80", page80("5ca1ab1e"))
				s.disk("platform/host4/session2/target4:0:0/4:0:0:1/block/sdd")
			},
			want: Disk{
				Name: "sdd", Transport: ISCSI, Vendor: "LIO-ORG", Model: "disk", Serial: "5ca1ab1e",
				ByID:   []string{"scsi-SLIO-ORG_disk_5ca1ab1e"},
				ByPath: []string{"ip-192.0.2.1:3260-iscsi-iqn.2026-01.com.example:storage-lun-1"},
			},
		},
		{
			name: "Hyper-V",
			make: func(s tree) {
				bus := "LNXSYSTM:00/VMBUS:00/f8b3781a-1e82-4818-a1c3-63d806ec15bb"
				s.device("LNXSYSTM:00", "acpi")
				s.device("LNXSYSTM:00/VMBUS:00", "acpi")
				s.device(bus, "vmbus", "device_id", "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}")
				path := s.scsi(bus, "0", "0:0:0:0", "vendor", "Msft    ", "model", "Virtual Disk    ", "vpd_pg83",
					page83(named(codeBinary, 0, designatorNAA, "\x60\x02\x24\x80\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01")))
				s.disk(path + "/block/sda")
			},
			want: Disk{
				Name: "sda", Transport: SCSI, Vendor: "Msft", Model: "Virtual Disk", WWN: "0x60022480000000010000000000000001",
				ByID:   []string{"scsi-360022480000000010000000000000001", "wwn-0x60022480000000010000000000000001"},
				ByPath: []string{"acpi-VMBUS:00-vmbus-f8b3781a1e824818a1c363d806ec15bb-lun-0"},
			},
		},
		{
			name: "a RAID controller of the second host",
			make: func(s tree) {
				s.device(pci+"/host0", "scsi/scsi_host")
				path := s.scsi(pci, "1", "1:2:0:0", "vendor", "DELL    ", "model", "PERC H740P Mini ", "vpd_pg80", page80("00a1b2c3"),
					"vpd_pg83", page83(named(codeBinary, 0, designatorNAA, "\x62\xce\xa7\xf0\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02")))
				s.disk(path+"/block/sda", "queue/rotational", "1")
			},
			want: Disk{
				Name: "sda", Transport: SCSI, Rotational: true, Vendor: "DELL", Model: "PERC H740P Mini", Serial: "00a1b2c3", WWN: "0x62cea7f0000000010000000000000002",
				ByID:   []string{"scsi-362cea7f0000000010000000000000002", "wwn-0x62cea7f0000000010000000000000002"},
				ByPath: []string{"pci-0000:00:17.0-scsi-1:2:0:0"},
			},
		},
		{
			name: "a USB stick behind a hub",
			make: func(s tree) {
				s.device(pci+"/usb1", "usb/usb_device")
				s.device(pci+"/usb1/1-3", "usb/usb_device", "idVendor", "05e3", "idProduct", "0610")
				s.device(pci+"/usb1/1-3/1-3.2", "usb/usb_device", "idVendor", "0781", "idProduct", "5581", "manufacturer", " USB", "product", " SanDisk 3.2Gen1", "serial", "0101aabbccdd")
				face := pci + "/usb1/1-3/1-3.2/1-3.2:1.0"
				s.device(face, "usb/usb_interface", "bInterfaceClass", "08", "bInterfaceSubClass", "06", "bInterfaceProtocol", "50")
				path := s.scsi(face, "6", "6:0:0:0", "vendor", " USB    ", "model", " SanDisk 3.2Gen1")
				s.disk(path+"/block/sdb", "removable", "1")
			},
			want: Disk{
				Name: "sdb", Transport: USB, Removable: true, Vendor: "USB", Model: "SanDisk 3.2Gen1", Serial: "0101aabbccdd",
				ByID:   []string{"usb-USB_SanDisk_3.2Gen1_0101aabbccdd-0:0"},
				ByPath: []string{"pci-0000:00:17.0-usb-0:3.2:1.0-scsi-0:0:0:0"},
			},
		},
		{
			name: "an eMMC on a platform controller",
			make: func(s tree) {
				s.device("platform", "")
				s.device("platform/fe330000.mmc", "platform")
				s.device("platform/fe330000.mmc/mmc_host/mmc1", "mmc_host")
				s.device("platform/fe330000.mmc/mmc_host/mmc1/mmc1:0001", "mmc", "name", "DA4064", "serial", "0x1a2b3c4d")
				s.disk("platform/fe330000.mmc/mmc_host/mmc1/mmc1:0001/block/mmcblk1")
				s.disk("platform/fe330000.mmc/mmc_host/mmc1/mmc1:0001/block/mmcblk1boot0")
			},
			want: Disk{
				Name: "mmcblk1", Transport: MMC, Model: "DA4064", Serial: "0x1a2b3c4d",
				ByID: []string{"mmc-DA4064_0x1a2b3c4d"}, ByPath: []string{"platform-fe330000.mmc"},
			},
		},
		{
			name: "Xen",
			make: func(s tree) {
				s.device("vbd-51712", "xen")
				s.disk("vbd-51712/block/xvda")
			},
			want: Disk{Name: "xvda", Transport: Xen}, // udev knows no transport of it either, and so no path
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTree(t)
			s.controller()
			test.make(s)
			got, _ := s.list()
			if len(got) != 1 {
				t.Fatalf("%d disks: %+v", len(got), got)
			}
			want := test.want
			want.Path, want.Number, want.Size, want.LogicalSector = "/dev/"+want.Name, "8:0", 8<<30, 512
			if want.PhysicalSector == 0 {
				want.PhysicalSector = 512
			}
			if !reflect.DeepEqual(got[0], want) {
				t.Errorf("got\n%+v\nwant\n%+v", got[0], want)
			}
		})
	}
}

// sas makes a SAS disk, on a port of some phys.
func (s tree) sas(naa, phys string, expander bool) {
	port := pci + "/host0/port-0:0"
	s.device(pci+"/host0", "scsi/scsi_host")
	s.device(port, "")
	if expander {
		s.device(port+"/expander-0:0", "")
		s.device(port+"/expander-0:0/sas_device/expander-0:0", "sas_device", "sas_address", "0x500304800000003f")
		s.class("sas_device", port+"/expander-0:0/sas_device/expander-0:0")
		port += "/expander-0:0/port-0:0:5"
		s.device(port, "")
	}
	s.device(port+"/sas_port/"+filepath.Base(port), "sas_port", "num_phys", phys)
	s.class("sas_port", port+"/sas_port/"+filepath.Base(port))
	end := port + "/end_device-0:0:5"
	s.device(end, "")
	s.device(end+"/sas_device/end_device-0:0:5", "sas_device", "sas_address", "0x5000c50094000002", "phy_identifier", "5")
	s.class("sas_device", end+"/sas_device/end_device-0:0:5")
	s.device(end+"/target0:0:5", "scsi/scsi_target")
	s.device(end+"/target0:0:5/0:0:5:0", "scsi/scsi_device", "vendor", "SEAGATE ", "model", "ST4000NM0095    ", "vpd_pg80", page80("ZC1A0001"),
		"vpd_pg83", page83(naa,
			named(codeBinary, 1, designatorNAA, "\x50\x00\xc5\x00\x94\x00\x00\x02"), // the port's own name
			named(codeBinary, 1, 4, "\x00\x00\x00\x01")))
	s.disk(end + "/target0:0:5/0:0:5:0/block/sda")
}

// TestSkipped: what is no disk, and why.
func TestSkipped(t *testing.T) {
	s := newTree(t)
	s.controller()
	for name, word := range map[string]string{
		"loop0": "loop", "ram0": "RAM", "zram0": "memory", "dm-0": "device-mapper", "md127": "RAID", "nbd0": "network", "bcache0": "bcache",
		"zd0": "ZFS", "sr0": "optical", "fd0": "floppy", "ublkb0": "virtual", "mmcblk0boot1": "eMMC", "mmcblk0rpmb": "eMMC",
	} {
		s.disk("virtual/block/" + name)
		t.Run(name, func(t *testing.T) {
			_, skipped := s.list()
			i := slices.IndexFunc(skipped, func(k Skipped) bool { return k.Name == name })
			if i < 0 || !strings.Contains(skipped[i].Why, word) {
				t.Errorf("%+v", skipped)
			}
		})
	}
	if disks, _ := s.list(); len(disks) != 0 {
		t.Errorf("%+v", disks)
	}
}

// TestPartitionsAndHolders: what is built on a partition holds the disk.
func TestPartitionsAndHolders(t *testing.T) {
	s := newTree(t)
	s.controller()
	path := pci + "/virtio0/block/vda"
	s.device(pci+"/virtio0", "virtio")
	s.disk(path, "ro", "1", "queue/zoned", "host-managed", "queue/logical_block_size", "4096", "queue/physical_block_size", "4096")
	for _, p := range []struct{ name, number, start string }{{"vda10", "10", "4096"}, {"vda2", "2", "2048"}} {
		s.device(path+"/"+p.name, "block/partition", "partition", p.number, "start", p.start, "size", "2048", "dev", "254:"+p.number)
		s.dir("devices/" + path + "/" + p.name + "/holders")
	}
	s.link("devices/"+path+"/vda10/holders/dm-3", "../../../../../../../virtual/block/dm-3")
	s.link("devices/"+path+"/holders/md0", "../../../../../../virtual/block/md0")
	disks, _ := s.list()
	if len(disks) != 1 {
		t.Fatalf("%+v", disks)
	}
	d := disks[0]
	want := []Partition{
		{Name: "vda2", Path: "/dev/vda2", DeviceNumber: "254:2", Number: 2, Start: 1 << 20, Size: 1 << 20},
		{Name: "vda10", Path: "/dev/vda10", DeviceNumber: "254:10", Number: 10, Start: 2 << 20, Size: 1 << 20},
	}
	if !reflect.DeepEqual(d.Partitions, want) || !slices.Equal(d.Holders, []string{"dm-3", "md0"}) {
		t.Errorf("%+v", d)
	}
	if !d.ReadOnly || !d.HostManagedZones || d.LogicalSector != 4096 || d.Transport != VirtIO {
		t.Errorf("%+v", d)
	}
}

// TestOrder: disks come in the order in which they were named, which is not that of strings.
func TestOrder(t *testing.T) {
	s := newTree(t)
	s.controller()
	want := []string{"nvme0n1", "nvme0n2", "nvme2n1", "nvme10n1", "sda", "sdb", "sdz", "sdaa", "sdab", "vda"}
	for _, name := range want {
		s.disk(pci + "/block/" + name)
	}
	disks, _ := s.list()
	var got []string
	for _, d := range disks {
		got = append(got, d.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestBroken: a disk that disappears, or whose attributes make no sense, is skipped, and the others are not.
func TestBroken(t *testing.T) {
	s := newTree(t)
	s.controller()
	s.disk(pci + "/block/sda")
	s.link("block/sdb", "../devices/gone")
	s.disk(pci+"/block/sdc", "size", "lots")
	s.disk(pci+"/block/sdd", "size", "9223372036854775807")
	s.disk(pci+"/block/sde", "vpd_pg83", "\x00", "queue/logical_block_size", "-1")
	disks, skipped := s.list()
	if len(disks) != 2 || disks[0].Name != "sda" || disks[1].Name != "sde" || disks[1].LogicalSector != 512 || len(skipped) != 3 {
		t.Errorf("%+v, %+v", disks, skipped)
	}
	for _, k := range skipped {
		if k.Why == "" {
			t.Errorf("%+v", k)
		}
	}
	if _, _, err := List(filepath.Join(s.root, "nowhere"), "/dev"); err == nil || !strings.Contains(err.Error(), "cannot be listed") {
		t.Errorf("%v", err)
	}
}

func TestDevname(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"  SanDisk   Ultra Fit  ": "SanDisk_Ultra_Fit",
		"a/b":                     "a_b",
		"WDC  WD10EZEX-08WN4A0":   "WDC_WD10EZEX-08WN4A0",
		"#+-.:=@_":                "#+-.:=@_",
		"(x)$":                    "_x__",
		`\x20a\`:                  `\x20a_`,
		"Größe":                   "Größe",
		"\xff\xfe":                "__",
		"eui.0025385b71b0cf2d":    "eui.0025385b71b0cf2d",
	} {
		if got := devname(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}

// TestThisHost compares with udev where there is one.
func TestThisHost(t *testing.T) {
	disks, skipped, err := List("/sys", "/dev")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		t.Fatal(err)
	}
	if len(disks)+len(skipped) != len(entries) {
		t.Errorf("%d disks and %d others, but %d block devices", len(disks), len(skipped), len(entries))
	}
	for _, kind := range []struct {
		dir   string
		names func(Disk) []string
	}{{"/dev/disk/by-id", func(d Disk) []string { return d.ByID }}, {"/dev/disk/by-path", func(d Disk) []string { return d.ByPath }}} {
		links, err := os.ReadDir(kind.dir)
		if err != nil {
			continue // no udev here
		}
		for _, d := range disks {
			names := kind.names(d)
			for _, link := range links {
				target, err := filepath.EvalSymlinks(filepath.Join(kind.dir, link.Name()))
				if err == nil && target == d.Path && !strings.HasPrefix(link.Name(), "lvm-") && !slices.Contains(names, link.Name()) {
					t.Errorf("udev calls %s %s; computed are %v", d.Name, link.Name(), names)
				}
			}
		}
	}
}

// FuzzPages: whatever a disk answers, its names can be made of it.
func FuzzPages(f *testing.F) {
	f.Add([]byte(page80("S1")), []byte(page83(named(codeBinary, 0, designatorNAA, "\x50\x00\xc5\x00\x94\x00\x00\x01"), named(codeASCII, 0, designatorT10, "ATA     "))), "ATA", "DISK")
	f.Add([]byte("\x00\x80\xff\xff"), []byte("\x00\x83\xff\xff\x01\x03\x00\xff"), "", "")
	f.Fuzz(func(t *testing.T, page80, page83 []byte, vendor, model string) {
		p := pages{parseSerialPage(page80), parseIdentificationPage(page83)}
		p.ata()
		for _, name := range []string{devname(p.scsiID(vendor, model)), devname(p.serial), p.naa()} {
			if strings.ContainsAny(name, "/ \t\n") {
				t.Errorf("%q is no name", name)
			}
		}
	})
}
