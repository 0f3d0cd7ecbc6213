package drivers

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/media/internal/packages"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// TestRealKernel chooses of a distribution's kernel, and asks kmod whether all that the chosen modules need is there.
func TestRealKernel(t *testing.T) {
	k := packages.Newest(t)
	cache := stagetest.Cache(t)
	root := stagetest.Tree(t, k.Entries(t, cache.Store)...)
	choice, err := Choose(context.Background(), cache.Store, root, k.Release)
	if err != nil {
		t.Fatal(err)
	}
	if len(choice.Missing) > 0 || len(choice.Broken) > 0 || len(choice.Firmware) > 0 {
		t.Errorf("missing %q, broken %q, firmware %v", choice.Missing, choice.Broken, choice.Firmware)
	}
	chosen := map[string]string{}
	var size int64
	perClass := map[string]int{}
	for _, m := range choice.Modules {
		chosen[m.Name()] = m.Class
		perClass[m.Class]++
		size += m.Size
	}
	t.Logf("%d modules of kernel %s, %d MB; %d names of firmware", len(choice.Modules), k.Release, size/1e6, len(choice.MissingFirmware))
	for _, class := range slices.Sorted(maps.Keys(perClass)) {
		t.Logf("%4d  %s", perClass[class], class)
	}
	// One of each kind that people have, besides whole classes: a list of ten is what this is not.
	for _, name := range strings.Fields(`ahci ata_piix nvme sd_mod sr_mod megaraid_sas mpt3sas mpi3mr hpsa smartpqi aacraid qla2xxx lpfc
		virtio_blk virtio_scsi virtio_pci virtio_net xen_blkfront vmw_pvscsi hv_storvsc hv_netvsc vmxnet3 loop raid1 raid456 dm_mod
		xhci_pci ehci_pci usb_storage uas usbhid hid_generic e1000e igb ixgbe i40e ice bnxt_en tg3 mlx5_core r8169 bonding 8021q
		isofs vfat nls_ascii ext4 xfs overlay efivarfs sdhci_pci vmd crc32c_generic`) {
		if _, ok := chosen[name]; !ok {
			t.Errorf("%s was not chosen", name)
		}
	}
	for _, name := range strings.Fields("iwlwifi amdgpu i915 snd btrfs mlxsw_spectrum floppy rbd zram wireguard") {
		if class, ok := chosen[name]; ok {
			t.Errorf("%s was chosen (%q)", name, class)
		}
	}
	for _, name := range []string{"bnx2x/bnx2x-e2-7.13.15.0.fw", "ql2500_fw.bin"} {
		if !slices.Contains(choice.MissingFirmware, name) {
			t.Errorf("the modules do not name %s", name)
		}
	}

	// kmod's own answer, for every chosen module in one call each.
	builtin := map[string]bool{}
	for line := range strings.Lines(string(choice.Indexes["modules.builtin"])) {
		builtin[moduleName(strings.TrimSpace(line))] = true
	}
	modprobe, err := exec.LookPath("modprobe")
	if err != nil {
		if modprobe, err = exec.LookPath("/usr/sbin/modprobe"); err != nil {
			t.Fatal("modprobe is missing: install the package kmod")
		}
	}
	cmd := exec.Command("sh", "-c", `while read -r name; do "$0" -C /dev/null -d "$1" -S "$2" -D -q -- "$name"; done`, modprobe, k.Dir, k.Release)
	cmd.Stdin = strings.NewReader(strings.Join(slices.Sorted(maps.Keys(chosen)), "\n") + "\n")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "insmod" {
			needed[moduleName(path.Base(fields[1]))] = true
		}
	}
	if len(needed) < len(chosen)/2 {
		t.Fatalf("modprobe named %d modules only", len(needed))
	}
	for name := range needed {
		if _, ok := chosen[name]; !ok && !builtin[name] {
			t.Errorf("modprobe would load %s, which was not chosen", name)
		}
	}
	// What has no class is there because something else needs it. kmod forgets all but one of several soft dependencies,
	// so aliases decide those.
	for name, class := range chosen {
		if class == "" && !needed[name] {
			t.Errorf("%s was chosen and nothing needs it", name)
		}
	}
}
