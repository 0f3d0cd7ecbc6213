package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

// Options are what a command line adds to a recipe.
type Options struct {
	Vars     map[string]string // values of variables, from -var; they win over everything else
	VarFiles []string          // files of NAME = VALUE lines, from -var-file; later ones win over earlier ones
	Environ  []string          // environment as "KEY=value"; IMAGEFACTORY_VAR_NAME sets the variable NAME
}

// Load reads, evaluates and validates the recipe at path. The problems are never nil; when they contain errors the
// recipe is nil. Relative paths in a recipe start from the directory of the file they are written in.
func Load(path string, o Options) (*Recipe, *Problems) {
	cwd, err := os.Getwd()
	if err != nil {
		p := &Problems{}
		decode.Errorf(&p.Diagnostics, hcl.Range{}, "No working directory", "The working directory cannot be found: %s.", err)
		return nil, p
	}
	return load(os.DirFS("/"), cwd, path, o)
}

func load(files fs.FS, cwd, path string, o Options) (*Recipe, *Problems) {
	l := &loader{files: files, cwd: cwd, sources: map[string]*hcl.File{}, loaded: map[string]bool{}}
	r := l.load(path, o)
	p := l.problems()
	if p.HasErrors() {
		return nil, p
	}
	return r, p
}

// maxFile bounds what is read into memory of one file a recipe names, in bytes.
const maxFile = 16 << 20

// loader is the state of one Load.
type loader struct {
	files fs.FS  // rooted at "/"
	cwd   string // absolute
	diags hcl.Diagnostics

	sources map[string]*hcl.File // by the name shown in messages
	loaded  map[string]bool      // absolute paths of recipe files
	parts   []decode.Part        // recipe files, included ones first

	variables map[string]*variable
	locals    map[string]*local
	bad       []hcl.Range // expressions already reported
}

func (l *loader) load(path string, o Options) *Recipe {
	l.include(path, hcl.Range{}, nil)
	if len(l.parts) == 0 {
		return nil
	}
	l.collectVariables()
	l.collectLocals()
	l.checkReferences()
	l.setVariables(o)
	l.evaluateLocals()
	r := l.recipe(decode.New("the recipe", &l.diags, l.parts...))
	r.Path = path
	return r
}

func (l *loader) errorf(at hcl.Range, summary, format string, args ...any) {
	decode.Errorf(&l.diags, at, summary, format, args...)
}

// abs makes a path absolute; dir is where relative ones start.
func (l *loader) abs(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func (l *loader) stat(abs string) (fs.FileInfo, error) {
	return fs.Stat(l.files, inRoot(abs))
}

// read returns the contents of a regular file of at most maxFile bytes.
func (l *loader) read(abs string) ([]byte, error) {
	info, err := l.stat(abs)
	switch {
	case err != nil:
		return nil, errors.New(distros.Reason(err))
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("it has %d bytes, more than the %d that can be read into a recipe", info.Size(), maxFile)
	}
	p, err := fs.ReadFile(l.files, inRoot(abs))
	if err != nil {
		return nil, errors.New(distros.Reason(err))
	}
	return p, nil
}

// inRoot is the name of an absolute path in an fs.FS rooted at "/".
func inRoot(abs string) string {
	name := strings.TrimPrefix(filepath.ToSlash(filepath.Clean(abs)), "/")
	if name == "" {
		return "."
	}
	return name
}

// include parses a recipe file and, before it, the files it includes. shown is the path as messages name it.
func (l *loader) include(shown string, at hcl.Range, stack []string) {
	abs := l.abs(l.cwd, shown)
	for i, s := range stack {
		if s == abs {
			l.errorf(at, "Include cycle", "%s includes itself, by way of %d file(s). Remove one of the includes.", shown, len(stack)-i)
			return
		}
	}
	if l.loaded[abs] {
		return // included twice: once is enough, at its first place
	}
	l.loaded[abs] = true
	src, err := l.read(abs)
	if err != nil {
		l.errorf(at, "Cannot read recipe", "The recipe %s cannot be read: %s.", shown, err)
		return
	}
	body := l.parse(shown, src)
	if body == nil {
		return
	}
	for _, t := range l.includes(body) {
		next := t.Value
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(shown), next)
		}
		l.include(next, t.Range, append(stack, abs))
	}
	l.parts = append(l.parts, decode.Part{Body: body, Scope: &scope{loader: l, dir: filepath.Dir(abs)}})
}

// parse returns the body of an HCL file, or nil after reporting its mistakes.
func (l *loader) parse(shown string, src []byte) *hclsyntax.Body {
	file, diags := hclsyntax.ParseConfig(src, shown, hcl.InitialPos)
	l.sources[shown] = file
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	return file.Body.(*hclsyntax.Body)
}

// includes reads the include attribute, which must be constant: it is needed before there are variables.
func (l *loader) includes(body *hclsyntax.Body) []decode.Text {
	a, ok := body.Attributes["include"]
	if !ok {
		return nil
	}
	for _, v := range a.Expr.Variables() {
		l.errorf(v.SourceRange(), "Include is not constant", "Files are included before variables have values. Write the path itself: include = [\"common/hardening.hcl\"]")
		l.bad = append(l.bad, v.SourceRange())
		return nil
	}
	return decode.New("the recipe", &l.diags, decode.Part{Body: body, Scope: literal{}}).Texts("include")
}

// literal is the scope of expressions without variables and functions.
type literal struct{}

func (literal) Eval(e hclsyntax.Expression) (cty.Value, hcl.Diagnostics) { return e.Value(nil) }
func (literal) Dir() string                                              { return "" }
