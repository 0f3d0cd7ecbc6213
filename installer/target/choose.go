package target

import (
	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/signature"
)

// Options are what the policy is applied to, apart from the disks.
type Options struct {
	// Contents says what each disk holds, by [disks.Disk.Name]. A disk that is not in it is not taken.
	Contents map[string]Inspection
	// ImageSize is the length of the disk image in bytes.
	ImageSize int64
	// SectorSize is the logical sector the image's partition table is made for; 0 means 512.
	SectorSize int
	// Layout reports why a disk's partitions are not where the image has them, when labels are to be preserved. Required
	// when the policy preserves any.
	Layout func(disk disks.Disk, labels []string) error
	// Skipped are block devices that are no disks; they are shown at the end of the table when no disk is found.
	Skipped []disks.Skipped
}

// Inspection is what [signature.Scan] said about a disk.
type Inspection struct {
	Contents signature.Contents
	// Err says that the disk could not be read.
	Err error
}

// Decision is the answer, and what will happen to the disk.
type Decision struct {
	// Disk is what is installed on.
	Disk disks.Disk `json:"disk"`
	// Contents is what it holds now.
	Contents signature.Contents `json:"contents"`
	// Wiped are the signatures that will be gone; Kept those in preserved partitions.
	Wiped []signature.Found `json:"wiped"`
	Kept  []signature.Found `json:"kept"`
	// Preserve are the labels of the partitions that are kept.
	Preserve []string `json:"preserve,omitempty"`
	// Candidates is every disk, and why it was not taken.
	Candidates []Candidate `json:"candidates"`
}

// Candidate is a disk and the answer for it.
type Candidate struct {
	Disk disks.Disk `json:"disk"`
	// Contents describes what the disk holds in a line.
	Contents string `json:"contents"`
	// Taken says that this is the disk. Otherwise Reasons has at least one entry.
	Taken   bool     `json:"taken"`
	Reasons []string `json:"reasons,omitempty"`
}

// Choose takes a disk by the policy. medium is what the installer runs from: the path or name of a disk or of one of its
// partitions, or empty when it came over the network. The error is a [*NoDisk] when there is no unique answer.
func Choose(all []disks.Disk, medium string, policy config.Target, options Options) (Decision, error) {
	return Decision{}, &NoDisk{}
}

// NoDisk says that the policy has no answer, or more than one.
type NoDisk struct {
	// Problem is what is wrong, in a sentence.
	Problem string
	// Candidates is every disk, and why it was not taken.
	Candidates []Candidate
}

// Error returns the problem and the table.
func (e *NoDisk) Error() string { return e.Problem }
