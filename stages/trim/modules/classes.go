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
	// that are kept where a module of the class is.
	Firmware []string `json:"-"`
}

// Classes are the kinds of modules that some hosts can do without, sorted by name. A module of none of them is always
// kept, unless it is named.
var Classes = []Class{
	{Name: "amateur-radio", Title: "amateur radio", Paths: []string{"net/ax25", "net/netrom", "net/rose", "drivers/net/hamradio"}},
	{Name: "atm", Title: "ATM networks", Paths: []string{"net/atm", "drivers/atm", "drivers/usb/atm"}},
	{Name: "bluetooth", Title: "Bluetooth", Paths: []string{"net/bluetooth", "drivers/bluetooth", "net/6lowpan/bluetooth_6lowpan"},
		Firmware: []string{"intel/ibt-*", "qca/*", "rtl_bt/*", "brcm/BCM*.hcd", "mediatek/BT_RAM_CODE_*"}},
	{Name: "can", Title: "CAN field buses", Paths: []string{"net/can", "drivers/net/can"}},
	{Name: "cluster-filesystems", Title: "file systems of clusters", Paths: []string{"fs/ocfs2", "fs/gfs2", "fs/dlm", "fs/orangefs", "fs/coda", "fs/afs"}},
	{Name: "firewire", Title: "FireWire", Paths: []string{"drivers/firewire"}},
	{Name: "flash", Title: "raw flash memory", Paths: []string{"drivers/mtd", "fs/jffs2", "fs/ubifs"}},
	{Name: "floppy", Title: "floppy disks and disks on parallel ports", Paths: []string{"drivers/block/floppy", "drivers/block/paride", "drivers/ata/pata_parport"}},
	{Name: "gadget", Title: "being a USB device", Paths: []string{"drivers/usb/gadget", "drivers/usb/musb", "drivers/usb/isp1760", "drivers/usb/cdns3"}},
	{Name: "graphics", Title: "graphics of desktops and laptops", Paths: []string{"drivers/gpu", "drivers/video", "drivers/char/agp", "drivers/accel", "drivers/platform/x86/apple-gmux"},
		Firmware: []string{"amdgpu/*", "i915/*", "nvidia/*", "radeon/*", "xe/*"}},
	{Name: "industrial", Title: "data acquisition and industrial buses", Paths: []string{"drivers/comedi", "drivers/fpga", "drivers/fsi", "drivers/ipack", "drivers/mcb", "drivers/siox", "drivers/vme", "drivers/vme_user", "drivers/w1", "drivers/greybus", "drivers/most", "drivers/peci"}},
	{Name: "infiniband", Title: "InfiniBand and RDMA", Paths: []string{"drivers/infiniband", "net/rds", "net/smc", "net/9p/9pnet_rdma", "net/sunrpc/xprtrdma", "drivers/nvme/host/nvme-rdma", "drivers/nvme/target/nvmet-rdma", "drivers/block/rnbd"},
		Firmware: []string{"hfi1_*"}},
	{Name: "isdn", Title: "ISDN", Paths: []string{"drivers/isdn"}},
	{Name: "joystick", Title: "joysticks, game controllers and force feedback", Paths: []string{"drivers/input/joystick", "drivers/input/gameport", "drivers/input/joydev", "drivers/input/ff-memless"}},
	{Name: "laptop", Title: "laptops, tablets and their firmware", Paths: []string{"drivers/platform/chrome", "drivers/platform/surface", "drivers/platform/x86/dell", "drivers/platform/x86/acer-wmi", "drivers/platform/x86/asus-laptop", "drivers/platform/x86/asus-nb-wmi", "drivers/platform/x86/asus-wmi", "drivers/platform/x86/compal-laptop", "drivers/platform/x86/eeepc-laptop", "drivers/platform/x86/eeepc-wmi", "drivers/platform/x86/fujitsu-laptop", "drivers/platform/x86/fujitsu-tablet", "drivers/platform/x86/hp-wmi", "drivers/platform/x86/ideapad-laptop", "drivers/platform/x86/lg-laptop", "drivers/platform/x86/msi-laptop", "drivers/platform/x86/msi-wmi", "drivers/platform/x86/panasonic-laptop", "drivers/platform/x86/samsung-laptop", "drivers/platform/x86/sony-laptop", "drivers/platform/x86/thinkpad_acpi", "drivers/platform/x86/toshiba_acpi", "drivers/platform/x86/toshiba_bluetooth", "drivers/platform/x86/toshiba_haps", "drivers/platform/x86/touchscreen_dmi", "drivers/hid/surface-hid", "drivers/hid/intel-ish-hid", "drivers/hid/amd-sfh-hid", "drivers/power/supply"}},
	{Name: "legacy-filesystems", Title: "file systems of other and old systems", Paths: []string{"fs/adfs", "fs/affs", "fs/befs", "fs/bfs", "fs/cramfs", "fs/ecryptfs", "fs/efs", "fs/freevxfs", "fs/hfs", "fs/hfsplus", "fs/hpfs", "fs/jfs", "fs/minix", "fs/nilfs2", "fs/ntfs", "fs/ntfs3", "fs/omfs", "fs/qnx4", "fs/qnx6", "fs/reiserfs", "fs/romfs", "fs/sysv", "fs/ufs", "fs/vboxsf", "fs/zonefs", "fs/erofs"}},
	{Name: "legacy-network", Title: "network protocols and cards of former times", Paths: []string{"net/appletalk", "drivers/net/appletalk", "net/ipx", "net/decnet", "net/x25", "net/lapb", "net/phonet", "net/caif", "drivers/net/caif", "net/ieee802154", "net/mac802154", "net/6lowpan", "drivers/net/ieee802154", "net/dccp", "net/tipc", "drivers/net/arcnet", "drivers/net/fddi", "drivers/net/hippi", "drivers/net/plip", "drivers/net/slip", "drivers/net/wan", "net/llc/llc2"}},
	{Name: "media", Title: "television, radio and cameras", Paths: []string{"drivers/media", "drivers/hid/hid-picolcd"},
		Firmware: []string{"dvb-*", "v4l-*"}},
	{Name: "memory-cards", Title: "memory cards", Paths: []string{"drivers/mmc", "drivers/memstick", "drivers/misc/cardreader"}},
	{Name: "modem", Title: "mobile radio modems", Paths: []string{"drivers/net/wwan", "drivers/net/mhi_net", "drivers/bus/mhi", "net/qrtr", "drivers/net/usb/qmi_wwan", "drivers/net/usb/sierra_net", "drivers/net/usb/hso", "drivers/usb/class/cdc-wdm", "drivers/gnss"}},
	{Name: "mouse", Title: "mice, touch screens and tablets", Paths: []string{"drivers/input/mouse", "drivers/input/touchscreen", "drivers/input/tablet", "drivers/input/mousedev", "drivers/input/misc", "drivers/input/rmi4", "drivers/hid/wacom", "drivers/hid/hid-multitouch", "drivers/hid/i2c-hid"}},
	{Name: "nfc", Title: "near field communication", Paths: []string{"net/nfc", "drivers/nfc"}},
	{Name: "parallel-port", Title: "parallel ports and printers on them", Paths: []string{"drivers/parport", "drivers/char/lp", "drivers/char/ppdev", "drivers/usb/misc/uss720", "drivers/usb/class/usblp", "drivers/pps/clients/pps_parport"}},
	{Name: "pcmcia", Title: "PCMCIA cards", Paths: []string{"drivers/pcmcia", "drivers/char/pcmcia", "drivers/scsi/pcmcia", "drivers/ata/pata_pcmcia", "drivers/tty/serial/8250/serial_cs", "drivers/mtd/maps/pcmciamtd", "drivers/usb/host/sl811_cs"}},
	{Name: "sensors", Title: "sensors of light, motion and the like", Paths: []string{"drivers/iio", "drivers/counter", "drivers/hid/hid-sensor-hub", "drivers/hid/hid-sensor-custom"}},
	{Name: "server-graphics", Title: "graphics of virtual machines and remote consoles", Paths: []string{"drivers/gpu/drm/ast", "drivers/gpu/drm/mgag200", "drivers/gpu/drm/tiny", "drivers/gpu/drm/qxl", "drivers/gpu/drm/virtio", "drivers/gpu/drm/vmwgfx", "drivers/gpu/drm/hyperv", "drivers/gpu/drm/vboxvideo", "drivers/gpu/drm/xen", "drivers/gpu/drm/hisilicon/hibmc", "drivers/video/fbdev/hyperv_fb", "drivers/video/fbdev/xen-fbfront"}},
	{Name: "sound", Title: "sound", Paths: []string{"sound", "drivers/soundwire", "drivers/hid/hid-prodikeys"},
		Firmware: []string{"intel/sof*", "intel/avs/*", "cs35l*", "cirrus/*", "ti/tas*", "TIAS*", "TAS2*"}},
	{Name: "staging", Title: "drivers that the kernel's developers do not vouch for", Paths: []string{"drivers/staging"}},
	{Name: "tests", Title: "tests of the kernel", Paths: []string{"lib/kunit", "lib/test_bpf", "lib/test_firmware", "lib/test_kmod", "lib/test_module", "lib/test_user_copy", "lib/test_static_keys", "lib/test_blackhole_dev", "lib/test_static_key_base", "lib/test_power", "lib/tests", "crypto/tcrypt", "drivers/misc/lkdtm", "kernel/rcu", "kernel/torture", "kernel/locking", "drivers/scsi/scsi_debug", "drivers/block/null_blk", "drivers/power/supply/test_power", "drivers/net/netdevsim", "drivers/gpio/gpio-mockup", "drivers/gpio/gpio-sim", "mm/hwpoison-inject", "kernel/notifier-error-inject", "lib/notifier-error-inject", "lib/pm-notifier-error-inject", "lib/memory-notifier-error-inject", "lib/netdev-notifier-error-inject", "kernel/time/test_udelay"}},
	{Name: "thunderbolt", Title: "Thunderbolt", Paths: []string{"drivers/thunderbolt", "drivers/net/thunderbolt", "drivers/net/thunderbolt-net"}},
	{Name: "usb-devices", Title: "USB scanners, displays, laboratory devices and the like", Paths: []string{"drivers/usb/image", "drivers/usb/misc", "drivers/usb/class/usbtmc", "drivers/usb/typec"}},
	{Name: "usb-serial", Title: "serial lines on USB", Paths: []string{"drivers/usb/serial", "drivers/usb/class/cdc-acm"}},
	{Name: "wireless", Title: "wireless networks", Paths: []string{"net/wireless", "net/mac80211", "drivers/net/wireless", "drivers/net/usb/rndis_wlan", "net/rfkill"},
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
