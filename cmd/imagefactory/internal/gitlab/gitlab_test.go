package gitlab

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var jobs = []Job{
	{Recipe: "images/node two.hcl", Distro: "rocky-9", Arch: "x86_64", Outputs: []string{"qcow2"}},
	{Recipe: "a.hcl", Distro: "debian-12", Arch: "aarch64", Locked: true, Outputs: []string{"raw", "qcow2"}},
	{Recipe: "it's \"quoted\" $HOME.hcl", Distro: "mine", Arch: "x86_64", Outputs: []string{"raw"}},
	{Recipe: "a.hcl", Distro: "debian-12", Arch: "aarch64", Locked: true, Outputs: []string{"raw", "qcow2"}},
}

var options = Options{Image: "registry.example.com/build:1", User: "1000:1000"}

// parsed is a pipeline as GitLab reads it.
type parsed struct {
	Workflow struct {
		Rules []map[string]string
	}
	Stages    []string
	Variables map[string]string
	Default   struct {
		Image struct {
			Name       string
			Entrypoint []string
			Docker     map[string]string
		}
		Interruptible bool
		BeforeScript  []string `yaml:"before_script"`
	}
	Lint  job
	Build job
}

type job struct {
	Stage    string
	Parallel struct {
		Matrix []map[string]string
	}
	Cache struct {
		Key   string
		Paths []string
		When  string
	}
	Script      []string
	AfterScript []string `yaml:"after_script"`
	Artifacts   struct {
		Name     string
		Paths    []string
		ExpireIn string `yaml:"expire_in"`
	}
}

// TestPipeline parses strictly: a key that is not a keyword of GitLab's, at its place, is an error.
func TestPipeline(t *testing.T) {
	text := Pipeline(jobs, options)
	var p parsed
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var recipes []string
	for _, m := range p.Build.Parallel.Matrix {
		recipes = append(recipes, m["RECIPE"]+" "+m["DISTRO"]+" "+m["ARCH"]+" "+m["LOCKED"])
	}
	want := []string{"a.hcl debian-12 aarch64 --locked", "images/node two.hcl rocky-9 x86_64 ", "it's \"quoted\" $HOME.hcl mine x86_64 "}
	if !slices.Equal(recipes, want) {
		t.Errorf("the matrix is %q, want %q", recipes, want)
	}
	if !slices.Equal(p.Stages, []string{p.Lint.Stage, p.Build.Stage}) {
		t.Errorf("stages %v, jobs in %s and %s", p.Stages, p.Lint.Stage, p.Build.Stage)
	}
	if p.Default.Image.Name != options.Image || p.Default.Image.Docker["user"] != options.User {
		t.Errorf("image %+v", p.Default.Image)
	}
	if want := []string{"out/manifest.json", "out/*.qcow2", "out/*.qcow2.sha256", "out/*.raw", "out/*.raw.sha256"}; !slices.Equal(p.Build.Artifacts.Paths, want) {
		t.Errorf("artifacts %v, want %v", p.Build.Artifacts.Paths, want)
	}
	if !strings.HasSuffix(p.Variables["IMAGEFACTORY_CACHE"], strings.TrimSuffix(p.Build.Cache.Paths[0], "/")) {
		t.Errorf("the cache is in %s, and %v is kept", p.Variables["IMAGEFACTORY_CACHE"], p.Build.Cache.Paths)
	}
	for _, word := range []string{"sudo", "privileged: true", "docker.sock", "losetup"} {
		if strings.Contains(string(text), word) {
			t.Errorf("the pipeline says %q", word)
		}
	}

	shuffled := []Job{jobs[2], jobs[1], jobs[0]}
	if again := Pipeline(shuffled, options); !bytes.Equal(again, text) {
		t.Errorf("another order of recipes gives\n%s", again)
	}
}

// TestScripts runs the scripts of the jobs with a stand-in for imagefactory.
func TestScripts(t *testing.T) {
	var p parsed
	if err := yaml.Unmarshal(Pipeline(jobs, options), &p); err != nil {
		t.Fatal(err)
	}
	run := func(script []string, tool string, env ...string) (string, error) {
		text := "set -e\nimagefactory() { " + tool + "; }\n" + strings.Join(p.Default.BeforeScript, "\n") + "\n" + strings.Join(script, "\n")
		cmd := exec.Command("sh", "-c", text)
		cmd.Env = append(cmd.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run(p.Lint.Script, `echo "$@"`)
	want := "fmt --check a.hcl\nvalidate a.hcl\nfmt --check images/node two.hcl\nvalidate images/node two.hcl\n" +
		"fmt --check it's \"quoted\" $HOME.hcl\nvalidate it's \"quoted\" $HOME.hcl\n"
	if err != nil || out != want {
		t.Errorf("lint: %v\n%s", err, out)
	}
	out, err = run(p.Build.Script, `echo "$# $@"`, "RECIPE=node two.hcl", "LOCKED=--locked")
	for _, want := range []string{"section_start:", ":doctor[collapsed=true]\r\x1b[0KWhat this host can do\n1 doctor\n", "3 plan --locked node two.hcl\n", "5 build --locked -o out node two.hcl\n"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("build: %v, the log lacks %q:\n%q", err, want, out)
		}
	}
	// A section passes on that its command failed, and ends all the same.
	out, err = run(p.Build.Script, `[ "$1" != plan ]`, "RECIPE=a.hcl", "LOCKED=")
	if err == nil || strings.Count(out, "section_start") != 2 || strings.Count(out, "section_end") != 2 {
		t.Errorf("a failing plan: %v\n%q", err, out)
	}
}

func TestLocal(t *testing.T) {
	for path, want := range map[string]bool{
		"a.hcl": true, "./a.hcl": true, "images/a.hcl": true, "x/../a.hcl": true, "..a.hcl": true,
		"/a.hcl": false, "../a.hcl": false, "x/../../a.hcl": false, "..": false, "a\nb.hcl": false,
	} {
		if Local(path) != want {
			t.Errorf("Local(%q) is %v", path, !want)
		}
	}
}
