package recipes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// EnvironmentPrefix starts the names of environment variables which set variables of a recipe.
const EnvironmentPrefix = "IMAGEFACTORY_VAR_"

// variable is a variable block and its value.
type variable struct {
	block     *decode.Block
	typ       cty.Type // DynamicPseudoType: any
	value     cty.Value
	set       bool // has a value: its default, or one from outside
	broken    bool // a problem with it was reported
	sensitive bool
	used      bool
}

// fail makes the value unknown after a problem with it was reported, so that what uses it is not reported too.
func (v *variable) fail() {
	v.value, v.broken = cty.DynamicVal, true
}

func (l *loader) collectVariables() {
	l.variables = map[string]*variable{}
	for _, blk := range decode.New("the recipe", &l.diags, l.parts...).Labelled("variable", "name", false) {
		v := &variable{block: blk, typ: cty.DynamicPseudoType, value: cty.DynamicVal}
		l.variables[blk.Label()] = v
		if !hclsyntax.ValidIdentifier(blk.Label()) {
			l.errorf(blk.Range, "Invalid name", "%q cannot be a variable's name: use letters, digits and _.", blk.Label())
		}
		body := blk.Parts[0].Body
		if a, ok := body.Attributes["type"]; ok {
			typ, diags := typeexpr.TypeConstraint(a.Expr)
			l.diags = append(l.diags, diags...)
			v.broken = diags.HasErrors()
			if !v.broken {
				v.typ = typ
			}
		}
		if a, ok := body.Attributes["default"]; ok {
			l.setDefault(v, a)
		}
		b := decode.New(fmt.Sprintf("variable %q", blk.Label()), &l.diags, decode.Part{Body: body, Scope: literal{}, Header: blk.Range})
		b.String("description", "")
		v.sensitive = b.Bool("sensitive", false)
		b.Has("type")
		b.Has("default")
		b.Close()
	}
}

// setDefault gives a variable its default, which is constant: nothing else has a value yet.
func (l *loader) setDefault(v *variable, a *hclsyntax.Attribute) {
	v.set = true
	for _, t := range a.Expr.Variables() {
		l.errorf(t.SourceRange(), "Default is not constant", "The default of a variable cannot refer to other values. Use a locals block for what is derived from variables.")
		v.broken = true
		return
	}
	val, diags := v.block.Parts[0].Scope.Eval(a.Expr)
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		v.broken = true
		return
	}
	if v.typ == cty.DynamicPseudoType && val.Type().IsPrimitiveType() {
		v.typ = val.Type()
	}
	l.assign(v, val, a.Expr.Range(), "its default")
}

// assign converts and sets a value. source says where it came from, for messages.
func (l *loader) assign(v *variable, val cty.Value, at hcl.Range, source string) {
	v.set = true
	got, err := convert.Convert(val, v.typ)
	if err != nil {
		v.fail()
		l.errorf(at, "Wrong type", "Variable %q must be %s, but %s is %s.", v.block.Label(), decode.Kind(v.typ), source, decode.Kind(val.Type()))
		return
	}
	v.value = got
}

// setVariables applies the environment, the variable files and the command line, in this order, and reports variables
// which still have no value.
func (l *loader) setVariables(o Options) {
	for _, e := range o.Environ {
		key, text, ok := strings.Cut(e, "=")
		name, mine := strings.CutPrefix(key, EnvironmentPrefix)
		if v := l.variables[name]; ok && mine && v != nil { // the environment is shared: others' variables are not mistakes
			l.assignText(v, text, key)
		}
	}
	for _, file := range o.VarFiles {
		l.setFromFile(file)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Vars)) {
		if v := l.variables[name]; v != nil {
			l.assignText(v, o.Vars[name], "-var "+name)
		} else {
			l.errorf(hcl.Range{}, "Unknown variable", "-var sets %q, but the recipe has no such variable. %s", name, l.nearestVariable(name))
		}
	}
	for name, v := range l.variables {
		if !v.set && !v.broken {
			l.errorf(v.block.Range, "Variable has no value", "Variable %q has no default. Set it with -var %s=VALUE, in a -var-file, or with the environment variable %s%s.", name, name, EnvironmentPrefix, name)
		}
	}
}

func (l *loader) nearestVariable(name string) string {
	return decode.DidYouMean(name, slices.Collect(maps.Keys(l.variables)))
}

// assignText sets a variable from text of the command line or environment: as it is where a primitive value is wanted,
// as an HCL expression for lists, maps and objects.
func (l *loader) assignText(v *variable, text, source string) {
	if v.typ.IsPrimitiveType() || v.typ == cty.DynamicPseudoType && !v.set {
		val, err := convert.Convert(cty.StringVal(text), v.typ)
		if err != nil {
			v.fail()
			l.errorf(v.block.Range, "Wrong type", "Variable %q must be %s; what %s says is not.", v.block.Label(), decode.Kind(v.typ), source)
			return
		}
		v.value, v.set = val, true
		return
	}
	shown := "<" + source + ">"
	expr, diags := hclsyntax.ParseExpression([]byte(text), shown, hcl.InitialPos)
	l.sources[shown] = &hcl.File{Bytes: []byte(text)}
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		v.fail()
		return
	}
	l.assignExpression(v, expr, source)
}

// assignExpression sets a variable to the value of a constant expression.
func (l *loader) assignExpression(v *variable, expr hclsyntax.Expression, source string) {
	val, diags := expr.Value(nil)
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		v.fail()
		return
	}
	l.assign(v, val, expr.Range(), source)
}

func (l *loader) setFromFile(file string) {
	src, err := l.read(l.abs(l.cwd, file))
	if err != nil {
		l.errorf(hcl.Range{}, "Cannot read variable file", "The variable file %s cannot be read: %s.", file, err)
		return
	}
	body := l.parse(file, src)
	if body == nil {
		return
	}
	for _, blk := range body.Blocks {
		l.errorf(blk.DefRange(), "Block in a variable file", "A variable file only has lines like: NAME = VALUE")
	}
	for name, a := range body.Attributes {
		v := l.variables[name]
		if v == nil {
			l.errorf(a.NameRange, "Unknown variable", "The recipe has no variable %q. %s", name, l.nearestVariable(name))
			continue
		}
		l.assignExpression(v, a.Expr, "the value in the variable file")
	}
}
