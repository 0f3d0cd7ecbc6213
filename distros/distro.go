package distros

// Distro is everything imagefactory knows about one release of one distribution. It is plain data: stages read it and
// never ask what the distribution is called. Every path inside the image is absolute.
type Distro struct {
	Name     string // unique identifier, "debian-12"; also the name of the data file
	Title    string // for people, "Debian 12 (bookworm)"
	Family   string // package format and repository layout: "deb"
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
	Units         []Unit   // systemd units the build adds where they are needed; may be empty
	Host          []string // packages of a minimal container host, for the starter recipe and documentation

	Verified   string   // how the facts were checked, one sentence; may be empty
	Unverified []string // facts nobody has checked yet, one sentence each; may be empty
}

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
	Name       string   // block label, unique in a distribution or recipe
	URL        string   // base URL (http, https, file); for deb the directory which holds dists/
	Suites     []string // deb: directories below dists/, "bookworm"; at least one
	Components []string // deb: "main"; at least one
	GPGCheck   bool     // verify signatures; default true

	// AllowExpired takes a repository whose Valid-Until has passed: for releases that were archived. Default false.
	AllowExpired bool

	// KeyFile is the absolute path of the key or keyring the recipe named with gpg_key, else empty. When set, Keyrings is
	// not consulted. It is not part of a recipe's digest, KeyDigest is.
	KeyFile   string `json:"-"`
	KeyDigest string // "sha256:<hex>" of KeyFile, else empty

	Keyrings       []string // keyring files to try on the build host, in order
	KeyringPackage string   // the host package which ships them, to name it in errors; may be empty

	// AptOrigin and AptLabel are the Origin and Label of this repository's Release file. When AptOrigin is set, a mirror
	// in the build host's apt configuration which serves that Origin and Label replaces URL. Both are empty as soon as a
	// recipe sets the URL itself.
	AptOrigin string
	AptLabel  string
}

// Architecture is what depends on the processor.
type Architecture struct {
	Name        string // canonical: "x86_64", "aarch64"
	PackageArch string // the package manager's name for it: "amd64", "arm64"
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
	Packages []string     // packages to unpack for them into the tools tree; what they depend on is not needed
	Prefix   string       // directory on the ESP where the signed GRUB looks for grub.cfg: "/EFI/debian"
	Files    []SignedFile // what to copy to the ESP
}

// SignedFile is one signed program to put on the EFI system partition.
type SignedFile struct {
	Role    string   // "shim", "mokmanager" or "grub"
	Sources []string // in the tools tree, the first which exists: "/usr/lib/shim/shimx64.efi.signed"
	Name    string   // file name on the ESP, beside the others: "shimx64.efi"; the shim is also installed as EFIFallback
}

// Base is the set of packages every image of the distribution has, whatever the recipe asks for.
type Base struct {
	Essential  bool     // all packages marked Essential
	Priorities []string // all packages of these priorities: "required"
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
