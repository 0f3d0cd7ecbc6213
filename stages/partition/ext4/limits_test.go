package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// TestMinSize writes at the least size, and fails a block below it.
func TestMinSize(t *testing.T) {
	st := openStore(t)
	r := rand.New(rand.NewPCG(7, 8))
	small := newBuilder(t, st).file("f", []byte("x")).tree()
	large := newBuilder(t, st).file("a", randomBytes(r, 80<<20)).addNames("d", 3000, func(i int) string { return fmt.Sprint(i) }).file("b", randomBytes(r, 55<<20)).tree()
	names := newBuilder(t, st).addNames("d", 30000, func(i int) string { return fmt.Sprint(i) }).tree()
	for _, test := range []struct {
		name string
		tree *tree.Tree
		set  func(*Options)
	}{
		{"empty", tree.Empty(tree.Time{}), func(*Options) {}},
		{"small", small, func(*Options) {}},
		{"large", large, func(*Options) {}},
		{"odd", oddTree(t, st), func(*Options) {}},
		{"names", names, func(*Options) {}},
		{"names by ratio", names, func(o *Options) { o.InodeRatio = 16384 }},
		{"names, no flex_bg", names, func(o *Options) { o.Features = without("flex_bg") }},
		{"no journal", large, func(o *Options) { o.Features = without("has_journal") }},
		{"least", small, func(o *Options) { o.Features = []string{"ext_attr", "filetype", "extent", "large_file"} }},
		{"1024", large, func(o *Options) { o.BlockSize = 1024 }},
		{"1024, no flex_bg, no sparse_super", large, func(o *Options) { o.BlockSize, o.Features = 1024, without("flex_bg resize_inode sparse_super") }},
		{"2048", large, func(o *Options) { o.BlockSize = 2048 }},
		{"large journal", large, func(o *Options) { o.JournalSize = 200 << 20 }},
		{"little growth", large, func(o *Options) { o.MaxGrowth = 1 << 30 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(0)
			o.SparseMin = -1
			test.set(&o)
			size, err := MinSize(test.tree, o)
			if err != nil {
				t.Fatal(err)
			}
			o.Size = size
			image := write(t, st, test.tree, o)
			fsck(t, image)
			compareTrees(t, test.tree, readTree(t, image))
			blockSize := int64(4096)
			if o.BlockSize > 0 {
				blockSize = int64(o.BlockSize)
			}
			o.Size = size - blockSize
			if o.InodeRatio > 0 {
				o.Size = size - 8*blockSize*blockSize // the size is only exact to a block group, see MinSize
			}
			_, err = Write(context.Background(), st, test.tree, o)
			noSpace := (*NoSpaceError)(nil)
			if !errors.As(err, &noSpace) {
				t.Fatalf("%d bytes instead of %d: %v", o.Size, size, err)
			}
			if noSpace.Need != size || noSpace.Have != o.Size || noSpace.MissingBlocks+noSpace.MissingInodes < 1 || noSpace.ExitStatus() != 2 {
				t.Errorf("the error says %+v", *noSpace)
			}
		})
	}
}

// TestNoSpace looks at the errors a person sees.
func TestNoSpace(t *testing.T) {
	st := openStore(t)
	r := rand.New(rand.NewPCG(7, 8))
	tr := newBuilder(t, st).file("f", randomBytes(r, 40<<20)).addNames("d", 2000, func(i int) string { return fmt.Sprint(i) }).tree()
	for _, test := range []struct {
		set  func(*Options)
		want string
	}{
		{func(o *Options) { o.Size = 40 << 20 }, "the ext4 file system of 40.0 MiB is too small for its contents: 1207 blocks (4.8 MiB) are missing; make it 44.8 MiB (46972928 bytes) or larger"},
		{func(o *Options) { o.Size = 64 << 20; o.Inodes = 1000 }, "the ext4 file system of 64.0 MiB is too small for its contents: 1005 inodes are missing; ask for more inodes"},
		{func(o *Options) { o.Size = 100 }, ""},
		{func(o *Options) { o.Size = 0 }, ""},
	} {
		o := options(0)
		test.set(&o)
		_, err := Write(context.Background(), st, tr, o)
		if !errors.As(err, new(*NoSpaceError)) {
			t.Fatalf("%+v: %v", o, err)
		}
		if test.want != "" && err.Error() != test.want {
			t.Errorf("the error is\n%s\nwant\n%s", err, test.want)
		}
	}
}

// TestWhatExt4CannotHold demands errors that name the path.
func TestWhatExt4CannotHold(t *testing.T) {
	st := openStore(t)
	xattr := func(name string, value []byte) tree.Entry {
		return tree.Entry{Type: tree.FIFO, Xattrs: []tree.Xattr{{Name: name, Value: value}}}
	}
	for name, test := range map[string]struct {
		entry tree.Entry
		want  string
	}{
		"long value":      {xattr("user.x", make([]byte, 4096)), "/e: its extended attributes need 4116 bytes outside the inode, ext4 has room for 4060"},
		"prefix":          {xattr("nobody.x", nil), `/e: extended attribute "nobody.x": ext4 cannot hold a name with this prefix`},
		"only prefix":     {xattr("user.", nil), `/e: extended attribute "user.": ext4 cannot hold a name with this prefix`},
		"long name":       {xattr("user."+strings.Repeat("n", 256), nil), "the name has 256 bytes behind its prefix, 255 is the most"},
		"ACL":             {xattr("system.posix_acl_access", []byte("x")), `/e: extended attribute "system.posix_acl_access": it is not an ACL of version 2`},
		"ACL tag":         {xattr("system.posix_acl_default", []byte{2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}), "the tag 0x3 of an entry is unknown"},
		"long target":     {tree.Entry{Type: tree.Symlink, Target: strings.Repeat("t", 4096)}, "/e: the symlink's target has 4096 bytes, with blocks of 4096 bytes one less is the most"},
		"major":           {tree.Entry{Type: tree.CharDevice, Major: 4096}, "/e: the device number has more than 12 bits of major or 20 of minor"},
		"minor":           {tree.Entry{Type: tree.BlockDevice, Minor: 1 << 20}, "/e: the device number has more than 12 bits of major or 20 of minor"},
		"early":           {tree.Entry{Type: tree.FIFO, MTime: tree.Time{Sec: -1<<31 - 1}}, "/e: its time -2147483649 s lies outside what ext4 can hold, 1901 to 2446"},
		"late":            {tree.Entry{Type: tree.FIFO, MTime: tree.Time{Sec: -1<<31 + 1<<34}}, "/e: its time 15032385536 s lies outside what ext4 can hold, 1901 to 2446"},
		"no contents":     {tree.Entry{Type: tree.Regular, Digest: store.Digest{1}, Size: 5}, "/e: its contents sha256:01"},
		"lost+found":      {tree.Entry{Path: "lost+found", Type: tree.FIFO}, "/lost+found: ext4 needs this name for a directory, the tree has a FIFO"},
		"larger than any": {tree.Entry{Type: tree.Regular, Digest: store.Sum(nil), Size: 1 << 45}, "/e: the file has 35184372088832 bytes, with blocks of 4096 bytes ext4 holds at most 17592186040320"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.entry.Path == "" {
				test.entry.Path = "e"
			}
			tr, err := tree.New([]tree.Entry{{Path: tree.Root, Type: tree.Directory}, test.entry})
			if err != nil {
				t.Fatal(err)
			}
			o := options(64 << 20)
			o.SparseMin = -1
			_, err = Write(context.Background(), st, tr, o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
	t.Run("hard links", func(t *testing.T) {
		entries := []tree.Entry{{Path: tree.Root, Type: tree.Directory}}
		for i := range maxLinks + 1 {
			entries = append(entries, tree.Entry{Path: fmt.Sprintf("%06d", i), Type: tree.FIFO, Link: 1})
		}
		tr, err := tree.New(slices.Clone(entries))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Write(context.Background(), st, tr, options(64<<20)); err == nil || err.Error() != "/065000: the file has more than 65000 hard links" {
			t.Errorf("the error is %v", err)
		}
		if tr, err = tree.New(entries[:maxLinks+1]); err != nil {
			t.Fatal(err)
		}
		fsck(t, write(t, st, tr, options(64<<20)))
	})
	t.Run("directory", func(t *testing.T) {
		fullTier(t)
		tr := newBuilder(t, st).addNames("d", 50000, func(i int) string { return fmt.Sprintf("%0255d", i) }).tree()
		o := options(64 << 20)
		o.BlockSize = 1024
		if _, err := Write(context.Background(), st, tr, o); err == nil || !strings.HasPrefix(err.Error(), "/d: the directory has 50000 entries in 16667 blocks") {
			t.Errorf("the error is %v", err)
		}
		o.Features = without("dir_index dir_nlink")
		o.Size = 128 << 20
		fsck(t, write(t, st, tr, o))
	})
}

// TestLostFoundOfTheTree keeps what the tree says of lost+found.
func TestLostFoundOfTheTree(t *testing.T) {
	st := openStore(t)
	b := newBuilder(t, st).file("lost+found/#12", []byte("x"))
	b.add(tree.Entry{Path: lostFound, Type: tree.Directory, Mode: 0o750, UID: 5, MTime: tree.Time{Sec: 77}})
	tr := b.tree()
	image := write(t, st, tr, options(64<<20))
	fsck(t, image)
	compareTrees(t, tr, readTree(t, image))
	if out := run(t, "e2fsprogs", "debugfs", "-R", "stat lost+found", image); !strings.Contains(out, "Inode: 11 ") || !strings.Contains(out, "Size: 16384") {
		t.Errorf("lost+found is\n%s", out)
	}
}

// TestOptionErrors demands that every impossible option is refused.
func TestOptionErrors(t *testing.T) {
	st := openStore(t)
	for want, set := range map[string]func(*Options){
		"growing to 0, is negative":              func(o *Options) { o.Size = -1 },
		"growing to -1, is negative":             func(o *Options) { o.MaxGrowth = -1 },
		"it must be 1024, 2048 or 4096":          func(o *Options) { o.BlockSize = 512 },
		"at most 16 bytes":                       func(o *Options) { o.Label = strings.Repeat("l", 17) },
		"at most 63 bytes":                       func(o *Options) { o.LastMounted = strings.Repeat("l", 64) },
		"no UUID":                                func(o *Options) { o.UUID = [16]byte{} },
		"give one of them":                       func(o *Options) { o.Inodes, o.InodeRatio = 1, 1 },
		"1024 is the least":                      func(o *Options) { o.InodeRatio = 10 },
		"0 to 50":                                func(o *Options) { o.ReservedPercent = 51 },
		"before 1970":                            func(o *Options) { o.Time.Sec = -1 },
		"after the year 2446":                    func(o *Options) { o.Time.Sec = 1 << 35 },
		`feature "orphan_file" is not supported`: func(o *Options) { o.Features = without("", "orphan_file") },
		`feature "extents" is unknown`:           func(o *Options) { o.Features = without("", "extents") },
		`feature "^has_journal": the list is the complete`:        func(o *Options) { o.Features = []string{"^has_journal"} },
		`feature "extent" is missing`:                             func(o *Options) { o.Features = without("extent") },
		`"resize_inode" needs "sparse_super"`:                     func(o *Options) { o.Features = without("sparse_super") },
		`"metadata_csum" and "uninit_bg" exclude`:                 func(o *Options) { o.Features = without("", "uninit_bg") },
		`"metadata_csum_seed" needs "metadata_csum"`:              func(o *Options) { o.Features = without("metadata_csum", "metadata_csum_seed") },
		`a journal size without the feature "has_journal"`:        func(o *Options) { o.JournalSize, o.Features = 8<<20, without("has_journal") },
		"it must have 1024 to 10240000 blocks":                    func(o *Options) { o.JournalSize = 1 << 20 },
		`needs the feature "64bit"`:                               func(o *Options) { o.Size, o.Features = 20<<40, without("64bit") },
		`cannot have the feature "resize_inode"; leave it out`:    func(o *Options) { o.Size, o.Features = 20<<40, DefaultFeatures() },
		"10000000 inodes do not fit into 1 block groups of 32768": func(o *Options) { o.Inodes = 10000000 },
		"use larger blocks or fewer inodes":                       func(o *Options) { o.Size, o.BlockSize = 2<<40, 1024 },
	} {
		t.Run(want, func(t *testing.T) {
			o := options(64 << 20)
			set(&o)
			_, err := Write(context.Background(), st, tree.Empty(tree.Time{}), o)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestSameBytes writes the same tree with different parallelism into different stores.
func TestSameBytes(t *testing.T) {
	var first []byte
	for _, procs := range []int{1, 2, 8} {
		st := openStore(t)
		tr := oddTree(t, st)
		old := runtime.GOMAXPROCS(procs)
		im, err := Write(context.Background(), st, tr, options(200<<20))
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		encoded := im.Encode()
		if first == nil {
			first = encoded
		} else if !bytes.Equal(first, encoded) {
			t.Errorf("the image differs with %d processors", procs)
		}
	}
	st := openStore(t)
	tr := oddTree(t, st)
	for name, set := range map[string]func(*Options){
		"UUID": func(o *Options) { o.UUID[3]++ }, "seed": func(o *Options) { o.HashSeed[1]++ }, "time": func(o *Options) { o.Time.Nsec++ }, "label": func(o *Options) { o.Label = "other" },
	} {
		o := options(200 << 20)
		set(&o)
		im, err := Write(context.Background(), st, tr, o)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(first, im.Encode()) {
			t.Errorf("the image does not depend on the %s", name)
		}
	}
}

// TestCopiesNothing checks that the image refers to the files' own objects.
func TestCopiesNothing(t *testing.T) {
	st := openStore(t)
	r := rand.New(rand.NewPCG(7, 8))
	contents := randomBytes(r, 10<<20)
	tr := newBuilder(t, st).file("a", contents).file("b", contents).tree()
	im, err := Write(context.Background(), st, tr, options(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	var shared, own int64
	for _, e := range im.Extents {
		if e.Object == store.Sum(contents) {
			shared += e.Length
		} else {
			own += e.Length
		}
	}
	if shared != 20<<20 || own > 1<<20 {
		t.Errorf("the image has %d bytes of the file and %d of its own", shared, own)
	}
}

// TestCancel stops before anything is written.
func TestCancel(t *testing.T) {
	st := openStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	im, err := Write(ctx, st, oddTree(t, st), options(200<<20))
	if !errors.Is(err, context.Canceled) || len(im.Extents) != 0 {
		t.Errorf("the error is %v", err)
	}
}
