package configure

import (
	"os"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/target"
	"github.com/imagefactory/imagefactory/stages/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	target.Init()
	os.Exit(m.Run())
}
