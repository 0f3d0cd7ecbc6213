package ext4

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// TestReadBack writes every kind of entry and reads it with this package, with debugfs
// and through the kernel.
func TestReadBack(t *testing.T) {
	st := openStore(t)
	tr := oddTree(t, st)
	image := write(t, st, tr, options(256<<20))
	checkEverything(t, image, tr)
}

// checkEverything judges an image by e2fsck and compares what four readers find with
// the tree.
func checkEverything(t *testing.T, image string, tr *tree.Tree) {
	t.Helper()
	fsck(t, image)
	t.Run("reader", func(t *testing.T) { compareTrees(t, tr, readTree(t, image)) })
	t.Run("debugfs", func(t *testing.T) { compareTrees(t, tr, readDebugfs(t, image)) })
	t.Run("kernel", func(t *testing.T) {
		root, _ := loopMount(t, image)
		compareTrees(t, tr, readMount(t, root))
	})
}

// without returns the default features but some, and more.
func without(names string, more ...string) []string {
	return append(slices.DeleteFunc(DefaultFeatures(), func(f string) bool { return slices.Contains(strings.Fields(names), f) }), more...)
}

// TestFeatureSets writes the odd tree with every block size and many feature sets.
func TestFeatureSets(t *testing.T) {
	st := openStore(t)
	tr := oddTree(t, st)
	for _, set := range []struct {
		name     string
		features []string
	}{
		{"default", nil},
		{"no checksums", without("metadata_csum")},
		{"uninit_bg", without("metadata_csum", "uninit_bg")},
		{"no 64bit", without("64bit")},
		{"no 64bit, uninit_bg", without("64bit metadata_csum", "uninit_bg")},
		{"no flex_bg", without("flex_bg")},
		{"no flex_bg, no checksums", without("flex_bg metadata_csum")},
		{"no resize_inode", without("resize_inode")},
		{"no sparse_super", without("resize_inode sparse_super")},
		{"no dir_index", without("dir_index dir_nlink")},
		{"no journal", without("has_journal")},
		{"checksum seed", without("", "metadata_csum_seed")},
		{"least", []string{"ext_attr", "filetype", "extent", "large_file"}},
		{"no huge_file, no extra_isize", without("huge_file extra_isize")},
	} {
		for _, blockSize := range []int{1024, 2048, 4096} {
			t.Run(fmt.Sprintf("%s, %d", set.name, blockSize), func(t *testing.T) {
				if blockSize != 4096 && set.name != "default" && set.name != "least" {
					fullTier(t)
				}
				tr := tr
				if blockSize == 1024 {
					tr = fitSmallBlocks(t, tr)
				}
				o := options(320 << 20)
				o.Features, o.BlockSize = set.features, blockSize
				image := write(t, st, tr, o)
				fsck(t, image)
				compareTrees(t, tr, readTree(t, image))
				t.Run("kernel", func(t *testing.T) {
					root, _ := loopMount(t, image)
					compareTrees(t, tr, readMount(t, root))
				})
				header := run(t, "e2fsprogs", "dumpe2fs", "-h", image)
				for _, f := range set.features {
					if !strings.Contains(header, f) {
						t.Errorf("dumpe2fs shows no %s:\n%s", f, header)
					}
				}
			})
		}
	}
}

// fitSmallBlocks takes out what blocks of 1024 bytes cannot hold.
func fitSmallBlocks(t *testing.T, tr *tree.Tree) *tree.Tree {
	t.Helper()
	edit := tr.Edit()
	for _, e := range tr.Entries() {
		size := 0
		for _, x := range e.Xattrs {
			size += len(x.Name) + len(x.Value)
		}
		if size > 900 {
			edit.Remove(e.Path)
		}
	}
	tr, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
