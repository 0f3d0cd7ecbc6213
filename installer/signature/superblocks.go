package signature

// superblocks returns everything that is no partition table.
func (a *area) superblocks() []Found { return nil }
