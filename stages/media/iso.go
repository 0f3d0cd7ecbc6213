package media

import (
	"context"
	"fmt"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/emit/iso"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// ISOVersion is the version of MakeISO's code; see stages.Stage.
const ISOVersion = 2

// efiImagePath is where the EFI file system lies on an ISO.
const efiImagePath = grubDir + "/efi.img"

// MakeISO composes the hybrid ISO image that holds c, and returns the encoding of the disk.Image in the store:
//
//	/.disk/info                 what this is, for people and for boot loaders that look for it
//	/EFI/BOOT/                  boot loaders for UEFI, as in efi.img
//	/boot/grub/grub.cfg         the menu
//	/boot/grub/bios.img         GRUB for BIOS
//	/boot/grub/efi.img          the EFI file system
//	/imagefactory/ID.id         says to boot loaders that this is the medium with the id ID
//	/imagefactory/install.json  package installer/config
//	/imagefactory/kernel, initramfs
//	/imagefactory/payload       package installer/payload, where there is something to install
//	/imagefactory/scripts/      scripts of the installation
//	/live/root.img              root file system for live mode, where there is one
func MakeISO(ctx context.Context, run *stages.Run, c Contents, o Options) (store.Digest, error) {
	im, err := composeISO(ctx, run.Cache.Store, c, o)
	if err != nil {
		return store.Digest{}, err
	}
	return disk.Save(run.Cache.Store, im)
}

func composeISO(ctx context.Context, st *store.Store, c Contents, o Options) (disk.Image, error) {
	document, err := o.Config(c)
	if err != nil {
		return disk.Image{}, err
	}
	encoded, err := document.Encode()
	if err != nil {
		return disk.Image{}, err
	}
	m := mediumFiles{st: st}
	m.bytes(".disk/info", 0o644, []byte(fmt.Sprintf("%s %s %s\n", o.Name, o.Version, o.Arch)))
	menuMode := uint32(0o644)
	if o.PasswordPBKDF2 != "" {
		menuMode = 0o600
	}
	m.bytes(grubDir+"/grub.cfg", menuMode, []byte(o.Menu(c, document.ID)))
	m.bytes(dir+"/"+document.ID+idSuffix, 0o444, []byte(document.ID+"\n"))
	m.bytes(dir+"/install.json", 0o644, encoded)
	m.object(kernelPath, c.Initramfs.Kernel)
	m.object(initramfsPath, c.Initramfs.Image)
	if !c.Payload.Object.IsZero() {
		m.object(payloadPath, c.Payload.Object)
		for i, s := range o.Scripts {
			m.bytes(scriptPath(i, s), 0o755, s.program())
		}
	}
	if !c.Root.Image.IsZero() {
		image, err := disk.Load(st, c.Root.Image)
		if err != nil {
			return disk.Image{}, err
		}
		m.image(rootPath, image)
	}
	options := iso.Options{
		VolumeID: o.VolumeID, VolumeSetID: document.ID, ApplicationID: o.Name + " " + o.Version, PreparerID: "imagefactory",
		Epoch: o.Epoch, Seed: store.Sum([]byte(document.ID)),
	}
	if err := m.loaders(ctx, c.Loaders, &options, document.ID, o.Epoch); err != nil {
		return disk.Image{}, err
	}
	if m.err != nil {
		return disk.Image{}, m.err
	}
	return iso.Compose(st, m.files, options)
}

// mediumFiles collects the files of a medium. The first error stops it.
type mediumFiles struct {
	st    *store.Store
	files []iso.File
	err   error
}

func (m *mediumFiles) bytes(path string, mode uint32, p []byte) {
	if m.err != nil {
		return
	}
	var digest store.Digest
	digest, m.err = m.st.Put(p)
	m.files = append(m.files, iso.File{Path: path, Mode: mode, Digest: digest})
}

func (m *mediumFiles) object(path string, digest store.Digest) {
	m.files = append(m.files, iso.File{Path: path, Mode: 0o644, Digest: digest})
}

func (m *mediumFiles) image(path string, im disk.Image) {
	m.files = append(m.files, iso.File{Path: path, Mode: 0o644, Image: &im})
}

// loaders adds the boot loaders, and says in o how they are started.
func (m *mediumFiles) loaders(ctx context.Context, l Loaders, o *iso.Options, id string, epoch int64) error {
	if !l.BIOS.IsZero() {
		hybrid, err := m.st.ReadAll(l.HybridMBR)
		if err != nil {
			return err
		}
		const image = grubDir + "/bios.img"
		m.object(image, l.BIOS)
		o.BIOS = &iso.BIOS{Image: image, HybridMBR: hybrid}
	}
	if len(l.EFI) == 0 {
		return nil
	}
	t, err := l.efiTree(m.st, id, epoch)
	if err != nil {
		return err
	}
	image, err := efiImage(ctx, m.st, t, id, epoch)
	if err != nil {
		return err
	}
	m.image(efiImagePath, image)
	o.EFI = efiImagePath
	for _, e := range t.Subtree("EFI") {
		if e.Type == tree.Regular {
			m.object(e.Path, e.Digest)
		}
	}
	return nil
}
