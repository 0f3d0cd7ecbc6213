package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the example's pipeline anew")

// TestExamplePipeline keeps the pipeline among the examples what the command writes for them.
func TestExamplePipeline(t *testing.T) {
	t.Chdir("../..")
	// Any file will do for the vendors' keys, which nobody can publish but they.
	t.Setenv("IMAGEFACTORY_VAR_vendor_key", "keys/ubuntu-archive-keyring.gpg")
	recipes, err := filepath.Glob("examples/*.hcl")
	if err != nil || len(recipes) < 10 {
		t.Fatalf("examples: %v, %v", recipes, err)
	}
	stdout, stderr, status := invoke(t, "", append([]string{"ci", "gitlab"}, recipes...)...)
	if status != exitDone || stderr != "" {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	const path = "examples/.gitlab-ci.yml"
	if *update {
		if err := os.WriteFile(path, []byte(stdout), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if stdout != string(want) {
		t.Errorf("%s is not what \"imagefactory ci gitlab examples/*.hcl\" writes (go test -update mends it)", path)
	}
}

func TestCIGitLab(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"b.hcl", "a.hcl"} {
		if _, stderr, status := invoke(t, "", "init", name); status != exitDone {
			t.Fatal(stderr)
		}
	}
	if err := os.WriteFile("b.hcl.lock", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	printed, _, status := invoke(t, "", "ci", "gitlab", "--image", "example.com/tool:2")
	if status != exitDone || !strings.Contains(printed, `name: "example.com/tool:2"`) {
		t.Errorf("exit status %d:\n%s", status, printed)
	}
	if n := strings.Count(printed, "RECIPE: "); n != 2 || strings.Count(printed, `LOCKED: "--locked"`) != 1 {
		t.Errorf("%d recipes:\n%s", n, printed)
	}
	stdout, stderr, status := invoke(t, "", "ci", "gitlab", "b.hcl", "a.hcl", "-o", ".gitlab-ci.yml", "--image", "example.com/tool:2")
	if status != exitDone || stdout != "wrote .gitlab-ci.yml\n" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	if written, err := os.ReadFile(".gitlab-ci.yml"); err != nil || string(written) != printed {
		t.Errorf("%v, the file has\n%s", err, written)
	}
	if err := os.WriteFile("b.hcl", []byte("nmae = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, status := invoke(t, "", "ci", "gitlab"); status != exitUsage || !strings.Contains(stderr, "b.hcl:1") {
		t.Errorf("a wrong recipe: exit status %d, %s", status, stderr)
	}
}
