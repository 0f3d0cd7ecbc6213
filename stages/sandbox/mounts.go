package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// devices are the nodes of /dev, bound from the host.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// devLinks are the symbolic links of /dev.
var devLinks = []struct{ name, target string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// enterRoot mounts what belongs around the root in this process's new mount
// namespace and makes the directory the process's root.
func enterRoot(spec *runSpec) error {
	if err := setHostname(spec.Hostname); err != nil {
		return err
	}
	if !spec.Network {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	// Nothing mounted here may show up on the host.
	switch err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); {
	case errors.Is(err, unix.EINVAL):
		// mount(2): the root of a chroot is a directory like any other.
		return fmt.Errorf("imagefactory runs in a chroot whose root is no mount point: make it one with `mount --bind DIR DIR` before entering it, or set %s=%s", ModeVariable, Plain)
	case err != nil:
		return fmt.Errorf("make the mounts private: %w", err)
	}
	// pivot_root wants a mount point.
	if err := unix.Mount(spec.Root, spec.Root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", spec.Root, err)
	}
	c, err := newCursor(spec.Root)
	if err != nil {
		return err
	}
	defer c.close()
	m := mounter{c: c, spec: spec}
	for _, step := range []func() error{m.dev, m.proc, m.sys, m.tmpfs, m.chroots, m.binds} {
		if err := step(); err != nil {
			return err
		}
	}
	root, err := c.dir(tree.Root)
	if err != nil {
		return err
	}
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	// The old root goes on top of the new one and away (pivot_root(2)).
	if err := unix.PivotRoot(".", "."); err != nil {
		return &HostError{Problem: fmt.Sprintf("pivot_root into the root file system: %v", err), Remedy: "the build host must not run from an initial ramdisk"}
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the host's file systems: %w", err)
	}
	return unix.Chdir("/")
}

func setHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name %q: %w", name, err)
	}
	if err := unix.Setdomainname([]byte("(none)")); err != nil {
		return fmt.Errorf("set the NIS domain name: %w", err)
	}
	return nil
}

// loopbackUp brings the private network namespace's only interface up.
func loopbackUp() error {
	fail := func(err error) error { return fmt.Errorf("bring up the loopback interface: %w", err) }
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fail(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fail(err)
	}
	ifr.SetUint16(ifr.Uint16() | uint16(net.FlagUp))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fail(err)
	}
	return nil
}

// mounter mounts below the root. Every target is opened without following symbolic
// links, and mounted on by its descriptor.
type mounter struct {
	c    *cursor
	spec *runSpec
}

// mount is mount(2) on a path of the root.
func (m *mounter) mount(source, path, fstype string, flags uintptr, data string) error {
	dir, name, err := m.c.parent(path)
	if err != nil {
		return err
	}
	fd, err := openat(dir, name, unix.O_PATH)
	if err != nil {
		return pathError("open", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Mount(source, fmt.Sprintf("/proc/self/fd/%d", fd), fstype, flags, data); err != nil {
		return &os.PathError{Op: "mount " + fstype + " on", Path: "/" + path, Err: err}
	}
	m.c.forget(path)
	return nil
}

// bind makes source visible at path, with all that is mounted below it.
func (m *mounter) bind(source, path string, readOnly bool) error {
	if err := m.mount(source, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if readOnly {
		return m.readOnly(path)
	}
	return nil
}

// readOnly makes the mount at path, and those below it, read-only.
func (m *mounter) readOnly(path string) error {
	dir, name, err := m.c.parent(path)
	if err != nil {
		return err
	}
	err = unix.MountSetattr(dir, name, unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if !errors.Is(err, unix.ENOSYS) {
		if err != nil {
			return pathError("make read-only", path, err)
		}
		return nil
	}
	// Before Linux 5.12: the top mount alone. Flags that were there cannot be taken
	// away in a user namespace.
	var fs unix.Statfs_t
	fd, err := openat(dir, name, unix.O_PATH)
	if err != nil {
		return pathError("open", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return pathError("statfs", path, err)
	}
	const kept = unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC | unix.ST_NOATIME | unix.ST_NODIRATIME | unix.ST_RELATIME
	flags := uintptr(fs.Flags) & kept // the ST_ and MS_ values of these differ only for relatime
	if fs.Flags&unix.ST_RELATIME != 0 {
		flags = flags&^unix.ST_RELATIME | unix.MS_RELATIME
	}
	return m.mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags, "")
}

// file makes an empty file to bind something on.
func (m *mounter) file(path string) error {
	dir, name, err := m.c.parent(path)
	if err != nil {
		return err
	}
	fd, err := openat(dir, name, unix.O_CREAT|unix.O_WRONLY)
	if err != nil {
		return pathError("create", path, err)
	}
	return unix.Close(fd)
}

func (m *mounter) mkdir(path string, mode uint32) error {
	dir, name, err := m.c.parent(path)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(dir, name, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return pathError("mkdir", path, err)
	}
	return nil
}

// chroots makes what is mounted in the root visible in the directories that the command
// changes its root to.
func (m *mounter) chroots() error {
	if len(m.spec.Chroots) == 0 {
		return nil
	}
	for _, d := range chrootDirs {
		root, err := m.c.dir(tree.Root)
		if err != nil {
			return err
		}
		mounted, err := openat(root, d, unix.O_PATH)
		if err != nil {
			return pathError("open", d, err)
		}
		defer unix.Close(mounted)
		for _, dir := range m.spec.Chroots {
			if err := m.bind(fmt.Sprintf("/proc/self/fd/%d", mounted), tree.Join(dir, d), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// dev builds /dev.
func (m *mounter) dev() error {
	if err := m.mount("tmpfs", "dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=1m"); err != nil {
		return err
	}
	for _, d := range devices {
		if err := m.file("dev/" + d); err != nil {
			return err
		}
		if err := m.bind("/dev/"+d, "dev/"+d, false); err != nil {
			return err
		}
	}
	dir, err := m.c.dir("dev")
	if err != nil {
		return err
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l.target, dir, l.name); err != nil {
			return pathError("symlink", "dev/"+l.name, err)
		}
	}
	if err := m.mkdir("dev/pts", 0o755); err != nil {
		return err
	}
	options := "newinstance,ptmxmode=0666,mode=0620"
	if m.spec.Mode != Single {
		options += ",gid=5" // tty, in every distribution
	}
	if err := m.mount("devpts", "dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return err
	}
	if err := m.mkdir("dev/shm", 0o1777); err != nil {
		return err
	}
	return m.mount("tmpfs", "dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
}

// readOnlyProc are parts of /proc through which root could change the host.
var readOnlyProc = []string{"proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs"}

// proc mounts /proc: that of the new pid namespace, or, where the kernel refuses it
// because the container's own is masked, a read-only view of the container's.
func (m *mounter) proc() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := m.mount("proc", "proc", "proc", flags, "")
	if errors.Is(err, unix.EPERM) {
		if err := m.bind("/proc", "proc", true); err != nil {
			return err
		}
	} else if err != nil {
		return err
	} else {
		for _, path := range readOnlyProc {
			dir, name, err := m.c.parent(path)
			if err != nil {
				return err
			}
			if _, _, _, _, err := statAt(dir, name); err != nil {
				continue // this kernel does not have it
			}
			if err := m.bind(m.spec.Root+"/"+path, path, true); err != nil {
				return err
			}
		}
	}
	// Boot loader scripts take the kernel's command line for that of the image.
	if err := m.file("dev/.empty"); err != nil {
		return err
	}
	if err := m.bind(m.spec.Root+"/dev/.empty", "proc/cmdline", true); err != nil {
		return err
	}
	dir, err := m.c.dir("dev")
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, ".empty", 0)
}

// sys mounts /sys, read-only and without what tells firmware and machine, on which
// scripts might depend.
func (m *mounter) sys() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	var err error = unix.EPERM // what the kernel says when the network namespace is not ours
	if !m.spec.Network {
		err = m.mount("sysfs", "sys", "sysfs", flags|unix.MS_RDONLY, "")
	}
	if errors.Is(err, unix.EPERM) {
		err = m.bind("/sys", "sys", true)
	}
	if err != nil {
		return m.mount("tmpfs", "sys", "tmpfs", flags|unix.MS_RDONLY, "mode=0755,size=4k")
	}
	for _, path := range []string{"sys/firmware", "sys/devices/virtual/dmi", "sys/fs/cgroup"} {
		dir, name, err := m.c.parent(path)
		if err != nil {
			continue
		}
		if st, _, _, _, err := statAt(dir, name); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if err := m.mount("tmpfs", path, "tmpfs", flags|unix.MS_RDONLY, "mode=0755,size=4k"); err != nil {
			return err
		}
	}
	return nil
}

// tmpfs mounts the directories that begin empty.
func (m *mounter) tmpfs() error {
	if err := m.mount("tmpfs", "run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	return m.mount("tmpfs", "tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
}

// binds makes the command's files and directories visible.
func (m *mounter) binds() error {
	for i := range m.spec.Binds {
		b := &m.spec.Binds[i]
		if b.Fresh {
			elements := strings.Split(b.Target, "/")
			for n := 2; n < len(elements); n++ {
				if err := m.mkdir(strings.Join(elements[:n], "/"), 0o755); err != nil {
					return err
				}
			}
			create := m.file
			if b.IsDir {
				create = func(path string) error { return m.mkdir(path, 0o755) }
			}
			if err := create(b.Target); err != nil {
				return err
			}
		}
		if err := m.bind(b.Source, b.Target, !b.Writable); err != nil {
			return err
		}
	}
	return nil
}
