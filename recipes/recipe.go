package recipes

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/imagefactory/imagefactory/distros"
)

// Recipe is a decoded, validated recipe: every expression is evaluated, every default filled in, every referenced file
// known to exist. Stages take values from it and never see HCL. Fields with `json:"-"` say where things lie on this
// machine; everything else is the recipe's identity (see [Recipe.Digest]).
type Recipe struct {
	Path    string `json:"-"` // file it was loaded from, as given to Load
	Name    string // required; letters, digits, '.', '_' and '-', starting with a letter or digit
	Version string // required; as Name, and '+' and '~'
	Arch    string // required; canonical: "x86_64" or "aarch64"
	Distro  distros.Distro

	Hostname string // RFC 1123; default: Name when it is a valid host name, else "localhost"
	Timezone string // name in the time zone database; default: the distribution's
	Locale   string // "C.UTF-8"; default: the distribution's

	// SELinux is the mode the image boots with, one of distros.SELinuxModes; default: the distribution's.
	SELinux string

	Rootfs  Rootfs
	Scripts []Script // in order of definition; run in the order of ScriptOrder
	Files   []File   // sorted by path
	Users   []User   // in order of definition
	Disk    Disk
	Boot    Boot
	Outputs []Output // in order of definition; at least one, and at most one of each type

	// InstallScripts are the scripts with stage = "install": they run in order of definition, on the machine that is
	// installed, in the root that was installed. The image itself does not depend on them. They have no Inputs.
	InstallScripts []Script `json:",omitempty"`

	Containers []Container `json:",omitempty"` // container images which are there on first boot, in order of definition
	Harden     *Harden     `json:",omitempty"` // nil: nothing is hardened
	Trim       *Trim       `json:",omitempty"` // nil: nothing is left out
}

// Rootfs says what the root file system is made of.
type Rootfs struct {
	Installer string // one of Installers; default "native"

	// Packages are what to install, in order of definition without duplicates: names; for rpm also capabilities, paths,
	// patterns, "@GROUP" and "@^ENVIRONMENT". Required by installers of packages, else empty.
	Packages   []string
	Exclude    []string // never installed, whatever recommends or prefers them; may be empty
	Recommends bool     // follow weak dependencies; default false
	Modules    []string // rpm: module streams to enable, "nodejs:18", the distribution's first; may be empty
	Docs       bool     // install files that are marked as documentation; default true; rpm only, else true
	Languages  []string // rpm: install translations of these languages alone, "de"; nil: of all

	// Archive is the absolute path of the tar archive which the installer "archive" takes the root from.
	Archive       string `json:"-"`
	ArchiveDigest string // "sha256:<hex>" of Archive, else empty

	// Image is the container image which the installer "image" takes the root from, as ImageReference but with an absolute
	// path.
	Image          string `json:"-"`
	ImageReference string // as the recipe has it, "docker://registry.example.com/node:1"; else empty

	// Repositories are the distribution's, with what the recipe overrides by name, then the recipe's own. Their URLs have no
	// variables.
	Repositories []distros.Repository
}

// Installers.
const (
	InstallerNative  = "native"  // packages, without help of the host
	InstallerDNF     = "dnf"     // packages, by the host's dnf; rpm only
	InstallerYum     = "yum"     // packages, by the host's yum; rpm only
	InstallerApt     = "apt"     // packages, by the host's apt; deb only
	InstallerArchive = "archive" // a root from a tar archive
	InstallerImage   = "image"   // a root from a container image
)

// Installers lists every installer.
var Installers = []string{InstallerNative, InstallerDNF, InstallerYum, InstallerApt, InstallerArchive, InstallerImage}

// TakesPackages reports whether the root is made of packages; else it comes whole, from Archive or Image.
func (r Rootfs) TakesPackages() bool {
	return r.Installer != InstallerArchive && r.Installer != InstallerImage
}

// Script is one program run inside the image: while it is built, each a cached stage of its own, or after it was
// installed.
type Script struct {
	Name    string            // block label, unique
	After   string            // stage or script it follows: a script's name or one of AnchorStages; see ScriptOrder
	Before  string            // stage or script it precedes: a script's name or one of FinishStages; may be empty
	Run     string            `json:"-"` // absolute path of the script file; empty: written inline
	Content []byte            // the program: inline text (run by /bin/sh -e) or the bytes of Run (run as it says itself)
	Inline  bool              // Content was written inline
	Inputs  []Input           // visible read-only at /run/imagefactory/inputs, in order of definition
	Env     map[string]string // added to the environment; may be empty
	Network bool              // default false
	Range   hcl.Range         `json:"-"` // where the block stands, for messages
}

// Input is one file or directory a script may read.
type Input struct {
	Path string `json:"-"` // absolute path on this machine
	Name string // name below /run/imagefactory/inputs: the last element of the path as written in the recipe
	Dir  bool   // a directory, with everything below it
}

// File is one file the recipe puts into the image.
type File struct {
	Path    string    // absolute, clean
	Source  string    `json:"-"` // absolute path of the file to copy; empty: Content is the content
	Content []byte    // when Source is empty
	Mode    uint32    // permission bits; default 0644
	Owner   string    // user name or decimal id; default "root"
	Group   string    // group name or decimal id; default "root"
	Range   hcl.Range `json:"-"`
}

// User is one account of the image. Accounts packages already made are changed to match.
type User struct {
	Name              string    // block label
	UID               *uint32   // nil: the next free one
	Group             string    // primary group, name or decimal id; empty: a group with the user's name
	Groups            []string  // supplementary groups, which must exist
	Home              string    // absolute; default "/home/NAME", for system users "/nonexistent"
	Shell             string    // absolute; default "/bin/bash", for system users "/usr/sbin/nologin"
	Comment           string    // GECOS; may be empty
	System            bool      // id from the system range, no home directory made
	SSHAuthorizedKeys []string  // lines of ~/.ssh/authorized_keys; may be empty
	PasswordHash      *string   // crypt(5) hash, "!" or "*"; nil: leave it (new accounts are locked: "!")
	Range             hcl.Range `json:"-"`
}

// Container is a container image which a runtime has on first boot, without a network.
type Container struct {
	Name      string // what the runtime calls it: a registry, a path and a tag; empty: it is known by its digest alone
	Runtime   string // one of Runtimes; required
	Namespace string // of containerd; default DefaultNamespace. Else empty

	// Source is where the image is taken from, as SourceReference but with an absolute path.
	Source          string    `json:"-"`
	SourceReference string    // as the recipe has it, "oci:images/pause:1"; default: "docker://" and the label, by digest where it has one
	Insecure        bool      // the registry may speak HTTP, or HTTPS with a certificate nobody vouches for; default false
	Range           hcl.Range `json:"-"` // where the block stands, for messages
}

// Runtimes that can have container images before they first run.
const (
	RuntimeContainerd = "containerd"
	RuntimePodman     = "podman"
	RuntimeCRIO       = "cri-o"
	RuntimeDocker     = "docker"
)

// Runtimes lists every runtime.
var Runtimes = []string{RuntimeContainerd, RuntimePodman, RuntimeCRIO, RuntimeDocker}

// DefaultNamespace is the namespace of containerd in which Kubernetes looks for images.
const DefaultNamespace = "k8s.io"

// Harden says by which rules the finished root is made harder to break into.
type Harden struct {
	Profile string            // a name of package baselines; required
	Skip    []string          // identifiers of rules which are not applied, in order of definition; may be empty
	Set     map[string]string // values of rules which differ from the profile's, by identifier; may be empty
}

// Trim says what is left out of the finished root. Keep and Remove override the profile.
type Trim struct {
	Profile string   // a name of package profiles; default "none"
	Keep    []string // names of packages, of units, and absolute paths, all of which may be globs; may be empty
	Remove  []string // likewise; nothing is in both
	Paths   []string // globs of paths which are removed; may be empty
	Modules []string // classes of kernel modules which are kept besides the profile's; may be empty

	Services   Services
	Budget     Budget
	Exceptions []Exception // in order of definition; may be empty
}

// Services are changes of units: of services, and of what starts them. All names have a suffix. What is in Disable may
// be in Mask or Remove, too; else each name is in one list.
type Services struct {
	Enable  []string
	Disable []string
	Mask    []string
	Remove  []string
}

// Budget bounds what an image may hold. 0 is no bound.
type Budget struct {
	Packages  int   // installed packages
	Services  int   // unit files, as "systemctl list-unit-files" counts them
	Size      int64 // of the root's files, in bytes
	ImageSize int64 // of each output but raw, which is as large as its disk, in bytes
}

// Exception is something that is missing after trimming and may be.
type Exception struct {
	Kind   string // one of ExceptionKinds; required
	Path   string // glob of paths of what needs it, with "**" as its last element only; required
	Need   string // glob of what is needed; empty: anything
	Reason string // why the system works without it; required
}

// ExceptionKinds are the checks of a trimmed root of which there can be exceptions.
var ExceptionKinds = []string{"account", "interpreter", "library", "module", "symlink", "unit"}

// Disk describes the disk image.
type Disk struct {
	Layout     string      // preset: "single"; empty when every partition is written out
	Size       int64       // bytes; 0: as small as the partitions allow (only when no partition has Rest)
	Partitions []Partition // in order on the disk; entry numbers follow the same order
	Grow       bool        // the root grows to the real disk on first boot; default true
}

// Partition is one entry of the partition table.
type Partition struct {
	Label        string    // GPT partition name and file system label; unique
	Role         string    // one of Roles
	Size         int64     // bytes; 0 when Rest
	Rest         bool      // takes what is left of the disk; at most one, the last
	Filesystem   string    // one of Filesystems; empty: unformatted
	Mount        string    // absolute mount point; empty: not mounted
	MountOptions string    // fourth field of fstab; default "defaults"
	TypeGUID     string    // partition type, lower case; empty: that of the role
	Range        hcl.Range `json:"-"`
}

// Boot says how the image boots.
type Boot struct {
	Firmware   []string // "bios", "uefi"; default all the architecture has; sorted
	SecureBoot string   // "distro": the distribution's signed shim and GRUB; "off". Default "distro" with uefi where they exist
	Console    []string // kernel consoles, the last one is /dev/console; default tty0 and the architecture's first serial port
	Cmdline    []string // further kernel parameters; may be empty
	Timeout    int      // seconds the menu shows, 0 to 3600; default 1
	// PasswordPBKDF2 protects editing of the menu: a hash by grub-mkpasswd-pbkdf2. Empty: not protected.
	PasswordPBKDF2 string
}

// Has reports whether the image must boot under the firmware ("bios" or "uefi").
func (b Boot) Has(firmware string) bool {
	for _, f := range b.Firmware {
		if f == firmware {
			return true
		}
	}
	return false
}

// Output is one file the build leaves, or of "pxe" one directory.
type Output struct {
	Type        string // block label: one of OutputTypes
	Compression string // qcow2: "zstd" (default), "deflate" or "none"; others: "none"
	Level       int    // compression level, of media that of what is installed, 1 fastest; 0: the format's default
	Media       *Media `json:",omitempty"` // of "iso" and "pxe", else nil
}

// Media says what an output "iso" or "pxe" does with the machine it is started on.
type Media struct {
	Mode      string // MediaInstall (default), or of an ISO MediaLive
	Label     string // of an ISO: volume label, 1 to 32 of A-Z 0-9 _; default: VolumeLabel(name, version). Else empty
	Confirm   bool   // the default menu entry asks before anything is written; default false
	After     string // what follows an installation: one of MediaEnds; default "reboot". Empty when live
	OnFailure string // what follows a failure: one of MediaFailures; default "shell"
	Target    Target // zero when live
	Events    Events
	URL       string // of "pxe": where the directory is served, http or https, without "/" at its end. Else empty
}

// Target says which disk is installed on. All conditions that are set must hold; of the disks that are left, Match takes
// one. Globs are those of path.Match and are matched against the whole value.
type Target struct {
	Match      string   // one of TargetMatches; default "only"
	ByID       string   // glob for a name in /dev/disk/by-id; empty: any
	ByPath     string   // glob for a name in /dev/disk/by-path; empty: any
	Serial     string   // glob; empty: any
	WWN        string   // glob; empty: any
	Model      string   // glob; empty: any
	MinSize    int64    // bytes, inclusive; 0: no bound
	MaxSize    int64    // bytes, inclusive; 0: no bound
	Rotational *bool    // disks that turn, or that do not; nil: either
	Transport  string   // one of Transports; empty: any
	Wipe       bool     // take disks that hold data, too; default false
	Preserve   []string // labels of partitions which keep their contents where the disk has them; may be empty
}

// Events says where the installer reports what it does, for programs. Both may be empty.
type Events struct {
	Console string // device without "/dev/", "ttyS0"; gets a line of JSON for each event
	URL     string // http or https; each event is sent there by POST
}

// Modes of media.
const (
	MediaInstall = "install" // writes the image to a disk of the machine
	MediaLive    = "live"    // runs the system from the medium, with changes in memory
)

// What media do when they have finished, or failed.
const (
	MediaReboot   = "reboot"
	MediaPowerOff = "poweroff"
	MediaHalt     = "halt"
	MediaShell    = "shell" // a prompt on every console
)

var (
	// MediaModes lists what media can do.
	MediaModes = []string{MediaInstall, MediaLive}
	// MediaEnds lists what can follow an installation.
	MediaEnds = []string{MediaReboot, MediaPowerOff, MediaHalt}
	// MediaFailures lists what can follow a failure.
	MediaFailures = []string{MediaShell, MediaReboot, MediaHalt}
)

// Ways to take one of several disks.
const (
	MatchSmallestEmpty = "smallest-empty" // the smallest disk that holds nothing
	MatchLargestEmpty  = "largest-empty"  // the largest disk that holds nothing
	MatchOnly          = "only"           // the disk when exactly one is left
)

// TargetMatches lists every way to take one of several disks.
var TargetMatches = []string{MatchSmallestEmpty, MatchLargestEmpty, MatchOnly}

// Stages a script can be placed after or before; "rootfs" means the configured system and is the same as "configure".
const (
	StageRootfs     = "rootfs"
	StageConfigure  = "configure"
	StageCustomize  = "customize"
	StageContainers = "containers"
	StageHarden     = "harden"
	StageTrim       = "trim"
	StageInitramfs  = "initramfs"
)

// Stages is the pipeline in order. Stages not named by a constant cannot be used in after and before.
var Stages = []string{"lock", "packages", StageRootfs, StageConfigure, StageCustomize, StageContainers, "scripts", StageHarden, StageTrim, StageInitramfs, "filesystems", "disk", "emit"}

// StageInstall is where scripts run that belong to the installation and not to the image.
const StageInstall = "install"

// AnchorStages are the stages a script's after may name.
var AnchorStages = []string{StageRootfs, StageConfigure, StageCustomize, StageContainers}

// FinishStages are the stages a script's before may name: customize, and those that follow all scripts. What a script does
// before one of the latter, it does before all of them.
var FinishStages = []string{StageCustomize, StageHarden, StageTrim, StageInitramfs}

// Roles of partitions.
const (
	RoleESP  = "esp"  // EFI system partition
	RoleBIOS = "bios" // BIOS boot partition, holds GRUB's core image, unformatted
	RoleRoot = "root" // root file system
	RoleBoot = "boot" // extended boot loader partition, mounted at /boot
	RoleData = "data" // anything else
)

// Roles lists every role.
var Roles = []string{RoleESP, RoleBIOS, RoleRoot, RoleBoot, RoleData}

// Filesystems lists what this version can write.
var Filesystems = []string{"ext4", "vfat"}

// Outputs that start a machine.
const (
	OutputISO = "iso" // a hybrid ISO 9660 image, for CD and USB
	OutputPXE = "pxe" // a directory for an HTTP server, to boot from the network
)

// OutputTypes lists the outputs this version can write.
var OutputTypes = []string{"raw", "qcow2", OutputISO, OutputPXE}
