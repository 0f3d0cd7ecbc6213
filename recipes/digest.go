package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/imagefactory/imagefactory/distros"
)

// Digest identifies what the recipe asks for, "sha256:<hex>": the SHA-256 of the recipe's values as JSON together with
// the contents of the files and directories it refers to. It does not depend on where the recipe lies, on comments or
// on how values were computed. The error names the file that cannot be read.
func (r *Recipe) Digest() (string, error) {
	h := sha256.New()
	portable := *r
	portable.Rootfs.Repositories = slices.Clone(r.Rootfs.Repositories)
	for i := range portable.Rootfs.Repositories {
		portable.Rootfs.Repositories[i].URL = r.portable(r.Rootfs.Repositories[i].URL)
	}
	if err := json.NewEncoder(h).Encode(portable); err != nil {
		return "", fmt.Errorf("recipe %s: %w", r.Path, err)
	}
	for _, f := range r.Files {
		if f.Source != "" {
			if err := hashFile(h, f.Source, "file "+f.Path); err != nil {
				return "", err
			}
		}
	}
	for _, s := range r.Scripts {
		for _, in := range s.Inputs {
			if err := hashInput(h, in); err != nil {
				return "", fmt.Errorf("script %q: %w", s.Name, err)
			}
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// Digest identifies the names, types, permission bits and contents of the input, "sha256:<hex>". Links are not followed,
// except the input itself.
func (in Input) Digest() (string, error) {
	h := sha256.New()
	if err := hashInput(h, in); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

func hashInput(h io.Writer, in Input) error {
	root, err := filepath.EvalSymlinks(in.Path)
	if err != nil {
		return fmt.Errorf("input %s: %w", in.Path, err)
	}
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("input %s: %w", path, err)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return fmt.Errorf("input %s: %w", path, err)
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("input %s: %w", path, err)
		}
		name := fmt.Sprintf("%s %s %s", in.Name, filepath.ToSlash(rel), info.Mode())
		switch {
		case info.Mode().IsRegular():
			return hashFile(h, path, name)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return fmt.Errorf("input %s: %w", path, err)
			}
			return hashRecord(h, name, []byte(target))
		}
		return hashRecord(h, name, nil)
	})
}

// hashRecord writes a name and a digest in a form no other record can look like.
func hashRecord(h io.Writer, name string, content []byte) error {
	_, err := fmt.Fprintf(h, "%q %x\n", name, sha256.Sum256(content))
	return err
}

func hashFile(h io.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	content := sha256.New()
	if _, err := io.Copy(content, f); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	_, err = fmt.Fprintf(h, "%q %x\n", name, content.Sum(nil))
	return err
}

// ImagePackages lists every package the image must hold: the distribution's base, what the recipe asks for, and what
// making the initramfs, SELinux and growing the root need. The distribution's essential and priority rules come on top.
// Empty where the root comes whole.
func (r *Recipe) ImagePackages() []string {
	if !r.Rootfs.TakesPackages() {
		return nil
	}
	lists := [][]string{r.Distro.Base.Packages, r.Rootfs.Packages, r.Distro.Initramfs.Packages}
	if r.SELinux != distros.SELinuxDisabled {
		lists = append(lists, r.Distro.SELinux.Packages)
	}
	if r.Disk.Grow {
		lists = append(lists, r.Distro.Grow.Packages)
	}
	return unique(lists...)
}

// ToolPackages lists the packages of the tools tree, which is solved and unpacked but never part of the image.
func (r *Recipe) ToolPackages() []string {
	arch, _ := r.Distro.Architecture(r.Arch)
	var lists [][]string
	if arch.BIOS != nil && r.Boot.Has("bios") {
		lists = append(lists, arch.BIOS.Packages)
	}
	if arch.UEFI != nil && r.Boot.Has("uefi") && r.Boot.SecureBoot == "off" {
		lists = append(lists, arch.UEFI.Packages)
	}
	return unique(lists...)
}

// SignedPackages lists the packages which hold signed boot programs; what they depend on is not needed. Empty when the
// recipe wants none.
func (r *Recipe) SignedPackages() []string {
	arch, _ := r.Distro.Architecture(r.Arch)
	if arch.Signed == nil || r.Boot.SecureBoot != "distro" {
		return nil
	}
	return unique(arch.Signed.Packages)
}

func unique(lists ...[]string) []string {
	var out []string
	for _, list := range lists {
		for _, s := range list {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
