package report

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// capabilityNames are those of linux/capability.h, by number.
var capabilityNames = [...]string{
	"cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid", "cap_kill", "cap_setgid", "cap_setuid",
	"cap_setpcap", "cap_linux_immutable", "cap_net_bind_service", "cap_net_broadcast", "cap_net_admin", "cap_net_raw",
	"cap_ipc_lock", "cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot", "cap_sys_ptrace", "cap_sys_pacct",
	"cap_sys_admin", "cap_sys_boot", "cap_sys_nice", "cap_sys_resource", "cap_sys_time", "cap_sys_tty_config", "cap_mknod",
	"cap_lease", "cap_audit_write", "cap_audit_control", "cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog",
	"cap_wake_alarm", "cap_block_suspend", "cap_audit_read", "cap_perfmon", "cap_bpf", "cap_checkpoint_restore",
}

// capabilitiesText writes the value of security.capability (struct vfs_cap_data and vfs_ns_cap_data of linux/capability.h)
// as getcap(8) does for most files: "cap_net_admin,cap_net_raw=ep". Capabilities with different flags are clauses of their
// own. What is of no known form is shown as it is, in hexadecimal.
func capabilitiesText(value []byte) string {
	le := binary.LittleEndian
	unknown := "0x" + hex.EncodeToString(value)
	if len(value) < 4 {
		return unknown
	}
	const effectiveFlag = 1
	magic := le.Uint32(value)
	words, root := 2, uint32(0)
	switch revision := magic >> 24; {
	case revision == 1 && len(value) == 12:
		words = 1
	case revision == 2 && len(value) == 20:
	case revision == 3 && len(value) == 24:
		root = le.Uint32(value[20:])
	default:
		return unknown
	}
	var permitted, inheritable uint64
	for i := range words {
		permitted |= uint64(le.Uint32(value[4+8*i:])) << (32 * i)
		inheritable |= uint64(le.Uint32(value[8+8*i:])) << (32 * i)
	}
	var clauses []string
	for _, set := range []struct {
		bits  uint64
		flags string
	}{
		{permitted &^ inheritable, "p"},
		{inheritable &^ permitted, "i"},
		{permitted & inheritable, "ip"},
	} {
		if set.bits == 0 {
			continue
		}
		var names []string
		for n := range 64 {
			switch {
			case set.bits>>n&1 == 0:
			case n < len(capabilityNames):
				names = append(names, capabilityNames[n])
			default:
				names = append(names, strconv.Itoa(n))
			}
		}
		flags := set.flags
		if magic&effectiveFlag != 0 {
			flags = "e" + flags
		}
		clauses = append(clauses, strings.Join(names, ",")+"="+flags)
	}
	text := strings.Join(clauses, " ")
	if text == "" {
		text = "="
	}
	if root != 0 {
		text += fmt.Sprintf(" [rootid=%d]", root)
	}
	return text
}

// aclText writes the value of a system.posix_acl_* attribute (linux/posix_acl_xattr.h) in the short form of acl_to_text(3),
// with numbers for users and groups. What is of no known form is shown as it is, in hexadecimal.
func aclText(value []byte) string {
	le := binary.LittleEndian
	unknown := "0x" + hex.EncodeToString(value)
	if len(value) < 4 || (len(value)-4)%8 != 0 || le.Uint32(value) != 2 {
		return unknown
	}
	tags := map[uint16]string{0x01: "user:", 0x02: "user:", 0x04: "group:", 0x08: "group:", 0x10: "mask:", 0x20: "other:"}
	var entries []string
	for p := value[4:]; len(p) > 0; p = p[8:] {
		tag, permissions := le.Uint16(p), le.Uint16(p[2:])
		name, ok := tags[tag]
		if !ok || permissions > 7 {
			return unknown
		}
		if tag == 0x02 || tag == 0x08 {
			name += strconv.FormatUint(uint64(le.Uint32(p[4:])), 10)
		}
		letters := []byte("rwx")
		for i := range letters {
			if permissions>>(2-i)&1 == 0 {
				letters[i] = '-'
			}
		}
		entries = append(entries, name+":"+string(letters))
	}
	return strings.Join(entries, ",")
}
