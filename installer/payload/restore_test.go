package payload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imagefactory/imagefactory/installer/payload"
)

// fakeDevice is a device in memory that remembers what was done and can fail.
type fakeDevice struct {
	data   []byte
	sector int64
	steps  []string        // "write OFF LEN", "zero OFF LEN", "sync"
	fail   map[int64]error // byte of the device at which a write or zeroing fails
	bad    map[int64]error // byte at which a read fails
	lose   map[int64]bool  // byte that is silently not written
	cut    int             // number of steps after which the power fails; 0 for never
}

func newFake(size int64) *fakeDevice {
	return &fakeDevice{data: bytes.Repeat([]byte{0xa5}, int(size)), sector: 512}
}

func (d *fakeDevice) Name() string      { return "/dev/fake" }
func (d *fakeDevice) Size() int64       { return int64(len(d.data)) }
func (d *fakeDevice) SectorSize() int64 { return d.sector }

func (d *fakeDevice) step(format string, args ...any) error {
	if d.cut > 0 && len(d.steps) >= d.cut {
		return errPowerCut
	}
	d.steps = append(d.steps, fmt.Sprintf(format, args...))
	return nil
}

var errPowerCut = errors.New("power cut")

func (d *fakeDevice) aligned(off, n int64) {
	if off%d.sector != 0 || n%d.sector != 0 {
		panic(fmt.Sprintf("%d bytes at %d are not whole sectors", n, off))
	}
}

func (d *fakeDevice) WriteAt(p []byte, off int64) (int, error) {
	d.aligned(off, int64(len(p)))
	if err := d.step("write %d %d", off, len(p)); err != nil {
		return 0, err
	}
	for at, err := range d.fail {
		if at >= off && at < off+int64(len(p)) {
			return copy(d.data[off:at], p), err
		}
	}
	for i, b := range p {
		if !d.lose[off+int64(i)] {
			d.data[off+int64(i)] = b
		}
	}
	return len(p), nil
}

func (d *fakeDevice) ReadAt(p []byte, off int64) (int, error) {
	d.aligned(off, int64(len(p)))
	for at, err := range d.bad {
		if at >= off && at < off+int64(len(p)) {
			return copy(p, d.data[off:at]), err
		}
	}
	n := copy(p, d.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *fakeDevice) Zero(off, n int64) error {
	d.aligned(off, n)
	if err := d.step("zero %d %d", off, n); err != nil {
		return err
	}
	for at, err := range d.fail {
		if at >= off && at < off+n {
			return err
		}
	}
	clear(d.data[off : off+n])
	return nil
}

func (d *fakeDevice) Sync() error { return d.step("sync") }

func TestTableIsTheLastThingWritten(t *testing.T) {
	b := example(t)
	d := newFake(30 * mib)
	if err := b.open(t).Restore(t.Context(), d, payload.Plan{}, nil); err != nil {
		t.Fatal(err)
	}
	first := []string{fmt.Sprintf("zero 0 %d", mib), fmt.Sprintf("zero %d %d", 29*mib, mib), "sync"}
	if !slices.Equal(d.steps[:3], first) {
		t.Errorf("it begins with %q, want %q", d.steps[:3], first)
	}
	last := []string{"sync", fmt.Sprintf("zero 20480 %d", mib-20480), "write 0 20480", "sync"}
	if n := len(d.steps); !slices.Equal(d.steps[n-4:], last) {
		t.Errorf("it ends with %q, want %q", d.steps[n-4:], last)
	}
	if !bytes.Equal(d.data[:len(b.disk)], b.disk) {
		t.Error("the device has other bytes than the disk")
	}
}

// TestPowerCutAtEveryStep cuts at every single step, looks that the disk does not pass for a partitioned one, and installs
// again.
func TestPowerCutAtEveryStep(t *testing.T) {
	b := build(t, 7*mib,
		payload.Range{Length: 20480}, payload.Range{Offset: mib, Length: mib}, payload.Range{Offset: 3 * mib, Length: mib / 2},
		payload.Range{Offset: 4 * mib, Length: mib}, payload.Range{Offset: 7*mib - 20480, Length: 20480})
	const size = 9 * mib
	p := b.open(t)
	whole := newFake(size)
	if err := p.Restore(t.Context(), whole, payload.Plan{}, nil); err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(whole.steps); cut++ {
		d := newFake(size)
		d.cut = cut
		err := p.Restore(t.Context(), d, payload.Plan{}, nil)
		var failed *payload.WriteError
		if !errors.As(err, &failed) || !errors.Is(err, errPowerCut) {
			t.Fatalf("cut after %d steps it gives %v", cut, err)
		}
		if cut < len(whole.steps)-1 && !bytes.Equal(d.data[:mib], make([]byte, mib)) {
			t.Fatalf("cut after %q the start of the disk is not empty", d.steps)
		}
		checkWritten(t, d, failed)
		d.cut = 0
		if err := p.Restore(t.Context(), d, payload.Plan{}, nil); err != nil || !bytes.Equal(d.data[:len(b.disk)], b.disk) {
			t.Fatalf("repeated after %d steps it gives %v, or other bytes", cut, err)
		}
	}
}

// checkWritten holds a WriteError to what really changed.
func checkWritten(t *testing.T, d *fakeDevice, e *payload.WriteError) {
	t.Helper()
	at := int64(0)
	untouched := func(from, to int64) {
		if len(bytes.Trim(d.data[from:to], "\xa5")) != 0 {
			t.Errorf("bytes %d to %d changed, and the error does not say so: %v", from, to, e)
		}
	}
	for i, r := range e.Written {
		if r.Offset < at || i > 0 && r.Offset == at {
			t.Errorf("the ranges %v are not sorted and apart", e.Written)
		}
		untouched(at, r.Offset)
		at = r.End()
	}
	untouched(at, d.Size())
}

func TestErrorsSayWhereAndWhatWasWritten(t *testing.T) {
	b := example(t)
	for name, test := range map[string]struct {
		prepare func(d *fakeDevice)
		offset  int64
		doing   string
		cause   error
	}{
		"writing fails":      {func(d *fakeDevice) { d.fail = map[int64]error{9*mib + 8192: syscall.EIO} }, 9*mib + 8192, "writing", syscall.EIO},
		"zeroing fails":      {func(d *fakeDevice) { d.fail = map[int64]error{13 * mib: syscall.EIO} }, 11 * mib, "zeroing", syscall.EIO},
		"reading back fails": {func(d *fakeDevice) { d.bad = map[int64]error{17 * mib: syscall.EIO} }, 17 * mib, "reading back", syscall.EIO},
		"a write is lost":    {func(d *fakeDevice) { d.lose = map[int64]bool{4*mib + 77: true} }, 4 * mib, "reading back", payload.ErrReadBack},
		"the table is lost":  {func(d *fakeDevice) { d.lose = map[int64]bool{512: true} }, 0, "reading back", payload.ErrReadBack},
	} {
		t.Run(name, func(t *testing.T) {
			d := newFake(26 * mib)
			test.prepare(d)
			err := b.open(t).Restore(t.Context(), d, payload.Plan{}, nil)
			var failed *payload.WriteError
			if !errors.As(err, &failed) {
				t.Fatalf("the error is %v", err)
			}
			if failed.Device != "/dev/fake" || failed.Offset != test.offset || failed.Doing != test.doing || !errors.Is(err, test.cause) {
				t.Errorf("the error is %q at %d, %v; want %q at %d, %v", failed.Doing, failed.Offset, failed.Err, test.doing, test.offset, test.cause)
			}
			for _, part := range []string{"/dev/fake", fmt.Sprint(test.offset), "were overwritten", "can be repeated"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message lacks %q: %v", part, err)
				}
			}
			checkWritten(t, d, failed)
		})
	}
}

func TestNothingIsWrittenToAnUnfitDevice(t *testing.T) {
	b := example(t)
	for name, test := range map[string]struct {
		device *fakeDevice
		plan   payload.Plan
		want   string
	}{
		"too small":       {newFake(24*mib - 512), payload.Plan{}, "choose a larger disk"},
		"large sectors":   {&fakeDevice{data: make([]byte, 30*mib), sector: 4096}, payload.Plan{}, "sectors of 4096 bytes"},
		"skip the table":  {newFake(30 * mib), payload.Plan{Skip: []payload.Range{{Offset: 0, Length: mib}}}, "nothing was written"},
		"skip beyond":     {newFake(30 * mib), payload.Plan{Skip: []payload.Range{{Offset: 20 * mib, Length: 11 * mib}}}, "nothing was written"},
		"skip half":       {newFake(30 * mib), payload.Plan{Skip: []payload.Range{{Offset: 20 * mib, Length: 100}}}, "nothing was written"},
		"last before all": {newFake(30 * mib), payload.Plan{Last: []payload.Range{{Offset: 512, Length: 512}}}, "nothing was written"},
	} {
		err := b.open(t).Restore(t.Context(), test.device, test.plan, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(test.device.steps) > 0 {
			t.Errorf("%s: error %v after the steps %q", name, err, test.device.steps)
		}
	}
	var small *payload.TooSmallError
	if err := b.open(t).Restore(t.Context(), newFake(mib), payload.Plan{}, nil); !errors.As(err, &small) || small.Need != 24*mib || small.Have != mib {
		t.Errorf("a small device gives %v", err)
	}
}

func TestADamagedFrameIsNotWritten(t *testing.T) {
	b := example(t)
	b.bytes[b.index.Chunks[4].Stored+5] ^= 1
	d := newFake(26 * mib)
	err := b.open(t).Restore(t.Context(), d, payload.Plan{}, nil)
	var corrupt *payload.CorruptError
	var failed *payload.WriteError
	if !errors.As(err, &corrupt) || !errors.As(err, &failed) || corrupt.Offset != b.index.Chunks[4].Stored {
		t.Fatalf("the error is %v", err)
	}
	if bytes.Contains(d.data[9*mib:], b.disk[9*mib:9*mib+512]) {
		t.Error("the damaged chunk was written")
	}
	checkWritten(t, d, failed)
}

func TestSkippedRangesAndTheirTableStay(t *testing.T) {
	b := example(t)
	d := newFake(40 * mib)
	random := rand.New(rand.NewPCG(7, 7))
	for i := range d.data {
		d.data[i] = byte(random.Uint32())
	}
	before := bytes.Clone(d.data)
	// The second begins and ends within chunks; the last reaches behind the disk.
	plan := payload.Plan{
		Skip: []payload.Range{{Offset: 5 * mib, Length: mib}, {Offset: 10 * mib, Length: 7 * mib}, {Offset: 22 * mib, Length: 18 * mib}},
		Last: []payload.Range{{Offset: 1 * mib, Length: mib}},
	}
	var interrupted *payload.WriteError
	d.cut = 8
	if err := b.open(t).Restore(t.Context(), d, plan, nil); !errors.As(err, &interrupted) {
		t.Fatal(err)
	}
	if !bytes.Equal(d.data[440:mib], before[440:mib]) || len(bytes.Trim(d.data[:440], "\x00")) != 0 {
		t.Error("while partitions are kept, their table must stay and the boot code must not")
	}
	if len(bytes.Trim(d.data[mib:2*mib], "\x00")) != 0 {
		t.Error("what shall come last is there before")
	}
	d.cut, d.steps = 0, nil
	if err := b.open(t).Restore(t.Context(), d, plan, nil); err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(before)
	copy(want, b.disk)
	for _, r := range plan.Skip {
		copy(want[r.Offset:r.End()], before[r.Offset:])
	}
	if !bytes.Equal(d.data, want) {
		t.Error("the device has other bytes than the disk and what was skipped")
	}
	n := len(d.steps)
	if d.steps[n-2] != "write 0 20480" || !slices.Contains(d.steps[n-8:], fmt.Sprintf("write %d %d", mib, 3*mib)) {
		t.Errorf("it ends with %q", d.steps[n-8:])
	}
}

func TestRestoreTellsProgressAndStops(t *testing.T) {
	b := example(t)
	p := b.open(t)
	ends := map[payload.Phase]int64{}
	progress := func(phase payload.Phase, done, total int64) {
		if done < ends[phase] || total != p.DataSize() {
			t.Errorf("%s goes from %d to %d of %d", phase, ends[phase], done, total)
		}
		ends[phase] = done
	}
	if err := p.Restore(t.Context(), newFake(26*mib), payload.Plan{}, progress); err != nil {
		t.Fatal(err)
	}
	if ends[payload.Write] != p.DataSize() || ends[payload.ReadBack] != p.DataSize() {
		t.Errorf("progress ends at %v of %d", ends, p.DataSize())
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := newFake(26 * mib)
	err := p.Restore(ctx, d, payload.Plan{}, func(_ payload.Phase, done, _ int64) {
		if done > 0 {
			cancel()
		}
	})
	var failed *payload.WriteError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &failed) {
		t.Errorf("cancelled, it gives %v", err)
	}
	checkWritten(t, d, failed)
}

// TestBlockDevice restores onto a loop device: with O_DIRECT and BLKZEROOUT.
func TestBlockDevice(t *testing.T) {
	b := example(t)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, 30*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	device := loop(t, path)
	d, err := payload.OpenDevice(device)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != 30*mib || d.SectorSize() != 512 || d.Name() != device {
		t.Errorf("%s has %d bytes in sectors of %d", d.Name(), d.Size(), d.SectorSize())
	}
	if _, err := payload.OpenDevice(device); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice, it gives %v", err)
	}
	if err := b.open(t).Restore(t.Context(), d, payload.Plan{}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:len(b.disk)], b.disk) {
		t.Error("the device has other bytes than the disk")
	}
	if len(bytes.Trim(got[len(b.disk):29*mib], "\xa5")) != 0 || len(bytes.Trim(got[29*mib:], "\x00")) != 0 {
		t.Error("behind the disk all but the last MiB must be as it was")
	}
}

func TestOpenDeviceRefuses(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                          "neither a block device nor a file",
		"/dev/null":                  "neither a block device nor a file",
		filepath.Join(dir, "absent"): "no such file",
	} {
		if _, err := payload.OpenDevice(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v", path, err)
		}
	}
}
