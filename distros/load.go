package distros

import (
	"embed"
	"fmt"
	"os"
	"slices"
	"sort"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

//go:embed *.hcl
var data embed.FS

// constants is the scope of the embedded files: no variables, no functions.
type constants struct{}

func (constants) Eval(e hclsyntax.Expression) (cty.Value, hcl.Diagnostics) { return e.Value(nil) }
func (constants) Dir() string                                              { return "" }

// embedded parses the data files once; a mistake in them is a bug of this program which its tests find.
var embedded = sync.OnceValue(func() map[string]decode.Part {
	parts := map[string]decode.Part{}
	entries, err := data.ReadDir(".")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		src, err := data.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		file, diags := hclsyntax.ParseConfig(src, e.Name(), hcl.InitialPos)
		if diags.HasErrors() {
			panic(diags)
		}
		for _, blk := range file.Body.(*hclsyntax.Body).Blocks {
			parts[blk.Labels[0]] = decode.Part{Body: blk.Body, Scope: constants{}, Header: blk.DefRange()}
		}
	}
	return parts
})

// Names returns the built-in distributions, sorted.
func Names() []string {
	var names []string
	for name, part := range embedded() {
		if _, abstract := part.Body.Attributes["abstract"]; !abstract {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// Default returns the name of a distribution to start with: the first an image of which was booted.
func Default() string {
	for _, name := range Names() {
		if d, err := Load(name); err == nil && d.Verified[FactBoot] != "" {
			return name
		}
	}
	return Names()[0]
}

// UnknownError says that there is no built-in distribution of a name. Its exit status is 2.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no distribution %q. %s", e.Name, decode.DidYouMean(e.Name, Names()))
}

// ExitStatus tells the command that what was asked for is wrong.
func (e *UnknownError) ExitStatus() int { return 2 }

// Load returns the built-in distribution, or an *UnknownError.
func Load(name string) (*Distro, error) {
	if !slices.Contains(Names(), name) {
		return nil, &UnknownError{Name: name}
	}
	part := embedded()[name]
	var diags hcl.Diagnostics
	d := Decoder{Files: os.DirFS("/"), Diags: &diags}.Decode(name, []decode.Part{part})
	if diags.HasErrors() {
		return nil, fmt.Errorf("built-in distribution %s: %w", name, diags)
	}
	return &d, nil
}

// Source returns the text of the data file which defines the built-in distribution, to start a definition of one's own.
func Source(name string) ([]byte, error) {
	part, ok := embedded()[name]
	if !ok {
		return nil, &UnknownError{Name: name}
	}
	src, err := data.ReadFile(part.Header.Filename)
	if err != nil {
		return nil, fmt.Errorf("built-in distribution %s: %w", name, err)
	}
	return src, nil
}
