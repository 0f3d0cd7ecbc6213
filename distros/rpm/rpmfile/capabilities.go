package rpmfile

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// capabilityNames are the names of capability(7) by number.
var capabilityNames = []string{"cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid", "cap_kill", "cap_setgid",
	"cap_setuid", "cap_setpcap", "cap_linux_immutable", "cap_net_bind_service", "cap_net_broadcast", "cap_net_admin", "cap_net_raw", "cap_ipc_lock",
	"cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot", "cap_sys_ptrace", "cap_sys_pacct", "cap_sys_admin", "cap_sys_boot",
	"cap_sys_nice", "cap_sys_resource", "cap_sys_time", "cap_sys_tty_config", "cap_mknod", "cap_lease", "cap_audit_write", "cap_audit_control",
	"cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog", "cap_wake_alarm", "cap_block_suspend", "cap_audit_read", "cap_perfmon",
	"cap_bpf", "cap_checkpoint_restore"}

// parseCapabilities returns the value of security.capability (capability.h,
// VFS_CAP_REVISION_2) for capabilities as text (cap_from_text(3)): clauses like
// "cap_net_admin,cap_net_raw=ep", separated by white space. It is nil when the text
// gives none.
func parseCapabilities(text string) ([]byte, error) {
	var sets capabilitySets
	for _, clause := range strings.Fields(text) {
		if err := sets.apply(clause); err != nil {
			return nil, fmt.Errorf("the capabilities %q cannot be read: %w", text, err)
		}
	}
	if sets.permitted|sets.inheritable|sets.effective == 0 {
		return nil, nil
	}
	const revision2, effectiveFlag = 0x02000000, 1
	magic := uint32(revision2)
	if sets.effective != 0 {
		// A file has one bit for the whole effective set.
		if (sets.permitted|sets.inheritable)&^sets.effective != 0 {
			return nil, fmt.Errorf("the capabilities %q cannot be a file's: some that are permitted are effective and some are not", text)
		}
		magic |= effectiveFlag
	}
	p := binary.LittleEndian.AppendUint32(nil, magic)
	for shift := 0; shift < 64; shift += 32 {
		p = binary.LittleEndian.AppendUint32(p, uint32(sets.permitted>>shift))
		p = binary.LittleEndian.AppendUint32(p, uint32(sets.inheritable>>shift))
	}
	return p, nil
}

// capabilitySets are sets of capabilities, as bits.
type capabilitySets struct{ effective, inheritable, permitted uint64 }

// apply changes the sets as a clause says: names, then an operator and the sets it
// is for, perhaps several times.
func (s *capabilitySets) apply(clause string) error {
	end := strings.IndexAny(clause, "=+-")
	if end < 0 {
		return fmt.Errorf("%q says nothing of its capabilities: it needs =, + or -", clause)
	}
	names, actions := clause[:end], clause[end:]
	if names == "" && actions[0] != '=' {
		return fmt.Errorf("%q names no capability", clause)
	}
	mask, err := capabilityMask(names)
	if err != nil {
		return err
	}
	for first := true; actions != ""; first = false {
		operator := actions[0]
		if operator == '=' && !first {
			return fmt.Errorf("%q has a = that is not the first operator", clause)
		}
		flags := actions[1:]
		if i := strings.IndexAny(flags, "=+-"); i >= 0 {
			flags = flags[:i]
		}
		actions = actions[1+len(flags):]
		if operator == '=' {
			*s = capabilitySets{s.effective &^ mask, s.inheritable &^ mask, s.permitted &^ mask}
		} else if flags == "" {
			return fmt.Errorf("%q has a %c without e, i or p", clause, operator)
		}
		for _, flag := range flags {
			set, ok := map[rune]*uint64{'e': &s.effective, 'i': &s.inheritable, 'p': &s.permitted}[flag]
			switch {
			case !ok:
				return fmt.Errorf("%q has %q where e, i or p belongs", clause, flag)
			case operator == '-':
				*set &^= mask
			default:
				*set |= mask
			}
		}
	}
	return nil
}

// capabilityMask returns the bits of capabilities, separated by commas; none or "all"
// means all.
func capabilityMask(names string) (uint64, error) {
	if names == "" || strings.EqualFold(names, "all") {
		return 1<<len(capabilityNames) - 1, nil
	}
	var mask uint64
	for _, name := range strings.Split(names, ",") {
		i := slices.Index(capabilityNames, strings.ToLower(name))
		if i < 0 {
			n, err := strconv.ParseUint(name, 10, 8)
			if err != nil || n > 63 {
				return 0, fmt.Errorf("there is no capability %q", name)
			}
			i = int(n)
		}
		mask |= 1 << i
	}
	return mask, nil
}
