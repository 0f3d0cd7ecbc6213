package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// small is a recipe whose disk takes no time to write.
var small = recipeText("4GiB", "128MiB", "64MiB", "16MiB", "512MiB", "32MiB")

// assemble builds the image of a recipe from a root that is there already, as the last
// stages of a build do, and returns the stages that ran. core is GRUB for BIOS.
func assemble(t *testing.T, env *Environment, r *recipes.Recipe, dir string, core []byte) (*graph, string, error) {
	t.Helper()
	b, err := newBuilder(env, r, lockFor(r), keyrings{}, dir)
	if err != nil {
		return nil, "", err
	}
	st := env.Cache.Store
	boot := make([]byte, 512)
	boot[510], boot[511] = 0x55, 0xaa
	put := func(p []byte) (e tree.Entry) { return stagetest.File(t, st, "x", string(p)) }
	installed := stages.Add(b.graph.Graph, stages.Stage{Name: "boot", Kind: "test-boot"}, func(context.Context, *stages.Run) (grub.Installed, error) {
		root := stagetest.Tree(t, stagetest.File(t, st, "etc/hostname", "node\n"), stagetest.File(t, st, "boot/vmlinuz", "kernel"), stagetest.Dir("boot/efi"))
		esp := stagetest.Tree(t, stagetest.File(t, st, "EFI/BOOT/BOOTX64.EFI", "efi"))
		return grub.Installed{Root: rootfs.Root{Tree: stagetest.Save(t, st, root)}, ESP: stagetest.Save(t, st, esp)}, nil
	})
	images := stages.Add(b.graph.Graph, stages.Stage{Name: "grub", Kind: "test-grub", Inputs: []stages.Input{{Name: "size", Value: len(core)}}}, func(context.Context, *stages.Run) (grub.Images, error) {
		return grub.Images{BootImg: put(boot).Digest, Core: put(core).Digest}, nil
	})
	b.image(installed, images)
	b.emit()
	var targets []stages.Node
	for _, h := range b.graph.outputs {
		targets = append(targets, h)
	}
	records, err := b.graph.Run(t.Context(), r.Path, nil, targets...)
	var ran []string
	for _, record := range records {
		if !record.Cached {
			ran = append(ran, record.Stage)
		}
	}
	return b.graph, strings.Join(ran, " "), err
}

// tool runs a program of the host and returns its output.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath(args[0])
	if err != nil {
		program = filepath.Join("/usr/sbin", args[0]) // not in everybody's path
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%s is not there: make test installs what the tests need", args[0])
	}
	out, err := exec.Command(program, args[1:]...).Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestImage(t *testing.T) {
	env := environment(t, Options{})
	dir := t.TempDir()
	core := []byte(strings.Repeat("core", 1000))
	g, ran, err := assemble(t, env, load(t, small), dir, core)
	if err != nil {
		t.Fatal(err)
	}
	if want := "boot grub filesystems disk raw qcow2"; ran != want {
		t.Errorf("the first build runs %s, want %s", ran, want)
	}
	raw, qcow2 := filepath.Join(dir, "node-1.0-x86_64.raw"), filepath.Join(dir, "node-1.0-x86_64.qcow2")
	checkDisk(t, g, raw)
	tool(t, "qemu-img", "check", qcow2)
	tool(t, "qemu-img", "compare", "-F", "qcow2", "-f", "raw", raw, qcow2)
	for _, file := range []string{raw, qcow2} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if want, got := hex.EncodeToString(sum[:])+"  "+filepath.Base(file)+"\n", read(t, file+".sha256"); got != want {
			t.Errorf("%s.sha256 is %q, want %q", file, got, want)
		}
	}

	// Each change runs what depends on it, and nothing else.
	for _, step := range []struct {
		name, recipe string
		before       func() error
		core         []byte
		want         string
	}{
		{"nothing", small, nil, core, ""},
		{"an image is gone", small, func() error { return os.Remove(raw) }, core, "raw"},
		{"an image was touched", small, func() error { return os.WriteFile(qcow2, nil, 0o644) }, core, "qcow2"},
		{"a checksum is gone", small, func() error { return os.Remove(raw + ".sha256") }, core, "raw"},
		{"the compression", strings.Replace(small, `output "qcow2" {}`, `output "qcow2" { compression = "none" }`, 1), nil, core, "qcow2"},
		{"the size", strings.Replace(small, "128MiB", "160MiB", 1), nil, core, "filesystems disk raw qcow2"},
		{"a partition's type", strings.Replace(small, `role       = "boot"`, "role = \"data\"", 1), nil, core, "disk raw qcow2"},
		{"GRUB", small, nil, append(core, 0), "grub disk raw qcow2"},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		if _, ran, err := assemble(t, env, load(t, step.recipe), dir, step.core); err != nil || ran != step.want {
			t.Errorf("%s changed: %s ran, %v; want %s", step.name, ran, err, step.want)
		}
	}
}

// checkDisk has the host's tools read a raw image back.
func checkDisk(t *testing.T, g *graph, raw string) {
	t.Helper()
	if out := tool(t, "sgdisk", "--verify", raw); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	var table struct {
		PartitionTable struct {
			ID         string
			Partitions []struct {
				Start, Size      int64
				Type, UUID, Name string
			}
		}
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", raw)), &table); err != nil {
		t.Fatal(err)
	}
	manifest := manifestDisk(g)
	if got := table.PartitionTable.ID; !strings.EqualFold(got, manifest.GUID.String()) || len(table.PartitionTable.Partitions) != 4 {
		t.Fatalf("the disk is %s with %d partitions; the manifest says %+v", got, len(table.PartitionTable.Partitions), manifest)
	}
	for i, p := range table.PartitionTable.Partitions {
		m := manifest.Partitions[i]
		if p.Name != m.Label || p.Start*512 != m.Start || p.Size*512 != m.Size || !strings.EqualFold(p.UUID, m.GUID.String()) || !strings.EqualFold(p.Type, m.Type.String()) {
			t.Errorf("partition %d is %+v, and the manifest says %+v", i+1, p, m)
		}
		if m.FileSystem == "" {
			continue
		}
		fields := tool(t, "blkid", "--probe", "--offset", fmt.Sprint(m.Start), "--size", fmt.Sprint(m.Size), "--output", "export", raw)
		if !strings.Contains(fields, "\nUUID="+m.FSUUID+"\n") || !strings.Contains(fields, "LABEL="+m.FSLabel+"\n") || !strings.Contains(fields, "TYPE="+m.FileSystem+"\n") {
			t.Errorf("the file system of %s is\n%s\nand the manifest says %+v", m.Label, fields, m)
		}
	}
	root := manifest.Partitions[3]
	at := fmt.Sprintf("%s?offset=%d", raw, root.Start)
	tool(t, "e2fsck", "-fn", at)
	if got := tool(t, "debugfs", "-R", "cat /etc/hostname", at); got != "node\n" {
		t.Errorf("/etc/hostname is %q", got)
	}
	if got := tool(t, "mtype", "-i", fmt.Sprintf("%s@@%d", raw, manifest.Partitions[1].Start), "::EFI/BOOT/BOOTX64.EFI"); got != "efi" {
		t.Errorf("the boot program is %q", got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestImageTooSmall(t *testing.T) {
	env := environment(t, Options{})
	dir := t.TempDir()
	_, _, err := assemble(t, env, load(t, small), dir, make([]byte, 1<<20+1))
	var size *filesystems.SizeError
	if !errors.As(err, &size) || status(err) != 2 || err.Error() != "stage disk: partition BIOS is too small: its contents need 2 MiB, it has 1 MiB, 1 MiB are missing; enlarge the partition or the disk, or install less" {
		t.Errorf("GRUB that does not fit: %v", err)
	}
	r := load(t, small)
	r.Disk.Size = 32 << 20
	if _, _, err = assemble(t, env, r, dir, make([]byte, 4000)); err == nil || status(err) != 2 {
		t.Errorf("partitions that do not fit: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("failed builds left %v, %v", left, err)
	}
	// A good build succeeds afterwards.
	if _, _, err := assemble(t, env, load(t, small), dir, make([]byte, 4000)); err != nil {
		t.Error(err)
	}
}

// TestImageAnywhere builds twice, in another cache and another directory.
func TestImageAnywhere(t *testing.T) {
	var digests [2][]string
	for i := range digests {
		g, _, err := assemble(t, environment(t, Options{}), load(t, small), t.TempDir(), []byte(strings.Repeat("core", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range g.outputs {
			digests[i] = append(digests[i], h.Result().SHA256)
		}
	}
	if !reflect.DeepEqual(digests[0], digests[1]) {
		t.Errorf("%q, then %q", digests[0], digests[1])
	}
}
