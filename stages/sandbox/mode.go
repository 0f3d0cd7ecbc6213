package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Mode is how the sandbox gets the powers it needs: to give files any owner, to
// mount, and to keep what runs inside away from the host.
type Mode string

// The modes, from the best to the poorest.
const (
	// Range is a user namespace in which 65,536 ids are mapped: root inside is the
	// user who runs the build, the others come from /etc/subuid and /etc/subgid.
	Range Mode = "range"
	// Chroot is root with real ids in private mount, pid, ipc and uts namespaces.
	Chroot Mode = "chroot"
	// Plain is root with real ids and nothing but chroot(2): a container that may
	// not create namespaces.
	Plain Mode = "plain"
	// Single is a user namespace in which only the user's own id is mapped.
	Single Mode = "single"
)

// ModeVariable is the environment variable that overrides detection with the name
// of a mode.
const ModeVariable = "IMAGEFACTORY_SANDBOX"

// Limits says in sentences what scripts cannot do in this mode, beyond what none
// allows (see the package's documentation). It is empty for Range and Chroot.
func (m Mode) Limits() []string {
	switch m {
	case Single:
		return []string{
			"only one id exists: chown to another user or group fails, so useradd, su and packages that own files by a user of their own cannot work",
			"files that scripts create or replace belong to root; only files they leave in place keep their owners",
			"setgroups fails, and supplementary groups of the build's user stay in force",
		}
	case Plain:
		return []string{
			"nothing can be mounted: /proc and /sys are empty, /dev holds only the nodes that mknod may create, /run and /tmp are directories of the root",
			"processes, host name and network are those of the host: scripts are never cut off from the network, and what they start lives on if imagefactory is killed by force",
			"read-only binds are copies, writable binds are refused",
			"fsync cannot be turned off, so dpkg is slower",
		}
	}
	return nil
}

// HostError says that the host lacks something the sandbox needs, and how to mend
// it. Its exit status is 3.
type HostError struct {
	Problem string
	Remedy  string
}

func (e *HostError) Error() string {
	if e.Remedy == "" {
		return e.Problem
	}
	return e.Problem + "; " + e.Remedy
}

// ExitStatus is the exit status of imagefactory for this error.
func (e *HostError) ExitStatus() int { return 3 }

// Options changes how sandboxes are made. The zero value is right for builds.
type Options struct {
	// Mode forces a mode. Empty means ModeVariable, else detection.
	Mode Mode
	// AllowSingle lets a user without a range of subordinate ids use Single. A
	// tree made by that may lack owners, so it is never chosen silently.
	AllowSingle bool
}

// Detect returns the mode that a build on this host would use, tried out by
// starting it, and a sentence why. It allows Single; a caller that does not sees
// the remedy in the reason. The error is a *HostError when there is no mode.
func Detect() (mode Mode, reason string, err error) {
	p, err := choose(Options{AllowSingle: true})
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "imagefactory-detect-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	h, err := startHelper(context.Background(), p, setup{Dir: dir}, nil)
	if err != nil {
		return "", "", err
	}
	defer h.stop()
	return h.mode, p.reason + h.note, nil
}

// plan is a decision for a mode, with what is needed to enter it.
type plan struct {
	mode   Mode
	reason string
	forced bool
	ids    idMaps
}

// identity says what the owners of files on disk depend on.
func (p *plan) identity() string {
	var b strings.Builder
	for _, m := range [][]syscall.SysProcIDMap{p.ids.uid, p.ids.gid} {
		for _, r := range m {
			fmt.Fprintf(&b, "%d=%d+%d ", r.ContainerID, r.HostID, r.Size)
		}
	}
	return b.String()
}

// choose decides for a mode by what the user's identity and the host's files say.
func choose(o Options) (plan, error) {
	forced := o.Mode
	why := "it was asked for"
	if forced == "" {
		forced = Mode(os.Getenv(ModeVariable))
		why = ModeVariable + " asks for it"
	}
	uid, gid := os.Geteuid(), os.Getegid()
	switch forced {
	case "":
	case Range:
		ids, err := findRange(uid, gid)
		return plan{mode: Range, reason: why, forced: true, ids: ids}, err
	case Single:
		return plan{mode: Single, reason: why, forced: true, ids: singleID(uid, gid)}, nil
	case Chroot, Plain:
		if uid != 0 {
			return plan{}, &HostError{Problem: fmt.Sprintf("the sandbox mode %q needs root, this is user %d", forced, uid), Remedy: "use another mode or run as root"}
		}
		return plan{mode: forced, reason: why, forced: true}, nil
	default:
		return plan{}, &HostError{Problem: fmt.Sprintf("%q is not a mode of the sandbox", string(forced)), Remedy: fmt.Sprintf("use %s, %s, %s or %s", Range, Chroot, Plain, Single)}
	}
	if uid == 0 {
		return plan{mode: Chroot, reason: "the build runs as root"}, nil
	}
	ids, err := findRange(uid, gid)
	if err == nil {
		return plan{mode: Range, reason: ids.String(), ids: ids}, nil
	}
	var host *HostError
	if o.AllowSingle && errors.As(err, &host) {
		return plan{mode: Single, reason: host.Error(), ids: singleID(uid, gid)}, nil
	}
	return plan{}, err
}

// mapToolDirs are searched after PATH, which may lack them, as in cron.
var mapToolDirs = []string{"/usr/bin", "/bin"}

// tools finds the programs that write id maps.
func tools() (newuidmap, newgidmap string, err error) {
	var missing []string
	find := func(name string) string {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		for _, dir := range mapToolDirs {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path
			}
		}
		missing = append(missing, name)
		return ""
	}
	newuidmap, newgidmap = find("newuidmap"), find("newgidmap")
	if len(missing) > 0 {
		return "", "", &HostError{
			Problem: strings.Join(missing, " and ") + " not found: the sandbox cannot map the user's subordinate ids",
			Remedy:  "install the package uidmap (shadow-utils on RPM distributions)",
		}
	}
	return newuidmap, newgidmap, nil
}
