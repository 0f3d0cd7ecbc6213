package decode

import (
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"debian-13", "debian-12", "ubuntu-24.04", "esp", "bios", "role", "data"}
	for name, want := range map[string][]string{
		"debian-21": {"debian-12", "debian-13"}, // the same distance: by name
		"Debian-12": {"debian-12", "debian-13"},
		"date":      {"data"},
		"xyz":       nil,
		"":          nil,
	} {
		if got := Nearest(name, names); !slices.Equal(got, want) {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	for _, c := range []struct {
		name  string
		names []string
		want  string
	}{
		{"dat", []string{"data"}, `Did you mean "data"?`},
		{"x", []string{"one", "two", "one", "three"}, `Known are "one", "three" and "two".`},
		{"x", nil, "There are none at all."},
	} {
		if got := DidYouMean(c.name, c.names); got != c.want {
			t.Errorf("DidYouMean(%q) = %s, want %s", c.name, got, c.want)
		}
	}
}
