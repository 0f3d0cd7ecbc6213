package deb

import (
	"fmt"
	"math/rand"
	"os/exec"
	"strings"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	// In ascending order, lines of equal versions.
	order := [][]string{
		{"0~~"}, {"0~~a"}, {"0~"}, {"0", "0-0", "0:0", "00"}, {"0a"}, {"0+"},
		{"1~rc1", "1~rc01-0"}, {"1"}, {"1-0+deb12u1"}, {"1-1~bpo1"}, {"1-1"}, {"1-10"},
		{"1.0a"}, {"1.0+dfsg"}, {"1.0.1"}, {"1.2-3-4"}, {"1.10"},
		{"18446744073709551616"}, {"18446744073709551617"},
		{"1:0"}, {"2:0.1"}, {"10:0"}, {"18446744073709551616:0"},
	}
	for i, versions := range order {
		for j, others := range order {
			for _, a := range versions {
				for _, b := range others {
					if got, want := CompareVersions(a, b), i-j; sign(got) != sign(want) {
						t.Errorf("CompareVersions(%q, %q) = %d, want the sign of %d", a, b, got, want)
					}
				}
			}
		}
	}
}

// TestCompareVersionsLikeDpkg compares pairs of random versions with dpkg's
// answer, half of them pairs that differ in one place only.
func TestCompareVersionsLikeDpkg(t *testing.T) {
	needTool(t, "dpkg", "dpkg")
	random := rand.New(rand.NewSource(1))
	var script strings.Builder
	var pairs [][2]string
	for len(pairs) < 300 {
		a, b := randomVersion(random), randomVersion(random)
		if len(pairs)%2 == 0 {
			i := random.Intn(len(a))
			b = a[:i] + string(versionAlphabet[random.Intn(len(versionAlphabet))]) + a[i+random.Intn(2):]
		}
		if CheckVersion(a) != nil || CheckVersion(b) != nil {
			continue
		}
		pairs = append(pairs, [2]string{a, b})
		fmt.Fprintf(&script, "if dpkg --compare-versions '%s' lt '%s'; then echo -1\nelif dpkg --compare-versions '%s' eq '%s'; then echo 0\nelse echo 1; fi\n", a, b, a, b)
	}
	command := exec.Command("sh", "-s")
	command.Stdin = strings.NewReader(script.String())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(pairs) {
		t.Fatalf("dpkg gave %d answers to %d questions:\n%s", len(answers), len(pairs), out)
	}
	for i, pair := range pairs {
		if got := fmt.Sprint(sign(CompareVersions(pair[0], pair[1]))); got != answers[i] {
			t.Errorf("CompareVersions(%q, %q) = %s, dpkg says %s", pair[0], pair[1], got, answers[i])
		}
	}
}

// TestOperatorsLikeDpkg asks dpkg about every operator, deprecated ones too.
func TestOperatorsLikeDpkg(t *testing.T) {
	needTool(t, "dpkg", "dpkg")
	for _, operator := range []string{"<<", "<=", "=", ">=", ">>", "<", ">"} {
		for _, pair := range [][2]string{{"1", "2"}, {"2", "2.0-0"}, {"2", "2"}, {"1:1", "2"}} {
			op, err := ParseOperator(operator)
			if err != nil {
				t.Fatal(err)
			}
			want := exec.Command("dpkg", "--compare-versions", pair[0], operator, pair[1]).Run() == nil
			if got := op.Holds(pair[0], pair[1]); got != want {
				t.Errorf("%s %s %s: got %v, dpkg says %v", pair[0], operator, pair[1], got, want)
			}
		}
	}
	if _, err := ParseOperator("=="); err == nil {
		t.Error("== is accepted")
	}
}

// TestCheckVersionLikeDpkg compares which versions are refused with what dpkg
// refuses or warns about.
func TestCheckVersionLikeDpkg(t *testing.T) {
	needTool(t, "dpkg", "dpkg")
	for _, version := range []string{
		"1", "1:2", "1:2:3-4", "0~a+b.c-1~x", "1-2-3",
		"", ":1", "a:1", "1:", "1-", "a", "1_2", "1 2", "1-2_3", "1-2:3", "1:-1", "1/2", "1é",
	} {
		out, err := exec.Command("dpkg", "--validate-version", version).CombinedOutput()
		want := err == nil && len(out) == 0
		if err := CheckVersion(version); (err == nil) != want {
			t.Errorf("%q: got %v, dpkg says %v %s", version, err, want, out)
		}
	}
}

const versionAlphabet = "0019ab.+~-:"

func randomVersion(random *rand.Rand) string {
	b := []byte{byte('0' + random.Intn(3))}
	for range random.Intn(9) {
		b = append(b, versionAlphabet[random.Intn(len(versionAlphabet))])
	}
	return string(b)
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// FuzzVersion checks that comparing is a total order.
func FuzzVersion(f *testing.F) {
	f.Add("1:1.0~rc1-2", "1.0", "1.0-0")
	f.Add("", "-", ":")
	f.Add("a:1", "~", "0~")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		_ = CheckVersion(a)
		if CompareVersions(a, a) != 0 {
			t.Errorf("%q differs from itself", a)
		}
		if sign(CompareVersions(a, b)) != -sign(CompareVersions(b, a)) {
			t.Errorf("%q and %q compare differently the other way round", a, b)
		}
		if CompareVersions(a, b) <= 0 && CompareVersions(b, c) <= 0 && CompareVersions(a, c) > 0 {
			t.Errorf("%q <= %q <= %q, but the first is later than the last", a, b, c)
		}
	})
}
