package installer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/internal/testkernel"
	"github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/store"
)

const (
	mib    = 1 << 20
	testID = "0123456789abcdef0123456789abcdef"
)

// tool runs a program that a test needs, and fails the test without it.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("this test needs %s to work: %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write writes a file of a tree that a test makes.
func write(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// initramfs makes one of the program and of the modules a virtual machine needs.
func initramfs(t *testing.T, k testkernel.Kernel) string {
	t.Helper()
	root := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(root, "init"), "github.com/imagefactory/imagefactory/cmd/installer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the installer: %v\n%s", err, out)
	}
	index, err := modules.Read(os.DirFS(k.Modules()))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "lib/modules", k.Release)
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin"} {
		write(t, filepath.Join(dir, name), read(t, filepath.Join(k.Modules(), name)), 0o644)
	}
	files := map[string]string{}
	err = filepath.WalkDir(k.Modules(), func(path string, entry os.DirEntry, err error) error {
		files[strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")] = path
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"virtio_pci", "virtio_scsi", "virtio_blk", "virtio_net", "af_packet", "sd_mod", "sr_mod", "isofs", "loop", "overlay"} {
		order, err := index.Order(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range order {
			below, err := filepath.Rel(k.Modules(), files[m])
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, below), read(t, files[m]), 0o644)
		}
	}
	pack := exec.Command("sh", "-c", "find . | cpio --quiet -o -H newc")
	pack.Dir = root
	archive, err := pack.Output()
	if err != nil {
		t.Fatalf("this test needs cpio: %v", err)
	}
	path := filepath.Join(t.TempDir(), "initramfs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if _, err := z.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// rootTree makes the smallest system there is: busybox, and what it says when it is started.
func rootTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("this test needs a static busybox: %v", err)
	}
	write(t, filepath.Join(root, "bin/busybox"), read(t, busybox), 0o755)
	if err := os.Symlink("busybox", filepath.Join(root, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/fstab"), []byte("UUID=00000000-0000-0000-0000-000000000000 /persist ext4 defaults 0 2\n"), 0o644)
	write(t, filepath.Join(root, "sbin/init"), []byte(`#!/bin/sh
b=/bin/busybox
$b echo "LIVE pid $$ root $($b awk '$2 == "/" {print $3}' /proc/mounts) medium $($b ls /run/imagefactory/medium/imagefactory) fstab $($b grep -c UUID /etc/fstab)" > /dev/console
$b touch /written && $b echo "LIVE writable" > /dev/console
$b poweroff -f
`), 0o755)
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "persist"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// ext4 makes a file system of a tree.
func ext4(t *testing.T, tree string, size int64, label string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), label)
	args := []string{"-q", "-t", "ext4", "-L", label, "-b", "4096"}
	if tree != "" {
		args = append(args, "-d", tree)
	}
	tool(t, "mke2fs", append(args, path, fmt.Sprintf("%dk", size/1024))...)
	return path
}

// media is a payload, and the document for it.
type media struct {
	config  config.Config
	payload string
}

// makeMedia makes the payload of a small disk.
func makeMedia(t *testing.T) media {
	t.Helper()
	const size = 64 * mib
	c := config.Config{
		Format: config.Format, Name: "node", Version: "1.2", Arch: "x86_64", ID: testID, Mode: config.ModeInstall,
		Layout: config.Layout{
			DiskGUID: "11111111-2222-3333-4444-555555555555",
			Partitions: []config.Partition{
				{Number: 1, Label: "BOOT", TypeGUID: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", GUID: "11111111-0000-0000-0000-000000000001", Start: 1 * mib, Size: 4 * mib, Role: "esp"},
				{Number: 2, Label: "ROOT", TypeGUID: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", GUID: "11111111-0000-0000-0000-000000000002", Start: 5 * mib, Size: 32 * mib, Role: "root", Filesystem: "ext4"},
				{Number: 3, Label: "PERSIST", TypeGUID: "0fc63daf-8483-4772-8e79-3d69d8477de4", GUID: "11111111-0000-0000-0000-000000000003", Start: 37 * mib, Size: 26 * mib, Role: "persist", Filesystem: "ext4"},
			},
		},
		Target: config.Target{Match: config.MatchSmallestEmpty}, Grow: true,
		Scripts: []config.Script{{Name: "hello", File: "/imagefactory/scripts/hello", Env: map[string]string{"ROLE": "worker"}}},
		After:   config.PowerOff, OnFailure: config.Reboot, Events: config.Events{Console: "ttyS0"},
	}
	image := filepath.Join(t.TempDir(), "disk")
	write(t, image, nil, 0o644)
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	args := []string{"-a", "2048", "-U", c.Layout.DiskGUID}
	for _, p := range c.Layout.Partitions {
		args = append(args, "-n", fmt.Sprintf("%d:%d:+%d", p.Number, p.Start/512, p.Size/512),
			"-t", fmt.Sprintf("%d:%s", p.Number, p.TypeGUID), "-u", fmt.Sprintf("%d:%s", p.Number, p.GUID), "-c", fmt.Sprintf("%d:%s", p.Number, p.Label))
	}
	tool(t, "sgdisk", append(args, image)...)
	for _, p := range []struct {
		path  string
		start int64
	}{{ext4(t, rootTree(t), 32*mib, "ROOT"), 5}, {ext4(t, "", 26*mib, "PERSIST"), 37}} {
		tool(t, "dd", "if="+p.path, "of="+image, "bs=1M", fmt.Sprintf("seek=%d", p.start), "conv=notrunc,sparse", "status=none")
	}
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	digest, err := st.Put(read(t, image))
	if err != nil {
		t.Fatal(err)
	}
	b := disk.NewBuilder(st, size)
	if err := b.AddObject(0, digest, 0, size); err != nil {
		t.Fatal(err)
	}
	im, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	reader, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "payload")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := payload.Write(t.Context(), reader, f, payload.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c.Payload = config.Payload{File: "/imagefactory/payload", Size: info.Size, SHA256: info.SHA256, IndexSHA256: info.IndexSHA256, DiskSize: info.DiskSize}
	return media{c, path}
}

const helloScript = `#!/bin/busybox sh
echo "hello from $ROLE on $IMAGEFACTORY_DISK for $IMAGEFACTORY_NAME" | /bin/busybox tee /hello
/bin/busybox test -e /proc/self/status && /bin/busybox test -e /dev/null && /bin/busybox test -d /sys/class
/bin/busybox sleep 1000 &
`

// iso makes a medium.
func (m media) iso(t *testing.T) string {
	t.Helper()
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "medium.iso")
	m.fill(t, dir, "imagefactory/install.json")
	tool(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "NODE", "-volset", m.config.ID, "-o", path, dir)
	return path
}

// fill writes the files of a medium into a directory.
func (m media) fill(t *testing.T, dir, document string) {
	t.Helper()
	encoded, err := m.config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, document), encoded, 0o644)
	write(t, filepath.Join(dir, "imagefactory/scripts/hello"), []byte(helloScript), 0o755)
	write(t, filepath.Join(dir, m.config.Payload.File), read(t, m.payload), 0o644)
	if m.config.Root.File != "" {
		write(t, filepath.Join(dir, m.config.Root.File), read(t, ext4(t, rootTree(t), 32*mib, "LIVE")), 0o644)
	}
}

// machine is what is started for a test.
type machine struct {
	kernel    testkernel.Kernel
	initramfs string
	arguments string
	devices   []string // arguments of QEMU
}

// boot starts a machine and returns what it wrote to its serial line when it has ended.
func (m machine) boot(t *testing.T) string {
	t.Helper()
	// The bound is only there so that a defect does not hang the tests.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	accel, _ := qemu.DetectAccelerator()
	args := append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-accel", string(accel), "-m", "512", "-no-reboot", "-serial", "stdio",
		"-kernel", m.kernel.Image(), "-initrd", m.initramfs, "-append", "console=ttyS0 panic=-1 " + m.arguments,
	}, m.devices...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // however the test ends
	runtime.LockOSThread()                                             // a parent's death is that of its thread
	defer runtime.UnlockOSThread()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("this test needs qemu-system-x86_64: %v\n%s\n%s", err, stderr.Bytes(), out.Bytes())
	}
	return out.String()
}

// blank makes an empty disk and returns its path.
func blank(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blank")
	write(t, path, nil, 0o644)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func cdrom(iso string) []string {
	return []string{"-device", "virtio-scsi-pci", "-drive", "if=none,id=cd,media=cdrom,readonly=on,format=raw,file=" + iso, "-device", "scsi-cd,drive=cd"}
}

func virtioDisk(id, path string) []string {
	return []string{"-drive", "if=none,id=" + id + ",format=raw,cache=unsafe,file=" + path, "-device", "virtio-blk-pci,drive=" + id + ",serial=SN-" + id}
}

// events returns the events of a log by their names; of several with one name, the last.
func events(t *testing.T, log string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, `{"event"`) {
			continue
		}
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%v: %s", err, line)
			continue
		}
		all[e["event"].(string)] = e
	}
	return all
}

// verifyInstalled checks a disk that was installed on.
func verifyInstalled(t *testing.T, path string, size int64) {
	t.Helper()
	if out := tool(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	if out := tool(t, "sgdisk", "-i", "3", path); !strings.Contains(out, "First sector: 75776") {
		t.Errorf("PERSIST: %s", out)
	}
	data := read(t, path)
	if bytes.Contains(data[:1*mib], []byte("imagefactory: this disk is being installed")) {
		t.Error("the disk is still marked as unfinished")
	}
	for name, p := range map[string]struct{ start, size int64 }{"root": {5 * mib, 32 * mib}, "persist": {37 * mib, size - 38*mib}} {
		part := filepath.Join(t.TempDir(), name)
		write(t, part, data[p.start:p.start+p.size], 0o644)
		tool(t, "e2fsck", "-f", "-n", part)
		if name == "root" {
			if out := tool(t, "debugfs", "-R", "cat /hello", part); !strings.Contains(out, "hello from worker on /dev/vd") {
				t.Errorf("what the script wrote: %s", out)
			}
			continue
		}
		if out := tool(t, "dumpe2fs", "-h", part); !strings.Contains(out, fmt.Sprintf("Block count:              %d", p.size/4096)) {
			t.Errorf("PERSIST did not grow to %d blocks:\n%s", p.size/4096, out)
		}
	}
}

func TestBoot(t *testing.T) {
	k := testkernel.Get(t)
	init := initramfs(t, k)
	m := makeMedia(t)
	// Tests of other packages boot machines, too; they are slow enough one at a time.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "imagefactory-e2e-qemu.lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	t.Run("dry run", func(t *testing.T) {
		m := m
		m.config.Target.Match = config.MatchLargestEmpty
		target, occupied := blank(t, 128*mib), blank(t, 256*mib)
		tool(t, "mke2fs", "-q", "-F", "-t", "ext4", occupied)
		before := read(t, occupied)
		vm := machine{k, init, "imagefactory.dry_run imagefactory.after=poweroff imagefactory.id=" + testID,
			append(append(cdrom(m.iso(t)), virtioDisk("a", target)...), virtioDisk("b", occupied)...)}
		log := vm.boot(t)
		decision, ok := events(t, log)["decision"]
		if !ok {
			t.Fatalf("there is no decision:\n%s", log)
		}
		chosen := decision["decision"].(map[string]any)["disk"].(map[string]any)
		if chosen["serial"] != "SN-a" || decision["dry_run"] != true {
			t.Errorf("decision %v", decision)
		}
		if !bytes.Equal(read(t, target), make([]byte, 128*mib)) || !bytes.Equal(read(t, occupied), before) {
			t.Error("a dry run wrote to a disk")
		}
		if _, ok := events(t, log)["done"]; !ok {
			t.Errorf("it did not end well:\n%s", log)
		}
	})

	t.Run("install", func(t *testing.T) {
		const size = 256 * mib
		target := blank(t, size)
		log := machine{k, init, "", append(cdrom(m.iso(t)), virtioDisk("a", target)...)}.boot(t)
		if _, ok := events(t, log)["done"]; !ok {
			t.Fatalf("it did not end well:\n%s", log)
		}
		verifyInstalled(t, target, size)
	})

	t.Run("no disk", func(t *testing.T) {
		log := machine{k, init, "imagefactory.on_failure=reboot imagefactory.wait=5", nil}.boot(t)
		if !strings.Contains(log, "no installation medium was found in 5 seconds") || !strings.Contains(log, "Nothing was written to any disk") {
			t.Errorf("%s", log)
		}
	})

	t.Run("network", func(t *testing.T) {
		const size = 128 * mib
		dir, target := t.TempDir(), blank(t, size)
		m := m
		m.config.Payload.File = "/payload"
		var posted bytes.Buffer
		files := http.FileServer(http.Dir(dir))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				io.Copy(&posted, r.Body)
				posted.WriteByte('\n')
				return
			}
			files.ServeHTTP(w, r)
		}))
		defer server.Close()
		address, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		// How QEMU's network calls this host.
		base := "http://10.0.2.2:" + address.Port()
		m.config.Events = config.Events{URL: base + "/events"}
		m.fill(t, dir, "install.json")
		log := machine{k, init, "imagefactory.on_failure=reboot imagefactory.wait=60 imagefactory.url=" + base + "/", append(virtioDisk("a", target),
			"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=")}.boot(t)
		if _, ok := events(t, posted.String())["done"]; !ok {
			t.Fatalf("it did not end well; posted:\n%s\nprinted:\n%s", posted.String(), log)
		}
		verifyInstalled(t, target, size)
	})

	t.Run("live", func(t *testing.T) {
		m := m
		m.config.Root = config.RootImage{File: "/live/root.img", Filesystem: "ext4"}
		log := machine{k, init, "imagefactory.mode=live", cdrom(m.iso(t))}.boot(t)
		for _, want := range []string{"LIVE pid 1 root overlay medium install.json", "fstab 0", "LIVE writable"} {
			if !strings.Contains(log, want) {
				t.Errorf("it did not say %q:\n%s", want, log)
			}
		}
	})
}
