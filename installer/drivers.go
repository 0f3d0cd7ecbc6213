package installer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/hotplug"
	"github.com/imagefactory/imagefactory/installer/modules"
)

// modprobeSetting is the program that the kernel runs when it wants a module.
const modprobeSetting = "/proc/sys/kernel/modprobe"

// moduleRequest recognizes how the kernel asks for a module: PROGRAM -q -- ALIAS.
func moduleRequest(args []string) (alias string, ok bool) {
	if len(args) == 4 && args[1] == "-q" && args[2] == "--" {
		return args[3], true
	}
	return "", false
}

// serveModuleRequest loads a module and returns the status to exit with.
func serveModuleRequest(alias string) int {
	index, err := modules.Read(os.DirFS(modulesDir()))
	if err != nil {
		return 1
	}
	line, err := commandLine()
	if err != nil {
		return 1
	}
	if err := modules.NewLoader(index, config.SplitCommandLine(line)).Load(alias); err != nil {
		return 1
	}
	return 0
}

func modulesDir() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "/lib/modules"
	}
	return filepath.Join("/lib/modules", unix.ByteSliceToString(name.Release[:]))
}

func commandLine() (string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	return string(line), err
}

// startDrivers loads the modules of all devices, and goes on to do so as devices appear.
func (m *machine) startDrivers() error {
	index, err := modules.Read(os.DirFS(modulesDir()))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the initramfs has no modules for the running kernel (%s): kernel and initramfs are not of the same medium", modulesDir())
	}
	if err != nil {
		return fmt.Errorf("the list of kernel modules: %w", err)
	}
	m.loader = modules.NewLoader(index, m.words)
	if err := os.WriteFile(modprobeSetting, []byte(initPath), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("becoming the kernel's helper for modules: %w", err)
	}
	m.monitor, err = hotplug.Listen("/sys", m.load)
	if err != nil {
		return err
	}
	aliases, err := hotplug.Aliases("/sys")
	if err != nil {
		return err
	}
	for _, alias := range aliases {
		m.load(alias)
	}
	// What no device asks for: disks and discs whose drivers the kernel does not load by itself.
	for _, name := range []string{"sd_mod", "sr_mod", "af_packet"} {
		m.load(name)
	}
	return nil
}

// load loads the modules for an alias. A driver that fails is no reason to stop: the device may be one that no installation
// needs, and if not, it will be missed.
func (m *machine) load(alias string) {
	err := m.loader.Load(alias)
	if err == nil {
		return
	}
	m.loading.Lock()
	defer m.loading.Unlock()
	if slices.Contains(m.driverProblems, err.Error()) {
		return
	}
	m.driverProblems = append(m.driverProblems, err.Error())
	m.say("A driver failed: %v.", err)
}
