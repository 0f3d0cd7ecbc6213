package installed

import "sync"

// Subset returns a database of those packages of d that keep wants: what there is to say
// about a root whose database was dropped. It is for reading; nothing can be removed from
// it.
func (d *Database) Subset(keep func(*Package) bool) *Database {
	s := &Database{Family: d.Family, byID: map[string]int32{}}
	for i := range d.Packages {
		if p := d.Packages[i]; keep(&p) {
			s.byID[p.ID] = int32(len(s.Packages))
			s.Packages = append(s.Packages, p)
		}
	}
	s.owners = sync.OnceValue(func() map[string][]int32 {
		owners := map[string][]int32{}
		for i, p := range s.Packages {
			for _, f := range p.Files {
				owners[f] = append(owners[f], int32(i))
			}
		}
		return owners
	})
	return s
}
