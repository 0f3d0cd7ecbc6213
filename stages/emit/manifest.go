package emit

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

// ManifestSchema is the version of the manifest that this package writes and reads.
const ManifestSchema = 1

// ManifestName is the file name of a manifest within the output directory.
const ManifestName = "manifest.json"

// Manifest says what a build made, and of what.
type Manifest struct {
	Schema          int               `json:"schema"`
	Tool            string            `json:"tool"`              // version of imagefactory
	Name            string            `json:"name"`              // of the image, from the recipe
	Version         string            `json:"version"`           // of the image
	Arch            string            `json:"arch"`              // "x86_64" or "aarch64"
	Recipe          store.Digest      `json:"recipe"`            // of the evaluated recipe
	Lock            store.Digest      `json:"lock"`              // of the lock file
	SourceDateEpoch int64             `json:"source_date_epoch"` // seconds since 1970-01-01 UTC; every time in the images
	Stages          []ManifestStage   `json:"stages"`            // in the order in which they ended
	Scripts         []ManifestScript  `json:"scripts"`           // everything of the target that was executed, in order
	Packages        []ManifestPackage `json:"packages"`          // sorted by name; those that trimming left
	Trim            *ManifestTrim     `json:"trim,omitempty"`    // nil when the recipe does not trim
	// Containers are the container images in the image, sorted by reference.
	Containers []ManifestContainer `json:"containers,omitempty"`
	// Bills are the bills of materials beside the manifest.
	Bills   []ManifestBill   `json:"sboms,omitempty"`
	Disk    *ManifestDisk    `json:"disk,omitempty"`
	Outputs []ManifestOutput `json:"outputs"`
}

// ManifestStage is a stage of the pipeline.
type ManifestStage struct {
	Name   string       `json:"name"`
	Key    store.Digest `json:"key"`    // of all its inputs
	Cached bool         `json:"cached"` // its result was there already
	Millis int64        `json:"ms"`     // wall time; 0 when cached
}

// ManifestScript is a program of the target that the build executed.
type ManifestScript struct {
	Stage string `json:"stage"` // that ran it
	Name  string `json:"name"`  // such as "openssh-server.postinst" or a recipe's script
}

// ManifestPackage is an installed package.
type ManifestPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`   // as the distribution writes it
	SHA256  SHA256 `json:"sha256"` // of the package file
}

// ManifestTrim says what trimming left of the root.
type ManifestTrim struct {
	Profile string         `json:"profile"`
	Before  ManifestCounts `json:"before"`
	After   ManifestCounts `json:"after"`
}

// ManifestCounts says how much there is of what a root consists of.
type ManifestCounts struct {
	Packages int   `json:"packages"`
	Services int   `json:"services"` // unit files, as systemctl list-unit-files counts them
	Files    int   `json:"files"`    // all but directories
	Bytes    int64 `json:"bytes"`    // of regular files, hard linked ones once
	Modules  int   `json:"modules"`  // of kernels
}

// ManifestContainer is a container image that the image has.
type ManifestContainer struct {
	Reference string `json:"reference"` // as the recipe has it
	Digest    string `json:"digest"`    // of the manifest, or list of manifests: SHA-256, hexadecimal
}

// ManifestBill is a bill of materials beside the manifest.
type ManifestBill struct {
	File   string `json:"file"` // name without directory
	SHA256 SHA256 `json:"sha256"`
}

// ManifestDisk is the partitioned disk in the outputs.
type ManifestDisk struct {
	Size       int64               `json:"size"`
	GUID       partition.GUID      `json:"guid"`
	Partitions []ManifestPartition `json:"partitions"` // in the order of the disk
}

// ManifestPartition is a partition and the file system on it.
type ManifestPartition struct {
	Number     int            `json:"number"`
	Label      string         `json:"label"` // PARTLABEL
	Type       partition.GUID `json:"type"`
	GUID       partition.GUID `json:"partuuid"`
	Start      int64          `json:"start"`
	Size       int64          `json:"size"`
	FileSystem string         `json:"filesystem,omitempty"`       // "ext4", "vfat", …; empty for none
	FSLabel    string         `json:"filesystem_label,omitempty"` // LABEL
	FSUUID     string         `json:"filesystem_uuid,omitempty"`  // UUID as blkid prints it
}

// ManifestOutput is a file beside the manifest.
type ManifestOutput struct {
	File        string `json:"file"`         // name without directory
	Format      string `json:"format"`       // "raw", "qcow2", …
	Size        int64  `json:"size"`         // of the file
	VirtualSize int64  `json:"virtual_size"` // of the disk in it; 0 when it is no disk
	SHA256      SHA256 `json:"sha256"`       // of the file
}

// SHA256 is the digest of a file, written in the manifest as sha256sum prints it: 64 hexadecimal digits.
type SHA256 store.Digest

// MarshalText writes the hexadecimal digits.
func (s SHA256) MarshalText() ([]byte, error) { return []byte(store.Digest(s).Hex()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *SHA256) UnmarshalText(p []byte) error {
	d, err := store.ParseHex(string(p))
	*s = SHA256(d)
	return err
}

// WriteManifest writes m to path, whole or not at all. The schema need not be set.
func WriteManifest(path string, m Manifest) error {
	m.Schema = ManifestSchema
	// Lists are never null.
	m.Stages, m.Scripts = append([]ManifestStage{}, m.Stages...), append([]ManifestScript{}, m.Scripts...)
	m.Packages, m.Outputs = append([]ManifestPackage{}, m.Packages...), append([]ManifestOutput{}, m.Outputs...)
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, append(data, '\n'))
}

// ReadManifest reads what WriteManifest wrote.
func ReadManifest(path string) (Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("read the manifest %s: %w", path, err)
	}
	if m.Schema != ManifestSchema {
		return Manifest{}, fmt.Errorf("read the manifest %s: its schema is %d, this imagefactory knows %d", path, m.Schema, ManifestSchema)
	}
	return m, nil
}
