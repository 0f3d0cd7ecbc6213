package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
			"unless --snapshot=false says so. Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor.\n" +
			"\n" +
			"With --iso, IMAGE is an ISO, in a CD drive or with --usb on a stick. It is started first, and\n" +
			"taken out when the machine reboots for the first time, so that what it has installed starts.\n" +
			"Disks are added with --disk: a size gives a blank disk, which is gone afterwards; the path of\n" +
			"an image, raw or qcow2, a disk which keeps what is written. if=virtio (the default), sata,\n" +
			"nvme, usb or scsi is how it is connected: --disk 20GiB,if=nvme. Without --disk, an ISO gets a\n" +
			"blank disk of " + defaultDisk + ".",
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "firmware", Usage: "`bios`, uefi or uefi-secure", Value: &opts.firmware},
			&cli.StringFlag{Name: "memory", Usage: "give the machine `SIZE` of memory", Value: "1GiB", Destination: &opts.memory},
			&cli.BoolFlag{Name: "snapshot", Usage: "forget what the machine writes to IMAGE", Value: true, Destination: &opts.snapshot},
			&cli.BoolFlag{Name: "iso", Usage: "IMAGE is an ISO, without IMAGE the newest one", Destination: &opts.iso},
			&cli.BoolFlag{Name: "usb", Usage: "with --iso: the ISO is on a stick, not on a CD", Destination: &opts.usb},
			&cli.GenericFlag{Name: "disk", Usage: "add a disk, `SIZE|PATH[,if=...]`; may be repeated", Value: &opts.disks},
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

// defaultDisk is the size of the disk an ISO gets when none is asked for.
const defaultDisk = "32GiB"

type bootOptions struct {
	image    string // empty: the newest in dir
	dir      string
	firmware choice
	memory   string
	snapshot bool
	iso      bool
	usb      bool
	disks    diskOptions
	sshPort  int // 0: none
}

// check returns the memory in bytes.
func (o bootOptions) check() (int64, error) {
	memory, err := recipes.ParseSize(o.memory)
	switch {
	case err != nil:
		return 0, usageErrorf("--memory: %w", err)
	case o.sshPort < 0 || o.sshPort > 65535:
		return 0, usageErrorf("--ssh-port: %d is no port: choose one from 1 to 65535", o.sshPort)
	case o.usb && !o.iso:
		return 0, usageErrorf("--usb says how an ISO is put into the machine: write --iso, too")
	case o.iso && !o.snapshot:
		return 0, usageErrorf("--snapshot=false: an ISO is never written to; disks which keep what is written are added with --disk PATH")
	case !o.iso && strings.HasSuffix(o.image, ".iso"):
		return 0, usageErrorf("%s is an ISO: write --iso, too", o.image)
	}
	return memory, nil
}

func runBoot(ctx context.Context, opts bootOptions, memory int64, s streams) error {
	path := opts.image
	if path == "" {
		var err error
		if path, err = newestImage(opts.dir, opts.iso); err != nil {
			return err
		}
	}
	disks, err := opts.machineDisks(path)
	if err != nil {
		return err
	}
	vm, err := qemu.Machine{
		Firmware: qemu.Firmware(opts.firmware.value),
		Memory:   memory,
		Disks:    disks,
		SSHPort:  opts.sshPort,
		Terminal: true,
	}.Start(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "booting %s (%s, %s); Ctrl-A X ends it\r\n", path, opts.firmware.value, vm.Accel())
	for _, disk := range disks[1:] {
		fmt.Fprintf(s.err, "with %s\r\n", describeDisk(disk))
	}
	if opts.sshPort != 0 {
		fmt.Fprintf(s.err, "log in with: ssh -p %d USER@127.0.0.1\r\n", opts.sshPort)
	}
	return vm.Wait()
}

// machineDisks returns the image as a disk or an ISO, and the disks that are
// added, in boot order.
func (o bootOptions) machineDisks(path string) ([]qemu.Disk, error) {
	added := slices.Clone(o.disks.disks)
	format, err := imageFormat(path)
	if err != nil {
		return nil, err
	}
	image := qemu.Disk{Path: path, Format: format, Writable: !o.snapshot}
	if o.iso {
		image = qemu.Disk{Path: path, Format: "raw", CD: !o.usb, TakeOut: true}
		if o.usb {
			image.Interface, image.Removable = qemu.USB, true
		}
		if len(added) == 0 {
			size, err := recipes.ParseSize(defaultDisk)
			if err != nil {
				return nil, err
			}
			added = append(added, qemu.Disk{Size: size})
		}
	}
	for i := range added {
		if added[i].Path == "" {
			continue
		}
		if added[i].Format, err = imageFormat(added[i].Path); err != nil {
			return nil, usageErrorf("--disk: %w", err)
		}
	}
	return append([]qemu.Disk{image}, added...), nil
}

// imageFormat opens an image and returns "raw" or "qcow2".
func imageFormat(path string) (string, error) {
	image, err := emit.OpenImage(path)
	if err != nil {
		return "", err
	}
	return image.Format, image.Close()
}

// diskOptions are the values of --disk.
type diskOptions struct {
	disks []qemu.Disk // without the formats of images
	text  []string    // as they were written
}

// Set implements flag.Value: it adds a disk.
func (o *diskOptions) Set(value string) error {
	what, option, hasOption := value, "", false
	if i := strings.LastIndex(value, ",if="); i >= 0 {
		what, option, hasOption = value[:i], value[i+len(",if="):], true
	}
	var disk qemu.Disk
	if hasOption {
		var err error
		if disk.Interface, err = qemu.ParseInterface(option); err != nil {
			return err
		}
	}
	size, err := recipes.ParseSize(what)
	switch {
	case err == nil && size == 0:
		return fmt.Errorf("a disk of %s holds nothing", what)
	case err == nil:
		disk.Size = size
	default:
		// A name that begins with a digit is more likely a size than a file.
		if _, missing := os.Stat(what); missing != nil {
			if what != "" && what[0] >= '0' && what[0] <= '9' {
				return err
			}
			return fmt.Errorf("there is no image %s: make one first, with \"truncate -s 20GiB %s\", or write a size", what, what)
		}
		disk.Path, disk.Writable = what, true
	}
	o.disks, o.text = append(o.disks, disk), append(o.text, value)
	return nil
}

// String implements flag.Value.
func (o *diskOptions) String() string { return strings.Join(o.text, " ") }

// describeDisk says what a disk of the machine is.
func describeDisk(d qemu.Disk) string {
	what := "a blank disk of " + recipes.FormatSize(d.Size)
	if d.Path != "" {
		what = d.Path + ", which keeps what is written,"
	}
	if d.Interface == "" {
		d.Interface = qemu.VirtIO
	}
	return what + " on " + string(d.Interface)
}

// newestImage returns the image in dir that was written last, or the ISO. Of
// two written by the same build qcow2 is as good as raw.
func newestImage(dir string, iso bool) (string, error) {
	what, patterns := "image", []string{"*.raw", "*.qcow2"}
	if iso {
		what, patterns = "ISO", []string{"*.iso"}
	}
	newest, written := "", time.Time{}
	for _, pattern := range patterns {
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
		return "", usageErrorf("there is no %s in %s: build one first, or name one", what, dir)
	}
	return newest, nil
}
