package containers

import "context"

const storageRoot = "/usr/lib/containers/storage"

func (p *placer) storage(ctx context.Context, placed []Image) error { return errAlready }
