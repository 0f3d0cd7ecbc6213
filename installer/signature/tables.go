package signature

// tables returns the partition tables of a disk and the partitions in them.
func (a *area) tables() ([]Found, []Partition) { return nil, nil }
