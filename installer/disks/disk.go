package disks

// Ways a disk can be connected ([Disk.Transport]).
const (
	NVMe   = "nvme"
	SATA   = "sata"
	ATA    = "ata" // parallel ATA, or an ATA link whose kind the kernel does not tell
	USB    = "usb"
	VirtIO = "virtio" // virtio-blk and virtio-scsi
	SAS    = "sas"
	FC     = "fc"
	ISCSI  = "iscsi"
	SCSI   = "scsi" // any other SCSI host: RAID controllers, VMware, Hyper-V
	MMC    = "mmc"
	Xen    = "xen"
)

// Disk is a whole disk of the machine.
type Disk struct {
	// Name is the kernel's name, "sda"; it may be different after the next start.
	Name string `json:"name"`
	// Path is the device's path, "/dev/sda".
	Path string `json:"path"`
	// Number is the device number, "8:0".
	Number string `json:"number,omitempty"`
	// Size is in bytes. It is 0 when the drive has no medium in it.
	Size int64 `json:"size"`
	// LogicalSector is the unit in which the disk is addressed, in bytes; PhysicalSector the one it writes in.
	LogicalSector  int `json:"logical_sector"`
	PhysicalSector int `json:"physical_sector"`
	// Vendor, Model and Serial are what the disk says of itself, without surrounding white space. Any may be empty.
	Vendor string `json:"vendor,omitempty"`
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	// WWN is the world wide name: "0x5000c500a1b2c3d4" of SCSI and ATA disks, "eui.0025385b71b0cf2d" of NVMe.
	WWN string `json:"wwn,omitempty"`
	// Transport is how the disk is connected: one of the constants of this package, or empty when unknown.
	Transport string `json:"transport,omitempty"`
	// ByID and ByPath are the names the disk has in /dev/disk/by-id and /dev/disk/by-path, sorted.
	ByID   []string `json:"by_id,omitempty"`
	ByPath []string `json:"by_path,omitempty"`
	// Rotational says that the disk turns.
	Rotational bool `json:"rotational,omitempty"`
	// ReadOnly says that the kernel refuses writes: a switch on the device, or a failed disk.
	ReadOnly bool `json:"read_only,omitempty"`
	// Removable says that the medium can be taken out of the drive.
	Removable bool `json:"removable,omitempty"`
	// HostManagedZones says that the disk can only be written sequentially within zones.
	HostManagedZones bool `json:"host_managed_zones,omitempty"`
	// Partitions are those the kernel has found, by number.
	Partitions []Partition `json:"partitions,omitempty"`
	// Holders are the names of devices built on the disk or on one of its partitions: "dm-0", "md127".
	Holders []string `json:"holders,omitempty"`
}

// Partition is a partition of a disk, as the kernel sees it.
type Partition struct {
	// Name is the kernel's name, "sda1", Path the device's path and DeviceNumber its number, "8:1".
	Name         string `json:"name"`
	Path         string `json:"path"`
	DeviceNumber string `json:"device_number,omitempty"`
	// Number counts from 1.
	Number int `json:"number"`
	// Start and Size are bytes.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
}

// Skipped is a block device that is no disk of the machine.
type Skipped struct {
	// Name is the kernel's name, Why the reason, as the end of a sentence: "a loop device".
	Name string `json:"name"`
	Why  string `json:"why"`
}
