package qemu

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Accelerator is what executes the guest's instructions.
type Accelerator string

// The accelerators a machine can use.
const (
	KVM Accelerator = "kvm" // the host's processor
	TCG Accelerator = "tcg" // emulation: works everywhere, several times slower
)

// DetectAccelerator returns KVM when this process can use it, else TCG and
// the reason why.
func DetectAccelerator() (Accelerator, string) {
	if err := probeKVM("/dev/kvm"); err != nil {
		return TCG, err.Error()
	}
	return KVM, ""
}

// The ioctls of linux/kvm.h that the probe needs.
const (
	kvmGetAPIVersion     = 0xae00     // _IO(0xAE, 0x00)
	kvmGetSupportedCPUID = 0xc008ae05 // _IOWR(0xAE, 0x05, struct kvm_cpuid2)
	kvmAPIVersion        = 12         // the only one there has been since Linux 2.6.22
)

// probeKVM opens the device and asks which processor features guests get.
//
// Being able to open it is not enough. Where KVM is itself emulated for a
// nested guest, QEMU starts on it with a warning and the kernel then crawls
// for minutes. Such a KVM shows itself by not offering SSE3, which every
// processor with hardware virtualization has.
func probeKVM(path string) error {
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("KVM cannot be used: %w", err)
	}
	defer device.Close()
	version, _, errno := unix.Syscall(unix.SYS_IOCTL, device.Fd(), kvmGetAPIVersion, 0)
	if errno != 0 || version != kvmAPIVersion {
		return fmt.Errorf("KVM cannot be used: %s speaks version %d of its interface, not %d", path, version, kvmAPIVersion)
	}

	// struct kvm_cpuid2 is a count and padding, then entries of ten words:
	// function, index, flags, eax, ebx, ecx, edx, padding.
	const header, entrySize, maxEntries = 8, 40, 256
	buffer := make([]byte, header+maxEntries*entrySize)
	binary.NativeEndian.PutUint32(buffer, maxEntries)
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, device.Fd(), kvmGetSupportedCPUID, uintptr(unsafe.Pointer(&buffer[0])))
	if errno != 0 {
		return fmt.Errorf("KVM cannot be used: asking %s for processor features: %w", path, errno)
	}
	count := min(int(binary.NativeEndian.Uint32(buffer)), maxEntries)
	for i := range count {
		entry := buffer[header+i*entrySize:]
		function, ecx := binary.NativeEndian.Uint32(entry), binary.NativeEndian.Uint32(entry[20:])
		const sse3 = 1 << 0 // CPUID.01H:ECX
		if function == 1 && ecx&sse3 != 0 {
			return nil
		}
	}
	return fmt.Errorf("KVM cannot be used: %s offers guests no SSE3, so it is an emulation of KVM", path)
}
