package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncCalls are the system calls that wait for a disk. What the sandbox writes is
// thrown away after a power cut anyway (see the index), so they only cost time:
// dpkg alone calls fsync for every file.
var syncCalls = []uint32{
	unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC, unix.SYS_SYNCFS, unix.SYS_SYNC_FILE_RANGE, unix.SYS_MSYNC,
}

// auditArch are the values of seccomp_data.arch for native system calls.
var auditArch = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64,
	"arm64": unix.AUDIT_ARCH_AARCH64,
}

// Offsets in struct seccomp_data (seccomp(2)).
const (
	seccompNr   = 0
	seccompArch = 4
)

// syncFilter is a seccomp program that makes syncCalls succeed at once and lets
// everything else through, including calls of other architectures.
func syncFilter(arch uint32) []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	n := len(syncCalls)
	program := []unix.SockFilter{
		{Code: load, K: seccompArch},
		{Code: equal, K: arch, Jt: 0, Jf: uint8(n + 1)},
		{Code: load, K: seccompNr},
	}
	for i, nr := range syncCalls {
		program = append(program, unix.SockFilter{Code: equal, K: nr, Jt: uint8(n - i), Jf: 0})
	}
	return append(program,
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO}, // with error 0, which is success
	)
}

// ignoreSync puts the filter on this thread, from which the command is started. It
// needs CAP_SYS_ADMIN in the namespace, and so no no_new_privs, which would break
// set-user-id programs.
func ignoreSync() error {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return nil
	}
	program := syncFilter(arch)
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog))); errno != 0 {
		return fmt.Errorf("turn off fsync: %w", errno)
	}
	runtime.KeepAlive(program)
	return nil
}
