package ext4

import (
	"testing"

	"github.com/imagefactory/imagefactory/stages/tree"
	"math/rand/v2"
	"fmt"
)

func TestBasic(t *testing.T) {
	st := openStore(t)
	r := rand.New(rand.NewPCG(1, 2))
	b := newBuilder(t, st)
	b.dir("etc").file("etc/passwd", []byte("root:x\n")).file("empty", nil)
	b.file("big", randomBytes(r, 9<<20+5))
	b.file("holes", holed(r, 64<<20+77, 64<<10))
	b.add(tree.Entry{Path: "link", Type: tree.Symlink, Mode: 0o777, Target: "etc/passwd"})
	b.dir("many")
	for i := range 3000 {
		b.file(fmt.Sprintf("many/file %d", i), []byte("x"))
	}
	tr := b.tree()
	img := write(t, st, tr, options(1<<30))
	fsck(t, img)
	t.Log(run(t, "e2fsprogs", "dumpe2fs", "-h", img))
}
