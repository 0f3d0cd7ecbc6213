package configure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// noting is a scriptlet section that appends to /log that it ran, with what arguments
// and standard input.
func noting(section, name string) string {
	word := strings.Fields(section)[0][1:]
	return fmt.Sprintf("%s\necho \"%s %s $# $*\" >>/log\nsed 's/^/  /' >>/log\n", section, name, word)
}

// everyKind returns all kinds of scriptlets that an installation runs, each noting.
func everyKind(name string, triggers ...string) string {
	sections := append([]string{"%pretrans", "%pre", "%post", "%posttrans"}, triggers...)
	var b strings.Builder
	for i, s := range sections {
		b.WriteString(noting(s, fmt.Sprintf("%s#%d", name, i)))
	}
	return b.String()
}

// hostRPM returns the version of the host's rpm.
func hostRPM(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(need(t, "rpm"), "--eval", "%{rpmversion}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestRPMScriptlets compares with rpm: the same scriptlets, in the same order, with the
// same arguments and input.
func TestRPMScriptlets(t *testing.T) {
	paths := build(t,
		spec{name: "rpm", version: hostRPM(t)},
		spec{name: "base", install: "mkdir -p %{buildroot}/usr/share/base; touch %{buildroot}/usr/share/base/a %{buildroot}/usr/share/base/b", files: "/usr/share/base\n",
			scripts: everyKind("base",
				"%triggerprein -- lib, app", "%triggerin -- lib >= 2, base", "%triggerin -- app < 2", "%triggerun -- app", "%triggerpostun -- app",
				"%filetriggerin -- /usr/share", "%filetriggerin -P 9999 -- /usr/share/app", "%filetriggerin -P 10000 -- /usr/share/lib /usr/share",
				"%transfiletriggerin -- /usr/share", "%transfiletriggerin -P 5 -- /usr/share/app", "%transfiletriggerin -P 200000 -- /usr/share/lib", "%transfiletriggerin -- /opt", "%transfiletriggerun -- /usr/share")},
		spec{name: "lib", version: "3", preamble: "Requires: base\nProvides: lib = 1\n", install: "mkdir -p %{buildroot}/usr/share/lib; touch %{buildroot}/usr/share/lib/x %{buildroot}/usr/share/lib/y; ln -s x %{buildroot}/usr/share/lib/z", files: "%ghost /usr/share/lib/y\n/usr/share/lib/x\n/usr/share/lib/z\n",
			scripts: everyKind("lib", "%triggerprein -- base", "%triggerin -- base = 1, app", "%filetriggerin -P 20000 -- /usr/share/base", "%filetriggerin -P 200 -- /usr/share/lib", "%transfiletriggerin -P 1 -- /usr/share/lib/x", "%transfiletriggerin -P 999 -- /usr")},
		spec{name: "app", version: "2", preamble: "Requires: lib\n", install: "mkdir -p %{buildroot}/usr/share/app; touch %{buildroot}/usr/share/app/1 %{buildroot}/usr/share/apple", files: "/usr/share/app\n/usr/share/apple\n",
			scripts: everyKind("app", "%triggerprein -- app", "%triggerin -- lib", "%triggerin -- nothing", "%filetriggerin -- /usr/share/app", "%filetriggerin -P 7 -- /usr/share/app /usr/share/lib", "%transfiletriggerin -- /usr/share/base /usr/share/app")},
	)
	root, output := real(t, paths, nil)
	want, err := os.ReadFile(filepath.Join(root, "log"))
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	r, err := native(t, paths, epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.contents(t, "log"); got != string(want) {
		t.Errorf("scriptlets ran as\n%swith rpm as\n%s%s", got, want, output)
	}
}
