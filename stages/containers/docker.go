package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Where Docker's images are, and the unit that loads them.
const (
	dockerDir     = "/usr/lib/imagefactory/containers"
	dockerArchive = "docker.tar"
	unitDir       = "/usr/lib/systemd/system"
	dockerUnit    = "imagefactory-docker-load.service"
	wantsDir      = "/etc/systemd/system/multi-user.target.wants"
)

// docker puts images into an archive, with a unit that loads it: Docker has no store
// that could be read only, or written without it.
func (p *placer) docker(ctx context.Context, placed []Image) error {
	dir, err := p.mkdir(dockerDir, 0o755)
	if err != nil {
		return err
	}
	key := stages.Key("docker-archive", archiveVersion, []any{p.epoch, placed})
	archive, _, err := stages.Memo(ctx, p.run.Cache, key, "docker archive", func(ctx context.Context) (Blob, error) {
		return p.dockerArchive(ctx, placed)
	})
	if err != nil {
		return err
	}
	p.put(dir, dockerArchive, 0o644, archive.Digest, archive.Size)

	client, _ := p.program("docker") // it is there: checkRuntime
	touch, ok := p.program("touch")
	if !ok {
		return fmt.Errorf("the unit that loads Docker's images needs touch, and the image has none; add the package that has it (coreutils)")
	}
	units, err := p.mkdir(unitDir, 0o755)
	if err != nil {
		return err
	}
	// Another archive, after an update of the system, is loaded again. The stamp is
	// Docker's data: who removes that has the images loaded once more.
	stamp := path.Join("/var/lib/docker", ".imagefactory-"+archive.Digest.Hex()[:16])
	unit := fmt.Sprintf(`[Unit]
Description=Load preloaded container images into Docker
Documentation=man:docker-load(1)
Requires=docker.service
After=docker.service
ConditionPathExists=!%[1]s

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=%[2]s load --quiet --input %[3]s
ExecStart=%[4]s %[1]s
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
`, stamp, client, path.Join(dockerDir, dockerArchive), touch)
	if err := p.write(units, dockerUnit, []byte(unit), 0o644); err != nil {
		return err
	}
	wants, err := p.mkdir(wantsDir, 0o755)
	if err != nil {
		return err
	}
	p.edit.Put(tree.Entry{Path: tree.Join(wants, dockerUnit), Type: tree.Symlink, Mode: 0o777, MTime: p.now(), Target: path.Join(unitDir, dockerUnit)})
	return nil
}

// archiveVersion is the version of the code that makes the archive.
const archiveVersion = 1

// dockerArchive makes an archive for `docker load` in the format of `docker save`
// (Docker Image Specification 1.2): configurations and layers once each, and
// manifest.json. Layers compressed with gzip stay so; older versions of Docker know no
// newer format, so others are decompressed.
func (p *placer) dockerArchive(ctx context.Context, placed []Image) (Blob, error) {
	batch, err := p.st.NewBatch()
	if err != nil {
		return Blob{}, err
	}
	defer batch.Abort()
	r, w := io.Pipe()
	go func() { w.CloseWithError(p.writeDockerArchive(ctx, w, placed)) }()
	defer r.Close() // ends the goroutine when nothing can be stored
	digest, size, err := batch.Add(r)
	if err != nil {
		return Blob{}, err
	}
	return Blob{Digest: digest, Size: size, MediaType: "application/x-tar"}, batch.Commit()
}

func (p *placer) writeDockerArchive(ctx context.Context, to io.Writer, placed []Image) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var list []entry
	w := tar.NewWriter(to)
	written := map[string]bool{}
	file := func(name string, size int64, r io.Reader) error {
		if written[name] {
			return nil
		}
		written[name] = true
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(p.epoch, 0), Format: tar.FormatPAX})
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return err
	}
	for _, i := range placed {
		e := entry{Config: i.Config.Digest.Hex() + ".json", RepoTags: []string{i.Tagged}}
		config, err := p.st.ReadAll(i.Config.Digest)
		if err != nil {
			return err
		}
		if err := file(e.Config, int64(len(config)), bytes.NewReader(config)); err != nil {
			return err
		}
		for n, l := range i.Layers {
			item := fmt.Sprintf("%s, layer %d of %d", i.display(), n+1, len(i.Layers))
			name, layer, err := p.dockerLayer(ctx, l, item)
			if err == nil {
				err = file(name, layer.Size(), layer.NewReader())
			}
			if err != nil {
				return fmt.Errorf("container %q: layer %d (%s): %w", i.display(), n+1, l.Digest, err)
			}
			e.Layers = append(e.Layers, name)
		}
		// One image may have several names.
		if same := slices.IndexFunc(list, func(other entry) bool { return other.Config == e.Config }); same >= 0 {
			list[same].RepoTags = append(list[same].RepoTags, i.Tagged)
			continue
		}
		list = append(list, e)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := file("manifest.json", int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	return w.Close()
}

// dockerLayer returns a layer as it is to be in the archive, and its name there.
func (p *placer) dockerLayer(ctx context.Context, l Layer, item string) (string, *store.Object, error) {
	plain, err := p.plain(ctx, l, item)
	if err != nil {
		return "", nil, err
	}
	name := l.Plain + ".tar"
	if plain.Gzip {
		name += ".gz"
	}
	object, err := p.st.Object(plain.Digest)
	return name, object, err
}

// plainLayer is a layer as Docker can load it. It is remembered.
type plainLayer struct {
	Gzip   bool         `json:"gzip"`   // the blob as it is
	Digest store.Digest `json:"digest"` // of the object: the blob, or what it decompresses to
}

func (p *placer) plain(ctx context.Context, l Layer, item string) (plainLayer, error) {
	key := stages.Key("plain-layer", archiveVersion, []string{l.Digest.Hex(), l.Plain})
	got, _, err := stages.Memo(ctx, p.run.Cache, key, "container layer "+l.Plain[:12], func(ctx context.Context) (plainLayer, error) {
		archive, err := openLayer(ctx, p.run, l, item)
		if err != nil {
			return plainLayer{}, err
		}
		defer archive.Close()
		if archive.format == ".gz" || archive.format == "" {
			return plainLayer{Gzip: archive.format == ".gz", Digest: l.Digest}, nil
		}
		batch, err := p.st.NewBatch()
		if err != nil {
			return plainLayer{}, err
		}
		defer batch.Abort()
		digest, _, err := batch.Add(archive)
		if err == nil {
			err = archive.check()
		}
		if err != nil {
			return plainLayer{}, err
		}
		return plainLayer{Digest: digest}, batch.Commit()
	})
	return got, err
}
