package sbom

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/sbom/sbomtest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	osRelease = "PRETTY_NAME=\"Test Linux 12 (tester)\"\nNAME=\"Test Linux\"\nVERSION_ID=\"12\"\nID=testlinux\nHOME_URL=\"https://www.example.org/\"\n"
	status    = `Package: bash
Essential: yes
Status: install ok installed
Maintainer: Shell People (team) <shell@example.org>
Architecture: amd64
Version: 1:5.2+b1-2~3
Depends: libc6 (>= 2.36), base | other
Homepage: https://example.org/bash
Description: a shell
 that reads commands

Package: libc6
Status: install ok installed
Maintainer: C People <c@example.org>
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+b1
Homepage: not an address
Description: the C library

Package: meta
Status: install ok installed
Architecture: all
Version: 1
Depends: bash, libc6
Description: nothing but dependencies
`
	copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: somebody
License: GPL-3+

Files: lib/*
Copyright: somebody else
License: Shell-License or Expat

License: GPL-3+
 See /usr/share/common-licenses/GPL-3.

License: Shell-License
 Do what "you" like.
 .
 Really.
`
)

// build makes the input of a document as a build would, with something of everything.
func build(t testing.TB, cache *stages.Cache) Input {
	t.Helper()
	st := cache.Store
	file := func(path, contents string) tree.Entry { return stagetest.File(t, st, path, contents) }
	save := func(entries ...tree.Entry) store.Digest {
		return stagetest.Save(t, st, stagetest.Tree(t, entries...))
	}
	bash := []tree.Entry{file("usr/bin/bash", "elf bash"), file("usr/share/doc/bash/copyright", copyright), stagetest.Link("usr/bin/sh", "bash"), file("etc/profile", "shipped")}
	libc := []tree.Entry{file("usr/lib/libc.so.6", "elf libc"), file("usr/share/common", "both"), file("usr/lib/empty", "")}
	pkgs := []packages.Package{
		{Name: "bash", Version: "1:5.2+b1-2~3", Arch: "amd64", Tree: save(append(bash, file("usr/share/common", "both"))...), Archive: strings.Repeat("ab", 32)},
		{Name: "libc6", Version: "2.36-9+b1", Arch: "amd64", Tree: save(libc...)},
		{Name: "meta", Version: "1", Arch: "all", Tree: save()},
	}
	root := append(append(bash, libc...), file("var/lib/dpkg/status", status),
		file("var/lib/dpkg/info/bash.list", "/.\n/usr\n/usr/bin\n/usr/bin/bash\n/etc/profile\n"), file("var/lib/dpkg/info/libc6.list", "/.\n/usr\n/usr/lib/libc.so.6\n"),
		file("var/lib/dpkg/info/meta.list", "/.\n"), file("usr/lib/os-release", osRelease), stagetest.Link("etc/os-release", "../usr/lib/os-release"))
	rootfs := save(root...)
	linked := file("opt/one", "linked")
	linked.Link = 1
	other := linked
	other.Path = "opt/two"
	root = append(root, file("etc/ld.so.cache", "cache"))
	configured := save(root...)
	root = append(root[:0:0], append(root, file("etc/motd", "hello"), linked, other,
		file("opt/\xff\"odd\"\n%name", "odd"), file("opt/ünï<code>&", "text"), tree.Entry{Path: "dev/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		tree.Entry{Path: "run/fifo", Type: tree.FIFO, Mode: 0o600}, file("var/lib/containers/blob", "layer"), stagetest.Link("opt/l", "/odd\xfe"))...)
	customized := save(root...)
	root = slices.DeleteFunc(slices.Clone(root), func(e tree.Entry) bool { return e.Path == "etc/profile" })
	scripted := save(append(root, file("etc/profile", "edited"), stagetest.Mode(file("usr/bin/bash", "elf bash"), 0o755), file("boot/initrd.img", "initrd"))...)
	esp := save(file("EFI/BOOT/BOOTX64.EFI", strings.Repeat("shim", 100)), file("EFI/grub.cfg", "menu"))
	tools := []packages.Package{{Name: "shim", Version: "15", Arch: "amd64", Tree: save(file("usr/lib/shim.efi", strings.Repeat("shim", 100)))}}

	const container = `container "registry.example.com:5000/Team/pause:3.9@sha256:…"`
	steps := []provenance.Step{
		{Stage: "rootfs", Kind: provenance.Import, Name: "archive root.tar", Tree: rootfs, Packages: pkgs, Claims: provenance.PackageDatabase()},
		{Stage: "configure", Kind: provenance.MaintainerScript, Tree: configured, Claims: []provenance.Claim{{Path: "/etc/ld.so.cache", Origin: provenance.Origin{Kind: provenance.MaintainerScript, Name: "libc6", Version: "2.36-9+b1", Arch: "amd64"}}}},
		{Stage: "customize", Kind: provenance.Generated, Name: "customize", Tree: customized, Claims: []provenance.Claim{
			{Path: "/etc/motd", Origin: provenance.Origin{Kind: provenance.Block, Name: `file "/etc/motd"`}}, {Path: "/var/lib/containers/**", Origin: provenance.Origin{Kind: provenance.Block, Name: container}}}},
		{Stage: "script tune", Kind: provenance.Script, Name: "tune", Tree: scripted, Claims: []provenance.Claim{{Path: "/boot/*", Origin: provenance.Origin{Kind: provenance.Generated, Name: "initramfs"}}}},
	}
	a, err := provenance.Attribute(t.Context(), st, steps)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := provenance.Attribute(t.Context(), st, []provenance.Step{{Stage: "boot", Kind: provenance.Generated, Name: "GRUB", Tree: esp, Sources: tools}})
	if err != nil {
		t.Fatal(err)
	}
	final := stagetest.Load(t, st, scripted)
	db, err := installed.Read(st, final)
	if err != nil {
		t.Fatal(err)
	}
	licenses, err := Licenses(t.Context(), st, final, db)
	if err != nil {
		t.Fatal(err)
	}
	return Input{
		Name: "host", Version: "1.0", Arch: "x86_64", Key: store.Sum([]byte("key")), Epoch: stagetest.Epoch, Tool: Tool{"imagefactory", "1.2.3"},
		Recipe: Recipe{Name: "host.hcl", SHA256: strings.Repeat("cd", 32)}, Root: scripted, Mounts: []Mount{{At: "/boot/efi", Tree: esp}}, Attribution: a.Join("/boot/efi", boot),
		Installed: db, Licenses: licenses, Archives: []Archive{{Name: "bash", Version: "1:5.2+b1-2~3", Arch: "amd64", SHA256: strings.Repeat("ab", 32), FileName: "bash_5.2_amd64.deb"}, {Name: "removed", Version: "1", Arch: "all"}},
		Containers: []Container{{Reference: "registry.example.com:5000/Team/pause:3.9@sha256:…", Digest: store.Sum([]byte("manifest")), Runtime: "containerd", Arch: "amd64", Block: container}},
	}
}

// document returns the document of build, with the input.
func document(t testing.TB) (*Document, Input, *stages.Cache) {
	t.Helper()
	cache := stagetest.Cache(t)
	in := build(t, cache)
	d, err := New(t.Context(), cache, in)
	if err != nil {
		t.Fatal(err)
	}
	return d, in, cache
}

// write returns the document in both formats.
func write(t testing.TB, d *Document) (spdx, cyclonedx []byte) {
	t.Helper()
	spdx, err := SPDX(d)
	if err != nil {
		t.Fatal(err)
	}
	if cyclonedx, err = CycloneDX(d); err != nil {
		t.Fatal(err)
	}
	return spdx, cyclonedx
}

// validate checks a document against the schema of its format.
func validate(t testing.TB, format string, data []byte) {
	t.Helper()
	if err := sbomtest.Check(format, data); err != nil {
		t.Errorf("%v\n%s", err, data)
	}
}

func TestSchemas(t *testing.T) {
	d, _, _ := document(t)
	spdx, cyclonedx := write(t, d)
	const s, c = sbomtest.SPDX, sbomtest.CycloneDX
	validate(t, s, spdx)
	validate(t, c, cyclonedx)

	// The schemas notice what is wrong.
	for _, wrong := range []struct {
		format   string
		data     []byte
		old, new string
	}{{s, spdx, `"SHA1"`, `"SHA-1"`}, {s, spdx, `"spdxVersion"`, `"version"`}, {c, cyclonedx, `"SHA-1"`, `"SHA1"`}, {c, cyclonedx, `"type":"file"`, `"type":"path"`}, {c, cyclonedx, `"urn:uuid:`, `"urn:`}} {
		changed := bytes.Replace(wrong.data, []byte(wrong.old), []byte(wrong.new), 1)
		if sbomtest.Check(wrong.format, changed) == nil {
			t.Errorf("the schema takes %s for %s", wrong.new, wrong.old)
		}
	}

	// One with next to nothing in it.
	empty := &Document{Name: "x", Key: d.Key, Tool: Tool{Name: "imagefactory"}}
	spdx, cyclonedx = write(t, empty)
	validate(t, s, spdx)
	validate(t, c, cyclonedx)
}

// paths returns the paths of the image's trees which are no directories, with their entries.
func paths(t testing.TB, cache *stages.Cache, in Input) map[string]tree.Entry {
	all := map[string]tree.Entry{}
	add := func(digest store.Digest, at string) {
		for _, e := range stagetest.Load(t, cache.Store, digest).Entries() {
			if e.Type != tree.Directory {
				all[at+"/"+e.Path] = e
			}
		}
	}
	add(in.Root, "")
	for _, m := range in.Mounts {
		add(m.Tree, m.At)
	}
	return all
}

// decoded returns a name as the image has it.
func decoded(name string) string {
	if name == "/opt/%FF\"odd\"\n%25name" {
		return "/opt/\xff\"odd\"\n%name"
	}
	return name
}

// contents returns what the sums of an entry are of.
func contents(t testing.TB, st *store.Store, e tree.Entry) []byte {
	if e.Type == tree.Regular {
		return []byte(stagetest.Contents(t, st, e))
	}
	return []byte(e.Target)
}

// TestReadSPDX reads a document with SPDX's own library.
func TestReadSPDX(t *testing.T) {
	d, in, cache := document(t)
	data, _ := write(t, d)
	doc, err := spdxjson.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DocumentName != "host-1.0-x86_64" || !strings.HasPrefix(doc.DocumentNamespace, "https://github.com/imagefactory/imagefactory/spdx/host-1.0-x86_64-") ||
		doc.CreationInfo.Created != timestamp(stagetest.Epoch) || doc.CreationInfo.Creators[0].Creator != "imagefactory-1.2.3" {
		t.Errorf("the document is %+v, %+v", doc, doc.CreationInfo)
	}

	// Every path is there, with its sums.
	want := paths(t, cache, in)
	files := map[string]string{} // identifier to path
	for _, f := range doc.Files {
		name := decoded(strings.TrimPrefix(f.FileName, "."))
		e, ok := want[name]
		if !ok {
			t.Errorf("%s is not in the image, or twice in the document", f.FileName)
			continue
		}
		delete(want, name)
		files[string(f.FileSPDXIdentifier)] = name
		body := contents(t, cache.Store, e)
		sums := map[string]string{}
		for _, c := range f.Checksums {
			sums[string(c.Algorithm)] = c.Value
		}
		if old := sha1.Sum(body); sums["SHA1"] != hex.EncodeToString(old[:]) || sums["SHA256"] != store.Sum(body).Hex() {
			t.Errorf("%s has the sums %v", name, sums)
		}
		if !strings.Contains(f.FileComment, "from: ") {
			t.Errorf("%s says nothing of its origin: %q", name, f.FileComment)
		}
	}
	if len(files) == 0 || len(want) > 0 {
		t.Errorf("%d files are in the document, these are not: %q", len(files), slices.Sorted(maps.Keys(want)))
	}

	// Everything that relationships name exists, and every file belongs somewhere.
	byID := map[string]*v2_3.Package{}
	for _, p := range doc.Packages {
		if byID[string(p.PackageSPDXIdentifier)] != nil {
			t.Errorf("%s is there twice", p.PackageSPDXIdentifier)
		}
		byID[string(p.PackageSPDXIdentifier)] = p
	}
	name := func(id string) string {
		if p := byID[id]; p != nil {
			return p.PackageName
		}
		if f, ok := files[id]; ok {
			return f
		}
		if id != "DOCUMENT" {
			t.Errorf("a relationship names %s, which there is not", id)
		}
		return "the document"
	}
	var relations []string
	held := map[string][]string{} // by path: what contains it
	inside := map[string][]string{}
	for _, r := range doc.Relationships {
		a, b := string(r.RefA.ElementRefID), string(r.RefB.ElementRefID)
		relations = append(relations, name(a)+" "+r.Relationship+" "+name(b))
		if f, ok := files[b]; ok && r.Relationship == "CONTAINS" {
			held[f] = append(held[f], name(a))
			inside[a] = append(inside[a], f)
		}
	}
	for path, where := range map[string]string{
		"/usr/bin/bash": "bash", "/usr/bin/sh": "bash", "/usr/share/common": "bash libc6", "/etc/profile": "host", "/etc/motd": "host", "/boot/efi/EFI/BOOT/BOOTX64.EFI": "shim",
		"/var/lib/containers/blob": in.Containers[0].Reference, "/dev/null": "host", "/opt/one": "host", "/opt/two": "host",
	} {
		if got := strings.Join(held[path], " "); got != where {
			t.Errorf("%s is in %q, want %q", path, got, where)
		}
	}
	for f := range paths(t, cache, in) {
		if len(held[f]) == 0 {
			t.Errorf("%s is in nothing", f)
		}
	}
	for _, want := range []string{
		"the document DESCRIBES host", "imagefactory BUILD_TOOL_OF host", "host GENERATED_FROM host.hcl", "host CONTAINS bash", "host CONTAINS meta", "host CONTAINS shim",
		"bash DEPENDS_ON libc6", "meta DEPENDS_ON bash", "libc6 GENERATED_FROM glibc", "/etc/motd GENERATED_FROM host.hcl", "/etc/profile GENERATED_FROM host.hcl",
		"/etc/ld.so.cache GENERATED_FROM libc6", "imagefactory GENERATES /boot/initrd.img", "imagefactory GENERATES /var/lib/dpkg/status", "/usr/lib/os-release GENERATED_FROM archive root.tar",
		"host GENERATED_FROM archive root.tar", "host CONTAINS " + in.Containers[0].Reference,
	} {
		if !slices.Contains(relations, want) {
			t.Errorf("nothing says: %s", want)
		}
	}

	// Packages.
	for id, p := range byID {
		list := inside[id]
		if id == "Image" {
			list = slices.Collect(maps.Keys(paths(t, cache, in)))
		}
		if p.FilesAnalyzed != (len(list) > 0) && p.PackageName != in.Containers[0].Reference {
			t.Errorf("%s has %d files, and says %v", p.PackageName, len(list), p.FilesAnalyzed)
		}
		if !p.FilesAnalyzed {
			continue
		}
		var sums []string
		for _, f := range list {
			sum := sha1.Sum(contents(t, cache.Store, paths(t, cache, in)[f]))
			sums = append(sums, hex.EncodeToString(sum[:]))
		}
		slices.Sort(sums)
		sum := sha1.Sum([]byte(strings.Join(sums, "")))
		if got := p.PackageVerificationCode.Value; got != hex.EncodeToString(sum[:]) {
			t.Errorf("%s has the verification code %s", p.PackageName, got)
		}
	}
	for _, p := range doc.Packages {
		if p.PackageName != "bash" || p.PrimaryPackagePurpose == "SOURCE" {
			continue
		}
		if p.PackageVersion != "1:5.2+b1-2~3" || p.PackageSupplier.Supplier != "Shell People [team] (shell@example.org)" || p.PackageSupplier.SupplierType != "Organization" ||
			p.PackageChecksums[0].Value != strings.Repeat("ab", 32) || p.PackageFileName != "bash_5.2_amd64.deb" || p.PackageHomePage != "https://example.org/bash" ||
			p.PackageExternalReferences[0].Locator != "pkg:deb/testlinux/bash@1:5.2%2Bb1-2~3?arch=amd64&distro=testlinux-12" ||
			!strings.HasPrefix(p.PackageLicenseDeclared, "GPL-3.0-or-later AND (LicenseRef-deb-Shell-License-") || p.PackageSummary != "a shell" {
			t.Errorf("bash is %+v", p)
		}
	}
	if len(doc.OtherLicenses) != 1 || doc.OtherLicenses[0].ExtractedText != "Do what \"you\" like.\n\nReally." {
		t.Errorf("licences of packages' own: %+v", doc.OtherLicenses)
	}
}

// TestReadCycloneDX reads a document with CycloneDX's own library.
func TestReadCycloneDX(t *testing.T) {
	d, in, cache := document(t)
	_, data := write(t, d)
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cdx.SpecVersion1_6 || bom.Metadata.Timestamp != timestamp(stagetest.Epoch) || bom.Metadata.Component.Name != "host" || (*bom.Metadata.Tools.Components)[0].Version != "1.2.3" {
		t.Errorf("the document is %+v", bom.Metadata)
	}
	want := paths(t, cache, in)
	refs := map[string]bool{bom.Metadata.Component.BOMRef: true}
	kinds := map[cdx.ComponentType]int{}
	properties := map[string]string{} // of files, by path
	for _, c := range *bom.Components {
		if refs[c.BOMRef] || c.BOMRef == "" {
			t.Errorf("the reference %q of %s is not its own", c.BOMRef, c.Name)
		}
		refs[c.BOMRef] = true
		kinds[c.Type]++
		if c.Type != cdx.ComponentTypeFile {
			continue
		}
		name := decoded(c.Name)
		e, ok := want[name]
		if !ok {
			t.Errorf("%s is not in the image, or twice in the document", c.Name)
			continue
		}
		delete(want, name)
		for _, h := range *c.Hashes {
			if h.Algorithm == cdx.HashAlgoSHA256 && h.Value != store.Sum(contents(t, cache.Store, e)).Hex() {
				t.Errorf("%s has the sum %s", name, h.Value)
			}
		}
		for _, p := range *c.Properties {
			properties[name] += strings.TrimPrefix(p.Name, "imagefactory:") + "=" + p.Value + "\n"
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the document: %q", slices.Sorted(maps.Keys(want)))
	}
	if fmt.Sprint(kinds) != fmt.Sprintf("map[container:1 file:%d library:4 operating-system:1]", len(properties)) {
		t.Errorf("the components are %v", kinds)
	}
	const bashURL = "pkg:deb/testlinux/bash@1:5.2%2Bb1-2~3?arch=amd64&distro=testlinux-12"
	for path, want := range map[string]string{
		"/usr/bin/sh":             "origin=package bash 1:5.2+b1-2~3 (amd64)\norigin:kind=package\npackage=" + bashURL + "\ntype=symlink\ntarget=bash\n",
		"/usr/share/common":       "origin=package bash 1:5.2+b1-2~3 (amd64)\norigin:kind=package\npackage=" + bashURL + "\npackage=pkg:deb/testlinux/libc6@2.36-9%2Bb1?arch=amd64&distro=testlinux-12\nsize=4\n",
		"/etc/profile":            "origin=script tune\norigin:kind=script\nsize=6\nnote=replaces what came from package bash 1:5.2+b1-2~3 (amd64)\n",
		"/etc/motd":               "origin=recipe block file \"/etc/motd\"\norigin:kind=recipe block\nsize=5\n",
		"/usr/bin/bash":           "origin=package bash 1:5.2+b1-2~3 (amd64)\norigin:kind=package\npackage=" + bashURL + "\nsize=8\nnote=mode changed by script tune\n",
		"/dev/null":               "origin=imagefactory, stage customize: customize\norigin:kind=generated\ntype=character device\n",
		"/opt/l":                  "origin=imagefactory, stage customize: customize\norigin:kind=generated\ntype=symlink\ntarget=/odd%FE\n",
		"/opt/\xff\"odd\"\n%name": "origin=imagefactory, stage customize: customize\norigin:kind=generated\nsize=3\npercent-encoded=true\n",
	} {
		if properties[path] != want {
			t.Errorf("%s:\n%s\nwant:\n%s", path, properties[path], want)
		}
	}
	for _, d := range *bom.Dependencies {
		for _, ref := range append([]string{d.Ref}, *cmpOr(d.Dependencies)...) {
			if !refs[ref] {
				t.Errorf("a dependency names %s, which there is not", ref)
			}
		}
		if d.Ref == bashURL && (d.Dependencies == nil || strings.Join(*d.Dependencies, " ") != "pkg:deb/testlinux/libc6@2.36-9%2Bb1?arch=amd64&distro=testlinux-12") {
			t.Errorf("bash depends on %v", d.Dependencies)
		}
	}
}

// cmpOr returns an empty list for none.
func cmpOr(list *[]string) *[]string {
	if list == nil {
		return &[]string{}
	}
	return list
}

// TestReproducible builds twice, in two caches, and once more in the first.
func TestReproducible(t *testing.T) {
	a, in, cache := document(t)
	b, _, _ := document(t)
	again, err := New(t.Context(), cache, in)
	if err != nil {
		t.Fatal(err)
	}
	spdx, cyclonedx := write(t, a)
	for _, d := range []*Document{b, again} {
		s, c := write(t, d)
		if !bytes.Equal(s, spdx) || !bytes.Equal(c, cyclonedx) {
			t.Error("two builds give different documents")
		}
	}
	key, tool := *a, *a
	key.Key = store.Sum([]byte("another key"))
	tool.Tool.Version = "2"
	if uuid(a) == uuid(&key) || uuid(a) == uuid(&tool) || uuid(a) != uuid(b) {
		t.Error("documents are told apart by something else than key and tool")
	}
}

// TestSums keeps SHA-1 sums: they are there when the contents no longer are.
func TestSums(t *testing.T) {
	cache := stagetest.Cache(t)
	var digests []store.Digest
	want := map[store.Digest][20]byte{}
	for i := range 500 {
		data := fmt.Appendf(nil, "file %d", i)
		d, err := cache.Store.Put(data)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d, d)
		want[d] = sha1.Sum(data)
	}
	sums, err := Sums(t.Context(), cache, digests)
	if err != nil || !maps.Equal(sums, want) {
		t.Fatalf("%d sums of %d: %v", len(sums), len(want), err)
	}
	if _, err := cache.Store.Sweep(nil); err != nil {
		t.Fatal(err)
	}
	if sums, err = Sums(t.Context(), cache, digests); err != nil || !maps.Equal(sums, want) {
		t.Errorf("%d sums of %d are kept: %v", len(sums), len(want), err)
	}
	if _, err := Sums(t.Context(), cache, append(digests, store.Sum([]byte("missing")))); err == nil || !strings.Contains(err.Error(), "file contents sha256:") {
		t.Errorf("missing contents: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sums(ctx, stagetest.Cache(t), digests); err == nil {
		t.Error("an ended context is no error")
	}
}

func TestNewErrors(t *testing.T) {
	cache := stagetest.Cache(t)
	for what, c := range map[string]struct {
		change func(in *Input)
		want   string
	}{
		"another image's attribution": {func(in *Input) { in.Mounts[0].At = "/efi" }, "nobody knows where /efi comes from: the attribution is not of this image"},
		"no attribution":              {func(in *Input) { in.Attribution = nil }, "a bill of materials needs to know where the files come from"},
		"no name":                     {func(in *Input) { in.Name = "" }, "a bill of materials needs the image's name, the tool's name and the build's key"},
		"no root":                     {func(in *Input) { in.Root = store.Sum([]byte("missing")) }, "not in the store"},
		"no mount":                    {func(in *Input) { in.Mounts[0].Tree = store.Sum(nil) }, "file system /boot/efi: "},
		"mounted twice":               {func(in *Input) { in.Mounts = append(in.Mounts, in.Mounts[0]) }, "the file /boot/efi/EFI/BOOT/BOOTX64.EFI is there twice"},
		"a package twice":             {func(in *Input) { in.Installed.Packages = append(in.Installed.Packages, in.Installed.Packages[0]) }, "which is empty or another's too"},
	} {
		in := build(t, cache)
		c.change(&in)
		if _, err := New(t.Context(), cache, in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", what, err, c.want)
		}
	}
	d := &Document{Name: "x", Key: store.Sum(nil), Tool: Tool{Name: "t"}, Files: []File{{Path: "/x", Package: 0}}}
	if err := WriteSPDX(&bytes.Buffer{}, d); err == nil {
		t.Error("a file of a package that there is not is written")
	}
	if err := WriteCycloneDX(&bytes.Buffer{}, d); err == nil {
		t.Error("a file of a package that there is not is written")
	}
	d.Files = nil
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if WriteSPDX(full, d) == nil || WriteCycloneDX(full, d) == nil {
		t.Error("errors of writing are forgotten")
	}
}

// TestWithoutDatabase lists the packages that files come from, and takes the system that is given.
func TestWithoutDatabase(t *testing.T) {
	cache := stagetest.Cache(t)
	in := build(t, cache)
	in.Installed, in.Licenses = nil, nil
	root := stagetest.Load(t, cache.Store, in.Root).Edit()
	root.Remove("usr/lib/os-release")
	changed, err := root.Tree()
	if err != nil {
		t.Fatal(err)
	}
	in.Root = stagetest.Save(t, cache.Store, changed)
	if _, err := New(t.Context(), cache, in); err != ErrNoSystem {
		t.Errorf("a root without os-release: %v", err)
	}
	in.System = System{ID: "other", VersionID: "1", Name: "Other", Title: "Other 1"}
	d, err := New(t.Context(), cache, in)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range d.Packages {
		names = append(names, p.PURL+p.Comment)
	}
	if got := strings.Join(names, " "); got != "pkg:deb/other/bash@1:5.2%2Bb1-2~3?arch=amd64&distro=other-1 pkg:deb/other/libc6@2.36-9%2Bb1?arch=amd64&distro=other-1 pkg:deb/other/meta@1?arch=all&distro=other-1 pkg:deb/other/shim@15?arch=amd64&distro=other-1" {
		t.Errorf("the packages are %s", got)
	}
	spdx, cyclonedx := write(t, d)
	validate(t, sbomtest.SPDX, spdx)
	validate(t, sbomtest.CycloneDX, cyclonedx)
}

// TestRemoved knows what there was to say of packages of which only files are left.
func TestRemoved(t *testing.T) {
	cache := stagetest.Cache(t)
	in := build(t, cache)
	in.Before = in.Installed
	in.Installed = in.Before.Subset(func(p *installed.Package) bool { return p.Name != "bash" })
	d, err := New(t.Context(), cache, in)
	if err != nil {
		t.Fatal(err)
	}
	var bash, meta Package
	for _, p := range d.Packages {
		switch p.Name {
		case "bash":
			bash = p
		case "meta":
			meta = p
		}
	}
	if bash.Comment != "Not installed: only files of it are in the image." || bash.License.Expression == "" || bash.Supplier == "" || bash.SHA256 == "" || bash.Source.Name != "bash" || bash.Needs != nil {
		t.Errorf("bash is %+v", bash)
	}
	if len(meta.Needs) != 1 || d.Packages[meta.Needs[0]].Name != "libc6" {
		t.Errorf("meta needs %v", meta.Needs)
	}
	spdx, cyclonedx := write(t, d)
	validate(t, sbomtest.SPDX, spdx)
	validate(t, sbomtest.CycloneDX, cyclonedx)
}

func TestText(t *testing.T) {
	for s, want := range map[string]string{"/a%20": "/a%20", "/\xff%": "/%FF%25", "/ü\xc3": "/ü%C3", "/\uFFFD": "/\uFFFD", "/\uFFFD\x80": "/\uFFFD%80"} {
		if got, encoded := text(s); got != want || encoded != (got != s) {
			t.Errorf("%q is %q, %v", s, got, encoded)
		}
	}
	for _, s := range []string{"", "plain", "\"\\\n\x00\x7f", "ü<>&\u2028"} {
		var back string
		if err := json.Unmarshal([]byte(quote(s)), &back); err != nil || back != s {
			t.Errorf("%q is %s: %q, %v", s, quote(s), back, err)
		}
	}
}

// large returns a document of 50,000 files.
func large() *Document {
	d := &Document{Name: "large", Version: "1", Arch: "x86_64", Key: store.Sum(nil), Tool: Tool{"imagefactory", "1"}}
	for i := range 400 {
		p := Package{Family: installed.Deb, Name: fmt.Sprintf("package%03d", i), Version: "1.2.3-4", Arch: "amd64", License: License{Expression: "GPL-2.0-or-later"}, Supplier: "Somebody <somebody@example.org>"}
		p.PURL = packageURL(p.Family, p.Name, p.Version, p.Arch, System{ID: "x", VersionID: "1"})
		for k := range 5 {
			if i > k {
				p.Needs = append(p.Needs, k)
			}
		}
		d.Packages = append(d.Packages, p)
	}
	for i := range 50000 {
		p := &d.Packages[i/125]
		path := fmt.Sprintf("/usr/share/%s/directory/file%05d", p.Name, i)
		d.Files = append(d.Files, File{
			Path: path, Type: tree.Regular, Size: 1000, SHA1: sha1.Sum([]byte(path)), SHA256: store.Sum([]byte(path)), Package: i / 125,
			Origin: provenance.Origin{Kind: provenance.Package, Name: p.Name, Version: p.Version, Arch: p.Arch, Stage: "rootfs"},
		})
	}
	return d
}

func BenchmarkSPDX(b *testing.B)      { benchmark(b, WriteSPDX) }
func BenchmarkCycloneDX(b *testing.B) { benchmark(b, WriteCycloneDX) }

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func benchmark(b *testing.B, write func(w io.Writer, d *Document) error) {
	d := large()
	b.ReportAllocs()
	for b.Loop() {
		var n counter
		if err := write(&n, d); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

// BenchmarkSums hashes 20,000 files of 16 KiB, and then finds their sums in the cache.
func BenchmarkSums(b *testing.B) {
	cache := stagetest.Cache(b)
	batch, err := cache.Store.NewBatch()
	if err != nil {
		b.Fatal(err)
	}
	var digests []store.Digest
	for i := range 20000 {
		d, err := batch.AddBytes(bytes.Repeat(fmt.Appendf(nil, "%016d", i), 1024))
		if err != nil {
			b.Fatal(err)
		}
		digests = append(digests, d)
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if _, err := hashAll(b.Context(), cache.Store, digests); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kept", func(b *testing.B) {
		for b.Loop() {
			if _, err := Sums(b.Context(), cache, digests); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestFiles reads the files of both formats as other packages' tests do: they say the same.
func TestFiles(t *testing.T) {
	d, in, cache := document(t)
	spdx, cyclonedx := write(t, d)
	a, b := sbomtest.SPDXFiles(t, spdx), sbomtest.CycloneDXFiles(t, cyclonedx)
	if len(a) != len(b) || len(a) != len(paths(t, cache, in)) {
		t.Errorf("SPDX has %d files, CycloneDX %d", len(a), len(b))
	}
	for path, f := range a {
		g := b[path]
		if f.SHA1 != g.SHA1 || f.SHA256 != g.SHA256 || !strings.HasPrefix(f.Origin, g.Origin) {
			t.Errorf("%s: SPDX has %+v, CycloneDX %+v", path, f, g)
		}
	}
}
