package modules

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// realKernel is a kernel package of the distribution, unpacked and indexed by depmod.
type realKernel struct{ dir, release string }

func run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// kernels are those that kernelPackage found, by their meta packages: apt takes a second for each question.
var kernels = map[string]realKernel{}

// kernelPackage fetches the kernel that a meta package names, and unpacks it.
func kernelPackage(t testing.TB, latest string) realKernel {
	t.Helper()
	k, ok := kernels[latest]
	if !ok {
		k = fetchKernel(t, latest)
		kernels[latest] = k
	}
	return k
}

func fetchKernel(t testing.TB, latest string) realKernel {
	t.Helper()
	out := run(t, ".", "apt-cache", "depends", "--no-recommends", "--no-suggests", latest)
	_, pkg, found := strings.Cut(out, "Depends: ")
	if !found {
		t.Fatalf("apt knows no %s: %s", latest, out)
	}
	pkg, _, _ = strings.Cut(pkg, "\n")
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	k := realKernel{filepath.Join(base, "imagefactory-test-modules", pkg), strings.TrimPrefix(pkg, "linux-image-")}
	if _, err := os.Stat(k.dir); err == nil {
		return k
	}
	if err := os.MkdirAll(filepath.Dir(k.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(k.dir), "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	run(t, work, "apt-get", "download", "-q", pkg)
	debs, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	if len(debs) != 1 {
		t.Fatalf("apt downloaded %v", debs)
	}
	root := filepath.Join(work, "root")
	run(t, work, "dpkg-deb", "-x", debs[0], root)
	run(t, work, "depmod", "-b", root, k.release)
	if err := os.Rename(root, k.dir); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return k
}

// root returns the kernel's modules as a root with merged /usr has them, with more entries.
func (k realKernel) root(t testing.TB, st *store.Store, more ...tree.Entry) *tree.Tree {
	t.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Abort()
	entries := []tree.Entry{stagetest.Link("lib", "usr/lib")}
	above := filepath.Join(k.dir, "lib/modules")
	err = filepath.WalkDir(above, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		e := tree.Entry{Type: tree.Regular, Mode: 0o644, MTime: tree.Time{Sec: stagetest.Epoch}}
		below, _ := filepath.Rel(above, p)
		e.Path = "usr/lib/modules/" + filepath.ToSlash(below)
		if e.Digest, e.Size, err = batch.Add(f); err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	if err == nil {
		err = batch.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stagetest.Tree(t, append(entries, more...)...)
}

// depmodded writes what is left of a kernel to disk, without the indexes, has depmod make them, and returns them.
func (k realKernel) depmodded(t testing.TB, st *store.Store, root *tree.Tree) map[string]string {
	t.Helper()
	dir := t.TempDir()
	prefix := "usr/lib/modules/" + k.release
	for _, e := range root.Subtree(prefix) {
		to := filepath.Join(dir, "lib/modules", k.release, strings.TrimPrefix(e.Path, prefix))
		switch {
		case e.Type == tree.Directory:
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
		case isModule(e.Path):
			if err := os.Symlink(filepath.Join(k.dir, strings.TrimPrefix(e.Path, "usr/")), to); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(e.Path, "modules.order"), strings.Contains(e.Path, "modules.builtin"):
			if err := os.WriteFile(to, []byte(stagetest.Contents(t, st, e)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, dir, "depmod", "-b", dir, k.release)
	made := map[string]string{}
	names, _ := filepath.Glob(filepath.Join(dir, "lib/modules", k.release, "modules.*"))
	for _, name := range names {
		p, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		made[filepath.Base(name)] = string(p)
	}
	return made
}

func apply(t testing.TB, st *store.Store, root *tree.Tree, o Options) (Plan, *tree.Tree) {
	t.Helper()
	plan, err := Choose(context.Background(), st, root, o)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Apply(st, root, plan)
	if err != nil {
		t.Fatal(err)
	}
	return plan, after
}

// TestIndexesAreDepmods removes ever other modules and compares all indexes with those that depmod makes of what is left.
func TestIndexesAreDepmods(t *testing.T) {
	names := []string{"linux-image-cloud-amd64"}
	if full() {
		names = append(names, "linux-image-amd64")
	}
	for _, name := range names {
		k := kernelPackage(t, name)
		st := stagetest.Cache(t).Store
		root := k.root(t, st)
		for _, c := range []struct {
			what string
			o    Options
		}{
			{"all classes", Options{Drop: []string{All}}},
			{"all but a few", Options{Drop: []string{All}, Keep: []string{"infiniband", "sound", "wireless", "mouse"}}},
			{"named", Options{Drop: []string{"graphics", "legacy-network", "industrial", "media"}, RemoveModules: []string{"xt_*", "xfs"}, KeepModules: []string{"tipc"}}},
		} {
			t.Run(k.release+" "+c.what, func(t *testing.T) {
				plan, after := apply(t, st, root, c.o)
				compareIndexes(t, st, k, after)
				for _, c := range plan.Classes {
					t.Logf("%-20s %4d of %4d modules kept, %6d of %6d kB", c.Name, c.Kept, c.Modules, c.KeptBytes/1000, c.Bytes/1000)
				}
			})
		}
	}
}

// full says that the long tests run, too.
func full() bool { return os.Getenv("IMAGEFACTORY_TEST") == "full" }

// compareIndexes compares all indexes of what is left with depmod's.
func compareIndexes(t *testing.T, st *store.Store, k realKernel, after *tree.Tree) {
	t.Helper()
	made := k.depmodded(t, st, after)
	if len(made) < 10 {
		t.Fatalf("depmod made only %d files", len(made))
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		e, ok := after.Lookup("usr/lib/modules/" + k.release + "/" + name)
		if !ok {
			t.Errorf("depmod makes %s, and we have none", name)
			continue
		}
		if got := stagetest.Contents(t, st, e); got != made[name] {
			t.Errorf("%s differs: %s", name, difference(got, made[name]))
		}
	}
}

// TestCompressed does the same with modules that are compressed, as most distributions have them.
func TestCompressed(t *testing.T) {
	plainKernel := kernelPackage(t, "linux-image-amd64")
	for suffix, program := range map[string][]string{".xz": {"xz", "-0", "--check=crc32"}, ".zst": {"zstd", "-q", "--rm"}} {
		t.Run(suffix, func(t *testing.T) {
			k := realKernel{t.TempDir(), plainKernel.release}
			from, to := filepath.Join(plainKernel.dir, "lib/modules", k.release), filepath.Join(k.dir, "lib/modules", k.release)
			for _, dir := range []string{"fs/ext4", "fs/jbd2", "fs/mbcache.ko", "fs/nfs_common", "fs/lockd", "fs/nfsd", "net/sunrpc/sunrpc.ko", "fs/hfsplus", "net/can/can.ko", "net/can/can-raw.ko", "lib/crc16.ko", "crypto/crc32c_generic.ko"} {
				target := filepath.Join(to, "kernel", filepath.Dir(dir))
				if err := os.MkdirAll(target, 0o755); err != nil {
					t.Fatal(err)
				}
				run(t, ".", "cp", "-r", filepath.Join(from, "kernel", dir), target)
			}
			var names []string
			err := filepath.WalkDir(to, func(p string, d os.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					names = append(names, p)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			run(t, ".", program[0], append(program[1:], names...)...)
			for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
				run(t, ".", "cp", filepath.Join(from, name), to)
			}
			run(t, ".", "depmod", "-b", k.dir, k.release)
			st := stagetest.Cache(t).Store
			root := k.root(t, st)
			plan, after := apply(t, st, root, Options{Drop: []string{All}, RemoveModules: []string{"nfs*"}})
			compareIndexes(t, st, k, after)
			removed := 0
			for _, f := range plan.Modules {
				if !f.Kept {
					removed++
				}
			}
			if removed < 3 || removed == len(plan.Modules) {
				t.Errorf("%d of %d modules were removed", removed, len(plan.Modules))
			}
		})
	}
}

// small is a kernel of a few real modules, with what else a tree has.
func small(t *testing.T, st *store.Store, names []string, more ...tree.Entry) (realKernel, *tree.Tree) {
	t.Helper()
	from := kernelPackage(t, "linux-image-amd64")
	k := realKernel{t.TempDir(), from.release}
	to := filepath.Join(k.dir, "lib/modules", k.release)
	for _, name := range names {
		target := filepath.Join(to, "kernel", filepath.Dir(name))
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, ".", "cp", filepath.Join(from.dir, "lib/modules", k.release, "kernel", name), target)
	}
	for _, name := range []string{"modules.order", "modules.builtin"} {
		run(t, ".", "cp", filepath.Join(from.dir, "lib/modules", k.release, name), to)
	}
	run(t, ".", "depmod", "-b", k.dir, k.release)
	return k, k.root(t, st, more...)
}

// fileSystems are modules that depend on each other, and some of classes.
var fileSystems = []string{"fs/ext4/ext4.ko", "fs/jbd2/jbd2.ko", "fs/mbcache.ko", "lib/crc16.ko", "fs/hfsplus/hfsplus.ko", "drivers/cdrom/cdrom.ko", "net/can/can.ko", "net/can/can-raw.ko"}

func fates(plan []Fate) map[string]string {
	m := map[string]string{}
	for _, f := range plan {
		word := "removed"
		if f.Kept {
			word = "kept"
		}
		m[f.Name] = word + ": " + f.Reason
	}
	return m
}

func TestReasons(t *testing.T) {
	st := stagetest.Cache(t).Store
	_, root := small(t, st, fileSystems, stagetest.File(t, st, "etc/modules-load.d/x.conf", "# x\nhfsplus\n"))
	plan, after := apply(t, st, root, Options{Drop: []string{"legacy-filesystems"}, RemoveModules: []string{"ext4"}, KeepModules: []string{"jbd2"}})
	got := fates(plan.Modules)
	for name, want := range map[string]string{
		"ext4":    "removed: it is named to be removed",
		"jbd2":    "kept: it is named to be kept",
		"mbcache": "kept: it is of no class",
		"hfsplus": "kept: /etc/modules-load.d/x.conf loads it",
	} {
		if got[name] != want {
			t.Errorf("%s: %s", name, got[name])
		}
	}
	if _, ok := after.Lookup("usr/lib/modules/" + releaseOf(root) + "/kernel/fs/ext4"); ok {
		t.Error("the empty directory of ext4 is left")
	}
	// Without the configuration its class decides.
	e := root.Edit()
	e.Remove("etc")
	bare, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	plan, _ = apply(t, st, bare, Options{Drop: []string{"legacy-filesystems"}})
	if got := fates(plan.Modules)["hfsplus"]; got != "removed: class legacy-filesystems is removed" {
		t.Errorf("hfsplus: %s", got)
	}
	// Dependencies of what stays, stay.
	plan, _ = apply(t, st, bare, Options{Drop: []string{All}, KeepModules: []string{"ext4"}})
	if got := fates(plan.Modules)["jbd2"]; got != "kept: it is of no class" {
		t.Errorf("jbd2: %s", got)
	}

	for _, c := range []struct {
		o    Options
		text string
	}{
		{Options{Drop: []string{"sounds"}}, `"sounds" is no class of kernel modules; there are amateur-radio, atm, `},
		{Options{RemoveModules: []string{"jbd2"}}, `the kernel module jbd2 cannot be removed ("jbd2"): ext4 of kernel `},
		{Options{RemoveModules: []string{"nosuch"}}, "there is no kernel module nosuch to remove; leave it out"},
		{Options{KeepModules: []string{"["}, Drop: []string{All}}, `"[" is not a pattern`},
	} {
		if _, err := Choose(context.Background(), st, bare, c.o); err == nil || !strings.HasPrefix(err.Error(), c.text) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	// A kernel that was never indexed.
	e = root.Edit()
	e.Remove("usr/lib/modules/" + releaseOf(root) + "/modules.dep")
	unindexed, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Choose(context.Background(), st, unindexed, Options{Drop: []string{All}}); err == nil || !strings.Contains(err.Error(), "run depmod") {
		t.Errorf("without modules.dep: %v", err)
	}
}

func releaseOf(root *tree.Tree) string { return root.Children("usr/lib/modules")[0].Name() }

// TestFirmware is about modules that name firmware.
func TestFirmware(t *testing.T) {
	st := stagetest.Cache(t).Store
	k, root := small(t, st, []string{
		"drivers/net/ethernet/broadcom/tg3.ko", "drivers/net/ethernet/broadcom/bnx2x/bnx2x.ko", "drivers/net/ethernet/realtek/r8169.ko",
		"drivers/scsi/qla2xxx/qla2xxx.ko", "drivers/net/wireless/intel/iwlwifi/iwlwifi.ko", "net/wireless/cfg80211.ko", "net/batman-adv/batman-adv.ko",
		"drivers/net/ethernet/intel/ice/ice.ko", "drivers/gpu/drm/ast/ast.ko", "drivers/gpu/drm/drm.ko", "drivers/gpu/drm/radeon/radeon.ko",
	})
	testFirmware(t, st, k, root)
}

// TestOfADistribution is about the usual kernel of a distribution, with all its drivers.
func TestOfADistribution(t *testing.T) {
	if !full() {
		t.Skip("it reads 300 MB of modules; IMAGEFACTORY_TEST=full runs it")
	}
	k := kernelPackage(t, "linux-image-amd64")
	st := stagetest.Cache(t).Store
	root := k.root(t, st)
	t.Run("firmware", func(t *testing.T) { testFirmware(t, st, k, root) })
	t.Run("needs of servers stay", func(t *testing.T) { testNeedsOfServers(t, st, root) })
}

func testFirmware(t *testing.T, st *store.Store, k realKernel, root *tree.Tree) {
	file := func(name string) tree.Entry { return stagetest.File(t, st, "usr/lib/firmware/"+name, name) }
	more := []tree.Entry{
		file("tigon/tg3.bin"),                  // tg3
		file("bnx2x/bnx2x-e2-7.13.15.0.fw.xz"), // bnx2x
		file("rtl_nic/rtl8168d-1.fw.zst"),      // r8169
		file("ql2500_fw.bin"),                  // qla2xxx
		file("iwlwifi-7260-17.ucode"),          // iwlwifi
		file("amdgpu/vega10_sos.bin"), file("amd-ucode/microcode_amd.bin"), file("intel-ucode/06-5e-03"),
		file("WHENCE"), file("LICENCE.tigon"), file("unknown/blob.bin"), file("mine/blob.bin"),
		stagetest.Link("usr/lib/firmware/intel/ice/ddp/ice.pkg", "ice-1.3.30.0.pkg"), file("intel/ice/ddp/ice-1.3.30.0.pkg"), file("intel/ice/ddp/ice-1.2.0.0.pkg"),
	}
	e := root.Edit()
	for _, f := range more {
		if err := e.MkdirAll(tree.Parent(f.Path), stagetest.Dir("")); err != nil {
			t.Fatal(err)
		}
		e.Put(f)
	}
	root, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	plan, after := apply(t, st, root, Options{Drop: []string{"wireless", "graphics", "bluetooth", "sound", "media"}, Firmware: true, KeepFirmware: []string{"mine"}})
	got := fates(plan.Firmware)
	for name, want := range map[string]string{
		"tigon/tg3.bin":                  "kept: tg3 names it",
		"bnx2x/bnx2x-e2-7.13.15.0.fw.xz": "kept: bnx2x names it",
		"rtl_nic/rtl8168d-1.fw.zst":      "kept: r8169 names it",
		"ql2500_fw.bin":                  "kept: qla2xxx names it",
		"iwlwifi-7260-17.ucode":          "removed: no kernel module that is left names it",
		"amdgpu/vega10_sos.bin":          "removed: no kernel module that is left names it",
		"unknown/blob.bin":               "removed: no kernel module that is left names it",
		"intel/ice/ddp/ice-1.2.0.0.pkg":  "removed: no kernel module that is left names it",
		"amd-ucode/microcode_amd.bin":    "kept: processors load it",
		"intel-ucode/06-5e-03":           "kept: processors load it",
		"WHENCE":                         "kept: it is about firmware that is kept",
		"LICENCE.tigon":                  "kept: it is about firmware that is kept",
		"mine/blob.bin":                  "kept: it is named to be kept",
		"intel/ice/ddp/ice.pkg":          "kept: ice names it",
		"intel/ice/ddp/ice-1.3.30.0.pkg": "kept: ice names it",
	} {
		if got[name] != want {
			t.Errorf("%s: %s", name, got[name])
		}
	}
	for name, gone := range map[string]bool{"amdgpu": true, "unknown": true, "mine": false, "intel/ice/ddp": false, "": false} {
		if _, ok := after.Lookup(strings.TrimSuffix("usr/lib/firmware/"+name, "/")); ok == gone {
			t.Errorf("/usr/lib/firmware/%s is there: %v", name, ok)
		}
	}
	// modinfo is asked what modules name.
	bnx2x, ok := root.Lookup("usr/lib/modules/" + k.release + "/kernel/drivers/net/ethernet/broadcom/bnx2x/bnx2x.ko")
	if !ok {
		t.Fatal("the kernel has no bnx2x.ko")
	}
	kk, err := readKernel(st, root, "usr/lib/modules/"+k.release)
	if err != nil {
		t.Fatal(err)
	}
	m := kk.byName["bnx2x"]
	if err := kk.readModule(m, false); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(run(t, ".", "modinfo", "-F", "firmware", filepath.Join(k.dir, strings.TrimPrefix(bnx2x.Path, "usr/"))))
	slices.Sort(want)
	names := slices.Sorted(slices.Values(m.firmware))
	if !slices.Equal(names, want) {
		t.Errorf("bnx2x names %q, modinfo says %q", names, want)
	}
}

func TestClasses(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko": "graphics",
		"kernel/drivers/gpu/drm/ast/ast.ko.xz":        "server-graphics",
		"kernel/drivers/nvme/host/nvme-rdma.ko":       "infiniband",
		"kernel/drivers/nvme/host/nvme.ko":            "",
		"kernel/sound/core/snd.ko.zst":                "sound",
		"kernel/soundness/x.ko":                       "",
		"updates/dkms/sound/snd.ko":                   "",
		"kernel/drivers/input/joystick/xpad.ko":       "joystick",
		"kernel/net/6lowpan/bluetooth_6lowpan.ko":     "bluetooth",
		"kernel/drivers/net/usb/qmi_wwan.ko":          "modem",
		"kernel/drivers/net/usb/asix.ko":              "",
		"kernel/drivers/media/test-drivers/vim2m.ko":  "media",
		"kernel/fs/xfs/xfs.ko":                        "",
		"kernel/drivers/staging/media/ipu3/ipu3-x.ko": "staging",
	} {
		if got := ClassOf(file); got != want {
			t.Errorf("%s is of class %q, not %q", file, got, want)
		}
	}
	if !slices.IsSortedFunc(Classes, func(a, b Class) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the classes are not sorted")
	}
}

// neverClassed are modules that no class may have: what servers, virtual machines and containers start with.
var neverClassed = strings.Fields(`ahci nvme sd_mod sr_mod megaraid_sas mpt3sas smartpqi virtio_blk virtio_net virtio_scsi xen_blkfront hv_storvsc vmxnet3
	e1000e igb ixgbe i40e ice bnxt_en mlx5_core r8169 bonding 8021q bridge veth overlay xfs btrfs vfat nfs ceph dm_mod raid1 raid456 loop tun vxlan
	wireguard nf_tables nf_conntrack ip_vs iptable_nat xt_conntrack ipmi_si hid_generic usbhid xhci_pci usb_storage efivarfs ext4 isofs squashfs
	kvm_intel vhost_net macvlan ipvlan br_netfilter nls_ascii crc32c_generic i2c_i801 iTCO_wdt`)

// TestNeverClassed asks for the classes of a real kernel's modules.
func TestNeverClassed(t *testing.T) {
	k := kernelPackage(t, "linux-image-amd64")
	dep, err := os.ReadFile(filepath.Join(k.dir, "lib/modules", k.release, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]string{}
	count := map[string]int{}
	for line := range strings.Lines(string(dep)) {
		file, _, _ := strings.Cut(line, ":")
		classes[moduleName(file)] = ClassOf(file)
		count[ClassOf(file)]++
	}
	for _, name := range neverClassed {
		if class, ok := classes[name]; !ok || class != "" {
			t.Errorf("%s is of class %q (%v)", name, class, ok)
		}
	}
	for _, c := range Classes {
		if count[c.Name] == 0 {
			t.Errorf("no module is of class %s", c.Name)
		}
	}
}

// testNeedsOfServers removes all classes.
func testNeedsOfServers(t *testing.T, st *store.Store, root *tree.Tree) {
	plan, _ := apply(t, st, root, Options{Drop: []string{All}})
	var borne []string
	for _, f := range plan.Modules {
		if f.Kept && f.Class != "" {
			borne = append(borne, f.Name+" ("+f.Class+"): "+f.Reason)
		}
	}
	t.Logf("kept for others:\n%s", strings.Join(borne, "\n"))
	got := fates(plan.Modules)
	for _, name := range neverClassed {
		if fate := got[name]; !strings.HasPrefix(fate, "kept") {
			t.Errorf("%s: %q", name, fate)
		}
	}
	for _, name := range strings.Fields("snd iwlwifi amdgpu bluetooth dvb_core joydev firewire_core hamradio ax25 can") {
		if fate := got[name]; strings.HasPrefix(fate, "kept") {
			t.Errorf("%s: %q", name, fate)
		}
	}
}

// TestIndexOrders writes an index in the orders of old and of new versions of depmod, which hold the same.
func TestIndexOrders(t *testing.T) {
	n := &node{}
	want := []keyed{
		{"", []value{{7, "root"}}},
		{"pci:v00008086d*", []value{{1, "e1000e"}, {5, "igb"}}},
		{"pci:v00008086e*", []value{{2, "x"}}},
		{"pci:v0001*", []value{{3, "y"}}},
		{"usb", []value{{4, "z"}}},
	}
	for _, e := range slices.Backward(want) {
		for _, v := range slices.Backward(e.values) {
			n.insert(e.key, v)
		}
	}
	last := n.encode(nil)
	first := n.encode([]byte("\xb0\x07\xf4\x57\x00\x02\x00\x01\x00\x00\x00\x0c"))
	if string(first) == string(last) || len(first) != len(last) {
		t.Errorf("%d and %d bytes", len(first), len(last))
	}
	for _, p := range [][]byte{first, last} {
		got, err := decodeIndex(p)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, func(a, b keyed) bool { return a.key == b.key && slices.Equal(a.values, b.values) }) {
			t.Errorf("read %v", got)
		}
		if again := n.encode(p); string(again) != string(p) {
			t.Error("the order is not that of the index it is written like")
		}
		for n := range p { // cut off
			if _, err := decodeIndex(p[:n]); err == nil {
				t.Errorf("%d bytes of %d are an index", n, len(p))
			}
		}
	}
}

// TestWeakUpdates is about modules that lie in another kernel's directory.
func TestWeakUpdates(t *testing.T) {
	st := stagetest.Cache(t).Store
	k, root := small(t, st, fileSystems)
	const other = "usr/lib/modules/6.0.0/extra/cdrom2.ko"
	from, ok := root.Lookup("usr/lib/modules/" + k.release + "/kernel/drivers/cdrom/cdrom.ko")
	if !ok {
		t.Fatal("the kernel has no cdrom.ko")
	}
	dep, _ := root.Lookup("usr/lib/modules/" + k.release + "/modules.dep")
	link := "usr/lib/modules/" + k.release + "/weak-updates/cdrom2.ko"
	from.Path = other
	e := root.Edit()
	for _, entry := range []tree.Entry{from, stagetest.Link(link, "/lib/modules/6.0.0/extra/cdrom2.ko"),
		stagetest.File(t, st, dep.Path, stagetest.Contents(t, st, dep)+"weak-updates/cdrom2.ko:\n")} {
		if err := e.MkdirAll(tree.Parent(entry.Path), stagetest.Dir("")); err != nil {
			t.Fatal(err)
		}
		e.Put(entry)
	}
	root, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	plan, after := apply(t, st, root, Options{Drop: []string{All}, RemoveModules: []string{"cdrom"}, Firmware: true})
	if got := fates(plan.Modules)["cdrom2"]; got != "kept: it is of no class" {
		t.Errorf("cdrom2: %s", got)
	}
	for _, name := range []string{other, link} {
		if _, ok := after.Lookup(name); !ok {
			t.Errorf("/%s is gone", name)
		}
	}
}

func FuzzIndex(f *testing.F) {
	n := &node{}
	n.insert("pci:v00008086d*", value{1, "e1000e"})
	n.insert("pci:v00008086e*", value{2, "x"})
	n.insert("", value{0, "root"})
	f.Add(n.encode(nil))
	f.Add(n.encode(n.encode(nil)[:0]))
	before := n.encode([]byte("\xb0\x07\xf4\x57\x00\x02\x00\x01\x00\x00\x00\x0c"))
	f.Add(before)
	f.Fuzz(func(t *testing.T, p []byte) {
		entries, err := decodeIndex(p)
		if err != nil {
			return
		}
		// What was understood can be written and is understood again.
		n := &node{}
		for _, e := range entries {
			for i := range len(e.key) {
				if e.key[i] >= 128 {
					return
				}
			}
			for _, v := range e.values {
				n.append(e.key, v)
			}
		}
		if _, err := decodeIndex(n.encode(p)); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	})
}

func BenchmarkChoose(b *testing.B) {
	k := kernelPackage(b, "linux-image-amd64")
	st := stagetest.Cache(b).Store
	root := k.root(b, st, stagetest.File(b, st, "usr/lib/firmware/tigon/tg3.bin", "x"))
	b.Logf("%d entries", root.Len())
	for b.Loop() {
		plan, err := Choose(context.Background(), st, root, Options{Drop: []string{All}, Firmware: true})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Apply(st, root, plan); err != nil {
			b.Fatal(err)
		}
	}
}

// difference shows the first lines that differ.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "\nours:     " + x[i][:min(300, len(x[i]))] + "\ndepmod's: " + y[i][:min(300, len(y[i]))]
		}
	}
	return "one is longer"
}
