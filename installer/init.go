package installer

import (
	"fmt"
	"os"
)

// initPath is where the program lies in the initramfs, and the name under which it is process 1.
const initPath = "/init"

// Init takes over when this process is the first of an initramfs, or was started by its kernel to load a module; then it does not
// return. Programs call it before anything else.
func Init() {
	if len(os.Args) == 0 || os.Args[0] != initPath {
		return
	}
	if os.Getpid() == 1 {
		newMachine().run()
	}
	if alias, ok := moduleRequest(os.Args); ok {
		os.Exit(serveModuleRequest(alias))
	}
}

// Main is the program that is nothing but the installer.
func Main() {
	Init()
	fmt.Fprintf(os.Stderr, "%s installs a system from an imagefactory medium. It runs as process 1, %s, of the medium's initramfs, and has nothing to do here.\n", os.Args[0], initPath)
	os.Exit(2)
}
