// Command imagefactory builds operating system images from recipes: raw and
// qcow2 disks that boot under BIOS, UEFI and Secure Boot, and media that install
// them, without root, from cached stages.
//
// Each command has a file of its own with the same four parts in the same
// order: a constructor that only declares, an options type, the check of what
// the flags cannot check themselves, and a run function that returns a value,
// which is printed as text or as JSON.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/imagefactory/imagefactory/distros/rpm/target"
	"github.com/imagefactory/imagefactory/installer"
	"github.com/imagefactory/imagefactory/stages/sandbox"
)

func main() {
	installer.Init()
	sandbox.Init()
	target.Init()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in an orderly way; a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
