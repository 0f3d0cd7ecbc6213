package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages/emit"
)

func newBootCommand(s streams) *cli.Command {
	opts := bootOptions{firmware: choice{value: string(qemu.UEFI)}}
	for _, f := range qemu.Firmwares {
		opts.firmware.allowed = append(opts.firmware.allowed, string(f))
	}
	return &cli.Command{
		Name:      "boot",
		Usage:     "run an image in QEMU with its serial console on this terminal",
		ArgsUsage: "[IMAGE]",
		Description: "Without IMAGE, runs the newest one in the output directory. The image is not changed\n" +
			"unless --snapshot=false says so. Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor.",
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "firmware", Usage: "`bios`, uefi or uefi-secure", Value: &opts.firmware},
			&cli.StringFlag{Name: "memory", Usage: "give the machine `SIZE` of memory", Value: "1GiB", Destination: &opts.memory},
			&cli.BoolFlag{Name: "snapshot", Usage: "forget what the machine writes", Value: true, Destination: &opts.snapshot},
			&cli.IntFlag{Name: "ssh-port", Usage: "lead `PORT` of this host to the machine's ssh", Destination: &opts.sshPort},
			&cli.PathFlag{Name: "o", Usage: "look for the newest image in `DIR`", Value: defaultOutputDir, Destination: &opts.dir},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				var err error
				if opts.image, err = oneArgument(c, "image"); err != nil {
					return err
				}
			}
			memory, err := opts.check()
			if err != nil {
				return err
			}
			return runBoot(c.Context, opts, memory, s)
		},
	}
}

// defaultOutputDir is where build puts images and boot looks for them.
const defaultOutputDir = "out"

type bootOptions struct {
	image    string // empty: the newest in dir
	dir      string
	firmware choice
	memory   string
	snapshot bool
	sshPort  int // 0: none
}

// check returns the memory in bytes.
func (o bootOptions) check() (int64, error) {
	memory, err := recipes.ParseSize(o.memory)
	if err != nil {
		return 0, usageErrorf("--memory: %w", err)
	}
	if o.sshPort < 0 || o.sshPort > 65535 {
		return 0, usageErrorf("--ssh-port: %d is no port: choose one from 1 to 65535", o.sshPort)
	}
	return memory, nil
}

func runBoot(ctx context.Context, opts bootOptions, memory int64, s streams) error {
	path := opts.image
	if path == "" {
		var err error
		if path, err = newestImage(opts.dir); err != nil {
			return err
		}
	}
	image, err := emit.OpenImage(path)
	if err != nil {
		return err
	}
	format := image.Format
	if err := image.Close(); err != nil {
		return err
	}
	vm, err := qemu.Machine{
		Firmware: qemu.Firmware(opts.firmware.value),
		Memory:   memory,
		Disks:    []qemu.Disk{{Path: path, Format: format, Writable: !opts.snapshot}},
		SSHPort:  opts.sshPort,
		Terminal: true,
	}.Start(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "booting %s (%s, %s); Ctrl-A X ends it\r\n", path, opts.firmware.value, vm.Accel())
	if opts.sshPort != 0 {
		fmt.Fprintf(s.err, "log in with: ssh -p %d USER@127.0.0.1\r\n", opts.sshPort)
	}
	return vm.Wait()
}

// newestImage returns the image in dir that was written last. Of two written
// by the same build qcow2 is as good as raw.
func newestImage(dir string) (string, error) {
	newest, written := "", time.Time{}
	for _, pattern := range []string{"*.raw", "*.qcow2"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err == nil && info.ModTime().After(written) {
				newest, written = name, info.ModTime()
			}
		}
	}
	if newest == "" {
		return "", usageErrorf("there is no image in %s: build one first, or name one", dir)
	}
	return newest, nil
}
