package modules

import "strings"

// Class is a kind of kernel module, told by where its source lies in the kernel's tree and so below
// /lib/modules/RELEASE/kernel.
type Class struct {
	Name  string `json:"name"`  // as recipes and profiles write it
	Title string `json:"title"` // for people
	// Paths are directories, with all below them, or single modules without their suffix. Of two classes that name a
	// module, the longer path wins.
	Paths []string `json:"-"`
	// Firmware are patterns of files below /lib/firmware that these modules load by names they make up at run time, and
	// that are kept where a module of the class is, other than one that only others depend on.
	Firmware []string `json:"-"`
}

// Classes are the kinds of modules that some hosts can do without, sorted by name. A module of none of them is always
// kept, unless it is named.
var Classes = []Class{
	{Name: "amateur-radio", Title: "amateur radio", Paths: []string{"drivers/net/hamradio", "net/ax25", "net/netrom", "net/rose"}},
	{Name: "atm", Title: "ATM networks", Paths: []string{"drivers/atm", "drivers/usb/atm", "net/atm"}},
	{Name: "bluetooth", Title: "Bluetooth", Paths: []string{"drivers/bluetooth", "net/6lowpan/bluetooth_6lowpan", "net/bluetooth"},
		Firmware: []string{"intel/ibt-*", "qca/*", "rtl_bt/*", "brcm/BCM*.hcd", "mediatek/BT_RAM_CODE_*"}},
	{Name: "can", Title: "CAN field buses", Paths: []string{"drivers/net/can", "net/can"}},
	{Name: "cluster-filesystems", Title: "file systems of clusters", Paths: []string{
		"drivers/md/md-cluster", "fs/afs", "fs/coda", "fs/dlm", "fs/gfs2", "fs/ocfs2", "fs/orangefs",
	}},
	{Name: "firewire", Title: "FireWire", Paths: []string{"drivers/firewire", "drivers/target/sbp"}},
	{Name: "flash", Title: "raw flash memory", Paths: []string{"drivers/mtd", "fs/jffs2", "fs/ubifs"}},
	{Name: "floppy", Title: "floppy disks and disks on parallel ports", Paths: []string{"drivers/ata/pata_parport", "drivers/block/floppy", "drivers/block/paride"}},
	{Name: "gadget", Title: "being a USB device", Paths: []string{
		"drivers/usb/cdns3", "drivers/usb/gadget", "drivers/usb/isp1760", "drivers/usb/musb",
		"drivers/usb/usbip/usbip-vudc",
	}},
	{Name: "graphics", Title: "graphics of desktops and laptops", Paths: []string{
		"drivers/accel", "drivers/char/agp", "drivers/gpu", "drivers/platform/x86/apple-gmux", "drivers/video",
	},
		Firmware: []string{"amdgpu/*", "i915/*", "nvidia/*", "radeon/*", "xe/*"}},
	{Name: "industrial", Title: "data acquisition and industrial buses", Paths: []string{
		"drivers/comedi", "drivers/fpga", "drivers/fsi", "drivers/greybus", "drivers/ipack", "drivers/mcb",
		"drivers/most", "drivers/peci", "drivers/siox", "drivers/vme", "drivers/vme_user", "drivers/w1",
	}},
	{Name: "infiniband", Title: "InfiniBand and RDMA", Paths: []string{
		"drivers/block/rnbd", "drivers/infiniband", "drivers/nvme/host/nvme-rdma", "drivers/nvme/target/nvmet-rdma",
		"net/9p/9pnet_rdma", "net/rds", "net/smc", "net/sunrpc/xprtrdma",
	},
		Firmware: []string{"hfi1_*"}},
	{Name: "isdn", Title: "ISDN", Paths: []string{"drivers/isdn"}},
	{Name: "joystick", Title: "joysticks, game controllers and force feedback", Paths: []string{
		"drivers/hid/hid-axff", "drivers/hid/hid-betopff", "drivers/hid/hid-bigbenff", "drivers/hid/hid-dr",
		"drivers/hid/hid-emsff", "drivers/hid/hid-gaff", "drivers/hid/hid-holtekff", "drivers/hid/hid-lg-g15",
		"drivers/hid/hid-megaworld", "drivers/hid/hid-nintendo", "drivers/hid/hid-pl", "drivers/hid/hid-playstation",
		"drivers/hid/hid-sjoy", "drivers/hid/hid-sony", "drivers/hid/hid-steam", "drivers/hid/hid-thrustmaster",
		"drivers/hid/hid-tmff", "drivers/hid/hid-wiimote", "drivers/hid/hid-zpff", "drivers/input/ff-memless",
		"drivers/input/gameport", "drivers/input/joydev", "drivers/input/joystick",
	}},
	{Name: "laptop", Title: "laptops, tablets and their firmware", Paths: []string{
		"drivers/hid/amd-sfh-hid", "drivers/hid/hid-asus", "drivers/hid/intel-ish-hid", "drivers/hid/surface-hid",
		"drivers/platform/chrome", "drivers/platform/surface", "drivers/platform/x86/acer-wmi",
		"drivers/platform/x86/asus-laptop", "drivers/platform/x86/asus-nb-wmi", "drivers/platform/x86/asus-wmi",
		"drivers/platform/x86/compal-laptop", "drivers/platform/x86/dell", "drivers/platform/x86/eeepc-laptop",
		"drivers/platform/x86/eeepc-wmi", "drivers/platform/x86/fujitsu-laptop", "drivers/platform/x86/fujitsu-tablet",
		"drivers/platform/x86/hp", "drivers/platform/x86/hp-wmi", "drivers/platform/x86/ideapad-laptop",
		"drivers/platform/x86/lenovo", "drivers/platform/x86/lg-laptop", "drivers/platform/x86/msi-laptop",
		"drivers/platform/x86/msi-wmi", "drivers/platform/x86/panasonic-laptop", "drivers/platform/x86/samsung-laptop",
		"drivers/platform/x86/sony-laptop", "drivers/platform/x86/thinkpad_acpi", "drivers/platform/x86/toshiba_acpi",
		"drivers/platform/x86/toshiba_bluetooth", "drivers/platform/x86/toshiba_haps",
		"drivers/platform/x86/touchscreen_dmi", "drivers/platform/x86/x86-android-tablets", "drivers/power/supply",
	}},
	{Name: "legacy-filesystems", Title: "file systems of other and old systems", Paths: []string{
		"fs/adfs", "fs/affs", "fs/befs", "fs/bfs", "fs/cramfs", "fs/ecryptfs", "fs/efs", "fs/erofs", "fs/freevxfs",
		"fs/hfs", "fs/hfsplus", "fs/hpfs", "fs/jfs", "fs/minix", "fs/nilfs2", "fs/ntfs", "fs/ntfs3", "fs/omfs", "fs/qnx4",
		"fs/qnx6", "fs/reiserfs", "fs/romfs", "fs/sysv", "fs/ufs", "fs/vboxsf", "fs/zonefs",
	}},
	{Name: "legacy-network", Title: "network protocols and cards of former times", Paths: []string{
		"drivers/net/appletalk", "drivers/net/arcnet", "drivers/net/caif", "drivers/net/fddi", "drivers/net/hippi",
		"drivers/net/ieee802154", "drivers/net/plip", "drivers/net/slip", "drivers/net/usb/cdc-phonet", "drivers/net/wan",
		"drivers/tty/synclink_gt", "net/6lowpan", "net/appletalk", "net/caif", "net/dccp", "net/decnet", "net/ieee802154",
		"net/ipx", "net/lapb", "net/llc/llc2", "net/mac802154", "net/phonet", "net/tipc", "net/x25",
	}},
	{Name: "media", Title: "television, radio and cameras", Paths: []string{"drivers/hid/hid-picolcd", "drivers/media"},
		Firmware: []string{"dvb-*", "v4l-*"}},
	{Name: "memory-cards", Title: "memory cards", Paths: []string{"drivers/memstick", "drivers/misc/cardreader", "drivers/mmc"}},
	{Name: "modem", Title: "mobile radio modems", Paths: []string{
		"drivers/bus/mhi", "drivers/gnss", "drivers/net/mhi_net", "drivers/net/usb/cdc_mbim", "drivers/net/usb/hso",
		"drivers/net/usb/huawei_cdc_ncm", "drivers/net/usb/qmi_wwan", "drivers/net/usb/sierra_net", "drivers/net/wwan",
		"drivers/usb/class/cdc-wdm", "net/qrtr",
	}},
	{Name: "mouse", Title: "mice, touch screens and tablets", Paths: []string{
		"drivers/hid/hid-multitouch", "drivers/hid/hid-rmi", "drivers/hid/i2c-hid", "drivers/hid/wacom",
		"drivers/input/misc", "drivers/input/mouse", "drivers/input/mousedev", "drivers/input/rmi4",
		"drivers/input/tablet", "drivers/input/touchscreen",
	}},
	{Name: "nfc", Title: "near field communication", Paths: []string{"drivers/nfc", "net/nfc"}},
	{Name: "parallel-port", Title: "parallel ports and printers on them", Paths: []string{
		"drivers/char/lp", "drivers/char/ppdev", "drivers/input/serio/parkbd", "drivers/parport",
		"drivers/pps/clients/pps_parport", "drivers/spi/spi-butterfly", "drivers/spi/spi-lm70llp",
		"drivers/usb/class/usblp", "drivers/usb/misc/uss720",
	}},
	{Name: "pcmcia", Title: "PCMCIA cards", Paths: []string{
		"drivers/ata/pata_pcmcia", "drivers/char/pcmcia", "drivers/mtd/maps/pcmciamtd",
		"drivers/net/ethernet/3com/3c574_cs", "drivers/net/ethernet/3com/3c589_cs", "drivers/net/ethernet/8390/axnet_cs",
		"drivers/net/ethernet/8390/pcnet_cs", "drivers/net/ethernet/amd/nmclan_cs",
		"drivers/net/ethernet/fujitsu/fmvj18x_cs", "drivers/net/ethernet/smsc/smc91c92_cs",
		"drivers/net/ethernet/xircom/xirc2ps_cs", "drivers/pcmcia", "drivers/scsi/pcmcia", "drivers/tty/ipwireless",
		"drivers/tty/serial/8250/serial_cs", "drivers/usb/host/sl811_cs",
	}},
	{Name: "sensors", Title: "sensors of light, motion and the like", Paths: []string{
		"drivers/counter", "drivers/hid/hid-sensor-custom", "drivers/hid/hid-sensor-hub", "drivers/iio",
	}},
	{Name: "server-graphics", Title: "graphics of virtual machines and remote consoles", Paths: []string{
		"drivers/gpu/drm/ast", "drivers/gpu/drm/hisilicon/hibmc", "drivers/gpu/drm/hyperv", "drivers/gpu/drm/mgag200",
		"drivers/gpu/drm/qxl", "drivers/gpu/drm/tiny", "drivers/gpu/drm/vboxvideo", "drivers/gpu/drm/virtio",
		"drivers/gpu/drm/vmwgfx", "drivers/gpu/drm/xen", "drivers/video/fbdev/hyperv_fb",
		"drivers/video/fbdev/xen-fbfront",
	}},
	{Name: "sound", Title: "sound", Paths: []string{
		"drivers/base/regmap/regmap-sdw", "drivers/base/regmap/regmap-sdw-mbq", "drivers/hid/hid-prodikeys",
		"drivers/soundwire", "sound",
	},
		Firmware: []string{"intel/sof*", "intel/avs/*", "cs35l*", "cirrus/*", "ti/tas*", "TIAS*", "TAS2*"}},
	{Name: "staging", Title: "drivers that the kernel's developers do not vouch for", Paths: []string{"drivers/staging"}},
	{Name: "tests", Title: "tests of the kernel", Paths: []string{
		"crypto/tcrypt", "drivers/block/null_blk", "drivers/gpio/gpio-mockup", "drivers/gpio/gpio-sim",
		"drivers/misc/lkdtm", "drivers/net/netdevsim", "drivers/power/supply/test_power", "drivers/scsi/scsi_debug",
		"kernel/locking", "kernel/notifier-error-inject", "kernel/rcu", "kernel/time/test_udelay", "kernel/torture",
		"lib/kunit", "lib/memory-notifier-error-inject", "lib/netdev-notifier-error-inject", "lib/notifier-error-inject",
		"lib/pm-notifier-error-inject", "lib/test_blackhole_dev", "lib/test_bpf", "lib/test_firmware", "lib/test_kmod",
		"lib/test_module", "lib/test_power", "lib/test_static_key_base", "lib/test_static_keys", "lib/test_user_copy",
		"lib/tests", "mm/hwpoison-inject",
	}},
	{Name: "thunderbolt", Title: "Thunderbolt", Paths: []string{"drivers/net/thunderbolt", "drivers/net/thunderbolt-net", "drivers/thunderbolt"}},
	{Name: "usb-devices", Title: "USB scanners, displays, laboratory devices and the like", Paths: []string{
		"drivers/usb/class/usbtmc", "drivers/usb/host/u132-hcd", "drivers/usb/image", "drivers/usb/misc",
		"drivers/usb/typec",
	}},
	{Name: "usb-serial", Title: "serial lines on USB", Paths: []string{"drivers/usb/class/cdc-acm", "drivers/usb/serial"}},
	{Name: "wireless", Title: "wireless networks", Paths: []string{
		"drivers/net/usb/rndis_wlan", "drivers/net/wireless", "net/mac80211", "net/rfkill", "net/wireless",
	},
		Firmware: []string{"regulatory.db*", "ath10k/*", "ath11k/*", "ath12k/*", "brcm/brcmfmac*", "cypress/*", "iwlwifi-*", "mediatek/*", "mrvl/*", "rtlwifi/*", "rtw88/*", "rtw89/*"}},
}

// ClassOf returns the class of a module, by its path below /lib/modules/RELEASE, or "". Modules that do not come with the
// kernel (in updates or extra) have none: somebody put them there.
func ClassOf(file string) string {
	file, ok := strings.CutPrefix(plain(file), "kernel/")
	if !ok {
		return ""
	}
	file = strings.TrimSuffix(file, ".ko")
	best, class := 0, ""
	for i := range Classes {
		for _, p := range Classes[i].Paths {
			if len(p) > best && strings.HasPrefix(file, p) && (len(file) == len(p) || file[len(p)] == '/') {
				best, class = len(p), Classes[i].Name
			}
		}
	}
	return class
}

// classByName returns the class of a name.
func classByName(name string) (*Class, bool) {
	for i := range Classes {
		if Classes[i].Name == name {
			return &Classes[i], true
		}
	}
	return nil, false
}
