// Package decode reads HCL blocks by hand, so that every mistake gets a diagnostic which says what to write instead.
//
// A [Body] is one or several HCL bodies read as one: where two define the same attribute, the later wins. That one rule
// is behind include, behind a distribution which inherits from another and behind presets that can be overridden. Every
// getter remembers the name it was asked for; [Body.Close] reports whatever is left, with the nearest known name. Getters
// never fail: they add to the diagnostics and return the zero value, so a caller reads a whole block and reports all of
// its mistakes at once.
package decode

import (
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Scope is what the expressions of one file are evaluated in.
type Scope interface {
	// Eval returns the value of the expression, or an unknown value when the reason was already reported.
	Eval(hclsyntax.Expression) (cty.Value, hcl.Diagnostics)
	// Dir is the directory relative paths of this file start from.
	Dir() string
}

// Part is one HCL body and the scope it is evaluated in.
type Part struct {
	Body  *hclsyntax.Body
	Scope Scope
	// Header is the range of the block's type and labels; the zero range for a file.
	Header hcl.Range
}

// Text is a string and where it was written.
type Text struct {
	Value string
	Range hcl.Range
}

// Body reads one or several bodies as one.
type Body struct {
	What  string // what is read, for messages: `a "disk" block`
	parts []Part
	diags *hcl.Diagnostics
	attrs []string
	kinds []string
}

// New returns a reader of the parts, the later overriding the earlier. Problems are appended to diags.
func New(what string, diags *hcl.Diagnostics, parts ...Part) *Body {
	return &Body{What: what, parts: parts, diags: diags}
}

// Errorf reports a mistake at a range.
func (b *Body) Errorf(at hcl.Range, summary, format string, args ...any) {
	Errorf(b.diags, at, summary, format, args...)
}

// Errorf appends an error to diags.
func Errorf(diags *hcl.Diagnostics, at hcl.Range, summary, format string, args ...any) {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...)}
	if at.Filename != "" {
		d.Subject = &at
	}
	*diags = diags.Append(d)
}

// Header is where the block begins: the last definition when there are several, the start of the file for a file.
func (b *Body) Header() hcl.Range {
	if len(b.parts) == 0 {
		return hcl.Range{}
	}
	p := b.parts[len(b.parts)-1]
	if p.Header.Filename != "" {
		return p.Header
	}
	r := p.Body.Range()
	return hcl.Range{Filename: r.Filename, Start: hcl.InitialPos, End: hcl.InitialPos}
}

// Parts are the bodies being read.
func (b *Body) Parts() []Part { return b.parts }

func (b *Body) find(name string) (*hclsyntax.Attribute, Scope) {
	b.attrs = append(b.attrs, name)
	for i := len(b.parts) - 1; i >= 0; i-- {
		if a, ok := b.parts[i].Body.Attributes[name]; ok {
			return a, b.parts[i].Scope
		}
	}
	return nil, nil
}

// Has reports whether the attribute is written.
func (b *Body) Has(name string) bool {
	a, _ := b.find(name)
	return a != nil
}

// Later reports whether the first attribute is written in a later part than the second, or the second not at all.
func (b *Body) Later(first, second string) bool {
	last := func(name string) int {
		for i := len(b.parts) - 1; i >= 0; i-- {
			if _, ok := b.parts[i].Body.Attributes[name]; ok {
				return i
			}
		}
		return -1
	}
	return last(first) > last(second)
}

// Range is where the attribute's value stands, or the block's header when it is not written.
func (b *Body) Range(name string) hcl.Range {
	if a, _ := b.find(name); a != nil {
		return a.Expr.Range()
	}
	return b.Header()
}

// Dir is the directory relative paths in the attribute start from.
func (b *Body) Dir(name string) string {
	if _, s := b.find(name); s != nil {
		return s.Dir()
	}
	return ""
}

// Require reports the attribute when it is missing; hint says what to write.
func (b *Body) Require(name, hint string) bool {
	if b.Has(name) {
		return true
	}
	b.Errorf(b.Header(), fmt.Sprintf("Missing %q", name), "%s needs %s. Write for example: %s", capital(b.What), name, hint)
	return false
}

func (b *Body) value(name string, want cty.Type, kind string) (cty.Value, hcl.Range, bool) {
	a, scope := b.find(name)
	if a == nil {
		return cty.NilVal, hcl.Range{}, false
	}
	v, ok := b.eval(a.Expr, scope, want, fmt.Sprintf("%q must be %s", name, kind))
	return v, a.Expr.Range(), ok
}

func (b *Body) eval(e hclsyntax.Expression, scope Scope, want cty.Type, complaint string) (cty.Value, bool) {
	v, diags := scope.Eval(e)
	*b.diags = append(*b.diags, diags...)
	v, _ = v.UnmarkDeep()
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return cty.NilVal, false
	}
	if v.IsNull() {
		b.Errorf(e.Range(), "Value is null", "%s, not null. Leave the attribute out to get its default.", capital(complaint))
		return cty.NilVal, false
	}
	got, err := convert.Convert(v, want)
	if err != nil || got.IsNull() {
		b.Errorf(e.Range(), "Wrong type", "%s, not %s.", capital(complaint), Kind(v.Type()))
		return cty.NilVal, false
	}
	return got, true
}

// Kind names a type for people: "a string", "a list".
func Kind(t cty.Type) string {
	switch {
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "a map"
	}
	return t.FriendlyName()
}

// Value returns the attribute as it is, unconverted, and whether it is written and known.
func (b *Body) Value(name string) (cty.Value, hcl.Range, bool) {
	return b.value(name, cty.DynamicPseudoType, "a value")
}

// String returns a string attribute, or def when it is not written.
func (b *Body) String(name, def string) string {
	if v, _, ok := b.value(name, cty.String, "a string"); ok {
		return v.AsString()
	}
	return def
}

// Text returns a string attribute with its range, or the zero Text when it is not written or wrong.
func (b *Body) Text(name string) Text {
	v, r, ok := b.value(name, cty.String, "a string")
	if !ok {
		return Text{}
	}
	return Text{Value: v.AsString(), Range: r}
}

// Bool returns an attribute that is true or false, or def when it is not written.
func (b *Body) Bool(name string, def bool) bool {
	if v, _, ok := b.value(name, cty.Bool, "true or false"); ok {
		return v.True()
	}
	return def
}

// Int returns a whole number between min and max, or def when it is not written.
func (b *Body) Int(name string, def, min, max int64) int64 {
	v, r, ok := b.value(name, cty.Number, "a whole number")
	if !ok {
		return def
	}
	i, acc := v.AsBigFloat().Int64()
	if acc != big.Exact || i < min || i > max {
		b.Errorf(r, "Number out of range", "%q must be a whole number from %d to %d.", name, min, max)
		return def
	}
	return i
}

// Texts returns a list of strings, or nil when it is not written. Elements written as a list have ranges of their own.
func (b *Body) Texts(name string) []Text {
	a, scope := b.find(name)
	if a == nil {
		return nil
	}
	return b.list(name, a, scope)
}

// AllTexts returns the lists of every part, joined in order: for lists which includes add to instead of replacing.
func (b *Body) AllTexts(name string) []Text {
	b.attrs = append(b.attrs, name)
	var all []Text
	for _, p := range b.parts {
		if a, ok := p.Body.Attributes[name]; ok {
			all = append(all, b.list(name, a, p.Scope)...)
		}
	}
	return all
}

func (b *Body) list(name string, a *hclsyntax.Attribute, scope Scope) []Text {
	var out []Text
	if tuple, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok {
		for _, e := range tuple.Exprs {
			if v, ok := b.eval(e, scope, cty.String, fmt.Sprintf("every element of %q must be a string", name)); ok {
				out = append(out, Text{Value: v.AsString(), Range: e.Range()})
			}
		}
		return out
	}
	v, ok := b.eval(a.Expr, scope, cty.DynamicPseudoType, fmt.Sprintf("%q must be a list of strings", name))
	if !ok {
		return nil
	}
	if t := v.Type(); t.IsPrimitiveType() {
		example := `["a", "b"]`
		if t == cty.String {
			example = fmt.Sprintf("[%q]", v.AsString())
		}
		b.Errorf(a.Expr.Range(), "Wrong type", "%q must be a list of strings, not %s. Write: %s = %s", name, Kind(t), name, example)
		return nil
	}
	l, err := convert.Convert(v, cty.List(cty.String))
	if err != nil {
		b.Errorf(a.Expr.Range(), "Wrong type", "%q must be a list of strings: %s.", name, err)
		return nil
	}
	for it := l.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if e.IsNull() {
			b.Errorf(a.Expr.Range(), "Value is null", "Every element of %q must be a string, not null.", name)
			continue
		}
		out = append(out, Text{Value: e.AsString(), Range: a.Expr.Range()})
	}
	return out
}

// Strings is Texts without the ranges.
func (b *Body) Strings(name string) []string { return Values(b.Texts(name)) }

// Values drops the ranges.
func Values(texts []Text) []string {
	var out []string
	for _, t := range texts {
		out = append(out, t.Value)
	}
	return out
}

// Map returns a map of strings, or nil when it is not written. Numbers and booleans become strings.
func (b *Body) Map(name string) map[string]string {
	v, r, ok := b.value(name, cty.DynamicPseudoType, "a map of strings")
	if !ok {
		return nil
	}
	m, err := convert.Convert(v, cty.Map(cty.String))
	if err != nil {
		b.Errorf(r, "Wrong type", "%q must be a map of strings like { KEY = \"value\" }, not %s.", name, Kind(v.Type()))
		return nil
	}
	out := map[string]string{}
	for k, e := range m.AsValueMap() {
		if e.IsNull() {
			b.Errorf(r, "Value is null", "%q has no value for %q: it must be a string, not null.", name, k)
			continue
		}
		out[k] = e.AsString()
	}
	return out
}

// Block is one labelled block, possibly defined in several parts.
type Block struct {
	Type   string
	Labels []string
	Range  hcl.Range // of the last definition's type and labels
	Parts  []Part
}

// Label is the block's first label.
func (b *Block) Label() string { return b.Labels[0] }

// Labelled returns the blocks of a type which take one label, in order of first definition. Where several parts define
// the same label, merge says whether their bodies are read as one or the last replaces the others. Twice in one body is
// a mistake. label says what the label is, for messages: "name".
func (b *Body) Labelled(kind, label string, merge bool) []*Block {
	b.kinds = append(b.kinds, kind)
	var blocks []*Block
	byLabel := map[string]*Block{}
	for _, p := range b.parts {
		here := map[string]hcl.Range{}
		for _, blk := range p.Body.Blocks {
			if blk.Type != kind {
				continue
			}
			at := header(blk)
			if len(blk.Labels) != 1 {
				b.Errorf(at, "Wrong number of labels", "A %s block has one label, its %s. Write: %s %q { … }", kind, label, kind, label)
				continue
			}
			name := blk.Labels[0]
			if first, twice := here[name]; twice {
				b.Errorf(at, fmt.Sprintf("Duplicate %s", kind), "%s %q is already defined at %s. Give one of them another %s or join them.", capital(kind), name, Where(first), label)
				continue
			}
			here[name] = at
			part := Part{Body: blk.Body, Scope: p.Scope, Header: at}
			if old := byLabel[name]; old == nil {
				old = &Block{Type: kind, Labels: blk.Labels, Range: at, Parts: []Part{part}}
				byLabel[name] = old
				blocks = append(blocks, old)
			} else if old.Range = at; merge {
				old.Parts = append(old.Parts, part)
			} else {
				old.Parts = []Part{part}
			}
		}
	}
	return blocks
}

// Single returns the block of a type which has no label and may be written once per file, or nil. Definitions in
// several parts are read as one.
func (b *Body) Single(kind string) *Block {
	b.kinds = append(b.kinds, kind)
	var found *Block
	for _, p := range b.parts {
		var first *hcl.Range
		for _, blk := range p.Body.Blocks {
			if blk.Type != kind {
				continue
			}
			at := header(blk)
			if len(blk.Labels) != 0 {
				b.Errorf(at, "Wrong number of labels", "A %s block has no label. Write: %s { … }", kind, kind)
				continue
			}
			if first != nil {
				b.Errorf(at, fmt.Sprintf("Duplicate %s", kind), "There is already a %s block at %s. Join the two.", kind, Where(*first))
				continue
			}
			first = &at
			if found == nil {
				found = &Block{Type: kind}
			}
			found.Range = at
			found.Parts = append(found.Parts, Part{Body: blk.Body, Scope: p.Scope, Header: at})
		}
	}
	return found
}

// Repeated returns the blocks of a type of which one body may have several, in order. label says what their one label is,
// for messages; where it is empty they have none. Blocks with a label replace all those with the same label in earlier
// parts; blocks without one add up.
func (b *Body) Repeated(kind, label string) []*Block {
	b.kinds = append(b.kinds, kind)
	var blocks []*Block
	for _, p := range b.parts {
		var here []*Block
		for _, blk := range p.Body.Blocks {
			if blk.Type != kind {
				continue
			}
			at := header(blk)
			switch {
			case label == "" && len(blk.Labels) != 0:
				b.Errorf(at, "Wrong number of labels", "Blocks of type %s have no label. Write: %s { … }", kind, kind)
				continue
			case label != "" && len(blk.Labels) != 1:
				b.Errorf(at, "Wrong number of labels", "A %s block has one label, its %s. Write: %s %q { … }", kind, label, kind, label)
				continue
			}
			here = append(here, &Block{Type: kind, Labels: blk.Labels, Range: at, Parts: []Part{{Body: blk.Body, Scope: p.Scope, Header: at}}})
		}
		if label != "" {
			blocks = slices.DeleteFunc(blocks, func(old *Block) bool {
				return slices.ContainsFunc(here, func(new *Block) bool { return new.Label() == old.Label() })
			})
		}
		blocks = append(blocks, here...)
	}
	return blocks
}

// Ignore accepts blocks of a type which somebody else reads.
func (b *Body) Ignore(kind string) { b.kinds = append(b.kinds, kind) }

// Unsupported reports every block of a type the language has but this version does not implement.
func (b *Body) Unsupported(kind, instead string) {
	b.kinds = append(b.kinds, kind)
	for _, p := range b.parts {
		for _, blk := range p.Body.Blocks {
			if blk.Type == kind {
				b.Errorf(header(blk), "Not supported by this version", "Blocks of type %q are not supported by this version of imagefactory. %s", kind, instead)
			}
		}
	}
}

// Close reports attributes and blocks nobody asked for.
func (b *Body) Close() {
	for _, p := range b.parts {
		for _, a := range sortedAttributes(p.Body) {
			if slices.Contains(b.attrs, a.Name) {
				continue
			}
			hint := DidYouMean(a.Name, b.attrs)
			if slices.Contains(b.kinds, a.Name) {
				hint = fmt.Sprintf("%q is a block. Write: %s { … }, without \"=\".", a.Name, a.Name)
			}
			b.Errorf(a.NameRange, "Unknown attribute", "%s has no attribute %q. %s", capital(b.What), a.Name, hint)
		}
		for _, blk := range p.Body.Blocks {
			if slices.Contains(b.kinds, blk.Type) {
				continue
			}
			hint := DidYouMean(blk.Type, b.kinds)
			if slices.Contains(b.attrs, blk.Type) {
				hint = fmt.Sprintf("%q is an attribute. Write: %s = …", blk.Type, blk.Type)
			}
			if len(b.kinds) == 0 && !slices.Contains(b.attrs, blk.Type) {
				hint = "No blocks can stand here."
			}
			b.Errorf(header(blk), "Unknown block", "%s has no block %q. %s", capital(b.What), blk.Type, hint)
		}
	}
}

func sortedAttributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	var attrs []*hclsyntax.Attribute
	for _, a := range body.Attributes {
		attrs = append(attrs, a)
	}
	sort.Slice(attrs, func(i, j int) bool { return attrs[i].NameRange.Start.Byte < attrs[j].NameRange.Start.Byte })
	return attrs
}

func header(blk *hclsyntax.Block) hcl.Range {
	r := blk.TypeRange
	if n := len(blk.LabelRanges); n > 0 {
		r = hcl.RangeBetween(r, blk.LabelRanges[n-1])
	}
	return r
}

// Where writes a position as file:line.
func Where(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
