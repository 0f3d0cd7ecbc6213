package report

// DifferenceSchema is the version of the JSON document of a Difference. A reader must ignore members it does not know.
const DifferenceSchema = 1

// Change says what became of something.
type Change string

// What can become of something from A to B.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
	// Of packages only, instead of Changed.
	Upgraded   Change = "upgraded"
	Downgraded Change = "downgraded"
	Rebuilt    Change = "rebuilt" // the same version in another package file
)

// Difference is what differs between two systems. Lists are sorted, and never nil. The members of the JSON document are
// those of the types here.
type Difference struct {
	Schema int  `json:"schema"` // DifferenceSchema
	A      Side `json:"a"`
	B      Side `json:"b"`
	// Equal is set when nothing that was compared differs.
	Equal bool `json:"equal"`
	// Notes say what was not compared, for people.
	Notes []string `json:"notes"`

	Packages   []PackageChange   `json:"packages"`   // by name
	Kernels    []KernelChange    `json:"kernels"`    // by release
	Privileges []PrivilegeChange `json:"privileges"` // by path; these files are in Files too
	Services   []ServiceChange   `json:"services"`   // by name
	Accounts   []AccountChange   `json:"accounts"`   // users, then groups, by name
	Files      []FileChange      `json:"files"`      // in the order of a tree's paths
	Outputs    []OutputChange    `json:"outputs"`    // by format
}

// Side is one of the two systems. Members that are absent are not known.
type Side struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"`
	Arch     string   `json:"arch,omitempty"`
	Kernels  []string `json:"kernels,omitempty"`
	Packages *int     `json:"packages,omitempty"` // how many
	Services *int     `json:"services,omitempty"` // unit files
	Files    *int     `json:"files,omitempty"`    // entries of the tree but directories
	Bytes    *int64   `json:"bytes,omitempty"`    // of all regular files, hard linked ones once
}

// PackageChange is a package that differs. Before is absent for one that was added, After for one that was removed.
type PackageChange struct {
	Name   string        `json:"name"`
	Change Change        `json:"change"`
	Before *PackageState `json:"before,omitempty"`
	After  *PackageState `json:"after,omitempty"`
	// Files counts the changes in Files that belong to the package.
	Files FileCounts `json:"files"`
}

// PackageState is a package in one of the systems.
type PackageState struct {
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Size    int64  `json:"size"` // bytes of its regular files; 0 when not known
}

// FileCounts counts changes of files.
type FileCounts struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Changed int `json:"changed"`
}

func (c *FileCounts) add(change Change) {
	switch change {
	case Added:
		c.Added++
	case Removed:
		c.Removed++
	default:
		c.Changed++
	}
}

// Total is the number of all changes.
func (c FileCounts) Total() int { return c.Added + c.Removed + c.Changed }

// KernelChange is a kernel that only one of the systems has.
type KernelChange struct {
	Release string `json:"release"`
	Change  Change `json:"change"`
}

// PrivilegeChange is a file that runs with other rights than before: set-user-ID and set-group-ID programs, and those with
// capabilities. Both lists hold "setuid USER", "setgid GROUP" and "capabilities TEXT" in the form of getcap(8).
type PrivilegeChange struct {
	Path    string   `json:"path"`
	Before  []string `json:"before"`
	After   []string `json:"after"`
	Package string   `json:"package,omitempty"`
}

// ServiceChange is a unit file whose state differs.
type ServiceChange struct {
	Name   string `json:"name"`
	Change Change `json:"change"`
	Before string `json:"before,omitempty"` // the state: "enabled", "disabled", "static", …
	After  string `json:"after,omitempty"`
}

// AccountChange is a user or group that differs.
type AccountChange struct {
	Kind   string   `json:"kind"` // "user" or "group"
	Name   string   `json:"name"`
	Change Change   `json:"change"`
	Before *Account `json:"before,omitempty"`
	After  *Account `json:"after,omitempty"`
	// Attributes names what changed: "id", "group", "home", "shell", "description", "password", "members".
	Attributes []string `json:"attributes,omitempty"`
}

// Account is a user or group.
type Account struct {
	ID          string   `json:"id"`
	Group       string   `json:"group,omitempty"` // number of a user's primary group
	Home        string   `json:"home,omitempty"`
	Shell       string   `json:"shell,omitempty"`
	Description string   `json:"description,omitempty"`
	Password    string   `json:"password,omitempty"` // of a user: "none" (anybody can log in), "locked", "set"
	Members     []string `json:"members,omitempty"`  // of a group, sorted

	hash string // of the password
}

// FileChange is a path that differs.
type FileChange struct {
	Path   string     `json:"path"` // absolute
	Change Change     `json:"change"`
	Before *FileState `json:"before,omitempty"`
	After  *FileState `json:"after,omitempty"`
	// Attributes names what changed, in this order: "type", "contents", "mode", "owner", "target", "device",
	// "capabilities", "acl", "label", "xattrs", "links".
	Attributes []string `json:"attributes,omitempty"`
	// Package is the package that the path belongs to: in B, or else in A.
	Package string `json:"package,omitempty"`
	// Explained is set when that package is one of Packages, so that the change is part of that one; of the database of
	// packages, when there are any.
	Explained bool `json:"explained,omitempty"`
}

// FileState is a path in one of the systems.
type FileState struct {
	Type         string            `json:"type"` // as in package tree: "file", "directory", "symlink", …
	Mode         string            `json:"mode"` // octal: "0755"
	UID          uint32            `json:"uid"`
	GID          uint32            `json:"gid"`
	Owner        string            `json:"owner"`                  // "root:adm"; numbers where the system has no name for them
	Size         int64             `json:"size,omitempty"`         // bytes of a file
	SHA256       string            `json:"sha256,omitempty"`       // of a file
	Target       string            `json:"target,omitempty"`       // of a symlink
	Device       string            `json:"device,omitempty"`       // of a device: "1:3"
	Capabilities string            `json:"capabilities,omitempty"` // as getcap prints them
	ACL          string            `json:"acl,omitempty"`          // as getfacl --omit-header does, entries separated by ","; a default ACL's begin with "default:"
	Label        string            `json:"label,omitempty"`        // of SELinux
	Xattrs       map[string]string `json:"xattrs,omitempty"`       // the others, values in hexadecimal
	LinkedTo     string            `json:"linked_to,omitempty"`    // first of the other paths of the same file that both systems have
}

// OutputChange is an output whose size differs. Sizes are bytes, and 0 where there is none.
type OutputChange struct {
	Format string  `json:"format"`
	Change Change  `json:"change"`
	Before *Output `json:"before,omitempty"`
	After  *Output `json:"after,omitempty"`
}
