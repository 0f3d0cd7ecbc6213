package signature

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tool returns the path of a program the test cannot do without.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	t.Fatalf("this test needs %s; make deps-test installs it", name)
	return ""
}

// run runs a program and fails the test when the program does.
func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// blkid returns what libblkid says of an image.
func blkid(t *testing.T, image string) map[string]string {
	t.Helper()
	out, err := exec.Command(tool(t, "blkid"), "-p", "-o", "export", image).Output()
	var exit *exec.ExitError
	// 2 says that nothing was found, 8 that there are several answers.
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
		t.Fatalf("blkid -p %s: %v", image, err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.ReplaceAll(value, `\ `, " ")
		}
	}
	return values
}

// scanFile scans an image as a disk with sectors of 512 bytes.
func scanFile(t *testing.T, image string) Contents {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	contents, err := Scan(file, info.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// sparse writes an image of a size with bytes at some offsets, and returns its path.
func sparse(t *testing.T, size int64, pieces map[int64]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for offset, data := range pieces {
		if _, err := file.WriteAt([]byte(data), offset); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// agree fails unless Scan finds exactly one signature outside of partitions, and blkid the same.
func agree(t *testing.T, image string) Found {
	t.Helper()
	want := blkid(t, image)
	contents := scanFile(t, image)
	if contents.Empty() {
		t.Fatalf("nothing found, but blkid says %v", want)
	}
	whole := slices.DeleteFunc(slices.Clone(contents.Found), func(f Found) bool { return f.Partition != 0 })
	if len(whole) != 1 {
		t.Fatalf("found %v, but blkid says %v", whole, want)
	}
	found := whole[0]
	kind, uuid := want["TYPE"], want["UUID"]
	if kind == "" {
		kind, uuid = want["PTTYPE"], want["PTUUID"]
	}
	if found.Kind != kind {
		t.Errorf("kind %q, but blkid says %q", found.Kind, kind)
	}
	if found.Label != want["LABEL"] {
		t.Errorf("label %q, but blkid says %q", found.Label, want["LABEL"])
	}
	// The identifiers that blkid computes from several fields are left out here.
	if computed := kind == "udf"; found.UUID != uuid && !computed {
		t.Errorf("UUID %q, but blkid says %q", found.UUID, uuid)
	}
	// libblkid has fewer usages: volume managers are RAID to it, swap is other.
	usages := map[string][]string{
		"filesystem": {Filesystem, VolumeManager}, "raid": {RAID, VolumeManager}, "crypto": {Crypto}, "other": {Swap, Other},
		"": {PartitionTable},
	}
	if !slices.Contains(usages[want["USAGE"]], found.Usage) {
		t.Errorf("usage %q, but blkid says %q", found.Usage, want["USAGE"])
	}
	return found
}
