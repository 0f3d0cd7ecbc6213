package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/trim"
)

func sampleTrimming() *Trimming {
	return &Trimming{Name: "node", Report: trim.Report{
		Profile: "container-host", Database: "kept",
		Before: trim.Counts{Packages: 3, Services: 3, Files: 1200, Bytes: 100_000_000, Modules: 4000, States: map[string]int{"enabled": 2, "static": 1}},
		After:  trim.Counts{Packages: 2, Services: 2, Files: 300, Bytes: 40_000_000, Modules: 4000, States: map[string]int{"enabled": 1, "masked": 1}},
		Packages: []trim.PackageFate{
			{ID: "libc6", Name: "libc6", Version: "2.36", Arch: "amd64", Bytes: 13_000_000, After: 5_000_000, Kept: true, Reason: "ssh needs libc6 (>= 2.36)", Chain: []string{"the recipe installs ssh", "ssh needs libc6 (>= 2.36)"}},
			{ID: "perl", Name: "perl", Version: "5.36", Arch: "amd64", Bytes: 50_000_000, Reason: "nothing that is kept needs it"},
			{ID: "ssh", Name: "ssh", Version: "9.2", Arch: "amd64", Bytes: 1_000_000, After: 1_000_000, Kept: true, Reason: "the recipe installs it"},
		},
		Paths:    []trim.PathFate{{Rule: "documentation", Reason: "nobody reads it on the machine", Globs: []string{"/usr/share/doc/**"}, Files: 800, Bytes: 8_000_000}, {Rule: "nothing", Reason: "-"}},
		Services: []trim.ServiceFate{{Name: "cron.service", Before: "enabled"}, {Name: "debug-shell.service", Before: "static", After: "masked", Reason: "the recipe masks it"}, {Name: "ssh.service", Before: "enabled", After: "enabled"}},
		Modules:  []trim.ModuleFate{{Path: "/usr/lib/modules/6.1/kernel/sound/a.ko", Bytes: 1_000_000, Reason: "sound"}},
	}, Stages: []Stage{{"rootfs", trim.Counts{Packages: 3, Services: 3, Files: 1200, Bytes: 90_000_000}}, {"customize", trim.Counts{Packages: 3, Services: 3, Files: 1200, Bytes: 100_000_000}}}}
}

const trimmingText = `node: before and after trimming  profile container-host
                  before  after  change
  Packages             3      2      -1   33 % less
  Services             3      2      -1   33 % less
    enabled            2      1      -1   50 % less
    masked             0      1      +1
    static             1      0      -1  100 % less
  Kernel modules   4,000  4,000      ±0
  Files            1,200    300    -900   75 % less
  Size of files   100 MB  40 MB  -60 MB   60 % less

Stages
  after      packages  services  files    size  change
  rootfs            3         3  1,200   90 MB
  customize         3         3  1,200  100 MB  +10 MB

Packages removed  1, 50 MB
  perl  50 MB  5.36  nothing that is kept needs it

Packages kept  2, 6.0 MB
  libc6  5.0 MB  of 13 MB  2.36  ssh needs libc6 (>= 2.36)
  ssh    1.0 MB            9.2   the recipe installs it

Files removed from packages that stay
  documentation         8.0 MB  800 files  nobody reads it on the machine
  modules and firmware  1.0 MB     1 file  no driver that this kind of host loads needs them

Services  1 removed
  ~  debug-shell.service  static → masked  the recipe masks it
`

func TestTrimmingText(t *testing.T) {
	text := func(o TextOptions) string {
		var b bytes.Buffer
		if err := sampleTrimming().WriteText(&b, o); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := text(TextOptions{}); got != trimmingText {
		t.Errorf("%s\nwant\n%s", got, trimmingText)
	}
	if got := text(TextOptions{Files: true}); !strings.Contains(got, "-  cron.service") {
		t.Errorf("with everything:\n%s", got)
	}
	narrow := text(TextOptions{Width: 50})
	for line := range strings.Lines(narrow) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 50 && !strings.Contains(line, "before and after") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"libc6", "nothing that is kept needs it", "customize"} {
		if !strings.Contains(narrow, want) {
			t.Errorf("no %q in\n%s", want, narrow)
		}
	}
	if got := stripColors(text(TextOptions{Color: true})); got != trimmingText {
		t.Errorf("with colors:\n%s", got)
	}
}

func TestTrimmingJSON(t *testing.T) {
	var b bytes.Buffer
	if err := sampleTrimming().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var document struct {
		Schema int
		Name   string
		Stages []struct {
			Name   string
			Counts struct{ Packages, Services, Files, Bytes int64 }
		}
		Report trim.Report
	}
	if err := json.Unmarshal(b.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if document.Schema != TrimSchema || document.Name != "node" || len(document.Stages) != 2 || document.Stages[1].Counts.Bytes != 100_000_000 ||
		document.Report.After.Bytes != 40_000_000 || document.Report.Packages[0].Chain[0] != "the recipe installs ssh" {
		t.Errorf("%s", b.String())
	}
}
