package hosttool

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/sandbox"
)

// Installers that this package has, as recipes name them.
const (
	DNF = "dnf"
	Yum = "yum"
	Apt = "apt"
)

// Installers lists them.
var Installers = []string{DNF, Yum, Apt}

// needs are the host's programs that an installer runs, and the packages that have them.
var needs = map[string][]struct{ program, packages string }{
	DNF: {{"dnf", "dnf"}, {"rpm", "rpm"}, {"rpmkeys", "rpm"}},
	Yum: {{"yum", "yum (on distributions that have dnf alone, use installer = \"dnf\")"}, {"rpm", "rpm"}, {"rpmkeys", "rpm"}},
	Apt: {{"apt-get", "apt"}, {"dpkg", "dpkg"}},
}

// programDirs are searched after PATH, which may lack some of them.
var programDirs = []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin"}

// Check reports whether the host has what the installer needs, and which version its
// tool is. The error is a *sandbox.HostError (exit status 3) that says what to install,
// or why the tool that is there cannot be used.
func Check(ctx context.Context, installer string) (version string, err error) {
	programs, err := find(installer)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, programs[0], "--version").Output()
	if err != nil {
		return "", &sandbox.HostError{Problem: fmt.Sprintf("%s --version does not work: %v", programs[0], err), Remedy: "repair or reinstall it, or use installer = \"native\""}
	}
	version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	if installer == Apt {
		return version, nil
	}
	return version, checkDNFVersion(installer, version)
}

// checkDNFVersion refuses what only has the name of dnf 4 or its command line.
func checkDNFVersion(installer, version string) error {
	switch {
	case strings.HasPrefix(version, "4."):
		return nil
	case strings.HasPrefix(version, "3.") && installer == Yum:
		return &sandbox.HostError{
			Problem: fmt.Sprintf("yum %s of this host is the old one, which cannot be told to verify local packages", version),
			Remedy:  "install dnf and use installer = \"dnf\", or use installer = \"native\"",
		}
	case strings.HasPrefix(version, "dnf5"):
		return &sandbox.HostError{
			Problem: fmt.Sprintf("%s of this host is %s, whose output imagefactory does not know", installer, version),
			Remedy:  "install dnf 4, or use installer = \"native\"",
		}
	}
	return &sandbox.HostError{
		Problem: fmt.Sprintf("%s of this host is version %q, and only dnf 4 is known to work", installer, version),
		Remedy:  "install dnf 4, or use installer = \"native\"",
	}
}

// find returns the paths of the programs that an installer needs, its tool first.
func find(installer string) ([]string, error) {
	list, ok := needs[installer]
	if !ok {
		return nil, fmt.Errorf("there is no installer %q that runs a tool of the host; there are %s", installer, strings.Join(Installers, ", "))
	}
	var paths, missing, packages []string
	for _, n := range list {
		path, err := lookPath(n.program)
		if err != nil {
			missing = append(missing, n.program)
			packages = append(packages, n.packages)
			continue
		}
		paths = append(paths, path)
	}
	if len(missing) > 0 {
		return nil, &sandbox.HostError{
			Problem: fmt.Sprintf("installer = %q needs the host's %s, which it lacks", installer, strings.Join(missing, " and ")),
			Remedy:  fmt.Sprintf("install the package %s, or use installer = \"native\", which needs nothing", strings.Join(slices.Compact(packages), " and ")),
		}
	}
	return paths, nil
}

// lookPath finds a program where the sandbox sees it: below /usr.
func lookPath(program string) (string, error) {
	candidates := []string{program}
	for _, dir := range programDirs {
		candidates = append(candidates, filepath.Join(dir, program))
	}
	for _, c := range candidates {
		path, err := exec.LookPath(c)
		if err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil && strings.HasPrefix(real, "/usr/") || !strings.HasPrefix(path, "/usr/") && visible(path) {
			return path, nil
		}
	}
	return "", errors.New("not found")
}

// visible reports whether a path is in one of the directories of the host that the
// sandbox shows.
func visible(path string) bool {
	for _, dir := range hostDirs {
		if strings.HasPrefix(path, "/"+dir+"/") {
			return true
		}
	}
	return false
}
