package ext4

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// TestOfflineResize grows and shrinks with resize2fs.
func TestOfflineResize(t *testing.T) {
	st := openStore(t)
	tr := oddTree(t, st)
	for _, test := range []struct {
		name string
		set  func(*Options)
	}{
		{"default", func(*Options) {}},
		{"1024", func(o *Options) { o.BlockSize = 1024 }},
		{"no resize_inode", func(o *Options) { o.Features = without("resize_inode") }},
		{"no 64bit, no flex_bg", func(o *Options) { o.Features = without("64bit flex_bg") }},
		{"little growth", func(o *Options) { o.MaxGrowth = 2 << 30 }},
		{"no growth", func(o *Options) { o.MaxGrowth = 1 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name != "default" && test.name != "no growth" {
				fullTier(t)
			}
			o := options(1 << 30)
			test.set(&o)
			tr := tr
			if o.BlockSize == 1024 {
				tr = fitSmallBlocks(t, tr)
			}
			image := write(t, st, tr, o)
			fsck(t, image)
			for _, size := range []string{"1500M", "20G", "2G"} {
				run(t, "e2fsprogs", "resize2fs", "-f", image, size)
				fsck(t, image)
				if size == "20G" {
					compareTrees(t, tr, readTree(t, image))
				}
			}
			run(t, "e2fsprogs", "resize2fs", "-M", image)
			fsck(t, image)
			compareTrees(t, tr, readTree(t, image))
			compareTrees(t, tr, readDebugfs(t, image))
		})
	}
}

// TestOnlineGrowth grows a file system while the kernel has it mounted: what the
// resize_inode is for.
func TestOnlineGrowth(t *testing.T) {
	needSysResource(t)
	st := openStore(t)
	tr := oddTree(t, st)
	for _, test := range []struct {
		name  string
		grown int64
		set   func(*Options)
	}{
		{"default", 20 << 30, func(*Options) {}},
		{"2048", 20 << 30, func(o *Options) { o.BlockSize = 2048 }},
		{"no 64bit", 20 << 30, func(o *Options) { o.Features = without("64bit") }},
		{"limited", 16 << 30, func(o *Options) { o.MaxGrowth = 16 << 30 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(1 << 30)
			test.set(&o)
			image := write(t, st, tr, o)
			root, unmount := loopMount(t, image)
			if err := os.Truncate(image, test.grown); err != nil {
				t.Fatal(err)
			}
			device := strings.TrimSpace(run(t, "mount", "findmnt", "-n", "-o", "SOURCE", root))
			run(t, "mount", "losetup", "-c", device)
			run(t, "e2fsprogs", "resize2fs", device)
			if err := os.WriteFile(filepath.Join(root, "new file"), []byte("written after growing"), 0o644); err != nil {
				t.Fatal(err)
			}
			edit := readMount(t, root).Edit()
			edit.Remove("new file")
			grown, err := edit.Tree()
			if err != nil {
				t.Fatal(err)
			}
			compareTrees(t, withRootTime(t, tr, grown), grown)
			unmount()
			fsck(t, image)
			header := run(t, "e2fsprogs", "dumpe2fs", "-h", image)
			blockSize := int64(4096)
			if o.BlockSize != 0 {
				blockSize = int64(o.BlockSize)
			}
			if want := fmt.Sprintf("Block count:              %d\n", test.grown/blockSize); !strings.Contains(header, want) {
				t.Errorf("not grown to %q:\n%s", want, header)
			}
			if !strings.Contains(header, "resize_inode") || strings.Contains(header, "meta_bg") {
				t.Errorf("growth turned resize_inode into meta_bg:\n%s", header)
			}
		})
	}
}

// needSysResource skips a test where the kernel would not let this process grow a
// mounted file system.
func needSysResource(t *testing.T) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	capabilities, err := strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if capabilities&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		t.Skip("growing a mounted file system needs the capability CAP_SYS_RESOURCE")
	}
}

// withRootTime returns tr with the modification time that other's root has.
func withRootTime(t *testing.T, tr, other *tree.Tree) *tree.Tree {
	t.Helper()
	root, _ := tr.Lookup(tree.Root)
	otherRoot, _ := other.Lookup(tree.Root)
	root.MTime = otherRoot.MTime
	edit := tr.Edit()
	edit.Put(root)
	tr, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestUseThroughTheKernel changes the odd tree as an installed system would.
func TestUseThroughTheKernel(t *testing.T) {
	st := openStore(t)
	tr := oddTree(t, st)
	image := write(t, st, tr, options(256<<20))
	root, unmount := loopMount(t, image)
	if out := run(t, "acl", "getfacl", "-n", "--absolute-names", filepath.Join(root, "xattrs/acl")); !strings.Contains(out, "user:1000:r-x") || !strings.Contains(out, "group:70000:r--") || !strings.Contains(out, "mask::rwx") {
		t.Errorf("getfacl printed\n%s", out)
	}
	if out := run(t, "acl", "getfacl", "-n", "--absolute-names", filepath.Join(root, "xattrs/default acl")); !strings.Contains(out, "default:user:1000:r-x") {
		t.Errorf("getfacl printed\n%s", out)
	}
	if out := run(t, "libcap2-bin", "getcap", filepath.Join(root, "xattrs/capability")); !strings.Contains(out, "cap_net_raw=ep") {
		t.Errorf("getcap printed\n%s", out)
	}
	for i := range 300 {
		path := filepath.Join(root, "xattrs", fmt.Sprintf("new %d", i))
		if err := os.WriteFile(path, make([]byte, i*100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"shared 0", "all", "default acl", "full"} { // frees shared and single blocks of attributes
		if err := os.RemoveAll(filepath.Join(root, "xattrs", name)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "acl", "setfacl", "-m", "u:7:rwx", filepath.Join(root, "xattrs/shared 1"))
	if err := os.Truncate(filepath.Join(root, "files/many holes"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "names")); err != nil {
		t.Fatal(err)
	}
	unmount()
	fsck(t, image)
	readTree(t, image)
}
