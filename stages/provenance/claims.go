package provenance

import (
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// claims finds the claim that fits a path.
type claims struct {
	list     []Claim
	exact    map[string]int // by path in the tree: the first
	patterns []pattern
}

// pattern is a claim with wildcards.
type pattern struct {
	elements []string
	below    bool // the last element was **
	claim    int
}

// newClaims prepares list for a tree.
func newClaims(t *tree.Tree, stage string, list []Claim) claims {
	c := claims{exact: map[string]int{}}
	for i, claim := range list {
		if claim.Origin.Stage == "" {
			claim.Origin.Stage = stage
		}
		c.list = append(c.list, claim)
		p := relative(path.Clean("/" + claim.Path))
		if !strings.ContainsAny(p, "*?") {
			// Where a path really is: the last element may be a link itself.
			for _, at := range []string{p, resolveParent(t, p)} {
				if _, ok := c.exact[at]; !ok {
					c.exact[at] = i
				}
			}
			continue
		}
		rest, below := strings.CutSuffix(p, "/**")
		if p == "**" {
			rest, below = "", true
		}
		var elements []string
		if rest != "" {
			elements = strings.Split(rest, "/")
		}
		c.patterns = append(c.patterns, pattern{elements, below, i})
	}
	return c
}

// resolveParent follows the links in the directory of p.
func resolveParent(t *tree.Tree, p string) string {
	if p == tree.Root {
		return p
	}
	dir, err := t.Resolve(tree.Parent(p))
	if err != nil {
		return p
	}
	return tree.Join(dir, p[strings.LastIndexByte(p, '/')+1:])
}

// find returns the origin of the first claim that fits path.
func (c *claims) find(path string) (Origin, bool) {
	best, ok := c.exact[path]
	if !ok {
		best = len(c.list)
	}
	if len(c.patterns) > 0 {
		elements := strings.Split(path, "/")
		for _, p := range c.patterns {
			if p.claim >= best {
				break
			}
			if p.matches(elements) {
				best = p.claim
				break
			}
		}
	}
	if best == len(c.list) {
		return Origin{}, false
	}
	return c.list[best].Origin, true
}

// matches reports whether the pattern fits the elements of a path.
func (p *pattern) matches(elements []string) bool {
	if len(elements) < len(p.elements) || len(elements) == len(p.elements) && p.below || len(elements) > len(p.elements) && !p.below {
		return false
	}
	for i, want := range p.elements {
		if want == elements[i] {
			continue
		}
		// The brackets that path.Match knows are none here.
		if ok, err := path.Match(bracketless.Replace(want), elements[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

var bracketless = strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`)
