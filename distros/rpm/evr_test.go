package rpm

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// realdata is metadata of real distributions, outside of the repository.
const realdata = "../../../shared/realdata"

// readRealdata returns a file of realdata and skips the test where there is none.
func readRealdata(t testing.TB, name string) []byte {
	t.Helper()
	if _, err := os.Stat(realdata); err != nil {
		t.Skipf("no real metadata in %s", realdata)
	}
	p, err := os.ReadFile(realdata + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCompareVersionsLikeRPM compares with rpm's own rpmvercmp.
func TestCompareVersionsLikeRPM(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Fatal("the rpm program is missing; install it")
	}
	versions := []string{"1", "1.0", "1.0.0", "1.00", "01", "1.10", "1.9", "10", "1a", "1.a", "a", "a1", "1.a1", "b", "A", "aB",
		"1.0~rc1", "1.0~rc1~git", "1.0~", "~", "~~", "1~", "1.0^", "1.0^git1", "1.0^git1~pre", "1.0~rc1^git", "1.0.1", "1.0.1^git",
		"^", "^1", "1^", "1_0", "1.0_", "1+0", "20230101", "99999999999999999999999", "100000000000000000000000", "1..0",
		"5.14.0", "1.el9", "1.el9_2", "1.el9_2.1", "0.1.20", "0.1.20git", "xyz.4", "8", "2a", "2.0"}
	var script strings.Builder
	script.WriteString("%{lua: local v={")
	for _, v := range versions {
		script.WriteString("'" + v + "',")
	}
	script.WriteString("} for _,a in ipairs(v) do for _,b in ipairs(v) do print(rpm.vercmp(a,b)..' ') end end}")
	out, err := exec.Command("rpm", "--eval", script.String()).Output()
	if err != nil {
		t.Fatal(err)
	}
	results := strings.Fields(string(out))
	if len(results) != len(versions)*len(versions) {
		t.Fatalf("rpm printed %d results for %d pairs", len(results), len(versions)*len(versions))
	}
	for i, a := range versions {
		for j, b := range versions {
			want := map[string]int{"-1": -1, "0": 0, "1": 1}[results[i*len(versions)+j]]
			if got := sign(CompareVersions(a, b)); got != want {
				t.Errorf("%q and %q: %d, rpm says %d", a, b, got, want)
			}
		}
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

// TestCompareVersionsTable runs the comparisons that another implementation recorded
// from rpm.
func TestCompareVersionsTable(t *testing.T) {
	var cases []struct {
		A, B   string
		Expect int
	}
	if err := json.Unmarshal(readRealdata(t, "cavaliergopher-rpm/vercmp.json"), &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if got := sign(CompareVersions(c.A, c.B)); got != c.Expect {
			t.Errorf("%q and %q: %d, recorded is %d", c.A, c.B, got, c.Expect)
		}
	}
	if len(cases) < 1000 {
		t.Errorf("only %d cases", len(cases))
	}
}

func TestParseEVR(t *testing.T) {
	for s, want := range map[string]EVR{
		"1.0":          {Version: "1.0"},
		"1.0-2":        {Version: "1.0", Release: "2"},
		"3:1.0-2.el9":  {Epoch: 3, Version: "1.0", Release: "2.el9"},
		"0:1.0-2":      {Version: "1.0", Release: "2"},
		"1.0-a-2":      {Version: "1.0-a", Release: "2"},
		"4294967295:1": {Epoch: 4294967295, Version: "1"},
	} {
		if got, err := ParseEVR(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for s, text := range map[string]string{
		"":             "is empty",
		"1-":           "release after the last '-' is empty",
		"-1":           "is empty",
		"x:1":          `epoch "x" is not a number`,
		":1":           `epoch "" is not a number`,
		"4294967296:1": "not a number below 2^32",
		"1 2":          "contains the character ' '",
		"3:":           "is empty",
	} {
		if _, err := ParseEVR(s); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want an error with %q", s, err, text)
		}
	}
}

func FuzzEVR(f *testing.F) {
	for _, s := range []string{"1.0-2", "3:1.0~rc1-2.el9", "^", "1-a-b", "0:0-0", "007:1", "1.0^~"} {
		f.Add(s, "1.0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if CompareVersions(a, b) != -CompareVersions(b, a) && sign(CompareVersions(a, b)) != -sign(CompareVersions(b, a)) {
			t.Fatalf("%q and %q compare differently the other way round", a, b)
		}
		if CompareVersions(a, a) != 0 {
			t.Fatalf("%q differs from itself", a)
		}
		e, err := ParseEVR(a)
		if err != nil {
			return
		}
		again, err := ParseEVR(e.String())
		if err != nil || again != e {
			t.Fatalf("%q became %+v, then %+v, %v", a, e, again, err)
		}
		if CompareEVR(e, again) != 0 {
			t.Fatalf("%q is not equal to itself", a)
		}
	})
}
