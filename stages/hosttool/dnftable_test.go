package hosttool

import (
	"fmt"
	"strings"
	"testing"
)

// transaction is what dnf 4.14 prints; the columns of the second are too wide for it.
const transaction = `Dependencies resolved.
================================================================================
 Package            Arch     Version       Repository                      Size
================================================================================
Installing:
 bash               x86_64   5.1.8-9.el9   repository-0                   1.7 M
 tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be
                    noarch   1:1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18-1
                                           repository-1                   620  
Installing dependencies:
 glibc              x86_64   2.34-83.el9   repository-0                   2.0 M
Installing weak dependencies:
 glibc-langpack-en  x86_64   2.34-83.el9   repository-0                   659 k
Enabling module streams:
 nodejs                      18                                                
Installing Groups:
 Core                                                                          

Transaction Summary
================================================================================
Install  4 Packages

Total download size: 4.3 M
Installed size: 16 M
Operation aborted.
`

func TestParseTransaction(t *testing.T) {
	rows, err := parseTransaction([]byte(transaction))
	want := "[{bash x86_64 5.1.8-9.el9 repository-0 false} {tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be noarch 1:1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18-1 repository-1 false}" +
		" {glibc x86_64 2.34-83.el9 repository-0 true} {glibc-langpack-en x86_64 2.34-83.el9 repository-0 true}]"
	if got := fmt.Sprint(rows); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	for what, test := range map[string]struct{ from, to, want string }{
		"another section":   {"Installing dependencies:", "Upgrading:", `the section "Upgrading:" is not one`},
		"skipped packages":  {"Installing weak dependencies:", "Skipping packages with conflicts:", `the section "Skipping packages`},
		"a row too short":   {" glibc              x86_64   2.34-83.el9   repository-0                   2.0 M", " glibc x86_64", `"glibc x86_64" is not a row`},
		"another count":     {"Install  4 Packages", "Install  5 Packages", "it lists 4 packages and counts 5"},
		"no count":          {"Install  4 Packages", "Nothing", "it lists 4 packages and counts -1"},
		"count in words":    {"Install  4 Packages", "Install  four Packages", "has no number"},
		"no table":          {"Transaction Summary", "Summary", ""},
		"a line of nothing": {"Installing:\n", "Installing:\n    continued\n", "belongs to no row"},
	} {
		if _, err := parseTransaction([]byte(strings.Replace(transaction, test.from, test.to, 1))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", what, err, test.want)
		}
	}
	if _, err := parseTransaction([]byte("Nothing to do.\n")); err == nil {
		t.Error("no transaction at all")
	}
}

// FuzzParseTransaction reads anything: rows that are accepted are whole.
func FuzzParseTransaction(f *testing.F) {
	f.Add([]byte(transaction))
	f.Fuzz(func(t *testing.T, p []byte) {
		rows, err := parseTransaction(p)
		if err != nil {
			return
		}
		for _, r := range rows {
			if r.name == "" || r.arch == "" || r.evr == "" || r.repo == "" {
				t.Errorf("%+v", r)
			}
		}
	})
}
