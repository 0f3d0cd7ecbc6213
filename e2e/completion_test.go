package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompletion types into bash and presses the tabulator key.
func TestCompletion(t *testing.T) {
	const script = `
source <(imagefactory completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_imagefactory
echo "${COMPREPLY[*]}"`
	for typed, want := range map[string]string{
		"imagefactory bu":           "build",
		"imagefactory build --off":  "--offline",
		"imagefactory cache |":      "ls gc verify",
		"imagefactory cache gc --m": "--max-size",
	} {
		words := strings.Fields(typed)
		if words[len(words)-1] == "|" {
			words[len(words)-1] = "" // a new word
		}
		cmd := exec.Command("bash", append([]string{"-c", script, "bash"}, words...)...)
		cmd.Env = []string{"PATH=" + filepath.Dir(program(t)) + ":/usr/bin:/bin"}
		if r := finish(t, cmd); strings.TrimSpace(r.stdout) != want {
			t.Errorf("%s completes to %q, not %q\n%s", typed, r.stdout, want, r.stderr)
		}
	}
}
