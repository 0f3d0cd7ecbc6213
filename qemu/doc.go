// Package qemu runs disk images under QEMU: with a BIOS, with UEFI, or with
// UEFI enforcing Secure Boot; headless, with the guest's serial port either on
// the caller's terminal or in the hands of a program.
//
//	vm, err := qemu.Machine{
//		Firmware: qemu.UEFI,
//		Disks:    []qemu.Disk{{Path: "node.qcow2", Format: "qcow2"}},
//	}.Start(ctx)
//	...
//	defer vm.Quit()
//	err = vm.Console.Login(ctx, "root", "secret")
//	out, status, err := vm.Console.Run(ctx, "systemctl is-system-running")
//
// Disks are connected in every way a server has them (virtio, SATA, NVMe, USB,
// SCSI), and may be blank, CDs, or answer with errors. What an installer is
// started from is taken out where the guest reboots for the first time, so that
// one machine shows an installation and what it has installed:
//
//	Disks: []qemu.Disk{{Path: "node.iso", Format: "raw", CD: true, TakeOut: true}, {Size: 20 << 30, Interface: qemu.NVMe}},
//
// A machine never changes the image it runs unless it is told to: guests write
// to a temporary overlay. The QEMU process belongs to the context it was
// started with and dies with this process, however this process dies.
//
// Programs that drive a guest wait for what it prints, never for a fixed time;
// the context's deadline is only the safety net.
package qemu
