// Package filestest makes roots for the tests of what reads files of a root.
package filestest

import (
	"testing"

	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Root makes a root of files, by path with their contents, and more entries. It lasts as
// long as the test.
func Root(t testing.TB, contents map[string]string, more ...tree.Entry) files.Root {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	entries := more
	for path, text := range contents {
		entries = append(entries, stagetest.File(t, st, path, text))
	}
	return files.Root{Store: st, Tree: stagetest.Tree(t, entries...)}
}
