package header

// Bits of File.Flags (rpmfiles.h, RPMFILE_*).
const (
	FileConfig    = 1 << 0
	FileDoc       = 1 << 1
	FileIcon      = 1 << 2
	FileMissingOK = 1 << 3 // %config(missingok)
	FileNoReplace = 1 << 4 // %config(noreplace)
	FileSpec      = 1 << 5
	FileGhost     = 1 << 6 // not in the payload
	FileLicense   = 1 << 7
	FileReadme    = 1 << 8
	FilePubKey    = 1 << 11
	FileArtifact  = 1 << 12
)

// Bits of File.Mode that say what a file is (stat.h).
const (
	ModeType    = 0o170000
	ModeSocket  = 0o140000
	ModeSymlink = 0o120000
	ModeRegular = 0o100000
	ModeBlock   = 0o060000
	ModeDir     = 0o040000
	ModeChar    = 0o020000
	ModeFIFO    = 0o010000
)

// A File is one file of a package.
type File struct {
	Path   string // absolute, as the header has it: not checked
	Mode   uint16 // with its type, as in stat.h
	User   string // "" when the header has none
	Group  string
	Size   uint64 // bytes
	MTime  uint32 // seconds since 1970
	Digest string // of the contents, hexadecimal; "" for what is no regular file
	Link   string // target of a symlink
	Flags  uint32 // File bits
	Verify uint32 // RPMVERIFY_* bits: what rpm -V looks at
	Langs  string // languages of %lang, separated by "|"; "" for all
	Caps   string // capabilities as text, "" for none
	RDev   uint16 // of a device: major<<8 | minor
	Dev    uint32 // together with Ino: equal for hard links to one file
	Ino    uint32
}

// IsRegular reports whether the file is a regular one.
func (f *File) IsRegular() bool { return f.Mode&ModeType == ModeRegular }

// IsDir reports whether the file is a directory.
func (f *File) IsDir() bool { return f.Mode&ModeType == ModeDir }

// IsGhost reports whether the package owns the file but does not hold it.
func (f *File) IsGhost() bool { return f.Flags&FileGhost != 0 }

// A DigestAlgo is the kind of a digest (RFC 9580, section 9.5).
type DigestAlgo uint32

// The kinds of digests.
const (
	MD5      DigestAlgo = 1
	SHA1     DigestAlgo = 2
	SHA256   DigestAlgo = 8
	SHA384   DigestAlgo = 9
	SHA512   DigestAlgo = 10
	SHA224   DigestAlgo = 11
	SHA3_256 DigestAlgo = 12
	SHA3_512 DigestAlgo = 14
)

// FileDigestAlgo returns the kind of the files' digests.
func (h *Header) FileDigestAlgo() DigestAlgo {
	if algo, ok := h.Uint32(TagFileDigestAlgo); ok {
		return DigestAlgo(algo)
	}
	return MD5
}

// Files returns the files of the package in the header's order, which is that of
// their indexes in stripped payloads and of their states in the database. The caller
// must not change them.
func (h *Header) Files() []File { return h.files }

// readFiles collects the files; checkArrays has passed.
func (h *Header) readFiles() []File {
	files := make([]File, max(h.Count(TagBaseNames), h.Count(TagOldFileNames)))
	if len(files) == 0 {
		return nil
	}
	dirs, dirIndexes := h.Strings(TagDirNames), h.Uint32s(TagDirIndexes)
	for i, name := range h.Strings(TagBaseNames) {
		files[i].Path = dirs[dirIndexes[i]] + name
	}
	each(files, h.Strings(TagOldFileNames), func(f *File, v string) { f.Path = v })
	each(files, h.Uint16s(TagFileModes), func(f *File, v uint16) { f.Mode = v })
	each(files, h.Strings(TagFileUserName), func(f *File, v string) { f.User = v })
	each(files, h.Strings(TagFileGroupName), func(f *File, v string) { f.Group = v })
	each(files, h.Uint32s(TagFileSizes), func(f *File, v uint32) { f.Size = uint64(v) })
	each(files, h.Uint64s(TagLongFileSizes), func(f *File, v uint64) { f.Size = v })
	each(files, h.Uint32s(TagFileMTimes), func(f *File, v uint32) { f.MTime = v })
	each(files, h.Strings(TagFileDigests), func(f *File, v string) { f.Digest = v })
	each(files, h.Strings(TagFileLinkTos), func(f *File, v string) { f.Link = v })
	each(files, h.Uint32s(TagFileFlags), func(f *File, v uint32) { f.Flags = v })
	each(files, h.Uint32s(TagFileVerifyFlags), func(f *File, v uint32) { f.Verify = v })
	each(files, h.Strings(TagFileLangs), func(f *File, v string) { f.Langs = v })
	each(files, h.Strings(TagFileCaps), func(f *File, v string) { f.Caps = v })
	each(files, h.Uint16s(TagFileRDevs), func(f *File, v uint16) { f.RDev = v })
	each(files, h.Uint32s(TagFileDevices), func(f *File, v uint32) { f.Dev = v })
	each(files, h.Uint32s(TagFileInodes), func(f *File, v uint32) { f.Ino = v })
	return files
}

// each gives every file its value; a tag that is missing has none.
func each[T any](files []File, values []T, set func(*File, T)) {
	for i, v := range values {
		set(&files[i], v)
	}
}
