package installer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where the parts of a running live system are; they stay there.
const (
	liveDir     = "/run/imagefactory"
	liveMedium  = liveDir + "/medium"  // the ISO
	liveRoot    = liveDir + "/root"    // the image, read-only
	liveChanges = liveDir + "/changes" // a tmpfs with the upper layer
	newRoot     = "/sysroot"
)

// live runs the system from the medium: its root is a file, mounted read-only, under a layer in memory. It returns only when
// that fails; no disk is touched.
func (m *machine) live() error {
	m.stage = "live system"
	local, ok := m.source.(localSource)
	if !ok {
		return errors.New("a live system runs from a medium only, not over the network")
	}
	for _, dir := range []string{liveMedium, liveRoot, liveChanges, newRoot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	m.load("fs-iso9660")
	if err := unix.Mount(local.Path, liveMedium, "iso9660", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mounting the medium %s: %w", local.Medium, explainMount(err, "iso9660"))
	}
	root := m.config.Root
	m.load("loop")
	loop, err := attachLoop(filepath.Join(liveMedium, root.File))
	if err != nil {
		return fmt.Errorf("the root file system %s on the medium %s: %w", root.File, local.Medium, err)
	}
	m.load("fs-" + root.Filesystem)
	if err := mountReadOnly(loop, liveRoot, root.Filesystem); err != nil {
		return fmt.Errorf("mounting the root file system %s of the medium: %w", root.File, explainMount(err, root.Filesystem))
	}
	if err := unix.Mount("tmpfs", liveChanges, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting memory for changes: %w", err)
	}
	upper, work := liveChanges+"/upper", liveChanges+"/work"
	if err := emptyFstab(upper); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	m.load("overlay")
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", liveRoot, upper, work)
	if err := unix.Mount("overlay", newRoot, "overlay", 0, options); err != nil {
		return fmt.Errorf("laying memory over the root file system: %w", explainMount(err, "overlay"))
	}
	m.say("Starting the live system; nothing is written to any disk.")
	m.report.Flush(5 * time.Second)
	m.consoles.Flush(drained)
	m.loudly()
	return switchRoot(newRoot, "/sbin/init")
}

// emptyFstab lays an empty /etc/fstab over the system's, whose disks are not there.
func emptyFstab(upper string) error {
	if err := copyAttributes(liveRoot, upper); err != nil {
		return err
	}
	etc := filepath.Join(upper, "etc")
	if err := copyAttributes(filepath.Join(liveRoot, "etc"), etc); err != nil {
		return err
	}
	fstab := filepath.Join(etc, "fstab")
	if err := os.WriteFile(fstab, []byte("# The live system mounts nothing but its medium.\n"), 0o644); err != nil {
		return err
	}
	copyLabel(filepath.Join(liveRoot, "etc/fstab"), fstab)
	return nil
}

// copyAttributes makes a directory that looks like another one: it is what the overlay shows.
func copyAttributes(from, to string) error {
	var stat unix.Stat_t
	if err := unix.Stat(from, &stat); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := os.Lchown(to, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(to, stat.Mode&0o7777); err != nil {
		return err
	}
	copyLabel(from, to)
	return nil
}

// copyLabel copies the SELinux label, where there are any.
func copyLabel(from, to string) {
	const attribute = "security.selinux"
	label := make([]byte, 256)
	if n, err := unix.Lgetxattr(from, attribute, label); err == nil {
		_ = unix.Lsetxattr(to, attribute, label[:n], 0)
	}
}

// mountReadOnly mounts a file system whose journal must not be touched.
func mountReadOnly(device, point, kind string) error {
	options := ""
	switch kind {
	case "ext3", "ext4":
		options = "noload"
	case "xfs":
		options = "norecovery"
	}
	return unix.Mount(device, point, kind, unix.MS_RDONLY, options)
}

// explainMount says what errors of mount(2) mean here.
func explainMount(err error, kind string) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("the kernel has no driver for %s: the initramfs lacks its module", kind)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EUCLEAN) {
		return fmt.Errorf("it holds no %s that this kernel accepts; the kernel's log says why: %w", kind, err)
	}
	return err
}

// attachLoop makes a block device of a file, read-only.
func attachLoop(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	control, err := openWhenThere("/dev/loop-control")
	if err != nil {
		return "", fmt.Errorf("the kernel has no loop devices: %w", err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("asking for a loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", number)
	loop, err := openWhenThere(path)
	if err != nil {
		return "", err
	}
	defer loop.Close()
	info := unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY}
	copy(info.File_name[:len(info.File_name)-1], file)
	config := unix.LoopConfig{Fd: uint32(f.Fd()), Info: info}
	err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		// Kernels before 5.8 do it in two steps.
		if err = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(f.Fd())); err == nil {
			err = unix.IoctlLoopSetStatus64(int(loop.Fd()), &info)
		}
	}
	if err != nil {
		return "", fmt.Errorf("attaching %s to %s: %w", file, path, err)
	}
	return path, nil
}

// openWhenThere opens a device whose module has just been loaded.
func openWhenThere(path string) (*os.File, error) {
	for try := 0; ; try++ {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
			f, err = os.Open(path)
		}
		if err == nil || try == 50 {
			return f, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// switchRoot makes a mounted file system the root and runs its init in place of this process.
func switchRoot(root, init string) error {
	if _, err := resolveIn(root, init); err != nil {
		return fmt.Errorf("the root file system has no %s: %w", init, err)
	}
	// The system sets its own; ours is about to vanish.
	_ = os.WriteFile(modprobeSetting, []byte("/sbin/modprobe"), 0o644)
	for _, point := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := os.MkdirAll(filepath.Join(root, point), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(point, filepath.Join(root, point), "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s into the new root: %w", point, err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	removeInitramfs(root)
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("making it the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	environment := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux"}
	return fmt.Errorf("starting %s: %w", init, unix.Exec(init, []string{init}, environment))
}

// removeInitramfs gives back the memory of everything on the first root, but nothing mounted on it.
func removeInitramfs(root string) {
	var first unix.Stat_t
	if unix.Lstat("/", &first) != nil {
		return
	}
	var remove func(dir string)
	remove = func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			var stat unix.Stat_t
			if unix.Lstat(path, &stat) != nil || stat.Dev != first.Dev || path == root {
				continue
			}
			if e.IsDir() {
				remove(path)
			}
			_ = os.Remove(path)
		}
	}
	remove("/")
}

// resolveIn follows links below a root as if it were the root. It returns the path on the outside, also of what does not exist; then
// the error is fs.ErrNotExist.
func resolveIn(root, path string) (string, error) {
	at, rest := "/", split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		next := filepath.Join(at, name) // never above "/"
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			at = next // no link, or nothing at all
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("%s: too many links", path)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(split(target), rest...)
	}
	outside := filepath.Join(root, at)
	_, err := os.Lstat(outside)
	return outside, err
}

// split returns the names in a path.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
