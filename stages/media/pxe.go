package media

import (
	"errors"
	"maps"
	"slices"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
)

// PXEVersion is the version of MakePXE's code; see stages.Stage.
const PXEVersion = 2

// ServedFile is a file of a directory that is served for network boots.
type ServedFile struct {
	Name   string       `json:"name"` // may have a directory before it: "scripts/01-name"
	Digest store.Digest `json:"digest"`
}

// MakePXE returns the files that start the installer from the network, from an HTTP server that has them at Options.URL:
//
//	boot.ipxe          script for iPXE
//	grub.cfg           menu for a GRUB that was started over the network and reads it from this directory
//	install.json       package installer/config
//	kernel, initramfs
//	payload            package installer/payload
//	scripts/           scripts of the installation
//
// No boot loader is among them: whoever boots from the network has one.
func MakePXE(run *stages.Run, c Contents, o Options) ([]ServedFile, error) {
	if o.URL == "" {
		return nil, errors.New("a directory for network boots needs the URL where it is served")
	}
	if c.Payload.Object.IsZero() {
		return nil, errors.New("a directory for network boots needs something to install")
	}
	document, err := o.NetworkConfig(c)
	if err != nil {
		return nil, err
	}
	encoded, err := document.Encode()
	if err != nil {
		return nil, err
	}
	files := []ServedFile{
		{overHTTP.path(kernelPath), c.Initramfs.Kernel},
		{overHTTP.path(initramfsPath), c.Initramfs.Image},
		{overHTTP.path(payloadPath), c.Payload.Object},
	}
	c.Root = Root{} // live mode needs the whole medium
	text := map[string][]byte{
		"boot.ipxe":    []byte(o.IPXE(c)),
		"grub.cfg":     []byte(o.NetworkMenu(c)),
		"install.json": encoded,
	}
	for i, s := range o.Scripts {
		text[overHTTP.path(scriptPath(i, s))] = s.program()
	}
	for _, name := range slices.Sorted(maps.Keys(text)) {
		digest, err := run.Cache.Store.Put(text[name])
		if err != nil {
			return nil, err
		}
		files = append(files, ServedFile{name, digest})
	}
	return files, nil
}
