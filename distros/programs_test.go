package distros

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell runs a program of a definition in which paths were replaced, and returns what it prints.
func shell(t *testing.T, program string, replace []string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replace...).Replace(program)), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(file, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func content(t *testing.T, files []File, path string) string {
	t.Helper()
	for _, f := range files {
		if f.Path == path {
			return f.Content
		}
	}
	t.Fatalf("the definition has no %s", path)
	return ""
}

// TestKernelHooks checks what is left of the programs that kernel packages call: modules are listed, nothing else.
func TestKernelHooks(t *testing.T) {
	d, err := Load("rocky-9")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ program, args, want string }{
		{"/usr/bin/kernel-install", "add 5.14 /lib/modules/5.14/vmlinuz", "-a 5.14\n"},
		{"/usr/bin/kernel-install", "remove 5.14", ""},
		{"/usr/sbin/new-kernel-pkg", "--package kernel --install 5.10", ""},
		{"/usr/sbin/new-kernel-pkg", "--package kernel --mkinitrd --dracut --depmod --update 5.10", "-a 5.10\n"},
		{"/usr/sbin/new-kernel-pkg", "--depmod", "-a --depmod\n"}, // depmod says what is wrong with that
		{"/usr/bin/dracut", "-f --kver 5.14", ""},
		{"/usr/sbin/grub2-mkconfig", "-o /boot/grub2/grub.cfg", ""},
	} {
		program := content(t, d.Scripts.Files, c.program)
		if got := shell(t, program, []string{"/usr/sbin/depmod", "echo"}, strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.program, c.args, got, c.want)
		}
	}
}

// TestGrowRoot lets the program of images without systemd-repart enlarge the last partition of a disk that became larger.
// The kernel's part is played by files.
func TestGrowRoot(t *testing.T) {
	for _, tool := range []string{"sfdisk", "sgdisk"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: install the packages fdisk and gdisk", tool)
		}
	}
	d, err := Load("openeuler-24.03")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "dev/vda")
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("sh", "-euc", script, "sh", disk)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	const before, after = 64 << 20, 256 << 20
	run(fmt.Sprintf(`mkdir -p dev sys/class/block sys/devices/vda/vda2
		ln -s ../../devices/vda/vda2 sys/class/block/vda2
		truncate -s %d "$1"
		printf 'label: gpt\nsize=8M\nsize=20M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=ROOT\n' | sfdisk -q "$1"
		sgdisk --info=2 "$1" >before
		truncate -s %d "$1"
		echo 2 >sys/devices/vda/vda2/partition
		echo 18432 >sys/devices/vda/vda2/start
		echo 40960 >sys/devices/vda/vda2/size
		echo %d >sys/devices/vda/size`, before, after, after/512))
	replace := []string{
		`"$(findmnt --noheadings --output SOURCE /)"`, filepath.Join(dir, "dev/vda2"), "/sys/", dir + "/sys/", `"/dev/`, `"` + dir + "/dev/", "partx ", "echo partx ",
	}
	program := content(t, d.Grow.Files, "/usr/libexec/imagefactory/grow-root")
	if out := shell(t, program, replace); !strings.HasSuffix(out, "partx --update --nr 2 "+disk+"\n") {
		t.Errorf("it says %q", out)
	}
	if out := run(`sgdisk --verify "$1"`); !strings.Contains(out, "No problems found. 0 free sectors") {
		t.Errorf("sgdisk finds %s", out)
	}
	// Everything but the size is as it was.
	changed := run(`sgdisk --info=2 "$1" >after; diff before after || true`)
	if lines := strings.Count(changed, "\n> "); lines != 2 || !strings.Contains(changed, "> Last sector: 524254") || !strings.Contains(changed, "> Partition size: 505823 sectors") {
		t.Errorf("changed: %s", changed)
	}
	run(`echo 505823 >sys/devices/vda/vda2/size`)
	if out := shell(t, program, replace); out != "" {
		t.Errorf("the second time it says %q", out)
	}
}
