package rpmdistro

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/klauspost/compress/zstd"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Types of header entries, and the tags that have a meaning of their own here
// (rpmtag.h; https://rpm-software-management.github.io/rpm/manual/format_header.html).
const (
	typeInt16       = 3
	typeInt32       = 4
	typeString      = 6
	typeBin         = 7
	typeStringArray = 8
	typeI18N        = 9

	tagHeaderSignatures = 62
	tagHeaderImmutable  = 63
)

// An entry is one tag of a header with its data as it is stored.
type entry struct {
	tag, kind, count uint32
	data             []byte
}

// A header collects entries; values that are empty are left out.
type header struct{ entries []entry }

func (h *header) add(tag, kind uint32, count int, data []byte) {
	h.entries = append(h.entries, entry{tag, kind, uint32(count), data})
}

func (h *header) string(tag uint32, s string) { h.add(tag, typeString, 1, append([]byte(s), 0)) }
func (h *header) i18n(tag uint32, s string)   { h.add(tag, typeI18N, 1, append([]byte(s), 0)) }
func (h *header) bin(tag uint32, p []byte)    { h.add(tag, typeBin, len(p), p) }

func (h *header) strings(tag uint32, list []string) {
	if len(list) > 0 {
		h.add(tag, typeStringArray, len(list), append([]byte(strings.Join(list, "\x00")), 0))
	}
}

func (h *header) int32s(tag uint32, list ...uint32) {
	if len(list) > 0 {
		p := make([]byte, 0, 4*len(list))
		for _, n := range list {
			p = binary.BigEndian.AppendUint32(p, n)
		}
		h.add(tag, typeInt32, len(list), p)
	}
}

func (h *header) int16s(tag uint32, list ...uint16) {
	if len(list) > 0 {
		p := make([]byte, 0, 2*len(list))
		for _, n := range list {
			p = binary.BigEndian.AppendUint16(p, n)
		}
		h.add(tag, typeInt16, len(list), p)
	}
}

// encode returns the header with its magic bytes, all of it in one region.
func (h *header) encode(region uint32) []byte {
	slices.SortStableFunc(h.entries, func(a, b entry) int { return cmp.Compare(a.tag, b.tag) })
	var index, data []byte
	for _, e := range h.entries {
		switch e.kind {
		case typeInt16:
			data = append(data, make([]byte, -len(data)&1)...)
		case typeInt32:
			data = append(data, make([]byte, -len(data)&3)...)
		}
		index = appendIndex(index, e.tag, e.kind, uint32(len(data)), e.count)
		data = append(data, e.data...)
	}
	first := appendIndex(nil, region, typeBin, uint32(len(data)), 16)
	size := len(first) + len(index)
	data = appendIndex(data, region, typeBin, uint32(-size), 16) // the region's trailer

	out := []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}
	out = binary.BigEndian.AppendUint32(out, uint32(size/16))
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	return slices.Concat(out, first, index, data)
}

func appendIndex(p []byte, tag, kind, offset, count uint32) []byte {
	for _, n := range []uint32{tag, kind, offset, count} {
		p = binary.BigEndian.AppendUint32(p, n)
	}
	return p
}

// fileTime is the time of all files and packages: 2024-01-01.
const fileTime = 1704067200

// encode returns the package as a file, signed by key unless that is nil. content
// opens the contents of its files.
func (p *Package) encode(key *openpgp.Entity, content func(File) (io.Reader, error)) ([]byte, error) {
	files := slices.Clone(p.Files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for i, f := range files {
		if i > 0 && f.Path == files[i-1].Path {
			return nil, fmt.Errorf("package %s has %s twice", p.Name, f.Path)
		}
	}
	payload, size, err := writePayload(files, content)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	var compressed bytes.Buffer
	w, err := zstd.NewWriter(&compressed, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(payload); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}

	var h header
	p.describe(&h, size)
	p.relate(&h)
	p.script(&h)
	list(&h, files)
	digest, plain := sha256.Sum256(compressed.Bytes()), sha256.Sum256(payload)
	h.strings(5092, []string{hex.EncodeToString(digest[:])}) // PAYLOADDIGEST
	h.int32s(5093, 8)                                        // PAYLOADDIGESTALGO: SHA-256
	h.strings(5097, []string{hex.EncodeToString(plain[:])})  // PAYLOADDIGESTALT
	main := h.encode(tagHeaderImmutable)

	var s header
	sum1, sum256 := sha1.Sum(main), sha256.Sum256(main)
	md := md5.New()
	md.Write(main)
	md.Write(compressed.Bytes())
	s.string(269, hex.EncodeToString(sum1[:]))
	s.string(273, hex.EncodeToString(sum256[:]))
	s.int32s(1000, uint32(len(main)+compressed.Len()))
	s.bin(1004, md.Sum(nil))
	s.int32s(1007, uint32(len(payload)))
	if key != nil {
		var signature bytes.Buffer
		if err := openpgp.DetachSign(&signature, key, bytes.NewReader(main), &packet.Config{DefaultHash: crypto.SHA256}); err != nil {
			return nil, err
		}
		s.bin(268, signature.Bytes()) // RSAHEADER
	}
	signatures := s.encode(tagHeaderSignatures)
	signatures = append(signatures, make([]byte, -len(signatures)&7)...)
	return slices.Concat(p.lead(), signatures, main, compressed.Bytes()), nil
}

// lead returns the 96 bytes that tell file(1) what this is; rpm only looks at its
// magic.
func (p *Package) lead() []byte {
	lead := make([]byte, 96)
	copy(lead, "\xed\xab\xee\xdb\x03\x00\x00\x00\x00\x01")
	copy(lead[10:75], p.nevra())
	copy(lead[76:], "\x00\x01\x00\x05")
	return lead
}

// describe adds what the package is.
func (p *Package) describe(h *header, size uint32) {
	h.strings(100, []string{"C"}) // HEADERI18NTABLE
	h.string(1000, p.Name)
	h.string(1001, p.Version)
	h.string(1002, p.Release)
	if p.Epoch != 0 {
		h.int32s(1003, p.Epoch)
	}
	summary := cmp.Or(p.Summary, p.Name)
	h.i18n(1004, summary)
	h.i18n(1005, summary+".")
	h.int32s(1006, fileTime)
	h.string(1007, "build.example.org")
	h.int32s(1009, size)
	h.string(1011, Vendor)
	h.string(1014, "See the donor's copyright file")
	h.i18n(1016, "Unspecified")
	h.string(1021, "linux")
	h.string(1022, p.Arch)
	h.string(1044, p.Name+"-"+p.Version+"-"+p.Release+".src.rpm")
	h.string(1064, "4.18.0")
	h.string(1124, "cpio")
	h.string(1125, "zstd")
	h.string(1126, "1")
	h.string(1132, p.Arch+"-linux")
	h.string(5062, "utf-8")
	if p.Module != "" {
		h.string(5096, p.Module)
	}
}

// relate adds the dependencies.
func (p *Package) relate(h *header) {
	self := Equal(p.Name, p.evr())
	provides := append([]Dependency{self}, p.Provides...)
	requires := append(slices.Clone(p.Requires), rpmlib("CompressedFileNames", "3.0.4-1"), rpmlib("FileDigests", "4.6.0-1"),
		rpmlib("PayloadFilesHavePrefix", "4.0-1"), rpmlib("PayloadIsZstd", "5.4.18-1"))
	if slices.ContainsFunc(requires, func(d Dependency) bool { return d.Name[0] == '(' }) {
		requires = append(requires, rpmlib("RichDependencies", "4.12.0-1"))
	}
	if slices.ContainsFunc(p.Files, func(f File) bool { return f.Caps != "" }) {
		requires = append(requires, rpmlib("FileCaps", "4.6.1-1"))
	}
	requires = append(requires, p.interpreters()...)
	for _, relation := range []struct {
		names, flags, versions uint32
		list                   []Dependency
	}{
		{1047, 1112, 1113, provides}, {1049, 1048, 1050, requires}, {1054, 1053, 1055, p.Conflicts}, {1090, 1114, 1115, p.Obsoletes},
		{5046, 5048, 5047, p.Recommends}, {5052, 5054, 5053, p.Supplements},
	} {
		list := slices.Clone(relation.list)
		slices.SortFunc(list, func(a, b Dependency) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Flags, b.Flags))
		})
		list = slices.Compact(list)
		var names, versions []string
		var flags []uint32
		for _, d := range list {
			names, versions, flags = append(names, d.Name), append(versions, d.Version), append(flags, d.Flags)
		}
		h.strings(relation.names, names)
		h.strings(relation.versions, versions)
		h.int32s(relation.flags, flags...)
	}
}

// rpmlib is what rpm itself must be able to do, and since which version it is.
func rpmlib(feature, version string) Dependency {
	return Dependency{"rpmlib(" + feature + ")", senseLess | senseEqual | senseRPMLib, version}
}

// interpreters returns what the scriptlets have to be run by.
func (p *Package) interpreters() []Dependency {
	var all []Dependency
	add := func(program string, flag uint32) {
		if program == Lua {
			all = append(all, rpmlib("BuiltinLuaScripts", "4.2.2-1"))
		} else {
			all = append(all, Dependency{Name: program, Flags: senseInterpreter | flag})
		}
	}
	for _, s := range p.Scripts {
		add(s.program(), scriptTags[s.When].sense)
	}
	for _, t := range p.Triggers {
		add(t.program(), senseTriggerIn)
	}
	return all
}

// script adds scriptlets and triggers.
func (p *Package) script(h *header) {
	for _, s := range p.Scripts {
		tags := scriptTags[s.When]
		h.string(tags.body, s.Body)
		h.string(tags.program, s.program())
	}
	for kind, tags := range triggerTags {
		var bodies, programs, names, versions []string
		var flags, index, priorities, none []uint32
		for _, t := range p.Triggers {
			if t.Kind != kind {
				continue
			}
			for _, on := range t.On {
				names, versions = append(names, on.Name), append(versions, on.Version)
				flags, index = append(flags, on.Flags|senseTriggerIn), append(index, uint32(len(bodies)))
			}
			bodies, programs = append(bodies, t.Body), append(programs, t.program())
			priorities, none = append(priorities, cmp.Or(t.Priority, 1000000)), append(none, 0)
		}
		if len(bodies) == 0 {
			continue
		}
		h.strings(tags.bodies, bodies)
		h.strings(tags.programs, programs)
		h.int32s(tags.scriptFlags, none...)
		h.strings(tags.names, names)
		h.strings(tags.versions, versions)
		h.int32s(tags.flags, flags...)
		h.int32s(tags.index, index...)
		if tags.priorities != 0 {
			h.int32s(tags.priorities, priorities...)
		}
	}
}

// list adds the files, which are sorted by path.
func list(h *header, files []File) {
	if len(files) == 0 {
		return
	}
	var bases, dirs, digests, targets, users, groups, langs, caps []string
	var sizes, times, flags, verify, devices, inodes, dirIndexes []uint32
	var modes, rdevs []uint16
	dirIndex, haveCaps := map[string]uint32{}, false
	for i, f := range files {
		dir := strings.TrimSuffix(path.Dir(f.Path), "/") + "/"
		if _, ok := dirIndex[dir]; !ok {
			dirIndex[dir] = uint32(len(dirs))
			dirs = append(dirs, dir)
		}
		bases, dirIndexes = append(bases, path.Base(f.Path)), append(dirIndexes, dirIndex[dir])
		digest := ""
		if f.Type == tree.Regular && f.Flags&FlagGhost == 0 {
			digest = f.Digest.Hex()
		}
		digests, targets, sizes = append(digests, digest), append(targets, f.Target), append(sizes, f.size())
		users, groups = append(users, cmp.Or(f.User, "root")), append(groups, cmp.Or(f.Group, "root"))
		langs, caps, haveCaps = append(langs, f.Lang), append(caps, f.Caps), haveCaps || f.Caps != ""
		times, flags, verify = append(times, fileTime), append(flags, f.Flags), append(verify, 0xffffffff)
		devices, inodes = append(devices, 1), append(inodes, f.inode(i))
		modes, rdevs = append(modes, uint16(f.mode())), append(rdevs, 0)
	}
	h.int32s(1028, sizes...)
	h.int16s(1030, modes...)
	h.int16s(1033, rdevs...)
	h.int32s(1034, times...)
	h.strings(1035, digests)
	h.strings(1036, targets)
	h.int32s(1037, flags...)
	h.strings(1039, users)
	h.strings(1040, groups)
	h.int32s(1045, verify...)
	h.int32s(1095, devices...)
	h.int32s(1096, inodes...)
	h.strings(1097, langs)
	h.int32s(1116, dirIndexes...)
	h.strings(1117, bases)
	h.strings(1118, dirs)
	h.int32s(5011, 8) // FILEDIGESTALGO: SHA-256
	if haveCaps {
		h.strings(5010, caps)
	}
}

// writePayload returns the cpio archive of the files that are no ghosts, and their
// size altogether. Names of one inode follow each other, where the last of them would
// stand, and the last has the contents: rpm relies on it.
func writePayload(files []File, content func(File) (io.Reader, error)) ([]byte, uint32, error) {
	links := map[uint32][]int{}
	for i, f := range files {
		if f.Link != 0 {
			links[f.Link] = append(links[f.Link], i)
		}
	}
	var out bytes.Buffer
	var total uint32
	for i, f := range files {
		if f.Flags&FlagGhost != 0 {
			continue
		}
		names := []int{i}
		if f.Link != 0 {
			if names = links[f.Link]; names[len(names)-1] != i {
				continue
			}
		}
		for _, other := range names[:len(names)-1] {
			cpioEntry(&out, "."+files[other].Path, f.inode(i), f.mode(), len(names), 0)
		}
		var data io.Reader = strings.NewReader("")
		var size uint32
		switch f.Type {
		case tree.Symlink:
			data, size = strings.NewReader(f.Target), uint32(len(f.Target))
		case tree.Regular:
			var err error
			if data, err = content(f); err != nil {
				return nil, 0, fmt.Errorf("%s: %w", f.Path, err)
			}
			size = uint32(f.Size)
			total += size
		}
		cpioEntry(&out, "."+f.Path, f.inode(i), f.mode(), len(names), size)
		if n, err := io.Copy(&out, data); err != nil || n != int64(size) {
			return nil, 0, fmt.Errorf("%s: %d bytes of %d: %w", f.Path, n, size, err)
		}
		pad(&out)
	}
	cpioEntry(&out, "TRAILER!!!", 0, 0, 1, 0)
	return out.Bytes(), total, nil
}

// cpioEntry writes the header of one entry in the "newc" format (cpio(5)).
func cpioEntry(out *bytes.Buffer, name string, inode, mode uint32, links int, size uint32) {
	fmt.Fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, links, fileTime, size, 0, 1, 0, 0, len(name)+1, 0, name)
	pad(out)
}

// pad fills up to a multiple of four bytes.
func pad(out *bytes.Buffer) { out.Write(make([]byte, -out.Len()&3)) }
