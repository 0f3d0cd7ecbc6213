package trim

import (
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// FuzzGlob matches any pattern with any path: it ends, and what matches a path itself matches what is below, too.
func FuzzGlob(f *testing.F) {
	root := stagetest.Tree(f, stagetest.Link("lib", "usr/lib"), stagetest.Dir("usr/lib"))
	f.Add("/usr/**/a*", "usr/lib/abc")
	f.Add("/lib/**", "usr/lib/x")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 40 || len(path) > 60 { // "**" many times is as slow as it sounds
			return
		}
		all := newGlobs(root, []string{pattern})
		if tree.CheckPath(path) != nil || path == tree.Root {
			return
		}
		if _, ok := all.match(path); ok {
			if _, below := all.below(path + "/x"); !below {
				t.Errorf("%q matches %q, and not what is in it", pattern, path)
			}
		}
	})
}
