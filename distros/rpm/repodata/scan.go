package repodata

import (
	"context"
	"errors"

	"github.com/imagefactory/imagefactory/fetch"
)

func (r *Repository) scan(ctx context.Context, client *fetch.Client) error {
	return errors.New("directories of packages")
}
