package deb

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// TestSolveAgainstBruteForce compares the solver with trying all sets, on
// small random universes: what it finds satisfies everything, and it finds
// nothing only where there is nothing. The facts of an explanation contradict
// each other, and no part of them does.
func TestSolveAgainstBruteForce(t *testing.T) {
	const universes = 2000
	solved, explained := 0, 0
	for seed := range int64(universes) {
		random := rand.New(rand.NewSource(seed))
		text := randomUniverse(random)
		u := testUniverse(t, text)
		request := Request{Recommends: seed%3 == 0}
		for i := range 1 + random.Intn(3) {
			request.Packages = append(request.Packages, Item{Name: u.packages[random.Intn(len(u.packages))].Name, Origin: fmt.Sprint(i)})
		}
		if random.Intn(4) == 0 {
			request.Exclude = append(request.Exclude, Item{Name: u.packages[random.Intn(len(u.packages))].Name, Origin: "out"})
		}
		set, err := u.Solve(request)
		possible := bruteForce(u, request)
		var unsatisfiable *UnsatisfiableError
		switch {
		case err == nil:
			solved++
			if problem := violation(u, request, set); problem != "" {
				t.Errorf("seed %d: %v: %s\n%s", seed, names(set), problem, text)
			}
			if !possible {
				t.Errorf("seed %d: %v was found, but nothing is possible\n%s", seed, names(set), text)
			}
		case !errors.As(err, &unsatisfiable):
			t.Errorf("seed %d: %v", seed, err)
		case possible:
			t.Errorf("seed %d: a set is possible, but: %v\n%s", seed, err, text)
		default:
			explained++
			checkMinimal(t, u, request)
		}
		if t.Failed() {
			return
		}
	}
	if solved < universes/10 || explained < universes/10 {
		t.Errorf("%d universes were solved and %d explained; both should be many", solved, explained)
	}
}

// randomUniverse writes up to nine packages a to i with random relations to
// each other, to virtual packages v and w, and to a package that does not
// exist.
func randomUniverse(random *rand.Rand) string {
	var b strings.Builder
	n := 3 + random.Intn(7)
	for i := range n {
		fmt.Fprintf(&b, "Package: %c\nVersion: %d\n", 'a'+i, 1+random.Intn(3))
		for _, field := range []struct {
			name         string
			often        int
			alternatives int
		}{{"Depends", 70, 3}, {"Pre-Depends", 10, 2}, {"Recommends", 40, 2}, {"Conflicts", 30, 1}, {"Breaks", 20, 1}} {
			var parts []string
			for random.Intn(100) < field.often && len(parts) < 3 {
				var alternatives []string
				for range 1 + random.Intn(field.alternatives) {
					alternatives = append(alternatives, randomRelation(random, n))
				}
				parts = append(parts, strings.Join(alternatives, " | "))
			}
			if parts != nil {
				fmt.Fprintf(&b, "%s: %s\n", field.name, strings.Join(parts, ", "))
			}
		}
		switch random.Intn(5) {
		case 0:
			b.WriteString("Provides: v\n")
		case 1:
			fmt.Fprintf(&b, "Provides: w (= %d), v\n", 1+random.Intn(3))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func randomRelation(random *rand.Rand, n int) string {
	name := string(rune('a' + random.Intn(n)))
	switch random.Intn(10) {
	case 0:
		name = "v"
	case 1:
		name = "w"
	case 2:
		name = "gone"
	}
	if random.Intn(3) == 0 {
		name += fmt.Sprintf(" (%s %d)", operatorNames[1+random.Intn(5)], 1+random.Intn(3))
	}
	return name
}

// bruteForce says whether any set of packages is what was asked for.
func bruteForce(u *Universe, r Request) bool {
	for bits := range 1 << len(u.packages) {
		var set []*Package
		for i, p := range u.packages {
			if bits>>i&1 != 0 {
				set = append(set, p)
			}
		}
		if violation(u, r, set) == "" {
			return true
		}
	}
	return false
}

// violation says which rule of deb-control(5) a set of packages breaks, or
// what of the request it does not fulfil; "" if all is well. It shares nothing
// with the solver but the parsing of relations.
func violation(u *Universe, r Request, set []*Package) string {
	has := func(name string) bool {
		return slices.ContainsFunc(set, func(p *Package) bool { return p.Name == name })
	}
	for _, item := range r.Packages {
		if !has(item.Name) {
			return item.Name + " was asked for"
		}
	}
	for _, item := range r.Exclude {
		if has(item.Name) {
			return item.Name + " was excluded"
		}
	}
	for _, p := range set {
		for _, value := range []string{p.PreDepends, p.Depends} {
			all, err := ParseDependencies(value)
			if err != nil {
				return err.Error()
			}
			for _, relation := range all {
				if !slices.ContainsFunc(relation, func(r Relation) bool {
					return slices.ContainsFunc(set, func(q *Package) bool { return is(q, r) })
				}) {
					return fmt.Sprintf("%s requires %s", p, relation)
				}
			}
		}
		for _, value := range []string{p.Conflicts, p.Breaks} {
			all, err := ParseRelations(value)
			if err != nil {
				return err.Error()
			}
			for _, relation := range all {
				for _, q := range set {
					if q != p && is(q, relation) {
						return fmt.Sprintf("%s excludes %s, which is %s", p, relation, q)
					}
				}
			}
		}
	}
	return ""
}

// is says whether a package is or provides what a relation names. It knows
// one architecture only.
func is(p *Package, r Relation) bool {
	if r.Arch == "any" && p.MultiArch != MultiArchAllowed {
		return false
	}
	if p.Name == r.Name && r.Op.Holds(p.Version, r.Version) {
		return true
	}
	provided, err := ParseRelations(p.Provides)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(provided, func(v Relation) bool {
		return v.Name == r.Name && (r.Op == AnyVersion || v.Op == Equal && r.Op.Holds(v.Version, r.Version))
	})
}

func checkMinimal(t *testing.T, u *Universe, r Request) {
	t.Helper()
	s := newSearch(u, r.Recommends)
	if wrong := s.ask(r); len(wrong) > 0 {
		t.Fatalf("the request is wrong: %v", wrong)
	}
	conflict, err := s.run()
	if err != nil || conflict == nil {
		t.Fatalf("no conflict the second time: %v", err)
	}
	facts := sat.Minimize(s.sat.Core(conflict), (*fact).clause)
	if sat.Contradiction(facts, (*fact).clause) == nil {
		t.Fatalf("the explanation %q is no contradiction", s.explain(facts))
	}
	for i := range facts {
		if sat.Contradiction(slices.Delete(slices.Clone(facts), i, i+1), (*fact).clause) != nil {
			t.Fatalf("fact %d of the explanation %q can be left out", i, s.explain(facts))
		}
	}
	// Every fact is told about, unless there are too many alternatives.
	told := strings.Join(s.explain(facts), "\n")
	if strings.Contains(told, "impossible too") {
		return
	}
	for _, f := range facts {
		if f.kind == factNeeds && !strings.Contains(told, "requires "+f.relation.String()) ||
			f.kind == factConflicts && !strings.Contains(told, s.packages[f.other].Name) {
			t.Fatalf("the explanation %q leaves out %+v", told, f)
		}
	}
}

func names(set []*Package) []string {
	var all []string
	for _, p := range set {
		all = append(all, p.Name)
	}
	return all
}
