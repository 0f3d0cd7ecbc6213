package recipes

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// scope evaluates the expressions of one recipe file.
type scope struct {
	loader *loader
	dir    string // absolute, where relative paths start
	ctx    *hcl.EvalContext
}

func (s *scope) Dir() string { return s.dir }

// Eval implements decode.Scope.
func (s *scope) Eval(e hclsyntax.Expression) (cty.Value, hcl.Diagnostics) {
	for _, r := range s.loader.bad {
		if within(r, e.Range()) {
			return cty.DynamicVal, nil
		}
	}
	if s.ctx == nil {
		s.ctx = &hcl.EvalContext{Functions: s.loader.functions(s.dir)}
	}
	// Locals are filled in while they are evaluated, so these are made anew; they are small.
	s.ctx.Variables = map[string]cty.Value{"var": s.loader.varObject(), "local": s.loader.localObject()}
	return e.Value(s.ctx)
}

func within(inner, outer hcl.Range) bool {
	return inner.Filename == outer.Filename && inner.Start.Byte >= outer.Start.Byte && inner.End.Byte <= outer.End.Byte
}

// local is one value of a locals block.
type local struct {
	attr  *hclsyntax.Attribute
	scope decode.Scope
	value cty.Value
	state int // 0 new, 1 being evaluated, 2 done
	used  bool
}

func (l *loader) collectLocals() {
	l.locals = map[string]*local{}
	for _, p := range l.parts {
		for _, blk := range p.Body.Blocks {
			if blk.Type != "locals" {
				continue
			}
			if len(blk.Labels) > 0 {
				l.errorf(blk.LabelRanges[0], "Wrong number of labels", "A locals block has no label. Write: locals { … }")
			}
			for _, inner := range blk.Body.Blocks {
				l.errorf(inner.DefRange(), "Unknown block", "Locals are attributes. Write: %s = …", inner.Type)
			}
			for name, a := range blk.Body.Attributes {
				if old := l.locals[name]; old != nil && old.scope == p.Scope {
					first, second := old.attr.NameRange, a.NameRange
					if second.Start.Byte < first.Start.Byte {
						first, second = second, first
					}
					l.errorf(second, "Duplicate local", "There is already a local %q at %s. Rename one of them.", name, decode.Where(first))
				}
				l.locals[name] = &local{attr: a, scope: p.Scope, value: cty.DynamicVal}
			}
		}
	}
}

// checkReferences reports names that do not exist, before anything is evaluated, and what is defined but never used.
func (l *loader) checkReferences() {
	for _, p := range l.parts {
		eachExpression(p.Body, true, func(e hclsyntax.Expression) {
			l.checkExpression(e)
			l.markUsed(e)
		})
	}
	for _, loc := range l.locals {
		l.checkExpression(loc.attr.Expr)
	}
	for name, v := range l.variables {
		if !v.used {
			l.errorf(v.block.Range, "Unused variable", "Nothing uses variable %q. Remove it, or use it as var.%s.", name, name)
		}
	}
	for name, loc := range l.locals {
		if !loc.used {
			l.errorf(loc.attr.NameRange, "Unused local", "Nothing uses local %q. Remove it, or use it as local.%s.", name, name)
		}
	}
}

// eachExpression calls f for every attribute's expression of a body, in order. At the top it leaves out variable and
// locals blocks, which have rules of their own, and include.
func eachExpression(body *hclsyntax.Body, top bool, f func(hclsyntax.Expression)) {
	var attrs []*hclsyntax.Attribute
	for name, a := range body.Attributes {
		if !top || name != "include" {
			attrs = append(attrs, a)
		}
	}
	sort.Slice(attrs, func(i, j int) bool { return attrs[i].SrcRange.Start.Byte < attrs[j].SrcRange.Start.Byte })
	for _, a := range attrs {
		f(a.Expr)
	}
	for _, blk := range body.Blocks {
		if !top || blk.Type != "variable" && blk.Type != "locals" {
			eachExpression(blk.Body, false, f)
		}
	}
}

// markUsed follows references into locals, so that a local only an unused local refers to is unused too.
func (l *loader) markUsed(e hclsyntax.Expression) {
	for _, t := range e.Variables() {
		name := attrOf(t)
		switch t.RootName() {
		case "var":
			if v := l.variables[name]; v != nil {
				v.used = true
			}
		case "local":
			if loc := l.locals[name]; loc != nil && !loc.used {
				loc.used = true
				l.markUsed(loc.attr.Expr)
			}
		}
	}
}

// attrOf is NAME of a reference like var.NAME or var["NAME"].
func attrOf(t hcl.Traversal) string {
	if len(t) < 2 {
		return ""
	}
	switch step := t[1].(type) {
	case hcl.TraverseAttr:
		return step.Name
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String {
			return step.Key.AsString()
		}
	}
	return ""
}

func (l *loader) checkExpression(e hclsyntax.Expression) {
	for _, t := range e.Variables() {
		l.checkReference(t)
	}
	known := functionNames()
	hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok || known[call.Name] {
			return nil
		}
		l.bad = append(l.bad, call.NameRange)
		if why, ok := impure[call.Name]; ok {
			l.errorf(call.NameRange, "Unknown function", "There is no function %q: %s", call.Name, why)
			return nil
		}
		near := decode.Nearest(call.Name, slices.Collect(maps.Keys(known)))
		hint := "The functions are listed in the documentation of the recipe language."
		if len(near) > 0 {
			hint = fmt.Sprintf("Did you mean %s?", decode.Or(near))
		}
		l.errorf(call.NameRange, "Unknown function", "There is no function %q. %s", call.Name, hint)
		return nil
	})
}

func (l *loader) checkReference(t hcl.Traversal) {
	name := attrOf(t)
	at := t.SourceRange()
	var what string
	var names []string
	switch root := t.RootName(); root {
	case "var":
		if l.variables[name] != nil {
			return
		}
		what = "variable"
		names = slices.Collect(maps.Keys(l.variables))
	case "local":
		if l.locals[name] != nil {
			return
		}
		what = "local"
		names = slices.Collect(maps.Keys(l.locals))
	case "env":
		l.bad = append(l.bad, at)
		l.errorf(at, "Environment is not available", "A recipe cannot read the environment, because the same recipe must always give the same image. Declare a variable and set it with IMAGEFACTORY_VAR_%s, -var or -var-file.", strings.ToLower(name))
		return
	default:
		l.bad = append(l.bad, at)
		l.errorf(at, "Unknown name", "There is no %q. Write \"%s\" in quotes for a string, var.%s for a variable or local.%s for a local.", root, root, root, root)
		return
	}
	l.bad = append(l.bad, at)
	if name == "" {
		l.errorf(at, "Incomplete reference", "Write %s.NAME for the value of one %s.", t.RootName(), what)
		return
	}
	hint := fmt.Sprintf("No %s is defined.", what)
	if len(names) > 0 {
		hint = decode.DidYouMean(name, names)
	}
	for _, near := range decode.Nearest(name, names) { // meant, so not unused
		if v := l.variables[near]; v != nil && what == "variable" {
			v.used = true
		}
		if loc := l.locals[near]; loc != nil && what == "local" {
			loc.used = true
			l.markUsed(loc.attr.Expr)
		}
	}
	if what == "variable" {
		hint += fmt.Sprintf(" To define it, write: variable %q { default = … }", name)
	}
	l.errorf(at, "Undefined "+what, "There is no %s %q. %s", what, name, hint)
}

func (l *loader) evaluateLocals() {
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		l.evaluateLocal(name, nil)
	}
}

// evaluateLocal evaluates a local after those it refers to. path is how it was reached.
func (l *loader) evaluateLocal(name string, path []string) {
	loc := l.locals[name]
	if loc == nil || loc.state == 2 {
		return
	}
	path = append(path, name)
	if loc.state == 1 {
		for path[0] != name {
			path = path[1:]
		}
		l.bad = append(l.bad, loc.attr.Expr.Range())
		l.errorf(loc.attr.NameRange, "Local refers to itself", "The value of local %q depends on itself: %s. Break the circle.", name, strings.Join(path, " → "))
		return
	}
	loc.state = 1
	for _, t := range loc.attr.Expr.Variables() {
		if t.RootName() == "local" {
			l.evaluateLocal(attrOf(t), path)
		}
	}
	v, diags := loc.scope.Eval(loc.attr.Expr)
	l.diags = append(l.diags, diags...)
	if !diags.HasErrors() {
		loc.value = v
	}
	loc.state = 2
}

func (l *loader) localObject() cty.Value {
	values := map[string]cty.Value{}
	for name, loc := range l.locals {
		values[name] = loc.value
	}
	return cty.ObjectVal(values)
}

func (l *loader) varObject() cty.Value {
	values := map[string]cty.Value{}
	for name, v := range l.variables {
		values[name] = v.value
	}
	return cty.ObjectVal(values)
}
