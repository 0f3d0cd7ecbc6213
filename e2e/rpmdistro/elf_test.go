package rpmdistro

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func checkELF(t *testing.T, generator, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	provides, requires, err := elfDependencies(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for option, got := range map[string][]string{"--provides": provides, "--requires": requires} {
		cmd := exec.Command(generator, option)
		cmd.Stdin = strings.NewReader(path + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s, of the package rpm or rpm-build: %v", generator, err)
		}
		want := strings.Fields(string(out))
		// What the dynamic loader promises of hash tables is not translated.
		want = slices.DeleteFunc(want, func(s string) bool { return s == "rtld(GNU_HASH)" })
		slices.Sort(want)
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("%s %s:\n got %q\nwant %q", path, option, got, want)
		}
	}
}
