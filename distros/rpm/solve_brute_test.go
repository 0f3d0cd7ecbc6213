package rpm

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// TestSolveAgainstBruteForce compares the solver with trying all sets, on small random universes:
// what it finds satisfies everything, and it finds nothing only where there is
// nothing. The facts of an explanation contradict each other, and no part of them
// does.
func TestSolveAgainstBruteForce(t *testing.T) {
	const universes = 3000
	solved, explained := 0, 0
	for seed := range int64(universes) {
		random := rand.New(rand.NewSource(seed))
		all := packages(t, randomUniverse(random))
		u, err := NewUniverse("x86_64", all)
		if err != nil {
			t.Fatal(err)
		}
		r := Request{WeakDeps: seed%3 == 0}
		for range 1 + random.Intn(3) {
			r.Install = append(r.Install, Item{Spec: all[random.Intn(len(all))].Name})
		}
		if random.Intn(4) == 0 {
			r.Exclude = append(r.Exclude, Item{Spec: all[random.Intn(len(all))].Name, Origin: "x"})
		}
		set, err := u.Solve(r)
		var unsatisfiable *UnsatisfiableError
		switch {
		case err == nil:
			solved++
			if problem := violation(r, all, set); problem != "" {
				t.Fatalf("seed %d: %v for %+v: %s", seed, set, r, problem)
			}
			slices.Reverse(r.Install)
			again, err := u.Solve(r)
			if err != nil || !slices.Equal(set, again) {
				t.Fatalf("seed %d: %v, asked for in another order %v, %v", seed, set, again, err)
			}
		case !errors.As(err, &unsatisfiable):
			t.Fatalf("seed %d: %v", seed, err)
		default:
			if set := bruteForce(r, all); set != nil {
				t.Fatalf("seed %d: %+v has the solution %v, but: %v", seed, r, set, err)
			}
			explained++
			checkExplanation(t, u, r, unsatisfiable)
		}
	}
	t.Logf("%d solutions, %d explanations", solved, explained)
	if solved < universes/5 || explained < universes/5 {
		t.Errorf("%d solutions and %d explanations of %d universes", solved, explained, universes)
	}
}

func randomUniverse(random *rand.Rand) string {
	var b strings.Builder
	names := []string{"a", "b", "c", "d", "e", "f"}
	capability := func() string {
		name := names[random.Intn(len(names))]
		switch random.Intn(8) {
		case 0, 1:
			name = "v"
		case 2:
			name = "/w"
		case 3:
			if random.Intn(3) == 0 {
				name = "gone"
			}
		}
		if random.Intn(4) == 0 {
			name += fmt.Sprintf(" %s %d", []string{"<", "<=", "=", ">=", ">"}[random.Intn(5)], 1+random.Intn(3))
		}
		return name
	}
	dependency := func() string {
		switch random.Intn(10) {
		case 0:
			return fmt.Sprintf("(%s %s %s)", capability(), []string{"and", "or", "if", "unless", "with", "without"}[random.Intn(6)], capability())
		case 1:
			return fmt.Sprintf("(%s %s (%s %s %s) else %s)", capability(), []string{"if", "unless"}[random.Intn(2)], capability(),
				[]string{"and", "or"}[random.Intn(2)], capability(), capability())
		default:
			return capability()
		}
	}
	seen := make(map[string]bool)
	for range 3 + random.Intn(7) {
		nevra := fmt.Sprintf("%s %d-1", names[random.Intn(len(names))], 1+random.Intn(3))
		if seen[nevra] {
			continue
		}
		seen[nevra] = true
		b.WriteString(nevra + " ")
		for _, list := range []struct {
			name string
			most int
		}{{"requires", 3}, {"conflicts", 2}, {"recommends", 2}, {"supplements", 2}} {
			for range random.Intn(list.most) {
				d := dependency()
				for list.name == "conflicts" && strings.HasPrefix(d, "(") && strings.ContainsAny(d, "/v"+nevra[:1]) {
					d = dependency() // what a package itself has to do with its rich conflict is for other tests
				}
				fmt.Fprintf(&b, "%s: %s; ", list.name, d)
			}
		}
		switch random.Intn(6) {
		case 0:
			b.WriteString("provides: v; ")
		case 1:
			fmt.Fprintf(&b, "provides: v = %d, /w; ", 1+random.Intn(3))
		case 2:
			b.WriteString("files: /w; ")
		case 3:
			fmt.Fprintf(&b, "obsoletes: %s; ", capability())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// bruteForce returns a set that is what was asked for, or nil.
func bruteForce(r Request, all []*Package) []*Package {
	for bits := range 1 << len(all) {
		set := []*Package{}
		for i, p := range all {
			if bits>>i&1 != 0 {
				set = append(set, p)
			}
		}
		if violation(r, all, set) == "" {
			return set
		}
	}
	return nil
}

// violation says which rule a set of packages breaks, or what of the request it does
// not fulfil; "" if all is well. It shares nothing with the solver but the parsing of
// dependencies and SatisfiedBy.
func violation(r Request, all, set []*Package) string {
	available := slices.DeleteFunc(slices.Clone(all), func(p *Package) bool {
		return slices.ContainsFunc(r.Exclude, func(item Item) bool { return item.Spec == p.Name })
	})
	for _, item := range r.Exclude {
		if slices.ContainsFunc(set, func(p *Package) bool { return p.Name == item.Spec }) {
			return item.Spec + " was excluded"
		}
	}
	for _, item := range r.Install {
		// A package that obsoletes one of that name will do.
		if !slices.ContainsFunc(set, func(p *Package) bool {
			return p.Name == item.Spec || slices.ContainsFunc(p.Obsoletes, func(d Dependency) bool {
				return d.Name == item.Spec && slices.ContainsFunc(available, func(q *Package) bool { return q != p && isNamed(q, d) })
			})
		}) {
			return item.Spec + " was asked for"
		}
	}
	for i, p := range set {
		for _, q := range set[i+1:] {
			if p.Name == q.Name {
				return fmt.Sprintf("%s and %s", p, q)
			}
		}
		for _, d := range p.Requires {
			if !holds(d, set) {
				return fmt.Sprintf("%s requires %s", p, d)
			}
		}
		for _, d := range p.Conflicts {
			if holds(d, slices.DeleteFunc(slices.Clone(set), func(q *Package) bool { return q == p })) {
				return fmt.Sprintf("%s conflicts with %s", p, d)
			}
		}
		for _, d := range p.Obsoletes {
			if slices.ContainsFunc(set, func(q *Package) bool { return q != p && isNamed(q, d) }) {
				return fmt.Sprintf("%s obsoletes %s", p, d)
			}
		}
	}
	return ""
}

func isNamed(p *Package, d Dependency) bool {
	return p.Name == d.Name && d.SatisfiedBy(Dependency{Name: p.Name, Sense: Equal, EVR: p.EVR})
}

// provides says whether a package is or has what a dependency asks for.
func provides(p *Package, d Dependency) bool {
	return isNamed(p, d) || slices.ContainsFunc(p.Provides, d.SatisfiedBy) || d.Sense == 0 && slices.Contains(p.Files, d.Name)
}

// holds says whether a set satisfies a dependency.
func holds(d Dependency, set []*Package) bool {
	if !d.IsRich() {
		return slices.ContainsFunc(set, func(p *Package) bool { return provides(p, d) })
	}
	e, err := ParseRich(d.Name)
	return err == nil && holdsRich(e, set)
}

func holdsRich(e *Expression, set []*Package) bool {
	switch e.Op {
	case Single:
		return holds(e.Dependency, set)
	case And:
		return !slices.ContainsFunc(e.Operands, func(o *Expression) bool { return !holdsRich(o, set) })
	case Or:
		return slices.ContainsFunc(e.Operands, func(o *Expression) bool { return holdsRich(o, set) })
	case With, Without:
		return slices.ContainsFunc(set, func(p *Package) bool {
			return holdsRich(e.Operands[0], []*Package{p}) && holdsRich(e.Operands[1], []*Package{p}) == (e.Op == With)
		})
	}
	a, condition := holdsRich(e.Operands[0], set), holdsRich(e.Operands[1], set)
	otherwise := e.Op == If
	if len(e.Operands) == 3 {
		otherwise = holdsRich(e.Operands[2], set)
	}
	if condition == (e.Op == If) {
		return a
	}
	return otherwise
}

// checkExplanation checks that the facts of an explanation are contradictory, that each of
// them is needed, and that each is told.
func checkExplanation(t *testing.T, u *Universe, r Request, explanation *UnsatisfiableError) {
	t.Helper()
	s := newSearch(u, r.WeakDeps)
	if wrong := s.ask(r); len(wrong) > 0 {
		return // what was asked for is excluded
	}
	conflict := s.run()
	if conflict == nil {
		t.Fatal("no conflict the second time")
	}
	facts := sat.Minimize(s.sat.Core(conflict), (*fact).clause)
	if sat.Contradiction(facts, (*fact).clause) == nil {
		t.Fatalf("the explanation %q is no contradiction", explanation.Reasons)
	}
	told := strings.Join(explanation.Reasons, "\n")
	for i, f := range facts {
		if sat.Contradiction(slices.Delete(slices.Clone(facts), i, i+1), (*fact).clause) != nil {
			t.Fatalf("fact %d of the explanation %q can be left out", i, explanation.Reasons)
		}
		needed := ""
		switch f.kind {
		case factAsked:
			needed = s.items[f.subject].Spec
		case factExcluded:
			needed = "is excluded by"
		case factRequires:
			needed = "requires " + f.relation.String()
		case factConflicts:
			needed = "conflicts with " + f.relation.String()
		case factObsoletes:
			needed = "obsoletes " + f.relation.String()
		case factSameName:
			needed = "cannot be installed together"
		}
		if !strings.Contains(told, needed) && !strings.Contains(told, inNumber(needed, 2)) && !strings.Contains(told, "cannot be installed either") {
			t.Fatalf("the explanation %q leaves out %q", told, needed)
		}
	}
}
