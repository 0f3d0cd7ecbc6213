package wording

import (
	"slices"
	"testing"
)

func TestList(t *testing.T) {
	for _, c := range []struct {
		items []string
		limit int
		want  string
	}{
		{[]string{"a"}, 3, "a"},
		{[]string{"a", "b"}, 3, "a or b"},
		{[]string{"a", "b", "c"}, 3, "a, b or c"},
		{[]string{"a", "b", "c", "d", "e"}, 3, "a, b, c and 2 more"},
	} {
		if got := List(c.items, "or", c.limit); got != c.want {
			t.Errorf("%v: %q, want %q", c.items, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"openssh", "openssh-server", "openssl", "bash", "bash", "openssh-clients"}
	for name, want := range map[string][]string{
		"opensh": {"openssh", "openssl"},
		"bsah":   {"bash"},
		"kernel": nil,
		"openss": {"openssh", "openssl"},
		"open":   nil,
	} {
		if got := Nearest(name, slices.Values(names), 3); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := Nearest("openssh-server-x", slices.Values(names), 1); !slices.Equal(got, []string{"openssh-server"}) {
		t.Errorf("one name only: %v", got)
	}
}
