package scan

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// File is a path of the tree that deserves a look.
type File struct {
	Path     string   `json:"path"` // absolute
	Type     string   `json:"type"` // "file", "directory", …
	Mode     string   `json:"mode"` // octal
	Owner    string   `json:"owner"`
	Group    string   `json:"group"`
	Packages []string `json:"packages,omitempty"` // that own it, where that is known
}

// CapableFile is a file with capabilities.
type CapableFile struct {
	File
	Capabilities string `json:"capabilities"` // in getcap's notation: "cap_net_raw=ep"
}

// Account is an account in one of the files of accounts.
type Account struct {
	Name string `json:"name"`
	Path string `json:"path"`
	Line int    `json:"line"` // from 1
}

// Inventory lists what deserves a look, whatever the rules say. Lists are ordered by
// path and are never null in JSON.
type Inventory struct {
	SetID          []File        `json:"setid"`           // files with set-user-ID or set-group-ID
	Capabilities   []CapableFile `json:"capabilities"`    // files with capabilities
	WorldWritable  []File        `json:"world_writable"`  // as the rule of that kind means it
	NoAccount      []File        `json:"no_account"`      // whose user or group has no account
	NoPackage      []File        `json:"no_package"`      // programs and libraries of no package, below /usr; empty where PackagesKnown is false
	PackagesKnown  bool          `json:"packages_known"`  // the tree has a database of packages
	EmptyPasswords []Account     `json:"empty_passwords"` // accounts anybody can use
	WeakKeys       []PublicKey   `json:"weak_keys"`       // DSA, and RSA below 2048 bits
	PrivateKeys    []PrivateKey  `json:"private_keys"`
}

// weakRSA is the size in bits below which RSA keys are listed as weak, whatever a
// rule's value is (NIST SP 800-131A).
const weakRSA = 2048

func (e *evaluator) inventory(ctx context.Context) (Inventory, error) {
	v := Inventory{
		SetID: []File{}, Capabilities: []CapableFile{}, WorldWritable: []File{}, NoAccount: []File{}, NoPackage: []File{},
		EmptyPasswords: []Account{}, WeakKeys: []PublicKey{}, PrivateKeys: []PrivateKey{},
		PackagesKnown: e.options.Owners != nil,
	}
	for _, entry := range e.root.Tree.Entries() {
		if entry.Type == tree.Regular && SetID(entry.Mode) {
			v.SetID = append(v.SetID, e.file(entry))
		}
		if WorldWritable(&entry) {
			v.WorldWritable = append(v.WorldWritable, e.file(entry))
		}
		for _, x := range entry.Xattrs {
			if x.Name == "security.capability" {
				v.Capabilities = append(v.Capabilities, CapableFile{e.file(entry), Capabilities(x.Value)})
			}
		}
		if e.options.Owners != nil && shipped(&entry) {
			if f := e.file(entry); len(f.Packages) == 0 {
				v.NoPackage = append(v.NoPackage, f)
			}
		}
	}
	if len(e.accounts.Users) > 0 {
		v.NoAccount = append(v.NoAccount, e.withoutAccount()...)
	}
	v.EmptyPasswords = append(v.EmptyPasswords, e.withoutPassword()...)
	k, err := e.keys(ctx)
	if err != nil {
		return v, err
	}
	v.PrivateKeys = append(v.PrivateKeys, k.private...)
	for _, p := range k.public {
		if weak(p, weakRSA) {
			v.WeakKeys = append(v.WeakKeys, p)
		}
	}
	return v, nil
}

// shipped reports whether an entry is of the sort that comes in packages: what lies
// below /usr and is neither the administrator's nor a link of update-alternatives.
func shipped(e *tree.Entry) bool {
	if !strings.HasPrefix(e.Path, "usr/") || strings.HasPrefix(e.Path, "usr/local/") {
		return false
	}
	return e.Type == tree.Regular || e.Type == tree.Symlink && !strings.HasPrefix(e.Target, "/etc/alternatives/")
}

// file describes an entry.
func (e *evaluator) file(entry tree.Entry) File {
	return File{
		Path: "/" + entry.Path, Type: entry.Type.String(), Mode: fmt.Sprintf("%04o", entry.Mode),
		Owner: e.user(entry.UID), Group: e.group(entry.GID), Packages: e.owners("/" + entry.Path),
	}
}

// owners returns the packages of a path, sorted.
func (e *evaluator) owners(p string) []string {
	if e.options.Owners == nil {
		return nil
	}
	return slices.Sorted(slices.Values(e.options.Owners(p)))
}

// capabilities are the names by number (linux/capability.h).
var capabilities = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable", "net_bind_service",
	"net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin",
	"sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap", "mac_override",
	"mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
}

// Capabilities writes the value of the extended attribute security.capability
// (capabilities(7), linux/capability.h: struct vfs_cap_data and vfs_ns_cap_data) in
// the notation of cap_from_text(3), with a clause for each combination of flags. What
// is of another form is written in hexadecimal.
func Capabilities(value []byte) string {
	const revision1, revision2, revision3, effective = 0x01000000, 0x02000000, 0x03000000, 1
	unknown := "0x" + hex.EncodeToString(value)
	if len(value) < 4 {
		return unknown
	}
	magic := binary.LittleEndian.Uint32(value)
	var permitted, inheritable uint64
	root := ""
	words := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(value[4+4*i:])) }
	switch {
	case magic&^effective == revision1 && len(value) == 12:
		permitted, inheritable = words(0), words(1)
	case magic&^effective == revision2 && len(value) == 20, magic&^effective == revision3 && len(value) == 24:
		permitted, inheritable = words(0)|words(2)<<32, words(1)|words(3)<<32
		if len(value) == 24 {
			root = fmt.Sprintf(" [rootid=%d]", words(4))
		}
	default:
		return unknown
	}
	byFlags := map[string][]string{}
	var order []string
	for i := range 64 {
		p, inh := permitted>>i&1 == 1, inheritable>>i&1 == 1
		if !p && !inh {
			continue
		}
		flags := ""
		if magic&effective != 0 {
			flags += "e"
		}
		if inh {
			flags += "i"
		}
		if p {
			flags += "p"
		}
		name := fmt.Sprint(i)
		if i < len(capabilities) {
			name = "cap_" + capabilities[i]
		}
		if byFlags[flags] == nil {
			order = append(order, flags)
		}
		byFlags[flags] = append(byFlags[flags], name)
	}
	if order == nil {
		return "=" + root
	}
	var sets []string
	for _, flags := range order {
		sets = append(sets, strings.Join(byFlags[flags], ",")+"="+flags)
	}
	return strings.Join(sets, " ") + root
}
