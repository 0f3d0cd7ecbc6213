package hosttool

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/distros/rpm/repodata"
)

// baseOS is the metadata of a real repository, with a result of dnf's that its owners
// have recorded. It is no part of the project.
const baseOS = "../../../shared/realdata/images-cs9-baseos-2022"

var recorded = regexp.MustCompile(`Name: "([^"]+)", Epoch: (\d+), Version: "([^"]+)", Release: "([^"]+)", Arch: "([^"]+)"`)

// TestDNFResolvesRealMetadata resolves what the recorded result is of.
func TestDNFResolvesRealMetadata(t *testing.T) {
	need(t, "dnf", "dnf")
	expected, err := os.ReadFile(filepath.Join(baseOS, "expected-kernel_vim-minimal_tmux_zsh-weak.txt"))
	if err != nil {
		t.Skipf("%v: it holds the metadata and the result this test needs", err)
	}
	want := []string{"bash-5.1.8-2.el9.x86_64"} // which the record has apart
	for _, m := range recorded.FindAllStringSubmatch(string(expected), -1) {
		name := fmt.Sprintf("%s-%s:%s-%s.%s", m[1], m[2], m[3], m[4], m[5])
		want = append(want, strings.Replace(name, "-0:", "-", 1))
	}
	dir, err := filepath.Abs(baseOS)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	r, err := repodata.Find(t.Context(), f.client, repodata.Config{
		Name: "baseos", URLs: []string{"file://" + dir}, Unverified: true, Arch: "x86_64", Priority: 99, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context(), f.client); err != nil {
		t.Fatal(err)
	}
	files, err := r.Metadata(t.Context(), f.client)
	if err != nil {
		t.Fatal(err)
	}
	repo := RPMRepository{Name: "baseos", Packages: r.Packages, Priority: 99}
	for _, file := range files {
		repo.Metadata = append(repo.Metadata, RPMMetadata(file))
	}
	o := tinyOptions()
	o.Release, o.ModulePlatform = "9", "platform:el9"
	start := time.Now()
	chosen, err := f.resolve([]RPMRepository{repo}, RPMRequest{Packages: []string{"kernel", "vim-minimal", "tmux", "zsh"}, Recommends: true}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("dnf chose %d of %d packages in %s", len(chosen), len(r.Packages), time.Since(start).Round(time.Millisecond))
	var got []string
	for _, c := range chosen {
		got = append(got, c.Package.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(slices.Compact(got), slices.Compact(want)) {
		t.Errorf("dnf chose\n%s\nand the record has\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}
