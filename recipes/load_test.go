package recipes

import (
	"os"
	"testing"
)

func TestExamples(t *testing.T) {
	for _, name := range []string{"debian-12", "debian-13", "ubuntu-24.04"} {
		path := "../examples/" + name + ".hcl"
		r, problems := Load(path, Options{})
		if len(problems.Diagnostics) > 0 {
			t.Errorf("%s:\n%s", name, problems.Error())
			continue
		}
		if r.Name != name+"-host" || len(r.Outputs) != 2 || !r.Disk.Grow || r.Boot.SecureBoot != "distro" {
			t.Errorf("%s: %+v", name, r)
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := Format(src); string(got) != string(src) {
			t.Errorf("%s is not formatted:\n%s", path, got)
		}
	}
}
