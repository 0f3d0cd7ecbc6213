package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// written is a file an output stage left.
type written struct {
	Path        string `json:"path"`
	Format      string `json:"format"`
	Size        int64  `json:"size"`         // of the file, in bytes
	VirtualSize int64  `json:"virtual_size"` // of the disk in it, in bytes
	ModTime     int64  `json:"mtime"`        // of the file, in nanoseconds since 1970
	SHA256      string `json:"sha256"`       // hexadecimal; it is no object of the store
}

// witness returns the file whose time tells whether the output is still as it was left:
// of a directory the one with the digests.
func (w written) witness() string {
	if w.Format == recipes.OutputPXE {
		return filepath.Join(w.Path, emit.SumsName)
	}
	return w.Path
}

// stands reports whether the output is still there as it was left. Its contents are
// not read: that is what the digests beside it are for.
func (w written) stands() bool {
	info, err := os.Stat(w.witness())
	if err != nil || info.ModTime().UnixNano() != w.ModTime {
		return false
	}
	if w.Format == recipes.OutputPXE {
		return true
	}
	if info.Size() != w.Size {
		return false
	}
	_, err = os.Stat(w.Path + ".sha256")
	return err == nil
}

// emit adds a stage for every output.
func (b *builder) emit() {
	r := b.recipe
	for _, o := range r.Outputs {
		name := fmt.Sprintf("%s-%s-%s", r.Name, r.Version, r.Arch)
		file := filepath.Join(b.dir, name+"."+o.Type)
		switch o.Type {
		case recipes.OutputISO:
			medium := b.medium(o, b.mediaOptions(o.Media))
			b.output(o, file, medium, func(ctx context.Context, run *stages.Run, options emit.Options) (emit.Output, error) {
				im, err := disk.Load(run.Cache.Store, medium.Result().Image)
				if err != nil {
					return emit.Output{}, err
				}
				return emit.ISO(ctx, run.Cache.Store, im, file, options)
			})
		case recipes.OutputPXE:
			dir := filepath.Join(b.dir, name+"-"+o.Type)
			files := b.networkFiles(o, b.mediaOptions(o.Media))
			b.output(o, dir, files, func(ctx context.Context, run *stages.Run, options emit.Options) (emit.Output, error) {
				var list []emit.DirectoryFile
				for _, f := range files.Result().Files {
					list = append(list, emit.DirectoryFile(f))
				}
				return emit.Directory(ctx, run.Cache.Store, list, dir, options)
			})
		default:
			b.output(o, file, b.graph.disk, func(ctx context.Context, run *stages.Run, options emit.Options) (emit.Output, error) {
				return emitDisk(ctx, run.Cache.Store, b.graph.disk.Result().Image, o, file, options)
			})
		}
	}
}

// output adds the stage that writes one output at path, of what the stage source made.
func (b *builder) output(o recipes.Output, path string, source stages.Node, write func(context.Context, *stages.Run, emit.Options) (emit.Output, error)) {
	inputs, needs := []stages.Input{{Name: "output", Value: o}, {Name: "file", Value: path}}, []stages.Node{source}
	budget := trim.Budget{ImageSize: b.budget().ImageSize}
	// A raw image is as large as its disk, whatever is in it.
	limited := budget.ImageSize > 0 && o.Type != "raw"
	if limited {
		inputs, needs = append(inputs, stages.Input{Name: "budget", Value: budget}), append(needs, b.graph.trimmed)
	}
	handle := stages.AddChecked(b.graph.Graph, stages.Stage{
		Name: o.Type, Kind: "emit", Version: emitVersion, Inputs: inputs, Needs: needs,
	}, written.stands, func(ctx context.Context, run *stages.Run) (written, error) {
		options := emit.Options{Progress: func(done, total int64) {
			run.Emit(stages.Event{Kind: stages.Progress, Item: filepath.Base(path), Done: done, Total: total, Unit: stages.Bytes})
		}}
		if limited {
			options.Accept = func(size int64) error {
				report, err := trim.LoadReport(run.Cache.Store, b.graph.trimmed.Result().Report)
				if err != nil {
					return err
				}
				return budget.Check(report, size)
			}
		}
		out, err := write(ctx, run, options)
		if err != nil {
			return written{}, err
		}
		run.Emit(stages.Event{Kind: stages.OutputWritten, Item: out.Path, Total: out.Size, Digest: out.Digest.String()})
		w := written{Path: out.Path, Format: o.Type, Size: out.Size, VirtualSize: out.VirtualSize, SHA256: out.Digest.Hex()}
		info, err := os.Stat(w.witness())
		if err != nil {
			return written{}, err
		}
		w.ModTime = info.ModTime().UnixNano()
		return w, nil
	})
	b.graph.outputs = append(b.graph.outputs, handle)
}

// emitVersion is the version of the writers' code; see stages.Stage.
const emitVersion = 1

// emitDisk writes an output that is the disk itself.
func emitDisk(ctx context.Context, st *store.Store, image store.Digest, o recipes.Output, file string, options emit.Options) (emit.Output, error) {
	im, err := disk.Load(st, image)
	if err != nil {
		return emit.Output{}, err
	}
	switch o.Type {
	case "raw":
		return emit.Raw(ctx, st, im, file, options)
	case "qcow2":
		compression, err := qcow2.ParseCompression(o.Compression)
		if err != nil {
			return emit.Output{}, err
		}
		return emit.Qcow2(ctx, st, im, file, qcow2.Options{Compression: compression, Level: o.Level}, options)
	}
	return emit.Output{}, fmt.Errorf("the output %q cannot be written by this version", o.Type)
}
