package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// childEnv names the function of children that a test process is to run instead of
// the tests.
const childEnv = "STORE_TEST_CHILD"

// children are what tests do in other processes. An error becomes the child's
// output and exit status 1.
var children = map[string]func(args []string) error{
	"write": childWrite,
	"crash": childCrash,
	"hold":  childHold,
	"limit": childLimit,
	"open":  func(args []string) error { _, err := Open(args[0]); return err },
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child returns a command that runs one of children.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, p []byte) Digest {
	t.Helper()
	d, err := s.Put(p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// batch stores objects in one pack.
func batch(t testing.TB, s *Store, objects ...[]byte) []Digest {
	t.Helper()
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	var digests []Digest
	for _, p := range objects {
		d, _, err := b.Add(bytes.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	return digests
}

func wantObject(t testing.TB, s *Store, want []byte) {
	t.Helper()
	got, err := s.ReadAll(Sum(want))
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("object %s reads back as %d other bytes", Sum(want), len(got))
	}
}

// files lists the files below the store's directory sub.
func files(t testing.TB, dir, sub string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, sub, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// object returns n bytes that no other seed gives.
func object(seed uint64, n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, seed)))
	r.Read(p)
	return p
}

func TestObjectsSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	objects := [][]byte{{}, {0}, []byte("hello\n"), object(1, 256<<10-1), object(2, 256<<10), object(3, 256<<10+1), object(4, 3<<20)}
	digests := batch(t, s, objects...)
	single := put(t, s, []byte("single"))
	for i, p := range objects {
		if digests[i] != Digest(sha256.Sum256(p)) {
			t.Errorf("object %d has the digest %s", i, digests[i])
		}
	}
	s.Close()
	again := openTest(t, dir)
	for _, p := range append(objects, []byte("single")) {
		wantObject(t, again, p)
	}
	if !again.HasAll(append(digests, single)) {
		t.Error("HasAll does not know what was stored")
	}
	if again.HasAll(append(digests, Sum([]byte("absent")))) || again.Has(Sum([]byte("absent"))) {
		t.Error("the store has what was never stored")
	}
	if _, err := again.Object(Sum([]byte("absent"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("an absent object gives %v", err)
	}
	if n, err := again.Stat(digests[6]); n != 3<<20 || err != nil {
		t.Errorf("Stat: %d, %v", n, err)
	}
	if p, err := again.Peek(digests[2], 4); string(p) != "hell" || err != nil {
		t.Errorf("Peek: %q, %v", p, err)
	}
	if p, err := again.Peek(digests[2], 40); string(p) != "hello\n" || err != nil {
		t.Errorf("Peek beyond the end: %q, %v", p, err)
	}
}

func TestObjectReader(t *testing.T) {
	s := openTest(t, t.TempDir())
	p := object(1, 1000)
	d := put(t, s, p)
	put(t, s, object(2, 1000)) // what lies next in no way shows
	o, err := s.Object(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(o.NewReader(), p); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		off, n, want int64
		err          error
	}{{0, 10, 10, nil}, {990, 10, 10, nil}, {990, 11, 10, io.EOF}, {1000, 1, 0, io.EOF}, {1001, 1, 0, io.EOF}, {1000, 0, 0, io.EOF}} {
		n, err := o.ReadAt(make([]byte, c.n), c.off)
		if int64(n) != c.want || err != c.err {
			t.Errorf("ReadAt %d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	if _, err := o.ReadAt(make([]byte, 1), -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("ReadAt -1: %v", err)
	}
	empty, err := s.Object(Sum(nil))
	if err != nil || empty.Size() != 0 {
		t.Errorf("the empty object: %v, %v", empty, err)
	}
}

// TestPackFormat reads a pack as doc.go describes it, with nothing of this package.
func TestPackFormat(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	objects := map[string]bool{"first": true, "the second": true, "": false}
	batch(t, s, []byte("first"), nil, []byte("the second"), []byte("first"))
	packs := files(t, dir, "packs")
	if len(packs) != 1 {
		t.Fatalf("packs: %v", packs)
	}
	p, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	footer := p[len(p)-56:]
	index := p[binary.LittleEndian.Uint64(footer) : len(p)-56]
	sum := sha256.Sum256(index)
	if string(p[:8]) != "IFPACK1\n" || string(footer[48:]) != "IFPACKE\n" || !bytes.Equal(sum[:], footer[16:48]) {
		t.Error("magic numbers or the digest of the index are wrong")
	}
	if want := fmt.Sprintf("%x.pack", sum); filepath.Base(packs[0]) != want {
		t.Errorf("the pack is named %s, want %s", packs[0], want)
	}
	if n := binary.LittleEndian.Uint64(footer[8:]); n != 2 || len(index) != 2*48 {
		t.Fatalf("%d records in %d bytes", n, len(index))
	}
	for ; len(index) > 0; index = index[48:] {
		offset, size := binary.LittleEndian.Uint64(index[32:]), binary.LittleEndian.Uint64(index[40:])
		contents := p[offset : offset+size]
		if want := sha256.Sum256(contents); !bytes.Equal(index[:32], want[:]) || !objects[string(contents)] {
			t.Errorf("the record of %q is wrong", contents)
		}
	}
}

func TestBatchStoresEachObjectOnce(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	small, large := object(1, 100), object(2, 1<<20)
	batch(t, s, small, large, small, large)
	before, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(1<<20 + 1000); before > most {
		t.Errorf("the store takes %d bytes, at most %d are needed", before, most)
	}
	batch(t, s, large, small)
	if d, err := s.Put(small); d != Sum(small) || err != nil {
		t.Errorf("Put of what is there: %v, %v", d, err)
	}
	if after, _ := s.Size(); after != before {
		t.Errorf("what was there already was stored again: %d, then %d bytes", before, after)
	}
}

func TestBatchAfterReadErrors(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	good := [][]byte{object(1, 1000), object(2, 1<<20), object(3, 1000)}
	add := func(p []byte) {
		t.Helper()
		if d, n, err := b.Add(iotest.HalfReader(bytes.NewReader(p))); d != Sum(p) || n != int64(len(p)) || err != nil {
			t.Errorf("Add: %s, %d, %v", d, n, err)
		}
	}
	add(good[0])
	broken := errors.New("broken")
	for _, n := range []int{0, 10, 300 << 10, 2 << 20} {
		for _, cause := range []error{broken, io.ErrUnexpectedEOF} {
			r := io.MultiReader(bytes.NewReader(object(9, n)), iotest.ErrReader(cause))
			if _, _, err := b.Add(r); !errors.Is(err, cause) {
				t.Errorf("Add of a reader which fails after %d bytes with %q: %v", n, cause, err)
			}
		}
	}
	add(good[1])
	add(good[2])
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err == nil {
		t.Error("a second Commit succeeded")
	}
	b.Abort() // does nothing
	s.Close()
	again := openTest(t, dir)
	for _, p := range good {
		wantObject(t, again, p)
	}
	if size, _ := again.Size(); size > 1<<20+4000 {
		t.Errorf("what was read before the errors is still there: %d bytes", size)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	for range 2 {
		b, err := s.NewBatch()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.AddBytes(object(1, 1<<20)); err != nil {
			t.Fatal(err)
		}
		b.Abort()
		b.Abort()
		if err := b.Commit(); err == nil {
			t.Error("Commit after Abort succeeded")
		}
	}
	if s.Has(Sum(object(1, 1<<20))) || len(files(t, dir, "*")) != 0 {
		t.Errorf("left: %v", files(t, dir, "*"))
	}
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil || len(files(t, dir, "*")) != 0 {
		t.Errorf("an empty batch: %v, leaves %v", err, files(t, dir, "*"))
	}
}

func TestStoresSeeEachOther(t *testing.T) {
	dir := t.TempDir()
	a, b := openTest(t, dir), openTest(t, dir)
	d := put(t, a, []byte("of a"))
	if !b.Has(d) {
		t.Error("b does not see what a stored")
	}
	wantObject(t, b, []byte("of a"))
	// Both store the same before they see it of each other: same name, same bytes.
	batch(t, a, []byte("x"), []byte("y"))
	batch(t, b, []byte("x"), []byte("y"))
	for _, s := range []*Store{a, b} {
		wantObject(t, s, []byte("x"))
	}
	if n := len(files(t, dir, "packs")); n != 2 {
		t.Errorf("%d packs, want 2", n)
	}
}

// damage changes the byte at offset off, counted from the end when negative.
func damage(t testing.TB, path string, off int64) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if off < 0 {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		off += info.Size()
	}
	var p [1]byte
	if _, err := f.ReadAt(p[:], off); err != nil {
		t.Fatal(err)
	}
	p[0] ^= 1
	if _, err := f.WriteAt(p[:], off); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedObject(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	bad, good := object(1, 5000), object(2, 5000)
	batch(t, s, bad, good)
	s.Close()
	pack := files(t, dir, "packs")[0]
	damage(t, pack, 8+4999) // the last byte of bad

	s = openTest(t, dir)
	wantObject(t, s, good)
	var corrupt *CorruptError
	for range 2 { // each time, not only when it is noticed
		_, err := s.Object(Sum(bad))
		if !errors.As(err, &corrupt) || corrupt.Digest != Sum(bad) || corrupt.Path != pack {
			t.Fatalf("a damaged object gives %v", err)
		}
	}
	if want := fmt.Sprintf("object %s in %s is damaged on disk; run `imagefactory cache verify --repair` and build again", Sum(bad), pack); corrupt.Error() != want {
		t.Errorf("the error reads %q", corrupt)
	}
	if s.Has(Sum(bad)) || s.HasAll([]Digest{Sum(bad)}) {
		t.Error("the store still claims to have the damaged object")
	}
	found, err := s.Verify(t.Context(), false)
	want := []Damage{{Path: pack, Digest: Sum(bad)}}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("Verify: %v, %v", found, err)
	}
	put(t, s, bad) // as the stage which made it does
	wantObject(t, s, bad)
	s.Close()

	// Another process reads the good copy, whichever it looks at first.
	s = openTest(t, dir)
	wantObject(t, s, bad)
	wantObject(t, s, good)

	if found, err = s.Verify(t.Context(), true); err != nil || !slices.Equal(found, want) {
		t.Errorf("Verify with repair: %v, %v", found, err)
	}
	if found, err = s.Verify(t.Context(), true); err != nil || len(found) != 0 {
		t.Errorf("Verify after the repair: %v, %v", found, err)
	}
	wantObject(t, s, bad)
	wantObject(t, s, good)
	if _, err := os.Stat(pack); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged pack is still there: %v", err)
	}
}

func TestRepairTakesDamagedObjectsOut(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	bad, good := object(1, 5000), object(2, 5000)
	batch(t, s, bad, good)
	put(t, s, []byte("alone"))
	for _, pack := range files(t, dir, "packs") {
		damage(t, pack, 8)
	}
	// The process that wrote them trusts them until it is told otherwise.
	found, err := s.Verify(t.Context(), true)
	if err != nil || len(found) != 2 {
		t.Errorf("Verify: %v, %v", found, err)
	}
	if s.Has(Sum(bad)) || s.Has(Sum([]byte("alone"))) {
		t.Error("damaged objects are still there")
	}
	wantObject(t, s, good)
	if n := len(files(t, dir, "packs")); n != 1 {
		t.Errorf("%d packs are left, want 1", n)
	}
}

func TestDamagedPacksAreAbsent(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"header":      func(t *testing.T, path string) { damage(t, path, 0) },
		"index":       func(t *testing.T, path string) { damage(t, path, -60) },
		"footer":      func(t *testing.T, path string) { damage(t, path, -56) },
		"end":         func(t *testing.T, path string) { damage(t, path, -1) },
		"cut off":     func(t *testing.T, path string) { truncate(t, path, 2000) },
		"empty":       func(t *testing.T, path string) { truncate(t, path, 0) },
		"holes":       func(t *testing.T, path string) { truncate(t, path, 0); truncate(t, path, 10_000) },
		"grown":       func(t *testing.T, path string) { truncate(t, path, 6000) },
		"header only": func(t *testing.T, path string) { truncate(t, path, 8) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir)
			put(t, s, object(1, 5000))
			pack := files(t, dir, "packs")[0]
			put(t, s, []byte("other"))
			s.Close()
			spoil(t, pack)

			s = openTest(t, dir)
			wantObject(t, s, []byte("other"))
			if _, err := s.Object(Sum(object(1, 5000))); !errors.Is(err, ErrNotFound) {
				t.Errorf("an object of the damaged pack: %v", err)
			}
			found, err := s.Verify(t.Context(), false)
			if err != nil || !slices.Equal(found, []Damage{{Path: pack}}) {
				t.Errorf("Verify: %v, %v", found, err)
			}
			put(t, s, object(1, 5000)) // a pack of the same name: it replaces the damaged one
			wantObject(t, s, object(1, 5000))
			if found, err := s.Verify(t.Context(), false); err != nil || len(found) != 0 {
				t.Errorf("Verify after storing it again: %v, %v", found, err)
			}
			spoil(t, pack)
			if found, err := s.Verify(t.Context(), true); err != nil || len(found) != 1 {
				t.Errorf("Verify with repair: %v, %v", found, err)
			}
			if s.Has(Sum(object(1, 5000))) || len(files(t, dir, "packs")) != 1 {
				t.Error("the damaged pack is still there")
			}
			wantObject(t, s, []byte("other"))
		})
	}
}

func truncate(t testing.TB, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPackCutOffWhileOpen(t *testing.T) {
	dir := t.TempDir()
	put(t, openTest(t, dir), object(1, 50_000))
	s := openTest(t, dir)
	truncate(t, files(t, dir, "packs")[0], 9)
	var corrupt *CorruptError
	if _, err := s.Object(Sum(object(1, 50_000))); !errors.As(err, &corrupt) {
		t.Errorf("an object that was cut off: %v", err)
	}
}

// childCrash ends with a batch under way.
func childCrash(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	b, err := s.NewBatch()
	if err != nil {
		return err
	}
	if _, _, err := b.Add(bytes.NewReader(object(1, 1<<20))); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

func TestCrashLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	put(t, s, []byte("kept"))
	if out, err := child("crash", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := len(files(t, dir, "tmp")); n != 1 {
		t.Fatalf("the crash left %d files, the test wants 1", n)
	}
	other := openTest(t, dir)
	if n := len(files(t, dir, "tmp")); n != 1 {
		t.Error("Open removed what a process which has the store open may be writing")
	}
	if s.Has(Sum(object(1, 1<<20))) {
		t.Error("an uncommitted object is in the store")
	}
	s.Close()
	other.Close()
	s = openTest(t, dir)
	if n := len(files(t, dir, "tmp")); n != 0 {
		t.Errorf("Open left %d files of crashed processes", n)
	}
	wantObject(t, s, []byte("kept"))
}

// childWrite stores 200 of 300 objects, some alone and some in batches, and reads
// back what it can see of the others' meanwhile.
func childWrite(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for half := range 2 {
		wg.Go(func() { errs <- writeSome(s, seed, half) })
	}
	wg.Wait()
	return errors.Join(<-errs, <-errs)
}

func sharedObject(i int) []byte { return object(uint64(1000+i), 100+i*37) }

func writeSome(s *Store, seed uint64, half int) error {
	r := rand.New(rand.NewPCG(seed, uint64(half)))
	for range 10 {
		b, err := s.NewBatch()
		if err != nil {
			return err
		}
		defer b.Abort()
		for range 10 {
			if _, _, err := b.Add(bytes.NewReader(sharedObject(r.IntN(300)))); err != nil {
				return err
			}
		}
		if err := b.Commit(); err != nil {
			return err
		}
		for i := range 300 {
			p, err := s.ReadAll(Sum(sharedObject(i)))
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !bytes.Equal(p, sharedObject(i)) {
				return fmt.Errorf("object %d reads back wrong", i)
			}
		}
	}
	return nil
}

func TestConcurrentProcesses(t *testing.T) {
	dir := t.TempDir()
	var cmds []*exec.Cmd
	for seed := range 4 {
		cmd := child("write", dir, strconv.Itoa(seed))
		cmd.Stdout = new(strings.Builder)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, cmd.Stdout)
		}
	}
	s := openTest(t, dir)
	if damage, err := s.Verify(t.Context(), false); err != nil || len(damage) != 0 {
		t.Errorf("Verify: %v, %v", damage, err)
	}
	if n := len(files(t, dir, "tmp")); n != 0 {
		t.Errorf("%d files are left in tmp", n)
	}
	// A sweep keeps one copy of each.
	live := map[Digest]struct{}{}
	var bytes int64
	for i := range 300 {
		if p := sharedObject(i); s.Has(Sum(p)) {
			live[Sum(p)] = struct{}{}
			bytes += int64(len(p))
		}
	}
	if _, err := s.Sweep(live); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if p := sharedObject(i); s.Has(Sum(p)) {
			wantObject(t, s, p)
			delete(live, Sum(p))
		}
	}
	if len(live) != 0 {
		t.Errorf("the sweep lost %d live objects", len(live))
	}
	if size, _ := s.Size(); size > bytes+bytes/7+300*64+40*100 {
		t.Errorf("after the sweep %d bytes of objects take %d", bytes, size)
	}
}

func TestManyPacksFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	const n = maxOpenPacks + 50
	var objects []*Object
	for i := range n {
		put(t, s, object(uint64(i), 100))
	}
	s.Close()
	s = openTest(t, dir)
	for i := range n {
		o, err := s.Object(Sum(object(uint64(i), 100)))
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	var wg sync.WaitGroup
	for w := range 4 { // objects whose descriptor was closed meanwhile can still be read
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range 2000 {
				i := r.IntN(n)
				p := make([]byte, 100)
				if _, err := objects[i].ReadAt(p, 0); err != nil || !bytes.Equal(p, object(uint64(i), 100)) {
					t.Errorf("object %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if open := openPacks(t, dir); open > maxOpenPacks {
		t.Errorf("%d packs are open", open)
	}
	s.Close()
	if open := openPacks(t, dir); open != 0 {
		t.Errorf("%d packs are open after Close", open)
	}
}

// openPacks counts this process's descriptors of packs below dir.
func openPacks(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	for _, fd := range files(t, "/proc/self/fd", "") {
		if path, err := os.Readlink(fd); err == nil && strings.HasPrefix(path, filepath.Join(dir, "packs")) {
			n++
		}
	}
	return n
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	dead := batch(t, s, object(1, 1000), object(2, 1000))
	whole := batch(t, s, object(3, 1000), object(4, 1000))
	mostly := batch(t, s, object(5, 100), object(6, 10_000)) // less than an eighth dies
	partly := batch(t, s, object(7, 9_000), object(8, 10_000), object(9, 300_000))
	live := map[Digest]struct{}{}
	for _, d := range []Digest{whole[0], whole[1], mostly[1], partly[0], partly[1], Sum([]byte("of somebody else"))} {
		live[d] = struct{}{}
	}
	for _, d := range partly { // verified before and after makes no difference
		if _, err := s.Object(d); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := s.Size()
	freed, err := s.Sweep(live)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := s.Size()
	if freed != before-after || freed < 302_000 {
		t.Errorf("freed %d, from %d to %d bytes", freed, before, after)
	}
	for range 2 {
		for _, p := range [][]byte{object(3, 1000), object(4, 1000), object(5, 100), object(6, 10_000), object(7, 9_000), object(8, 10_000)} {
			wantObject(t, s, p)
		}
		for _, d := range []Digest{dead[0], dead[1], partly[2]} {
			if s.Has(d) {
				t.Errorf("the dead object %s is still there", d)
			}
		}
		s.Close()
		s = openTest(t, dir)
	}
	if freed, err := s.Sweep(live); freed != 0 || err != nil {
		t.Errorf("a second sweep: %d, %v", freed, err)
	}
	if _, err := s.Sweep(nil); err != nil || len(files(t, dir, "packs")) != 0 {
		t.Errorf("a sweep of everything: %v, leaves %v", err, files(t, dir, "packs"))
	}
	put(t, s, object(1, 1000))
	wantObject(t, s, object(1, 1000))
}

func TestSweepDoesNotSpreadDamage(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	d := batch(t, s, object(1, 1000), object(2, 1000), object(3, 1000))
	damage(t, files(t, dir, "packs")[0], 8+1000) // of the second
	if _, err := s.Sweep(map[Digest]struct{}{d[0]: {}, d[1]: {}}); err != nil {
		t.Fatal(err)
	}
	wantObject(t, s, object(1, 1000))
	if s.Has(d[1]) {
		t.Error("the damaged object was kept")
	}
	if size, _ := s.Size(); size != 8+1000+48+56 {
		t.Errorf("the store takes %d bytes", size)
	}
}

// childHold opens a store, says so, and waits for the end of its standard input.
func childHold(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestSweepWhileInUse(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	d := put(t, s, []byte("x"))
	cmd := child("hold", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("open\n"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(nil); !errors.Is(err, ErrInUse) {
		t.Errorf("Sweep while another process has the store open: %v", err)
	}
	if _, err := s.Verify(t.Context(), true); !errors.Is(err, ErrInUse) {
		t.Errorf("Verify with repair while another process has the store open: %v", err)
	}
	if _, err := s.Verify(t.Context(), false); err != nil {
		t.Errorf("Verify without repair: %v", err)
	}
	if err := s.Exclusive(func() error { t.Error("it ran"); return nil }); !errors.Is(err, ErrInUse) {
		t.Errorf("Exclusive: %v", err)
	}
	if !s.Has(d) {
		t.Error("the object is gone")
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Sweep(nil); freed == 0 || err != nil {
		t.Errorf("Sweep afterwards: %d, %v", freed, err)
	}
}

func TestOpenWaitsForExclusive(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	d := put(t, s, []byte("x"))
	opened := make(chan *Store)
	if err := s.Exclusive(func() error {
		go func() {
			other, err := Open(dir)
			if err != nil {
				t.Error(err)
			}
			opened <- other
		}()
		select {
		case <-opened:
			t.Error("the store was opened within Exclusive")
		case <-time.After(50 * time.Millisecond): // not a deadline: how long to look for a fault
		}
		_, err := s.Sweep(nil) // may be called within
		return err
	}); err != nil {
		t.Fatal(err)
	}
	other := <-opened
	defer other.Close()
	if other.Has(d) {
		t.Error("what was swept is there")
	}
	broken := errors.New("broken")
	other.Close()
	if err := s.Exclusive(func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("Exclusive: %v", err)
	}
	openTest(t, dir) // the lock is shared again
}

func TestVerifyStops(t *testing.T) {
	s := openTest(t, t.TempDir())
	put(t, s, []byte("x"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := s.Verify(ctx, false); err == nil || err.Error() != "enough" {
		t.Errorf("Verify: %v", err)
	}
}

func TestUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		dir := t.TempDir()
		s := openTest(t, dir)
		old := syscall.Umask(umask)
		put(t, s, []byte("x"))
		syscall.Umask(old)
		info, err := os.Stat(files(t, dir, "packs")[0])
		if err != nil || info.Mode() != 0o444 {
			t.Errorf("with umask %#o a pack has mode %v, %v", umask, info.Mode(), err)
		}
	}
}

// asNobody runs a command without root's privileges.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}

func TestReadOnlyDirectory(t *testing.T) {
	dir, err := os.MkdirTemp("", "store-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	out, err := asNobody(child("open", filepath.Join(dir, "store"))).CombinedOutput()
	want := fmt.Sprintf("the store cannot be created: mkdir %s/store: permission denied", dir)
	if err == nil || string(out) != want {
		t.Errorf("a store that cannot be created: %v, %q, want %q", err, out, want)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir).Close()
	if err := os.Chmod(filepath.Join(dir, "lock"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	out, err = asNobody(child("open", dir)).CombinedOutput()
	want = fmt.Sprintf("the store cannot be opened: open %s/lock: permission denied", dir)
	if err == nil || string(out) != want {
		t.Errorf("a store that cannot be written: %v, %q, want %q", err, out, want)
	}
}

// childLimit stores more than it may write.
func childLimit(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	b, err := s.NewBatch()
	if err != nil {
		return err
	}
	defer b.Abort()
	_, _, err = b.Add(bytes.NewReader(object(1, 3<<20)))
	return err
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	out, err := child("limit", dir).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "the store cannot be written: write ") || strings.Count(string(out), "cannot be written") != 1 || !strings.HasSuffix(string(out), ": file too large") {
		t.Errorf("writing more than fits: %v, %q", err, out)
	}
	if left := files(t, dir, "*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	s := openTest(t, dir)
	put(t, s, object(1, 3<<20))

	full := s.writeError(&os.PathError{Op: "write", Path: "/c/store/tmp/batch-1", Err: syscall.ENOSPC})
	want := "the store cannot be written: write /c/store/tmp/batch-1: no space left on device; free some space on the file system of " + dir + " (`imagefactory cache gc` can), or choose another with --cache"
	var status interface{ ExitStatus() int }
	if full.Error() != want || !errors.Is(full, syscall.ENOSPC) || !errors.As(full, &status) || status.ExitStatus() != 3 {
		t.Errorf("a full disk: %v, want %s", full, want)
	}
}

func TestDigest(t *testing.T) {
	const text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	d := Sum(nil)
	if d.String() != text || d.IsZero() || !(Digest{}).IsZero() {
		t.Errorf("the digest of nothing is %s", d)
	}
	if got, err := ParseDigest(text); got != d || err != nil {
		t.Errorf("ParseDigest: %s, %v", got, err)
	}
	for _, c := range []struct{ text, err string }{
		{"", `digest "" does not start with "sha256:"`},
		{text[7:], `digest "` + text[7:] + `" does not start with "sha256:"`},
		{"sha256:e3b0", `digest "sha256:e3b0" has 4 hexadecimal digits, want 64`},
		{text[:70] + "g", `digest "` + text[:70] + `g": encoding/hex: invalid byte: U+0067 'g'`},
	} {
		if _, err := ParseDigest(c.text); err == nil || err.Error() != c.err {
			t.Errorf("ParseDigest(%q): %v, want %s", c.text, err, c.err)
		}
	}
	for _, d := range []Digest{d, {}} {
		p, err := d.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		back := Sum([]byte("another"))
		if err := back.UnmarshalText(p); err != nil || back != d {
			t.Errorf("UnmarshalText(%q): %s, %v", p, back, err)
		}
	}
	if err := d.UnmarshalText([]byte("sha1:00")); err == nil || d != Sum(nil) {
		t.Errorf("UnmarshalText of nonsense: %v", err)
	}
}
