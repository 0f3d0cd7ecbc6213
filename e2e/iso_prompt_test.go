package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// testPrompts types what people type on the serial line of a machine.
func testPrompts(t *testing.T, m *medium) {
	t.Run("confirmation", func(t *testing.T) {
		target := named(blank(t, m.document.Payload.DiskSize), "TARGET", qemu.VirtIO)
		same := unchanged(t, target)
		i := install(t, m.installer("imagefactory.confirm imagefactory.after=poweroff", target, m.cd()))
		question := regexp.MustCompile(`tiny 1 will be written to /dev/vda \(TARGET\)\. It is empty\.\s+Type yes to install[^\n]*: `)
		asked := func() {
			t.Helper()
			if _, err := i.vm.Console.Expect(i.ctx, question); err != nil {
				t.Fatal(err)
			}
		}
		asked()
		i.types("no", `FAILED \(confirmation[^\n]*the installation was not confirmed\s+Nothing was written to any disk\.`)
		i.prompt()
		same()
		if err := i.vm.Console.Send("retry\n"); err != nil {
			t.Fatal(err)
		}
		asked()
		if err := i.vm.Console.Send("yes\n"); err != nil {
			t.Fatal(err)
		}
		i.until("done")
		i.ends()
		m.checkInstalled(t, target.Path)
	})
	t.Run("rescue", func(t *testing.T) {
		disk := named(blank(t, m.document.Payload.DiskSize), "SYSTEM", qemu.VirtIO)
		command(t, "cp", "--sparse=always", m.raw, disk.Path)
		other := named(filled(t, 64<<20, "mke2fs", "-q", "-F"), "OTHER", qemu.VirtIO)
		same := unchanged(t, other)
		i := install(t, m.installer("imagefactory.mode=rescue", disk, other, m.cd()))
		i.prompt()
		for _, step := range []struct{ line, answer string }{
			{"help", `chroot DEVICE \[COMMAND\](?s:.*)poweroff`},
			{"format", `There is no command format; help lists them\.`},
			{"disks", `(?s)/dev/vda .* SYSTEM .*gpt.*/dev/vdb .* OTHER .*ext`},
			{"mount /dev/vda1", `mount: /dev/vda1 holds no file system that can be mounted`},
			{"mount /dev/vda3", `Mounted /dev/vda3 \(ext4\) on /run/imagefactory/rescue\.`},
			{"ls /run/imagefactory/rescue", ` etc\r?\n`},
			{"cat /run/imagefactory/rescue/etc/os-release", `ID=`},
			{"umount", ``},
			{"chroot /dev/vda3 /bin/sh -e", `Mounted /dev/vda3`},
			{"echo sum $((6 * 7)) | while read -r line; do echo $line > /written; echo $line; done", `sum 42`},
			{"exit", `imagefactory> `},
			{"log", `No installation, as the kernel's command line asks\.`},
			{"log kernel", `Command line: [^\n]*imagefactory\.mode=rescue`},
		} {
			i.types(step.line, step.answer)
			if step.line != "exit" && !strings.HasPrefix(step.line, "chroot") && !strings.HasPrefix(step.line, "echo") {
				i.prompt()
			}
		}
		if err := i.vm.Console.Send("poweroff\n"); err != nil {
			t.Fatal(err)
		}
		i.ends()
		same()
		// What was written in the system is there, and its file system was left in order.
		_, list := partitions(t, disk.Path)
		root := list[2]
		checkFilesystem(t, disk.Path, root.Start*sector, root.Size*sector)
		out := t.TempDir() + "/written"
		r := finish(t, exec.Command("debugfs", "-R", "dump /written "+out, at(disk.Path, root.Start*sector)))
		if text, err := os.ReadFile(out); err != nil || string(text) != "sum 42\n" {
			t.Errorf("%q, %v, %s", text, err, r.stderr)
		}
	})
}
