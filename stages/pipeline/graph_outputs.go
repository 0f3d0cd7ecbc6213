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

// stands reports whether the file is still there as it was left. Its contents are
// not read: that is what the .sha256 beside it is for.
func (w written) stands() bool {
	info, err := os.Stat(w.Path)
	if err != nil || info.Size() != w.Size || info.ModTime().UnixNano() != w.ModTime {
		return false
	}
	_, err = os.Stat(w.Path + ".sha256")
	return err == nil
}

// emit adds a stage for every output.
func (b *builder) emit() {
	r := b.recipe
	for _, o := range r.Outputs {
		file := filepath.Join(b.dir, fmt.Sprintf("%s-%s-%s.%s", r.Name, r.Version, r.Arch, o.Type))
		handle := stages.AddChecked(b.graph.Graph, stages.Stage{
			Name: o.Type, Kind: "emit", Version: emitVersion,
			Inputs: []stages.Input{{Name: "output", Value: o}, {Name: "file", Value: file}},
			Needs:  []stages.Node{b.graph.disk},
		}, written.stands, func(ctx context.Context, run *stages.Run) (written, error) {
			return emitOutput(ctx, run, o, file, b.graph.disk.Result().Image)
		})
		b.graph.outputs = append(b.graph.outputs, handle)
	}
}

// emitVersion is the version of the writers' code; see stages.Stage.
const emitVersion = 1

// emitOutput writes one output.
func emitOutput(ctx context.Context, run *stages.Run, o recipes.Output, file string, image store.Digest) (written, error) {
	st := run.Cache.Store
	im, err := disk.Load(st, image)
	if err != nil {
		return written{}, err
	}
	options := emit.Options{Progress: func(done, total int64) {
		run.Emit(stages.Event{Kind: stages.Progress, Item: filepath.Base(file), Done: done, Total: total, Unit: stages.Bytes})
	}}
	var out emit.Output
	switch o.Type {
	case "raw":
		out, err = emit.Raw(ctx, st, im, file, options)
	case "qcow2":
		var compression qcow2.Compression
		if compression, err = qcow2.ParseCompression(o.Compression); err == nil {
			out, err = emit.Qcow2(ctx, st, im, file, qcow2.Options{Compression: compression, Level: o.Level}, options)
		}
	default:
		err = fmt.Errorf("the output %q cannot be written by this version", o.Type)
	}
	if err != nil {
		return written{}, err
	}
	info, err := os.Stat(out.Path)
	if err != nil {
		return written{}, err
	}
	run.Emit(stages.Event{Kind: stages.OutputWritten, Item: out.Path, Total: out.Size, Digest: out.Digest.String()})
	return written{
		Path: out.Path, Format: o.Type, Size: out.Size, VirtualSize: out.VirtualSize,
		ModTime: info.ModTime().UnixNano(), SHA256: out.Digest.Hex(),
	}, nil
}
