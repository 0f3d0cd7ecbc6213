package finish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
	build "github.com/imagefactory/imagefactory/stages/payload"
)

func TestKeepSaysWhyNot(t *testing.T) {
	l := planned(t, 40*mib, "new")
	for name, test := range map[string]struct {
		prepare func(path string)
		layout  func(c *config.Layout)
		labels  string
		want    string
	}{
		"nothing to keep":      {nil, nil, "", ""},
		"the same":             {nil, nil, "PERSIST", ""},
		"one in the middle":    {nil, nil, "ROOT", ""},
		"both":                 {nil, nil, "ROOT,PERSIST", ""},
		"larger at the end":    {nil, func(c *config.Layout) { c.Partitions[2].Size -= mib }, "PERSIST", ""},
		"smaller at the end":   {nil, func(c *config.Layout) { c.Partitions[2].Size += mib }, "PERSIST", "at least"},
		"larger in between":    {nil, func(c *config.Layout) { c.Partitions[1].Size -= mib }, "ROOT", "has the size"},
		"another start":        {nil, func(c *config.Layout) { c.Partitions[2].Start += mib }, "PERSIST", "has the start"},
		"another number":       {nil, func(c *config.Layout) { c.Partitions[2].Number = 7 }, "PERSIST", "has the number 1, and in the new system 7"},
		"another type":         {nil, func(c *config.Layout) { c.Partitions[2].TypeGUID = partition.TypeLinuxHome.String() }, "PERSIST", "has the type"},
		"another file system":  {nil, func(c *config.Layout) { c.Partitions[2].Filesystem = "xfs" }, "PERSIST", "the new system expects xfs"},
		"unknown to the disk":  {nil, func(c *config.Layout) { c.Partitions[2].Label = "DATA" }, "DATA", `no partition with the label "DATA"`},
		"unknown to the image": {nil, nil, "DATA", `the image has no partition "DATA"`},
		"no table": {func(path string) {
			disktest.Run(t, "sgdisk", "-Z", path)
		}, nil, "PERSIST", "no partition table"},
		"the label twice": {func(path string) {
			disktest.Run(t, "sgdisk", "-c", "3:PERSIST", path)
		}, nil, "PERSIST", "2 partitions with the label"},
	} {
		t.Run(name, func(t *testing.T) {
			path := imageFile(t, planned(t, 40*mib, "old"), l.Size)
			if test.prepare != nil {
				test.prepare(path)
			}
			layout := asConfig(l)
			if test.layout != nil {
				test.layout(&layout)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var labels []string
			if test.labels != "" {
				labels = strings.Split(test.labels, ",")
			}
			kept, err := keep(t, path, layout, labels...)
			if test.want == "" {
				if err != nil || len(kept) != len(labels) || len(finish.Skip(kept)) != len(labels) {
					t.Errorf("it keeps %+v, error %v", kept, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q in it", err, test.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
				t.Error("the decision wrote to the disk")
			}
		})
	}
}

func TestLastNamesWhatStartsTheSystem(t *testing.T) {
	l := planned(t, 40*mib, "one")
	boot, _ := l.Partition("BOOT")
	if got := finish.Last(asConfig(l), nil); len(got) != 1 || got[0] != (payload.Range{Offset: boot.Start, Length: mib}) {
		t.Errorf("it names %+v", got)
	}
	if got := finish.Last(asConfig(l), []finish.Kept{{Partition: boot}}); len(got) != 0 {
		t.Errorf("of a partition that is kept it names %+v", got)
	}
}

// system is a build: a disk with file systems as a payload.
type system struct {
	layout  partition.Layout
	config  config.Layout
	payload *payload.Payload
	persist string // identifier of PERSIST's file system
}

// built makes a system whose root names PERSIST in its fstab.
func built(t testing.TB, name string) system {
	t.Helper()
	st := disktest.Store(t)
	s := system{layout: planned(t, 40*mib, name)}
	id := partition.UUID(seed, name+"/filesystem")
	s.persist = id.String()
	fstab := fmt.Sprintf("# UUID=%[1]s is data\nUUID=%[2]s / ext4 defaults 0 1\n  UUID=%[1]s\t/var ext4 defaults 0 2\n", s.persist, partition.UUID(seed, name+"/root"))
	contents := partition.Contents{Partitions: map[int]disk.Image{
		3: ext4Image(t, st, 20*mib, partition.UUID(seed, name+"/root"), "etc/fstab", fstab),
		1: ext4Image(t, st, 40*mib, id, "build", name),
	}}
	im, err := partition.Compose(st, s.layout, contents)
	if err != nil {
		t.Fatal(err)
	}
	r, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	info, err := build.Write(t.Context(), r, &out, build.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.payload, err = payload.Open(bytes.NewReader(out.Bytes()), info.Size, info.IndexSHA256); err != nil {
		t.Fatal(err)
	}
	s.config = asConfig(s.layout)
	s.config.Partitions[1].Filesystem, s.config.Partitions[2].Filesystem = "ext4", "ext4"
	return s
}

// restore is the first half of an installation.
func (s system) restore(t testing.TB, ctx context.Context, device string, kept []finish.Kept) error {
	t.Helper()
	d, err := payload.OpenDevice(device)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	plan := payload.Plan{}
	if len(kept) > 0 {
		plan = payload.Plan{Skip: finish.Skip(kept), Last: finish.Last(s.config, kept)}
	}
	return s.payload.Restore(ctx, d, plan, nil)
}

// settle is the second half.
func (s system) settle(t testing.TB, device string, size int64, kept []finish.Kept) []finish.Adopted {
	t.Helper()
	f := open(t, device)
	settled, err := finish.SettleTable(f, size, kept, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := finish.Reread(device, settled.Partitions); err != nil {
		t.Fatal(err)
	}
	adopted, err := finish.Adopt(s.payload.Disk(), s.config, kept, finish.PartitionPath(device, 3))
	if err != nil {
		t.Fatal(err)
	}
	if persist := finish.PartitionPath(device, 1); mayResize(t) {
		if _, err := finish.GrowFilesystem(persist); err != nil {
			t.Fatal(err)
		}
	} else {
		disktest.Run(t, "e2fsck", "-f", "-p", persist)
		disktest.Run(t, "resize2fs", persist)
	}
	judge(t, device)
	for _, n := range []int{1, 3} {
		disktest.Run(t, "e2fsck", "-f", "-n", finish.PartitionPath(device, n))
	}
	return adopted
}

// TestReinstallationKeepsPersist installs a system, puts a file on PERSIST, and installs another system over it, which is
// interrupted at several places.
func TestReinstallationKeepsPersist(t *testing.T) {
	const size = 600 * mib
	path := filepath.Join(t.TempDir(), "disk")
	sparse(t, path, size)
	device := loop(t, path)
	old, renewed := built(t, "old"), built(t, "new")

	if err := old.restore(t, t.Context(), device, nil); err != nil {
		t.Fatal(err)
	}
	if adopted := old.settle(t, device, size, nil); len(adopted) != 0 {
		t.Errorf("a first installation adopts %+v", adopted)
	}
	persist := finish.PartitionPath(device, 1)
	dir, unmount := mount(t, persist)
	precious := bytes.Repeat([]byte("precious"), 30<<17) // 30 MiB: beyond the end of the image too
	if err := os.WriteFile(filepath.Join(dir, "precious"), precious, 0o600); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler") // to where the image's backup table would lie
	if err := os.WriteFile(filler, bytes.Repeat([]byte{7}, 200*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	unmount()

	decide := func() []finish.Kept {
		t.Helper()
		kept, err := finish.Keep(open(t, device), size, renewed.config, []string{"PERSIST"})
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	before := decide()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var failed *payload.WriteError
	if err := renewed.restore(t, ctx, device, before); !errors.As(err, &failed) {
		t.Fatalf("interrupted, it gives %v", err)
	}
	if err := renewed.restore(t, t.Context(), device, decide()); err != nil {
		t.Fatal(err)
	}
	// Here the power fails once more: the new table stands, and gives PERSIST the size it has in the image.
	again := decide()
	if again[0].Partition.Size != before[0].Partition.Size || again[0].Range != before[0].Range {
		t.Errorf("before the interruption it kept %+v, after it %+v", before, again)
	}
	if err := renewed.restore(t, t.Context(), device, again); err != nil {
		t.Fatal(err)
	}
	adopted := renewed.settle(t, device, size, again)
	if want := (finish.Adopted{Label: "PERSIST", Expected: renewed.persist, Kept: old.persist}); len(adopted) != 1 || adopted[0] != want {
		t.Errorf("it adopts %+v, want %+v", adopted, want)
	}

	dir, unmount = mount(t, persist)
	if got, err := os.ReadFile(filepath.Join(dir, "precious")); err != nil || !bytes.Equal(got, precious) {
		t.Errorf("the file on PERSIST is not what it was: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "filler")); err != nil || len(bytes.Trim(got, "\x07")) != 0 {
		t.Errorf("the large file on PERSIST is not what it was: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "build")); err != nil || string(got) != "old" {
		t.Errorf("PERSIST is of the build %q, %v", got, err)
	}
	unmount()
	root, _ := mount(t, finish.PartitionPath(device, 3))
	fstab, err := os.ReadFile(filepath.Join(root, "etc/fstab"))
	want := fmt.Sprintf("# UUID=%s is data\nUUID=%s / ext4 defaults 0 1\n  UUID=%s\t/var ext4 defaults 0 2\n", renewed.persist, partition.UUID(seed, "new/root"), old.persist)
	if err != nil || string(fstab) != want {
		t.Errorf("the new system's fstab is\n%s, %v; want\n%s", fstab, err, want)
	}
}
