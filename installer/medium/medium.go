// Package medium finds what the installer was started from: an ISO 9660 volume whose volume set identifier is the id in the
// document on it. Names of devices mean nothing here: every block device is looked at.
package medium

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/isofs"
)

// Medium is a volume that is ours.
type Medium struct {
	// Name and Path are the device: "sr0", "/dev/sr0".
	Name, Path string
	// Disk is the whole disk the volume lies on: Name itself, unless the volume was seen on a partition only.
	Disk string
	// Model is what the device calls itself; may be empty.
	Model string
	// Config is the document of the medium.
	Config *config.Config
	// Volume reads its files.
	Volume *isofs.Volume

	device *os.File
}

// Close closes the device.
func (m *Medium) Close() error { return m.device.Close() }

// String names the medium for a person.
func (m *Medium) String() string {
	if m.Model == "" {
		return m.Path
	}
	return m.Path + " (" + m.Model + ")"
}

// Open opens a file of the medium. Errors of reading name the device.
func (m *Medium) Open(path string) (*File, error) {
	f, err := m.Volume.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the medium %s has no file %s: it was not written completely, or made by another version", m, path)
	}
	if err != nil {
		return nil, m.explain(path, err)
	}
	return &File{f, m, path}, nil
}

// File is a file on a medium.
type File struct {
	*isofs.File
	medium *Medium
	path   string
}

// Name names the file and the device, for messages.
func (f *File) Name() string { return f.path + " on " + f.medium.String() }

// ReadAt implements io.ReaderAt. Errors name the device, and say when it was taken away.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	if err != nil && n < len(p) && offset+int64(n) < f.Size() {
		err = f.medium.explain(f.path, err)
	}
	return n, err
}

func (m *Medium) explain(path string, err error) error {
	if _, gone := os.Stat(m.Path); gone != nil || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOMEDIUM) {
		return fmt.Errorf("reading %s: the medium %s was taken away: %w", path, m, err)
	}
	if errors.Is(err, unix.EIO) {
		return fmt.Errorf("reading %s: the medium %s cannot be read: it is damaged or was taken away: %w", path, m, err)
	}
	return fmt.Errorf("reading %s from the medium %s: %w", path, m, err)
}

// Looked is a device that was looked at and is not the medium.
type Looked struct {
	Path string
	Why  string
}

// SeveralError says that more than one device holds what is looked for.
type SeveralError struct{ Media []string }

func (e *SeveralError) Error() string {
	return fmt.Sprintf("there are %d media to install from, %s: take all but one away, or say which with imagefactory.id=",
		len(e.Media), strings.Join(e.Media, " and "))
}

// Finder looks for a medium.
type Finder struct {
	// Sys and Dev are where sysfs and the device nodes are: "/sys", "/dev".
	Sys, Dev string
	// ID is the id the medium must have; empty accepts any.
	ID string
}

// Find looks at all block devices once. It returns nil and what there is instead when none is the medium, and SeveralError
// when more than one is.
func (f Finder) Find() (*Medium, []Looked, error) {
	names, err := f.devices()
	if err != nil {
		return nil, nil, err
	}
	var media []*Medium
	var looked []Looked
	for _, name := range names {
		m, err := f.look(name)
		if err != nil {
			looked = append(looked, Looked{filepath.Join(f.Dev, name), err.Error()})
			continue
		}
		media = append(media, m)
	}
	media = wholeDisksFirst(media)
	if len(media) > 1 {
		several := &SeveralError{}
		for _, m := range media {
			several.Media = append(several.Media, fmt.Sprintf("%s with %s %s, id %s", m, m.Config.Name, m.Config.Version, m.Config.ID))
			m.Close()
		}
		return nil, looked, several
	}
	if len(media) == 1 {
		return media[0], looked, nil
	}
	return nil, looked, nil
}

// devices returns the names of all block devices that can hold a medium: whole disks before their partitions.
func (f Finder) devices() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(f.Sys, "class/block"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no driver made one yet
	}
	if err != nil {
		return nil, fmt.Errorf("looking for block devices: %w", err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		// Memory is no medium, loop devices are made of files of one, and floppy disks take seconds to say no.
		if !slices.ContainsFunc([]string{"ram", "zram", "loop", "fd"}, func(kind string) bool { return strings.HasPrefix(name, kind) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// look returns the medium on a device, or why there is none.
func (f Finder) look(name string) (*Medium, error) {
	m := &Medium{Name: name, Path: filepath.Join(f.Dev, name), Disk: f.disk(name)}
	m.Model = f.attribute(m.Disk, "device/model")
	// Not with O_NONBLOCK: a drive without a disc would be opened, too.
	device, err := os.Open(m.Path)
	if err != nil {
		return nil, reason(err)
	}
	m.device = device
	if m.Config, m.Volume, err = f.read(m.device); err != nil {
		m.device.Close()
		return nil, reason(err)
	}
	return m, nil
}

func (f Finder) read(device *os.File) (*config.Config, *isofs.Volume, error) {
	v, err := isofs.Open(device)
	if err != nil {
		return nil, nil, err
	}
	if f.ID != "" && v.SetID != f.ID {
		return nil, nil, fmt.Errorf("it holds another ISO 9660 volume, labelled %q", v.ID)
	}
	document, err := v.ReadFile(config.MediumPath, 4<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("it holds an ISO 9660 volume, labelled %q, without %s", v.ID, config.MediumPath)
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := config.Decode(bytes.NewReader(document))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", config.MediumPath, err)
	}
	if c.ID != v.SetID {
		return nil, nil, fmt.Errorf("the id in %s, %s, is not that of its volume, %s", config.MediumPath, c.ID, v.SetID)
	}
	return c, v, nil
}

// disk returns the whole disk that a device is a partition of, or the device itself.
func (f Finder) disk(name string) string {
	link, err := filepath.EvalSymlinks(filepath.Join(f.Sys, "class/block", name))
	if err != nil {
		return name
	}
	if _, err := os.Stat(filepath.Join(link, "partition")); err != nil {
		return name
	}
	return filepath.Base(filepath.Dir(link))
}

func (f Finder) attribute(name, attribute string) string {
	data, err := os.ReadFile(filepath.Join(f.Sys, "class/block", name, attribute))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// wholeDisksFirst drops partitions of disks that are media themselves: a hybrid image has a partition that begins with it.
func wholeDisksFirst(media []*Medium) []*Medium {
	whole := map[string]bool{}
	for _, m := range media {
		if m.Name == m.Disk {
			whole[m.Disk] = true
		}
	}
	return slices.DeleteFunc(media, func(m *Medium) bool {
		if m.Name == m.Disk || !whole[m.Disk] {
			return false
		}
		m.Close()
		return true
	})
}

// reason says in a few words why a device is no medium.
func reason(err error) error {
	switch {
	case errors.Is(err, unix.ENOMEDIUM):
		return errors.New("there is no disc in it")
	case errors.Is(err, unix.EIO):
		return errors.New("it cannot be read (input/output error)")
	case errors.Is(err, unix.ENXIO), errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not answer")
	}
	return err
}

// NotFoundError says that there is no medium, and what there is.
type NotFoundError struct {
	ID     string
	Waited time.Duration
	Looked []Looked
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	what := "no installation medium"
	if e.ID != "" {
		what = "no medium with the id " + e.ID
	}
	fmt.Fprintf(&b, "%s was found in %s", what, strconv.FormatFloat(e.Waited.Seconds(), 'f', 0, 64)+" seconds")
	if len(e.Looked) == 0 {
		b.WriteString("; the kernel shows no disk and no drive at all: this initramfs may lack the driver of the controller")
		return b.String()
	}
	b.WriteString("; looked at:")
	for _, l := range e.Looked {
		fmt.Fprintf(&b, "\n  %s: %s", l.Path, l.Why)
	}
	return b.String()
}

// Wait looks for the medium again whenever devices change, and once a second for drives whose disc comes late, for the
// time most. Several media end it at once.
func (f Finder) Wait(ctx context.Context, changes <-chan struct{}, most time.Duration) (*Medium, error) {
	end := time.NewTimer(most)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		m, looked, err := f.Find()
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-changes:
		case <-tick.C:
		case <-end.C:
			return nil, &NotFoundError{f.ID, most, looked}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
