package media

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Options is what the recipe says about a medium. It is part of the key of the stages that make one.
type Options struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`

	Mode      string        `json:"mode"` // config.ModeInstall or config.ModeLive
	Target    config.Target `json:"target"`
	Grow      bool          `json:"grow"`
	Scripts   []Script      `json:"scripts"`
	After     string        `json:"after"` // empty, of live media: config.Reboot
	OnFailure string        `json:"on_failure"`
	Confirm   bool          `json:"confirm"`
	Events    config.Events `json:"events"`
	EFI       config.EFI    `json:"efi"`

	Consoles []string `json:"consoles"` // the kernel's, the last is /dev/console
	Cmdline  []string `json:"cmdline"`  // further arguments of the kernel

	VolumeID       string `json:"volume_id,omitempty"` // label of an ISO: 1 to 32 of A-Z, 0-9 and _
	Timeout        int    `json:"timeout"`             // of the menu in seconds; -1 waits for ever
	PasswordPBKDF2 string `json:"password_pbkdf2,omitempty"`
	URL            string `json:"url,omitempty"` // where a directory for PXE is served; it does not end in "/"

	// LocalLoaders are EFI programs that the menu's entry for the local disk looks for on all disks, in this order:
	// "/EFI/debian/shimx64.efi".
	LocalLoaders []string `json:"local_loaders"`

	Epoch int64 `json:"epoch"`
}

// Script is a script that the installer runs in the installed system.
type Script struct {
	Name    string            `json:"name"`
	Content []byte            `json:"content"`
	Inline  bool              `json:"inline"` // Content is text for /bin/sh -e; otherwise a program that says itself how it is run
	Env     map[string]string `json:"env,omitempty"`
	Network bool              `json:"network,omitempty"`
}

// program returns the script as a program.
func (s Script) program() []byte {
	if s.Inline {
		return append([]byte("#!/bin/sh -e\n"), s.Content...)
	}
	return s.Content
}

// Contents is what a medium holds, made by stages before.
type Contents struct {
	Initramfs Initramfs      `json:"initramfs"`
	Loaders   Loaders        `json:"loaders"`          // of an ISO
	Payload   payload.Result `json:"payload,omitzero"` // zero: the medium only runs live
	Layout    config.Layout  `json:"layout,omitzero"`  // of the disk in Payload
	Root      Root           `json:"root,omitzero"`    // zero: nothing to run live
}

// Root is the root file system for live mode.
type Root struct {
	Image      store.Digest `json:"image,omitzero"`       // encoding of a disk.Image: the file system
	Filesystem string       `json:"filesystem,omitempty"` // "ext4", "xfs"
}

// Paths on an ISO, from its root.
const (
	dir           = "imagefactory"
	payloadPath   = dir + "/payload"
	kernelPath    = dir + "/kernel"
	initramfsPath = dir + "/initramfs"
	scriptsDir    = dir + "/scripts"
	rootPath      = "live/root.img"
)

// Layout describes a partitioned disk to the installer. uses says, by the number of the partition, what is in it.
func Layout(l partition.Layout, uses map[int]Use) config.Layout {
	out := config.Layout{DiskGUID: l.GUID.String()}
	for _, p := range l.Partitions {
		out.Partitions = append(out.Partitions, config.Partition{
			Number: p.Number, Label: p.Label, TypeGUID: p.Type.String(), GUID: p.GUID.String(), Start: p.Start, Size: p.Size,
			Filesystem: uses[p.Number].Filesystem, Role: uses[p.Number].Role,
		})
	}
	slices.SortFunc(out.Partitions, func(a, b config.Partition) int { return a.Number - b.Number })
	return out
}

// Use is what is in a partition.
type Use struct{ Filesystem, Role string }

// medium is the kind of place that the installer gets its files from.
type medium int

const (
	onISO medium = iota
	overHTTP
)

// Config returns the document for the installer of an ISO that holds c.
func (o Options) Config(c Contents) (config.Config, error) { return o.config(c, onISO) }

// NetworkConfig is Config for a directory that is served for network boots.
func (o Options) NetworkConfig(c Contents) (config.Config, error) { return o.config(c, overHTTP) }

func (o Options) config(c Contents, m medium) (config.Config, error) {
	id, err := o.id(c)
	if err != nil {
		return config.Config{}, err
	}
	at := func(path string) string { return "/" + m.path(path) }
	out := config.Config{
		Format: config.Format, Name: o.Name, Version: o.Version, Arch: o.Arch, ID: id, Mode: o.Mode,
		After: o.After, OnFailure: o.OnFailure, Confirm: o.Confirm, Consoles: o.Consoles, Events: o.Events,
	}
	if out.After == "" {
		out.After = config.Reboot
	}
	if !c.Payload.Object.IsZero() {
		out.Payload = config.Payload{
			File: at(payloadPath), Size: c.Payload.Info.Size, SHA256: c.Payload.Info.SHA256,
			IndexSHA256: c.Payload.Info.IndexSHA256, DiskSize: c.Payload.Info.DiskSize,
		}
		out.Layout, out.Target, out.Grow, out.EFI = c.Layout, o.Target, o.Grow, o.EFI
		for i, s := range o.Scripts {
			out.Scripts = append(out.Scripts, config.Script{Name: s.Name, File: at(scriptPath(i, s)), Env: s.Env, Network: s.Network})
		}
	}
	if !c.Root.Image.IsZero() && m == onISO {
		out.Root = config.RootImage{File: at(rootPath), Filesystem: c.Root.Filesystem}
	}
	if err := out.Validate(); err != nil {
		return config.Config{}, fmt.Errorf("what the recipe says does not make a medium: %w", err)
	}
	return out, nil
}

// path returns where a file of an ISO lies on the medium: over the network, everything is in one directory.
func (m medium) path(onMedium string) string {
	if m == overHTTP {
		return onMedium[len(dir)+1:]
	}
	return onMedium
}

// id identifies the medium by all that is on it.
func (o Options) id(c Contents) (string, error) {
	p, err := json.Marshal(struct {
		Options  Options
		Contents Contents
	}{o, c})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:16]), nil
}

// scriptPath returns the path of the script with index i: names of scripts are for people, and need not be those of files.
func scriptPath(i int, s Script) string {
	name := []byte(s.Name)
	for i, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			name[i] = '_'
		}
	}
	return fmt.Sprintf("%s/%02d-%s", scriptsDir, i+1, name)
}
