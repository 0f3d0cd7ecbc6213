package rpm

import (
	"cmp"
	"slices"
	"strings"
)

// prefer returns the candidates that are worth considering, sorted by name: those from
// the repositories of the best priority; of each name the newest, or the first of
// equals; and none that another one obsoletes.
func (s *search) prefer(candidates []int32) []int32 {
	u := s.universe
	priority := u.packages[candidates[0]].Priority
	for _, i := range candidates {
		priority = min(priority, u.packages[i].Priority)
	}
	kept := make([]int32, 0, len(candidates))
	for _, i := range candidates {
		if u.packages[i].Priority == priority {
			kept = append(kept, i)
		}
	}
	slices.SortFunc(kept, func(i, j int32) int {
		return cmp.Or(strings.Compare(u.packages[i].Name, u.packages[j].Name), cmp.Compare(i, j))
	})
	newest := kept[:1]
	for _, i := range kept[1:] {
		switch last := u.packages[newest[len(newest)-1]]; {
		case u.packages[i].Name != last.Name:
			newest = append(newest, i)
		case CompareEVR(u.packages[i].EVR, last.EVR) > 0:
			newest[len(newest)-1] = i
		}
	}
	return s.withoutObsoleted(newest)
}

// withoutObsoleted drops packages that others obsolete, directly or not, unless these are
// obsoleted by them in turn. There is one of each name.
func (s *search) withoutObsoleted(candidates []int32) []int32 {
	u := s.universe
	if len(candidates) < 2 || !slices.ContainsFunc(candidates, func(i int32) bool { return len(u.packages[i].Obsoletes) > 0 }) {
		return candidates
	}
	byName := make(map[string]int32, len(candidates))
	for _, i := range candidates {
		byName[u.packages[i].Name] = i
	}
	obsoleted := make(map[int32]map[int32]bool) // by a candidate, directly or not
	var follow func(from, i int32)
	follow = func(from, i int32) {
		for _, d := range u.packages[i].Obsoletes {
			j, found := byName[d.Name]
			if !found || j == i || obsoleted[from][j] || !d.Names(u.packages[j]) {
				continue
			}
			if obsoleted[from] == nil {
				obsoleted[from] = make(map[int32]bool)
			}
			obsoleted[from][j] = true
			follow(from, j)
		}
	}
	for _, i := range candidates {
		follow(i, i)
	}
	drop := make(map[int32]bool)
	for i, those := range obsoleted {
		for j := range those {
			drop[j] = drop[j] || !obsoleted[j][i]
		}
	}
	return slices.DeleteFunc(slices.Clone(candidates), func(j int32) bool { return drop[j] })
}

// preferRecommended returns the candidates that what is chosen recommends, or that
// supplement it; all when there is none.
func (s *search) preferRecommended(candidates []int32) []int32 {
	if len(candidates) < 2 {
		return candidates
	}
	s.wanted.update()
	var recommended []int32
	for _, i := range candidates {
		if s.isRecommended(i) {
			recommended = append(recommended, i)
		}
	}
	if recommended == nil {
		return candidates
	}
	return recommended
}

// preferInOrder brings the candidate to the front that is to be tried first.
func (s *search) preferInOrder(candidates []int32) []int32 {
	if len(candidates) < 2 {
		return candidates
	}
	return s.suggestedFirst(s.newestProvidesFirst(s.oldLast(candidates)))
}

// oldLast moves packages to the back of which there is a newer version, or one in a
// better repository.
func (s *search) oldLast(candidates []int32) []int32 {
	u := s.universe
	return partition(candidates, func(i int32) bool {
		p := u.packages[i]
		return !slices.ContainsFunc(u.named[p.Name], func(j int32) bool {
			q := u.packages[j]
			switch {
			case j == i || q.Arch != p.Arch:
				return false
			case q.Priority != p.Priority:
				return q.Priority < p.Priority
			default:
				return CompareEVR(q.EVR, p.EVR) > 0
			}
		})
	})
}

// suggestedFirst moves packages to the front that what is chosen suggests, or that enhance it.
func (s *search) suggestedFirst(candidates []int32) []int32 {
	s.wanted.update()
	return partition(candidates, func(i int32) bool {
		return s.wanted.suggested[i] || slices.ContainsFunc(s.universe.packages[i].Enhances, s.isFulfilled)
	})
}

// partition moves packages to the back that are not good, without changing their order
// otherwise.
func partition(packages []int32, isGood func(int32) bool) []int32 {
	var good, bad []int32
	for _, i := range packages {
		if isGood(i) {
			good = append(good, i)
		} else {
			bad = append(bad, i)
		}
	}
	return append(good, bad...)
}

// newestProvidesFirst moves packages to the back that provide an older version of
// something than others do, the farther the more often.
func (s *search) newestProvidesFirst(candidates []int32) []int32 {
	type provided struct {
		by    int // index into candidates
		name  string
		evr   EVR
		below bool // versions below that one
	}
	var all []provided
	for n, i := range candidates {
		p := s.universe.packages[i]
		for _, d := range append(p.Provides[:len(p.Provides):len(p.Provides)], p.self()) {
			switch d.Sense & (Less | Greater | Equal) {
			case Equal:
				if !isHash(d.EVR.String()) {
					all = append(all, provided{n, d.Name, d.EVR, false})
				}
			case Less | Equal:
				all = append(all, provided{n, d.Name, d.EVR, false})
			case Less:
				all = append(all, provided{n, d.Name, d.EVR, true})
			}
		}
	}
	later := func(a, b provided) int { // -1 when a is later than b
		if a.evr == b.evr && a.below == b.below {
			return 0
		}
		c := cmp.Or(cmp.Compare(b.evr.Epoch, a.evr.Epoch), CompareVersions(b.evr.Version, a.evr.Version))
		if c == 0 && a.evr.Release != "" && b.evr.Release != "" {
			c = CompareVersions(b.evr.Release, a.evr.Release)
		} else if c == 0 && a.evr.Release != b.evr.Release {
			return 2 * cmp.Compare(len(b.evr.Release), len(a.evr.Release)) // either may be the later one
		}
		if c == 0 && a.below != b.below {
			if a.below {
				return 1
			}
			return -1
		}
		return c
	}
	slices.SortStableFunc(all, func(a, b provided) int { return cmp.Or(strings.Compare(a.name, b.name), later(a, b)) })
	badness := make([]int, len(candidates))
	bad := 0
	for i, v := range all {
		switch {
		case i == 0 || v.name != all[i-1].name:
			bad = 0
		case v.by != all[i-1].by && later(all[i-1], v) == -1:
			bad++
		}
		badness[v.by] += bad
	}
	order := make([]int, len(candidates))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(badness[a], badness[b]) })
	sorted := make([]int32, len(candidates))
	for n, from := range order {
		sorted[n] = candidates[from]
	}
	return sorted
}

// isHash reports whether a version is a digest, which says nothing about what is newer.
func isHash(version string) bool {
	return len(version) >= 4 && strings.Trim(version, "0123456789abcdef") == ""
}
