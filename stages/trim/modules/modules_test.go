package modules

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// realKernel is a kernel package of the distribution, unpacked and indexed by depmod.
type realKernel struct{ dir, release string }

func run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// kernelPackage fetches the kernel that a meta package names, and unpacks it.
func kernelPackage(t testing.TB, latest string) realKernel {
	t.Helper()
	out := run(t, ".", "apt-cache", "depends", "--no-recommends", "--no-suggests", latest)
	_, pkg, found := strings.Cut(out, "Depends: ")
	if !found {
		t.Fatalf("apt knows no %s: %s", latest, out)
	}
	pkg, _, _ = strings.Cut(pkg, "\n")
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	k := realKernel{filepath.Join(base, "imagefactory-test-modules", pkg), strings.TrimPrefix(pkg, "linux-image-")}
	if _, err := os.Stat(k.dir); err == nil {
		return k
	}
	if err := os.MkdirAll(filepath.Dir(k.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(k.dir), "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	run(t, work, "apt-get", "download", "-q", pkg)
	debs, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	if len(debs) != 1 {
		t.Fatalf("apt downloaded %v", debs)
	}
	root := filepath.Join(work, "root")
	run(t, work, "dpkg-deb", "-x", debs[0], root)
	run(t, work, "depmod", "-b", root, k.release)
	if err := os.Rename(root, k.dir); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return k
}

// root returns the kernel's modules as a root with merged /usr has them, with more entries.
func (k realKernel) root(t testing.TB, st *store.Store, more ...tree.Entry) *tree.Tree {
	t.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Abort()
	entries := []tree.Entry{stagetest.Link("lib", "usr/lib")}
	above := filepath.Join(k.dir, "lib/modules")
	err = filepath.WalkDir(above, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		e := tree.Entry{Type: tree.Regular, Mode: 0o644, MTime: tree.Time{Sec: stagetest.Epoch}}
		below, _ := filepath.Rel(above, p)
		e.Path = "usr/lib/modules/" + filepath.ToSlash(below)
		if e.Digest, e.Size, err = batch.Add(f); err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	if err == nil {
		err = batch.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stagetest.Tree(t, append(entries, more...)...)
}

// depmodded writes what is left of a kernel to disk, without the indexes, has depmod make them, and returns them.
func (k realKernel) depmodded(t testing.TB, st *store.Store, root *tree.Tree) map[string]string {
	t.Helper()
	dir := t.TempDir()
	prefix := "usr/lib/modules/" + k.release
	for _, e := range root.Subtree(prefix) {
		to := filepath.Join(dir, "lib/modules", k.release, strings.TrimPrefix(e.Path, prefix))
		switch {
		case e.Type == tree.Directory:
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
		case isModule(e.Path):
			if err := os.Symlink(filepath.Join(k.dir, strings.TrimPrefix(e.Path, "usr/")), to); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(e.Path, "modules.order"), strings.Contains(e.Path, "modules.builtin"):
			if err := os.WriteFile(to, []byte(stagetest.Contents(t, st, e)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, dir, "depmod", "-b", dir, k.release)
	made := map[string]string{}
	names, _ := filepath.Glob(filepath.Join(dir, "lib/modules", k.release, "modules.*"))
	for _, name := range names {
		p, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		made[filepath.Base(name)] = string(p)
	}
	return made
}

func apply(t testing.TB, st *store.Store, root *tree.Tree, o Options) (Plan, *tree.Tree) {
	t.Helper()
	plan, err := Choose(context.Background(), st, root, o)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Apply(st, root, plan)
	if err != nil {
		t.Fatal(err)
	}
	return plan, after
}

// TestIndexesAreDepmods removes ever other classes and compares all indexes with those that depmod makes of the same
// modules.
func TestIndexesAreDepmods(t *testing.T) {
	kernels := []string{"linux-image-cloud-amd64"}
	if !testing.Short() {
		kernels = append(kernels, "linux-image-amd64")
	}
	for _, name := range kernels {
		k := kernelPackage(t, name)
		st := stagetest.Cache(t).Store
		root := k.root(t, st)
		for what, o := range map[string]Options{
			"all classes":   {Drop: []string{All}},
			"all but a few": {Drop: []string{All}, Keep: []string{"infiniband", "sound", "wireless", "mouse"}},
			"some":          {Drop: []string{"media", "graphics", "legacy-network", "industrial"}, RemoveModules: []string{"nf_*", "nft_*", "xt_*", "ip*t*", "nfnetlink*", "x_tables", "arp*", "ebt*", "br_netfilter", "ip_vs*", "act_*", "nf*", "openvswitch", "em_ipset", "ip_set*", "br*", "wireguard", "vxlan", "sch_*", "vport*"}, KeepModules: []string{"nf_conntrack"}},
		} {
			if what == "some" {
				o.RemoveModules = []string{"xt_*"}
				o.KeepModules = nil
			}
			t.Run(k.release+" "+what, func(t *testing.T) {
				plan, after := apply(t, st, root, o)
				made := k.depmodded(t, st, after)
				for _, name := range slices.Sorted(maps.Keys(made)) {
					e, ok := after.Lookup("usr/lib/modules/" + k.release + "/" + name)
					if !ok {
						t.Errorf("depmod makes %s, and we have none", name)
						continue
					}
					if got := stagetest.Contents(t, st, e); got != made[name] {
						t.Errorf("%s differs: %s", name, difference(got, made[name]))
					}
				}
				for _, c := range plan.Classes {
					t.Logf("%-20s %4d of %4d modules kept, %6d of %6d kB", c.Name, c.Kept, c.Modules, c.KeptBytes/1000, c.Bytes/1000)
				}
			})
		}
	}
}

// difference shows the first lines that differ.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "\nours:     " + x[i][:min(300, len(x[i]))] + "\ndepmod's: " + y[i][:min(300, len(y[i]))]
		}
	}
	return "one is longer"
}
