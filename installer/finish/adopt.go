package finish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/imagefactory/imagefactory/installer/config"
)

// Adopted is a kept file system that the new system now mounts.
type Adopted struct {
	Label string `json:"label"` // of the partition
	// Expected is the identifier that the image's own file system there would have had, Kept the one it has.
	Expected string `json:"expected"`
	Kept     string `json:"kept"`
}

// Adopt makes an installed system mount the file systems that were kept. Every build gives its file systems new identifiers
// and names them in /etc/fstab, and what was kept comes from an earlier build: the lines for it are given its
// identifier. image reads the disk as it was built ([payload.Payload.Disk]); root is the device of the partition with the
// new system, which is mounted meanwhile. What needs no change gives no error and is not returned.
func Adopt(image io.ReaderAt, layout config.Layout, kept []Kept, root string) ([]Adopted, error) {
	var adopted []Adopted
	for _, k := range kept {
		for _, p := range layout.Partitions {
			if p.Number != k.Partition.Number {
				continue
			}
			built, err := Identify(io.NewSectionReader(image, p.Start, p.Size))
			if err != nil {
				return nil, fmt.Errorf("read what the image has in partition %d (%s): %w", p.Number, p.Label, err)
			}
			if built.UUID != "" && k.Filesystem.UUID != "" && built.UUID != k.Filesystem.UUID {
				adopted = append(adopted, Adopted{Label: p.Label, Expected: built.UUID, Kept: k.Filesystem.UUID})
			}
		}
	}
	if len(adopted) == 0 {
		return nil, nil
	}
	fs, _, err := identifyDevice(root)
	if err == nil && fs.Type == "" {
		err = errors.New("it holds no file system known here")
	}
	if err == nil {
		err = mounted(root, fs.Type, func(dir *os.File) error { return adoptIn(dir.Name(), adopted) })
	}
	if err != nil {
		return nil, fmt.Errorf("make the system on %s mount the partitions that were kept: %w", root, err)
	}
	return adopted, nil
}

// adoptIn changes the fstab of a root that is mounted at dir.
func adoptIn(dir string, adopted []Adopted) error {
	root, err := os.OpenRoot(dir) // no link in the image leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	// In place, so that owner, mode and labels stay as they are.
	f, err := root.OpenFile("etc/fstab", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing is mounted by its identifier
	}
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return err
	}
	after := adoptLines(before, adopted)
	if bytes.Equal(after, before) {
		return nil
	}
	if _, err := f.WriteAt(after, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(after))); err != nil {
		return err
	}
	return f.Sync()
}

// adoptLines replaces identifiers in the first field of an fstab's lines.
func adoptLines(fstab []byte, adopted []Adopted) []byte {
	lines := strings.SplitAfter(string(fstab), "\n")
	for i, line := range lines {
		device := strings.TrimLeft(line, " \t")
		indent := len(line) - len(device)
		end := strings.IndexAny(device, " \t\n")
		if end < 0 {
			continue
		}
		for _, a := range adopted {
			if id, ok := strings.CutPrefix(device[:end], "UUID="); ok && strings.EqualFold(strings.Trim(id, `"`), a.Expected) {
				lines[i] = line[:indent] + "UUID=" + a.Kept + device[end:]
			}
		}
	}
	return []byte(strings.Join(lines, ""))
}
