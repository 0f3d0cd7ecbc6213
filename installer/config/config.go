package config

// Format is the version of the document this package reads and writes.
const Format = 1

// Where the document lies.
const (
	// MediumPath is the path of the document on an ISO.
	MediumPath = "/imagefactory/install.json"
	// NetworkPath is the path of the document below the URL of a network boot.
	NetworkPath = "/install.json"
)

// What the medium does when it is started ([Config.Mode]).
const (
	// ModeInstall writes the payload to a disk.
	ModeInstall = "install"
	// ModeLive runs the system from the medium, with changes in memory.
	ModeLive = "live"
	// ModeRescue does nothing but offer the installer's own prompt. Only the kernel command line asks for it.
	ModeRescue = "rescue"
)

// What happens after an installation ([Config.After]) and after one that failed ([Config.OnFailure]).
const (
	Reboot   = "reboot"
	PowerOff = "poweroff"
	Halt     = "halt"
	Shell    = "shell"
)

// Ways to take one disk of those that meet all conditions ([Target.Match]).
const (
	// MatchSmallestEmpty takes the smallest disk that holds nothing.
	MatchSmallestEmpty = "smallest-empty"
	// MatchLargestEmpty takes the largest disk that holds nothing.
	MatchLargestEmpty = "largest-empty"
	// MatchOnly takes the disk when exactly one is left. It is what an empty Match means.
	MatchOnly = "only"
)

// Config describes a medium and what the installer does with it.
type Config struct {
	// Format is [Format].
	Format int `json:"format"`
	// Name, Version and Arch say what is installed. They are shown, and given to scripts.
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// ID identifies the medium: 16 to 64 lower-case hexadecimal digits. The volume set identifier of the ISO is the
	// same string, so the medium is found whatever its device is called.
	ID string `json:"id"`
	// Mode is [ModeInstall] or [ModeLive].
	Mode string `json:"mode"`
	// Payload is the disk image. Required to install; without a File there is none.
	Payload Payload `json:"payload,omitzero"`
	// Layout is the partition table inside the payload. Required to install.
	Layout Layout `json:"layout,omitzero"`
	// Target says which disks may be installed on.
	Target Target `json:"target,omitzero"`
	// Grow makes the partition that lies last on the disk, and its file system, reach to the end of the disk.
	Grow bool `json:"grow,omitempty"`
	// Scripts run in the installed system's root, in order, after the payload is written.
	Scripts []Script `json:"scripts,omitempty"`
	// After is [Reboot], [PowerOff] or [Halt].
	After string `json:"after"`
	// OnFailure is [Shell], [Reboot] or [Halt].
	OnFailure string `json:"on_failure"`
	// Confirm makes the installer ask before it writes.
	Confirm bool `json:"confirm,omitempty"`
	// Consoles are the consoles of the installed system as the kernel's console= takes them: "tty0", "ttyS0,115200n8". The
	// installer itself writes to all consoles of the kernel it runs under, whose command line the boot menu wrote.
	Consoles []string `json:"consoles,omitempty"`
	// Events says where the typed events go.
	Events Events `json:"events,omitzero"`
	// EFI describes the entry of the firmware's boot menu. Without a Loader none is made.
	EFI EFI `json:"efi,omitzero"`
	// Root is the root file system of live mode. Required for it; without a File there is none.
	Root RootImage `json:"root,omitzero"`
}

// Payload locates the disk image on the medium; its format is that of package installer/payload.
type Payload struct {
	// File is the path of the payload: "/imagefactory/payload".
	File string `json:"file"`
	// Size is the length of the file in bytes.
	Size int64 `json:"size"`
	// SHA256 is the digest of the whole file.
	SHA256 string `json:"sha256"`
	// IndexSHA256 is the digest of the payload's index, which holds the digests of all chunks.
	IndexSHA256 string `json:"index_sha256"`
	// DiskSize is the length of the disk image in bytes: no smaller disk can be installed on.
	DiskSize int64 `json:"disk_size"`
}

// Layout is the partition table of the disk image.
type Layout struct {
	// DiskGUID is the identifier in the GPT header.
	DiskGUID string `json:"disk_guid"`
	// Partitions are sorted by Number.
	Partitions []Partition `json:"partitions"`
}

// Partition is one entry of the partition table.
type Partition struct {
	// Number is the entry of the table, from 1.
	Number int `json:"number"`
	// Label is the name in the GPT.
	Label string `json:"label"`
	// TypeGUID and GUID are the partition's type and its own identifier.
	TypeGUID string `json:"type_guid"`
	GUID     string `json:"guid"`
	// Start and Size are bytes from the start of the disk image.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
	// Filesystem is what the partition holds: "ext4", "xfs", "vfat", … Empty when it holds none.
	Filesystem string `json:"filesystem,omitempty"`
	// Role is the partition's role in the recipe: "esp", "bios", "root", "persist", …
	Role string `json:"role,omitempty"`
}

// Target says which disk is installed on. All conditions that are set must hold; of the disks left, Match takes one.
// Globs are those of path.Match, matched against the whole value.
type Target struct {
	// Match is [MatchSmallestEmpty], [MatchLargestEmpty] or [MatchOnly]; empty means the last.
	Match string `json:"match,omitempty"`
	// Path is the path of a device: "/dev/sda". Only the kernel command line sets it.
	Path string `json:"path,omitempty"`
	// ByID and ByPath are globs for the names udev would give the disk in /dev/disk/by-id and by-path.
	ByID   string `json:"by_id,omitempty"`
	ByPath string `json:"by_path,omitempty"`
	// Serial, WWN and Model are globs.
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	Model  string `json:"model,omitempty"`
	// MinSize and MaxSize bound the size of the disk in bytes, both inclusive; 0 is no bound.
	MinSize int64 `json:"min_size,omitempty"`
	MaxSize int64 `json:"max_size,omitempty"`
	// Rotational takes only disks that turn, or only those that do not. A pointer, for it may be left open.
	Rotational *bool `json:"rotational,omitempty"`
	// Transport is how the disk is connected: "nvme", "sata", "sas", "usb", "virtio", …
	Transport string `json:"transport,omitempty"`
	// Wipe allows disks that hold data.
	Wipe bool `json:"wipe,omitempty"`
	// Preserve are labels of partitions in Layout whose contents are kept when the disk has them at the same place.
	Preserve []string `json:"preserve,omitempty"`
}

// Script is a program that runs in the installed root.
type Script struct {
	// Name is the name in the recipe.
	Name string `json:"name"`
	// File is the path of the script on the medium. It begins with "#!".
	File string `json:"file"`
	// Env are variables added to the environment.
	Env map[string]string `json:"env,omitempty"`
	// Network says that the script needs the network: the installer brings it up and gives the root a resolv.conf.
	Network bool `json:"network,omitempty"`
}

// Events says where events go, as JSON, one object each.
type Events struct {
	// Console is the name of a console device without "/dev/": "ttyS0". One line per event.
	Console string `json:"console,omitempty"`
	// URL receives each event by POST.
	URL string `json:"url,omitempty"`
}

// EFI describes the boot entry made in the firmware.
type EFI struct {
	// Label is the name in the firmware's menu.
	Label string `json:"label"`
	// Loader is the path of the boot loader on the ESP, with backslashes: `\EFI\vendor\shimx64.efi`.
	Loader string `json:"loader"`
	// Partition is the number of the ESP in Layout.
	Partition int `json:"partition"`
}

// RootImage is a file system image that live mode runs from.
type RootImage struct {
	// File is the path of the image on the medium: "/live/root.img".
	File string `json:"file"`
	// Filesystem is its type as the kernel names it.
	Filesystem string `json:"filesystem"`
}

// Partition returns the partition of the layout with the given label.
func (l Layout) Partition(label string) (Partition, bool) {
	for _, p := range l.Partitions {
		if p.Label == label {
			return p, true
		}
	}
	return Partition{}, false
}

// Root returns the partition whose system is installed: the first by number with the role "root".
func (l Layout) Root() (Partition, bool) {
	for _, p := range l.Partitions {
		if p.Role == "root" {
			return p, true
		}
	}
	return Partition{}, false
}
