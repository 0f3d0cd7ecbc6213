package drivers

import (
	"bytes"
	"context"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/stages/media/internal/testmodule"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// compressed returns text as a program of the host compresses it.
func compressed(t *testing.T, text, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: make test installs what the tests need", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func names(modules []Module) string {
	var b strings.Builder
	for _, m := range modules {
		b.WriteString(m.Path + " (" + m.Class + ")\n")
	}
	return b.String()
}

// The installer must know which of the drivers it is given disks depend on: without one, it cannot tell which disk is the smallest.
func TestInstallerKnowsDriversOfDisks(t *testing.T) {
	disks := []string{
		"SATA and IDE disks", "NVMe disks", "SCSI disks and RAID controllers", "virtual disks", "memory cards", "persistent memory",
		"USB controllers", "USB disks", "PCI controllers", "virtio", "Hyper-V",
	}
	for _, class := range Classes {
		for _, p := range class.Paths {
			want := slices.Contains(disks, class.Name) || class.Name == "CDs" && p != "drivers/cdrom"
			if got := modules.ShowsDisks("kernel/" + p + "/x.ko"); got != want {
				t.Errorf("%s, %s: %v", class.Name, p, got)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	cache := stagetest.Cache(t)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	const dir = "usr/lib/modules/6.1/"
	root := stagetest.Tree(t, stagetest.Link("lib", "usr/lib"),
		file(dir+"modules.dep", `kernel/drivers/ata/ahci.ko: kernel/lib/libata.ko kernel/drivers/shared.ko.gz
kernel/lib/libata.ko:
kernel/drivers/shared.ko.gz:
kernel/drivers/gpu/big.ko:
kernel/drivers/nvme/host/nvme.ko.xz: kernel/drivers/nvme/host/nvme-core.ko.zst
kernel/drivers/nvme/host/nvme-core.ko.zst:
kernel/drivers/nvme/target/nvmet.ko:
kernel/drivers/scsi/trimmed.ko:
kernel/drivers/scsi/sr_mod.ko:
kernel/drivers/md/torn.ko: kernel/lib/gone.ko
kernel/lib/gone.ko:
updates/drivers/block/better.ko:
kernel/crypto/hash_a.ko:
kernel/crypto/hash_b.ko:
`),
		file(dir+"modules.alias", `# Aliases extracted from modules themselves.
alias pci:v00008086d00002922sv*sd*bc*sc*i* ahci
alias pci:v00001002d*sv*sd*bc*sc*i* big
alias hash hash_a
alias hash hash-b
`),
		file(dir+"modules.softdep", "softdep nvme pre: hash\nsoftdep big pre: ahci\n"),
		file(dir+"modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/drivers/usb/host/xhci-hcd.ko\nkernel/sound/core/snd.ko\n"),
		file(dir+"kernel/drivers/ata/ahci.ko", testmodule.New("license=GPL", "firmware=ahci/plain.bin", "firmware=ahci/gone.bin")),
		file(dir+"kernel/lib/libata.ko", testmodule.New("alias=x")),
		file(dir+"kernel/drivers/shared.ko.gz", compressed(t, testmodule.New("firmware=shared/packed.bin"), "gzip")),
		file(dir+"kernel/drivers/gpu/big.ko", testmodule.New("firmware=gpu.bin")),
		file(dir+"kernel/drivers/nvme/host/nvme.ko.xz", compressed(t, testmodule.New("firmware=linked.bin"), "xz", "--check=crc32")),
		file(dir+"kernel/drivers/nvme/host/nvme-core.ko.zst", compressed(t, testmodule.New("firmware=many/*.fw"), "zstd")),
		file(dir+"kernel/drivers/nvme/target/nvmet.ko", testmodule.New("x=y")),
		file(dir+"kernel/drivers/scsi/sr_mod.ko", testmodule.New("firmware=../../etc/shadow")),
		file(dir+"kernel/drivers/md/torn.ko", testmodule.New("x=y")),
		file(dir+"updates/drivers/block/better.ko", testmodule.New("x=y")),
		file(dir+"kernel/crypto/hash_a.ko", testmodule.New("x=y")),
		file(dir+"kernel/crypto/hash_b.ko", testmodule.New("x=y")),
		file(dir+"modules.builtin.modinfo", "xhci_hcd.license=GPL\x00xhci-hcd.firmware=xhci.bin\x00snd.firmware=sound.bin\x00"),
		file("usr/lib/firmware/xhci.bin", "usb"), file("usr/lib/firmware/sound.bin", "sound"),
		file("etc/shadow", "secret"),
		file("usr/lib/firmware/ahci/plain.bin", "old"),
		file("usr/lib/firmware/updates/ahci/plain.bin", "new"),
		file("usr/lib/firmware/shared/packed.bin.xz", "packed"),
		file("usr/lib/firmware/gpu.bin", "gpu"),
		file("usr/lib/firmware/real/file.bin.zst", "linked"),
		stagetest.Link("usr/lib/firmware/linked.bin.zst", "real/file.bin.zst"),
		file("usr/lib/firmware/many/a.fw", "a"), file("usr/lib/firmware/many/b.fw", "b"), file("usr/lib/firmware/many/c.txt", "c"),
	)
	choice, err := Choose(context.Background(), cache.Store, root, "6.1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(choice.Modules), `kernel/crypto/hash_a.ko ()
kernel/crypto/hash_b.ko ()
kernel/drivers/ata/ahci.ko (SATA and IDE disks)
kernel/drivers/nvme/host/nvme-core.ko.zst (NVMe disks)
kernel/drivers/nvme/host/nvme.ko.xz (NVMe disks)
kernel/drivers/scsi/sr_mod.ko (CDs)
kernel/drivers/shared.ko.gz ()
kernel/lib/libata.ko ()
updates/drivers/block/better.ko (virtual disks)
`; got != want {
		t.Errorf("modules\n%swant\n%s", got, want)
	}
	var firmware strings.Builder
	for _, f := range choice.Firmware {
		firmware.WriteString(f.Path + " " + stagetest.Contents(t, cache.Store, tree.Entry{Digest: f.Digest}) + "\n")
	}
	if got, want := firmware.String(), "linked.bin.zst linked\nmany/a.fw a\nmany/b.fw b\nshared/packed.bin.xz packed\nupdates/ahci/plain.bin new\nxhci.bin usb\n"; got != want {
		t.Errorf("firmware\n%swant\n%s", got, want)
	}
	if got := strings.Join(choice.MissingFirmware, " "); got != "../../etc/shadow ahci/gone.bin" {
		t.Errorf("missing firmware %s", got)
	}
	if !maps.Equal(choice.Broken, map[string]string{"torn": "gone"}) {
		t.Errorf("broken %v", choice.Broken)
	}
	if got := choice.Builtin; len(got) != 2 || !slices.Equal(got["ext4"], []string{"ext4"}) || !slices.Equal(got["USB controllers"], []string{"xhci_hcd"}) {
		t.Errorf("builtin %v", got)
	}
	if got, want := strings.Join(choice.Missing, ", "), "software RAID and device mapper, USB disks, virtio, network cards, "+
		"bonds, VLANs and packet sockets, keyboards, serial lines, ISO 9660, FAT, character sets, XFS, overlay file systems, variables of the firmware"; got != want {
		t.Errorf("missing %s\nwant    %s", got, want)
	}
	for name, want := range map[string]string{
		"modules.dep": `kernel/drivers/ata/ahci.ko: kernel/lib/libata.ko kernel/drivers/shared.ko.gz
kernel/lib/libata.ko:
kernel/drivers/shared.ko.gz:
kernel/drivers/nvme/host/nvme.ko.xz: kernel/drivers/nvme/host/nvme-core.ko.zst
kernel/drivers/nvme/host/nvme-core.ko.zst:
kernel/drivers/scsi/sr_mod.ko:
updates/drivers/block/better.ko:
kernel/crypto/hash_a.ko:
kernel/crypto/hash_b.ko:
`,
		"modules.alias":   "alias pci:v00008086d00002922sv*sd*bc*sc*i* ahci\nalias hash hash_a\nalias hash hash-b\n",
		"modules.softdep": "softdep nvme pre: hash\n",
		"modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/drivers/usb/host/xhci-hcd.ko\nkernel/sound/core/snd.ko\n",
	} {
		if got := string(choice.Indexes[name]); got != want {
			t.Errorf("%s\n%swant\n%s", name, got, want)
		}
	}
}

func TestChooseErrors(t *testing.T) {
	cache := stagetest.Cache(t)
	file := func(path, contents string) tree.Entry { return stagetest.File(t, cache.Store, path, contents) }
	// A root without merged /usr.
	const dir = "lib/modules/5.10/"
	for _, test := range []struct {
		want    string
		entries []tree.Entry
	}{
		{"the kernel 5.10 has no modules: /usr is not a directory", []tree.Entry{file("etc/x", "")}},
		{"/lib/modules/5.10 has no modules.dep: the modules of the kernel were never indexed; run depmod 5.10 in a script", []tree.Entry{file(dir+"kernel/x.ko", "")}},
		{`/lib/modules/5.10: modules.dep, line 1: "nonsense" has no colon`, []tree.Entry{file(dir+"modules.dep", "nonsense\n")}},
		{"/lib/modules/5.10: kernel/fs/xfs/xfs.ko: it is no kernel module: bad magic number '[116 101 120 116]' in record at byte 0x0", []tree.Entry{
			file(dir+"modules.dep", "/lib/modules/5.10/kernel/fs/xfs/xfs.ko:\n"), file(dir+"kernel/fs/xfs/xfs.ko", "text, no module: longer than a header of ELF is, which it has to be"),
		}},
		{"/lib/modules/5.10: kernel/fs/xfs/xfs.ko.xz: xz: file format not recognized", []tree.Entry{
			file(dir+"modules.dep", "kernel/fs/xfs/xfs.ko.xz:\n"), file(dir+"kernel/fs/xfs/xfs.ko.xz", "text, longer than a header of xz is, which it has to be"),
		}},
	} {
		if _, err := Choose(context.Background(), cache.Store, stagetest.Tree(t, test.entries...), "5.10"); err == nil || err.Error() != test.want {
			t.Errorf("error %v\nwant  %s", err, test.want)
		}
	}
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte(testmodule.New("license=GPL", "firmware=a.bin")))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, image []byte) {
		values, err := modinfo(bytes.NewReader(image), "firmware")
		if err != nil && values != nil {
			t.Errorf("%q with %v", values, err)
		}
		for _, v := range values {
			if !bytes.Contains(image, []byte("firmware="+v)) {
				t.Errorf("%q is not in the module", v)
			}
		}
	})
}
