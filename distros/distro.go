package distros

// Distro is everything imagefactory knows about one release of one distribution. It is plain data: stages read it and
// never ask what the distribution is called. Every path inside the image is absolute.
type Distro struct {
	Name     string // unique identifier, "debian-12"; also the name of the data file
	Title    string // for people, "Debian 12 (bookworm)"
	Family   string // package format and repository layout: one of Families
	Version  string // release number, "12"
	Codename string // release name, "bookworm"; may be empty
	Locale   string // default of the recipe's locale, "C.UTF-8"
	Timezone string // default of the recipe's timezone, "Etc/UTC"

	Repositories  []Repository   // in order of definition; at least one
	Architectures []Architecture // in order of definition; at least one
	Base          Base
	Scripts       Scripts
	Kernel        Kernel
	Initramfs     Initramfs
	Grub          Grub
	Ext4          Ext4
	Grow          Grow
	Clean         Clean
	RPM           RPM // of family "rpm" only
	SELinux       SELinux
	Units         []Unit // systemd units the build adds where they are needed; may be empty
	Host          Host

	// Verified says of each kind of fact (see Facts) how it was checked, in one sentence. Kinds that are absent were not
	// checked. What a definition inherits counts as not checked.
	Verified map[string]string
	// Unverified are remarks about what nobody has checked, one sentence each; may be empty. Not inherited.
	Unverified []string
	Notes      []string // what whoever uses it must know, one sentence each; may be empty
}

// Families of package formats.
const (
	FamilyDeb = "deb"
	FamilyRPM = "rpm"
)

// Architecture returns what the distribution knows of the canonical architecture name ("x86_64", "aarch64").
func (d *Distro) Architecture(name string) (Architecture, bool) {
	for _, a := range d.Architectures {
		if a.Name == name {
			return a, true
		}
	}
	return Architecture{}, false
}

// Repository is one package repository: where it is and whom to trust for it.
type Repository struct {
	Name string // block label, unique in a distribution or recipe

	// URL is the base URL. For deb it is the directory which holds dists/, with http, https or file. For rpm it is the
	// directory which holds repodata/, or one of packages alone, and may also be "iso:FILE[!/DIR]", with an absolute FILE:
	// a directory of an ISO 9660 image. In a Distro it may hold the variables $basearch and $releasever; in a Recipe they
	// are replaced. Empty only for rpm, with MirrorList or Metalink.
	URL        string
	Suites     []string // deb: directories below dists/, "bookworm"; at least one
	Components []string // deb: "main"; at least one
	GPGCheck   bool     // verify signatures: of repositories for deb, of packages and of signed repositories for rpm; default true

	// AllowExpired takes a repository whose Valid-Until has passed: for releases that were archived. Default false. Deb only.
	AllowExpired bool

	MirrorList string   // rpm: URL of a list of base URLs; with variables, like URL
	Metalink   string   // rpm: URL of a Metalink document of repomd.xml; with variables, like URL
	Priority   int      // rpm: of packages with one name only those from repositories with the lowest number count; 1 to 99, default 99
	Exclude    []string // rpm: names and patterns of packages to pass over
	// LegacySignatures accepts signatures with SHA-1 digests and keys of 1024 bits, which is all that distributions had
	// before about 2010 and some had for longer. Default false. Rpm only.
	LegacySignatures bool
	RepoGPGCheck     bool // rpm: repomd.xml must be signed. When false, a signature that is there is still verified

	// KeyFiles are the absolute paths of the keys or keyrings named with gpg_key; all of them count. When there are any,
	// neither Keyrings nor KeyURL is consulted. They are not part of a recipe's digest, KeyDigest is.
	KeyFiles  []string `json:"-"`
	KeyDigest string   // "sha256:<hex>" of the KeyFiles one after the other, else empty

	Keyrings       []string // keyring files to look for on the build host; all that exist count
	KeyringPackage string   // the host package which ships them, to name it in errors; may be empty

	// KeyURL is where a key can be downloaded when none of the Keyrings exists, with variables like URL. The keys in it which count
	// are those whose fingerprint is one of KeyFingerprints: OpenPGP fingerprints in upper case hexadecimal. Rpm only.
	KeyURL          string
	KeyFingerprints []string

	// KeySource tells a person where to get the key, for distributions that leave it to the recipe: the end of a sentence
	// "the key is …".
	KeySource string

	// AptOrigin and AptLabel are the Origin and Label of this repository's Release file. When AptOrigin is set, a mirror
	// in the build host's apt configuration which serves that Origin and Label replaces URL. Both are empty as soon as a
	// recipe sets the URL itself.
	AptOrigin string
	AptLabel  string
}

// HasKey reports whether anything says with which key the repository is verified.
func (r *Repository) HasKey() bool {
	return len(r.KeyFiles) > 0 || len(r.Keyrings) > 0 || r.KeyURL != ""
}

// Architecture is what depends on the processor.
type Architecture struct {
	Name        string // canonical: "x86_64", "aarch64"
	PackageArch string // the package manager's name for it: "amd64", "arm64"; for rpm the $basearch of URLs
	EFIName     string // suffix of EFI programs: "x64", "aa64"
	EFIFallback string // name below EFI/BOOT of the program firmware starts by itself: "BOOTX64.EFI"

	// Links are symbolic links the root must hold before the first package is unpacked, path → target, for example
	// "/lib64" → "usr/lib64". Empty where packages of the distribution ship them. The target directories are made too.
	Links map[string]string

	Kernels []string // packages of the usual kernel, for starter recipes
	Console []string // kernel consoles an image has unless the recipe says otherwise, the last is /dev/console

	BIOS   *GrubPlatform // nil: the architecture has no BIOS
	UEFI   *GrubPlatform // nil: no UEFI
	Signed *Signed       // signed boot programs for Secure Boot; nil: there are none
}

// GrubPlatform is GRUB for one kind of firmware.
type GrubPlatform struct {
	Platform string   // GRUB's name: "i386-pc", "x86_64-efi"
	Packages []string // packages of the tools tree which hold grub-mkimage and the modules
	Modules  string   // directory of the modules in the tools tree: "/usr/lib/grub/i386-pc"
	BootImg  string   // boot.img for the first sector, BIOS only: "/usr/lib/grub/i386-pc/boot.img"
}

// Signed names boot programs the distribution signed for Secure Boot.
type Signed struct {
	Packages []string // packages to unpack for them into the tools tree; what they depend on is not needed
	// Prefix is the directory on the ESP where the signed GRUB looks for grub.cfg: "/EFI/debian". In "/EFI/*", and in the
	// sources of Files, * stands for the one directory of the packages which holds the GRUB.
	Prefix string
	Files  []SignedFile // what to copy to the ESP

	// Medium is the GRUB made for installation media. Nil: there is none, and the one of Files serves them.
	Medium *SignedMedium
}

// RoleMediumGrub is the role of a file that becomes Signed.Medium.
const RoleMediumGrub = "grub-cd"

// SignedMedium is a signed GRUB for CDs and the like.
type SignedMedium struct {
	Prefix  string   // directory where it looks for grub.cfg, on the file system it was started from: "/boot/grub"
	Sources []string // in the tools tree, the first which exists: "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"
	Name    string   // file name beside the shim, which starts no other: "grubx64.efi"
}

// SignedFile is one signed program to put on the EFI system partition.
type SignedFile struct {
	Role    string   // "shim", "mokmanager" or "grub"
	Sources []string // in the tools tree, the first which exists: "/usr/lib/shim/shimx64.efi.signed"
	Name    string   // file name on the ESP, beside the others: "shimx64.efi"; the shim is also installed as EFIFallback
}

// Base is the set of packages every image of the distribution has, whatever the recipe asks for.
type Base struct {
	Essential  bool     // deb: all packages marked Essential
	Priorities []string // deb: all packages of these priorities: "required"
	Packages   []string // these as well; may be empty
}

// Scripts says how maintainer scripts are run.
type Scripts struct {
	Env map[string]string // environment, for example DEBIAN_FRONTEND=noninteractive

	// Files exist while maintainer scripts and script stages run and are gone afterwards: policy-rc.d, and whatever
	// keeps packages from generating an initramfs of their own. A file of the tree at the same path comes back.
	Files []File
}

// Kernel says where packages install kernels.
type Kernel struct {
	Image string // path with {version} in place of the kernel release: "/boot/vmlinuz-{version}"

	// Source is another path with {version}: where packages put a kernel that is not at Image. The build copies it there.
	// Empty: nowhere else.
	Source string
}

// Initramfs says how the initial RAM file system is generated, once, at the end.
type Initramfs struct {
	Image    string   // path with {version}: "/boot/initrd.img-{version}"
	Command  []string // argv inside the image, with {version} and {image}
	Packages []string // packages Command needs in the image; added to what the recipe asks for
	// Env is added to the environment of Command.
	Env map[string]string
	// Files exist while Command runs and are gone afterwards; {filesystem} in them stands for the root's file system.
	Files []File
}

// Grub names GRUB's tools and directories.
type Grub struct {
	Mkimage string // program in the tools tree: "/usr/bin/grub-mkimage"
	Dir     string // GRUB's directory in the image: "/boot/grub"
	Vendor  string // vendor directory on the ESP: "/EFI/debian"
	BLS     bool   // menu entries are files in /boot/loader/entries, as the Boot Loader Specification has them
}

// RPM is what only the RPM family has.
type RPM struct {
	Database       string   // directory of the package database: "/var/lib/rpm"
	Backend        string   // one of RPMBackends
	ModulePlatform string   // platform the module streams are for: "platform:el9"; empty: there are no modules
	Modules        []string // module streams to enable besides the defaults, "nodejs:18"; may be empty
}

// How the package database is written.
const (
	RPMSQLite = "sqlite" // rpmdb.sqlite, by the build itself
	RPMImport = "rpmdb"  // by the image's own rpmdb --importdb, in whatever format that has
)

// RPMBackends lists the ways to write a package database.
var RPMBackends = []string{RPMSQLite, RPMImport}

// SELinux says what images of the distribution do with SELinux.
type SELinux struct {
	Mode     string   // one of SELinuxModes: default of the recipe's selinux
	Packages []string // what an image needs unless the mode is disabled: the policy
}

// Modes of SELinux, as in /etc/selinux/config.
const (
	SELinuxEnforcing  = "enforcing"
	SELinuxPermissive = "permissive"
	SELinuxDisabled   = "disabled"
)

// SELinuxModes lists the modes of SELinux.
var SELinuxModes = []string{SELinuxEnforcing, SELinuxPermissive, SELinuxDisabled}

// Host describes a minimal host for containers, for starter recipes and documentation.
type Host struct {
	Packages []string // besides the kernel
	Services []string // units to enable: "systemd-networkd"
	Group    string   // group whose members may become root: "sudo"; may be empty
	Size     string   // of a disk they fit on: "2GiB"
}

// Ext4 says what the distribution's kernel, its e2fsprogs and its GRUB can all read.
type Ext4 struct {
	Features []string // names as in mke2fs(8) -O
}

// Grow says what an image needs so that the root grows to the real disk on first boot.
type Grow struct {
	Packages     []string // added to what the recipe asks for
	Files        []File   // written into the image
	MountOptions string   // added to the root's options in fstab: "x-systemd.growfs"
}

// File is a file the build writes into the image, owned by root.
type File struct {
	Path    string // absolute
	Content string
	Mode    uint32 // permission bits; default 0644
}

// Clean lists what must never be in an image because it belongs to one machine or one build.
type Clean struct {
	Remove   []string // absolute path patterns: * and ? match within one element, a last element ** everything below
	Truncate []string // files which must exist but be empty: "/etc/machine-id"
}

// Unit is a systemd unit the build adds, enabled, to images which hold the path When.
type Unit struct {
	Name     string // "ssh-host-keys.service"
	When     string // absolute path which must exist in the image; empty: always
	WantedBy string // target which wants it: "multi-user.target"
	Content  string
}
