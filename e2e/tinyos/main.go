// Command tinyos is a whole operating system, as far as a build can tell: it is
// dpkg, the shell, GRUB's mkimage and the generator of initramfs images of the
// packages that the tests of bad input build from. It never boots.
//
// Of a script, only the first line is looked at, and only for the word "fail", which
// other shells do not have.
//
// What it does depends on the name it is called by.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	name := filepath.Base(os.Args[0])
	if err := do(name, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// shell runs a script.
func shell(args []string) error {
	if len(args) == 0 {
		return nil
	}
	script, err := os.ReadFile(args[0])
	if err != nil {
		return nil // a command of the recipe, which is never looked at
	}
	line, _, _ := strings.Cut(string(script), "\n")
	if message, ok := strings.CutPrefix(line, "fail "); ok {
		return errors.New(message)
	}
	return nil
}

func do(name string, args []string) error {
	switch name {
	case "dpkg": // --configure
		// The package tiny-hang brings this file, for tests that interrupt.
		if _, err := os.Stat("/etc/hang"); err == nil {
			fmt.Println("hanging")
			time.Sleep(time.Hour)
		}
		return nil
	case "sh":
		return shell(args)
	case "mkinitramfs", "grub-mkimage", "grub2-mkimage": // … -o FILE …
		i := slices.Index(args, "-o")
		if i < 0 || i+1 == len(args) {
			return fmt.Errorf("where to? %q has no -o", args)
		}
		// Two sectors are the least that a core image has.
		return os.WriteFile(args[i+1], slices.Repeat([]byte{0x90}, 1024), 0o644)
	}
	return fmt.Errorf("this system has no program of that name")
}
