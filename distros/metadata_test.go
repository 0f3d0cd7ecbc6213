package distros

import (
	"compress/gzip"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealMetadata holds what a definition says was read in metadata of the vendor against that metadata.
func TestRealMetadata(t *testing.T) {
	d, err := Load("centos-stream-9")
	if err != nil {
		t.Fatal(err)
	}
	names, files := realMetadata(t, "baseos/repodata/*-filelists.xml.gz", "appstream/repodata/*-primary.xml.gz")
	names["system-release"] = true // a capability; in primary.xml
	a, _ := d.Architecture("x86_64")
	for what, list := range map[string][]string{
		"base": d.Base.Packages, "host": d.Host.Packages, "initramfs": d.Initramfs.Packages, "SELinux": d.SELinux.Packages,
		"kernels": a.Kernels, "BIOS": a.BIOS.Packages, "UEFI": a.UEFI.Packages, "signed": a.Signed.Packages,
	} {
		for _, name := range list {
			if !names[name] {
				t.Errorf("%s: there is no package %s", what, name)
			}
		}
	}
	paths := []string{a.BIOS.BootImg, a.BIOS.Modules, a.UEFI.Modules, d.Grub.Mkimage, d.Grub.Dir, d.Initramfs.Command[0], d.RPM.Database + "/rpmdb.sqlite", "/usr/lib/systemd/systemd-growfs", "/usr/bin/systemd-repart"}
	for _, f := range a.Signed.Files {
		paths = append(paths, f.Sources[0])
	}
	for _, pattern := range []string{d.Kernel.Image, d.Kernel.Source, d.Initramfs.Image} {
		paths = append(paths, strings.Replace(pattern, "{version}", "5.14.0-547.el9.x86_64", 1))
	}
	for _, path := range paths {
		if !files[path] && !files[strings.TrimPrefix(path, "/usr")] {
			t.Errorf("no package holds %s", path)
		}
	}
}

// realMetadata reads the names of packages and the paths of files in documents of real repositories: primary.xml, which
// has some of the files, or filelists.xml.
func realMetadata(t *testing.T, documents ...string) (names, files map[string]bool) {
	t.Helper()
	names, files = map[string]bool{}, map[string]bool{}
	for _, document := range documents {
		pattern := filepath.Join("../../shared/realdata/osbuild-cs9", document)
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) != 1 {
			t.Skipf("needs real metadata, which is not part of the source tree: %s (%v)", pattern, err)
		}
		f, err := os.Open(found[0])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(z)
		for {
			token, err := decoder.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			start, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			switch start.Name.Local {
			case "package":
				for _, attribute := range start.Attr {
					if attribute.Name.Local == "name" {
						names[attribute.Value] = true
					}
				}
			case "name", "file":
				var text string
				if err := decoder.DecodeElement(&text, &start); err != nil {
					t.Fatal(err)
				}
				if start.Name.Local == "name" {
					names[text] = true
				} else {
					files[text] = true
				}
			}
		}
	}
	return names, files
}
