package recipes

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pure are the functions which depend on their arguments alone.
var pure = map[string]function.Function{
	"abs":             stdlib.AbsoluteFunc,
	"base64decode":    text1(decodeBase64),
	"base64encode":    text1(func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
	"can":             tryfunc.CanFunc,
	"ceil":            stdlib.CeilFunc,
	"chomp":           stdlib.ChompFunc,
	"coalesce":        stdlib.CoalesceFunc,
	"coalescelist":    stdlib.CoalesceListFunc,
	"compact":         stdlib.CompactFunc,
	"concat":          stdlib.ConcatFunc,
	"contains":        stdlib.ContainsFunc,
	"distinct":        stdlib.DistinctFunc,
	"element":         stdlib.ElementFunc,
	"flatten":         stdlib.FlattenFunc,
	"floor":           stdlib.FloorFunc,
	"format":          stdlib.FormatFunc,
	"formatlist":      stdlib.FormatListFunc,
	"indent":          stdlib.IndentFunc,
	"join":            stdlib.JoinFunc,
	"jsondecode":      stdlib.JSONDecodeFunc,
	"jsonencode":      stdlib.JSONEncodeFunc,
	"keys":            stdlib.KeysFunc,
	"length":          lengthFunc,
	"lookup":          stdlib.LookupFunc,
	"lower":           stdlib.LowerFunc,
	"max":             stdlib.MaxFunc,
	"merge":           stdlib.MergeFunc,
	"min":             stdlib.MinFunc,
	"parseint":        stdlib.ParseIntFunc,
	"range":           stdlib.RangeFunc,
	"regex":           stdlib.RegexFunc,
	"regexall":        stdlib.RegexAllFunc,
	"regexreplace":    stdlib.RegexReplaceFunc,
	"replace":         stdlib.ReplaceFunc,
	"reverse":         stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc,
	"setproduct":      stdlib.SetProductFunc,
	"setsubtract":     stdlib.SetSubtractFunc,
	"setunion":        stdlib.SetUnionFunc,
	"sha256":          text1(func(s string) (string, error) { return sha256Hex([]byte(s)), nil }),
	"sha512crypt":     sha512cryptFunc,
	"slice":           stdlib.SliceFunc,
	"sort":            stdlib.SortFunc,
	"split":           stdlib.SplitFunc,
	"substr":          stdlib.SubstrFunc,
	"title":           stdlib.TitleFunc,
	"tobool":          stdlib.MakeToFunc(cty.Bool),
	"tolist":          stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap":           stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
	"tonumber":        stdlib.MakeToFunc(cty.Number),
	"toset":           stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
	"tostring":        stdlib.MakeToFunc(cty.String),
	"trim":            stdlib.TrimFunc,
	"trimprefix":      stdlib.TrimPrefixFunc,
	"trimspace":       stdlib.TrimSpaceFunc,
	"trimsuffix":      stdlib.TrimSuffixFunc,
	"try":             tryfunc.TryFunc,
	"upper":           stdlib.UpperFunc,
	"values":          stdlib.ValuesFunc,
	"zipmap":          stdlib.ZipmapFunc,
}

// impure names what people look for that a reproducible recipe cannot have, and what to do instead.
var impure = map[string]string{
	"env":       "a recipe cannot read the environment. Declare a variable and set it with IMAGEFACTORY_VAR_NAME, -var or -var-file.",
	"getenv":    "a recipe cannot read the environment. Declare a variable and set it with IMAGEFACTORY_VAR_NAME, -var or -var-file.",
	"timestamp": "the same recipe must always give the same image. Pass a time as a variable.",
	"uuid":      "the same recipe must always give the same image. Identifiers are derived from the build; pass others as variables.",
	"bcrypt":    "it has a random salt. Use sha512crypt(password, salt), or pass a finished hash as a variable.",
	"sha512":    "use sha256(text), or sha512crypt(password, salt) for passwords.",
}

// functionNames is the set of names a recipe can call.
var functionNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for name := range (&loader{}).functions("/") {
		names[name] = true
	}
	return names
})

// Functions lists the functions a recipe can call, sorted.
func Functions() []string {
	return slices.Sorted(maps.Keys(functionNames()))
}

// functions are the pure ones and those which read files, relative to dir.
func (l *loader) functions(dir string) map[string]function.Function {
	m := map[string]function.Function{
		"file": text1(func(p string) (string, error) { return l.readText(dir, p) }),
		"filebase64": text1(func(p string) (string, error) {
			b, err := l.readNamed(dir, p)
			return base64.StdEncoding.EncodeToString(b), err
		}),
		"filesha256":   text1(func(p string) (string, error) { b, err := l.readNamed(dir, p); return sha256Hex(b), err }),
		"fileexists":   l.fileExists(dir),
		"templatefile": l.templateFile(dir),
	}
	for name, f := range pure {
		m[name] = f
	}
	return m
}

// text1 makes a function of one string.
func text1(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		},
	})
}

func sha256Hex(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

func decodeBase64(s string) (string, error) {
	p, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", fmt.Errorf("it is not base64")
	}
	if !utf8.Valid(p) {
		return "", fmt.Errorf("it is base64 of something that is not text")
	}
	return string(p), nil
}

func (l *loader) readNamed(dir, path string) ([]byte, error) {
	p, err := l.read(l.abs(dir, path))
	if err != nil {
		return nil, fmt.Errorf("the file %q cannot be read: %w. Relative paths start from the directory of the file they are written in", path, err)
	}
	return p, nil
}

func (l *loader) readText(dir, path string) (string, error) {
	p, err := l.readNamed(dir, path)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(p) {
		return "", fmt.Errorf("the file %q is not text in UTF-8. Use source = %q in a file block to copy it as it is, or filebase64", path, path)
	}
	return string(p), nil
}

func (l *loader) fileExists(dir string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			info, err := l.stat(l.abs(dir, args[0].AsString()))
			return cty.BoolVal(err == nil && info.Mode().IsRegular()), nil
		},
	})
}

// templateFile renders a file with ${…} and %{…} in it. Templates see the given values and the pure functions only.
func (l *loader) templateFile(dir string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "values", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path, values := args[0].AsString(), args[1]
			src, err := l.readText(dir, path)
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if t := values.Type(); !t.IsObjectType() && !t.IsMapType() {
				return cty.NilVal, function.NewArgErrorf(1, "the values must be a map like { name = \"value\" }")
			}
			expr, diags := hclsyntax.ParseTemplate([]byte(src), path, hcl.InitialPos)
			if diags.HasErrors() {
				return cty.NilVal, function.NewArgError(0, templateError(path, diags))
			}
			v, diags := expr.Value(&hcl.EvalContext{Variables: values.AsValueMap(), Functions: pure})
			if diags.HasErrors() {
				return cty.NilVal, function.NewArgError(0, templateError(path, diags))
			}
			if v.Type() != cty.String || v.IsNull() || !v.IsKnown() {
				return cty.NilVal, function.NewArgErrorf(0, "the template %q must give text", path)
			}
			return v, nil
		},
	})
}

func templateError(path string, diags hcl.Diagnostics) error {
	d := diags[0]
	detail := strings.TrimRight(d.Summary+": "+d.Detail, ".?") // the message around it ends the sentence
	if d.Subject == nil {
		return fmt.Errorf("in the template %s: %s", path, detail)
	}
	return fmt.Errorf("in the template %s:%d:%d: %s", path, d.Subject.Start.Line, d.Subject.Start.Column, detail)
}

// lengthFunc counts the elements of collections and the characters of strings.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch t := args[0].Type(); {
		case t == cty.String:
			return stdlib.Strlen(args[0])
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		case t.IsTupleType(), t.IsCollectionType():
			return cty.NumberIntVal(int64(args[0].LengthInt())), nil
		}
		return cty.NilVal, function.NewArgErrorf(0, "it must be a string, a list or a map")
	},
})

var sha512cryptFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "password", Type: cty.String}, {Name: "salt", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		salt := args[1].AsString()
		if len(salt) < 8 || len(salt) > 16 || strings.Trim(salt, cryptAlphabet) != "" {
			return cty.NilVal, function.NewArgErrorf(1, "the salt must have 8 to 16 letters, digits, '.' or '/'. Choose one at random for each password and keep it, so that builds stay the same")
		}
		return cty.StringVal(sha512crypt([]byte(args[0].AsString()), []byte(salt), 0)), nil
	},
})
