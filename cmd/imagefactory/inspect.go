package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/inspect"
	"github.com/imagefactory/imagefactory/report"
)

func newInspectCommand(s streams) *cli.Command {
	var opts inspectOptions
	return &cli.Command{
		Name:      "inspect",
		Usage:     "look into an image without mounting it",
		ArgsUsage: "IMAGE [PATH]",
		Description: "Without a path, shows the partitions and file systems of a raw or qcow2 image. With a\n" +
			"path, lists a directory or prints a file of the root file system; the label or number\n" +
			"of a partition and a colon before it choose another one, as in ESP:/EFI/BOOT.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "stat", Usage: "show the attributes of PATH itself: not its contents, nor what it lists", Destination: &opts.stat},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "list everything below PATH", Destination: &opts.recursive},
			outputFlag(&opts.format),
		},
		Action: func(c *cli.Context) error {
			opts.image, opts.path = c.Args().Get(0), c.Args().Get(1)
			if err := opts.check(c.NArg()); err != nil {
				return err
			}
			return runInspect(opts, s)
		},
	}
}

type inspectOptions struct {
	image     string
	path      string // empty: the whole image
	stat      bool
	recursive bool
	format    choice
}

func (o inspectOptions) check(arguments int) error {
	switch {
	case arguments == 0:
		return usageErrorf("inspect needs an image; see \"imagefactory inspect --help\"")
	case arguments > 2:
		return usageErrorf("inspect takes an image and a path, nothing more")
	case o.path == "" && (o.stat || o.recursive):
		return usageErrorf("--stat and --recursive need a PATH in the image")
	case o.stat && o.recursive:
		return usageErrorf("--stat is about PATH itself, --recursive about what is below it: choose one")
	}
	return nil
}

// runInspect prints what was asked for itself, as the contents of a file can
// be larger than what fits into a result.
func runInspect(opts inspectOptions, s streams) error {
	image, err := inspect.Open(opts.image)
	if err != nil {
		return err
	}
	defer image.Close()
	if opts.path == "" {
		return printResult(s.out, opts.format, imageResult{image.Summary()})
	}
	file, err := image.File(opts.path)
	if err != nil {
		return fmt.Errorf("%s: %w", opts.image, err)
	}
	if file.IsRegular() && !opts.stat && opts.format.value == formatText {
		contents, err := file.Open()
		if err != nil {
			return err
		}
		_, err = io.Copy(s.out, contents)
		return err
	}
	result, err := listFiles(file, opts)
	if err != nil {
		return err
	}
	return printResult(s.out, opts.format, result)
}

// imageResult is the description of an image.
type imageResult struct{ inspect.Summary }

func (r imageResult) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s, disk of %s (%d bytes)", r.Format, report.Bytes(r.Size), r.Size)
	if r.Table == "gpt" {
		fmt.Fprintf(w, ", GPT %s", r.GUID)
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "#\tLABEL\tTYPE\tSTART\tSIZE\tFILE SYSTEM\tFREE\tUUID")
	for _, p := range r.Partitions {
		kind, free, uuid := "-", "-", "-"
		if f := p.FileSystem; f != nil {
			kind, uuid = f.Type, f.UUID
			if f.Free != nil {
				free = report.Bytes(*f.Free)
			}
		}
		typeName := p.TypeName
		if typeName == "" && !p.Type.IsZero() {
			typeName = p.Type.String()
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", p.Number, p.Label, typeName, p.Start, report.Bytes(p.Size), kind, free, uuid)
	}
	return table.Flush()
}

// fileResult is one file; SHA256 is that of a regular file's contents, for a
// file named by itself.
type fileResult struct {
	*inspect.File
	SHA256 string `json:"sha256,omitempty"`
}

// filesResult is a file or what a directory holds.
type filesResult struct {
	Files []fileResult `json:"files"`
}

// listFiles gathers the files that opts asks for.
func listFiles(file *inspect.File, opts inspectOptions) (filesResult, error) {
	var r filesResult
	add := func(f *inspect.File) error {
		r.Files = append(r.Files, fileResult{File: f})
		return nil
	}
	switch {
	case opts.recursive:
		return r, file.Walk(add)
	case file.IsDir() && !opts.stat:
		children, err := file.Children()
		for _, f := range children {
			add(f)
		}
		return r, err
	}
	one := fileResult{File: file}
	if file.IsRegular() {
		contents, err := file.Open()
		if err != nil {
			return r, err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, contents); err != nil {
			return r, err
		}
		one.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	r.Files = []fileResult{one}
	return r, nil
}

func (r filesResult) writeText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Files {
		size := fmt.Sprint(f.Size)
		if strings.HasSuffix(f.Type, "device") {
			size = fmt.Sprintf("%d,%d", f.Major, f.Minor)
		}
		name := f.Path
		if f.Target != "" {
			name += " -> " + f.Target
		}
		for _, x := range f.Xattrs {
			name += fmt.Sprintf(" [%s=%x]", x.Name, x.Value)
		}
		if f.SHA256 != "" {
			name += " sha256:" + f.SHA256
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", f.Type, f.Mode, f.UID, f.GID, size, f.MTime.Format(time.RFC3339), name)
	}
	return table.Flush()
}
