package trim

import (
	"errors"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Count counts what a root has. One without a database of packages has none.
func Count(st *store.Store, t *tree.Tree) (Counts, error) {
	packages := 0
	switch database, err := installed.Read(st, t); {
	case err == nil:
		packages = len(database.Packages)
	case !errors.Is(err, installed.ErrNoDatabase):
		return Counts{}, err
	}
	units, err := services.List(st, t)
	if err != nil {
		return Counts{}, err
	}
	return counts(t, packages, units), nil
}
