package recipes

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
)

var sizeUnits = []struct {
	name  string
	shift uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}

var sizePattern = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$`)

// ParseSize reads a size with an IEC unit, "512MiB", and returns bytes. The error says what to write instead.
func ParseSize(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf(`%q is not a size: write a whole number and KiB, MiB, GiB or TiB, like "512MiB"`, s)
	}
	number, unit := m[1], m[2]
	for _, u := range sizeUnits {
		if u.name != unit {
			continue
		}
		n, ok := new(big.Int).SetString(number, 10)
		if !ok {
			return 0, fmt.Errorf("%q is not a whole number of %s: write %q", s, unit, wholeSize(number, u.shift))
		}
		n.Lsh(n, u.shift)
		if n.Cmp(big.NewInt(math.MaxInt64)) > 0 {
			return 0, fmt.Errorf("%q is larger than any disk", s)
		}
		if s != number+unit {
			return 0, fmt.Errorf("%q has spaces in it: write %q", s, number+unit)
		}
		return n.Int64(), nil
	}
	if unit == "" || strings.EqualFold(unit, "B") {
		return 0, fmt.Errorf(`%q has no unit: write KiB, MiB, GiB or TiB after the number, like "512MiB"`, s)
	}
	for _, u := range sizeUnits {
		if strings.EqualFold(unit[:1], u.name[:1]) {
			return 0, fmt.Errorf("%q has a unit that can be misread: sizes are powers of 1024 here, write %q", s, number+u.name)
		}
	}
	return 0, fmt.Errorf("%q has an unknown unit: write KiB, MiB, GiB or TiB", s)
}

// wholeSize writes a decimal fraction of a unit as a whole number of the next smaller one.
func wholeSize(number string, shift uint) string {
	f, _, err := big.ParseFloat(number, 10, 200, big.ToNearestEven)
	if err != nil {
		return "512MiB"
	}
	f.Mul(f, new(big.Float).SetInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	bytes, _ := f.Int64()
	return FormatSize(max(bytes>>10<<10, 1<<10))
}

// FormatSize writes bytes as a size [ParseSize] reads, with the largest unit that gives a whole number; what is no
// multiple of 1 KiB is written in bytes.
func FormatSize(n int64) string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		if u := sizeUnits[i]; n != 0 && n%(1<<u.shift) == 0 {
			return fmt.Sprintf("%d%s", n>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
