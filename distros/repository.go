package distros

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// usualPriority is the priority of repositories that say nothing, as dnf has it. It is also the highest number.
const usualPriority = 99

// NewRepository returns what holds of a repository of the family before anything is said about it.
func NewRepository(family, name string) Repository {
	r := Repository{Name: name, GPGCheck: true}
	if family == FamilyRPM {
		r.Priority = usualPriority
	}
	return r
}

// Repository reads a repository block of a recipe over the values of base: what the block leaves out stays as it was.
func (d Decoder) Repository(family string, base Repository, blk *decode.Block) Repository {
	b := d.repository(blk, family)
	r := b.read(base)
	if r.GPGCheck && !r.HasKey() && !b.Has("gpg_key") {
		b.Errorf(b.Header(), "Missing key", "Repository %q names no key to verify it with. Write: gpg_key = \"keys/FILE\", or, to trust whoever answers, gpg_check = false", r.Name)
	}
	return r
}

// repositoryReader reads one repository block.
type repositoryReader struct {
	*decode.Body
	d      Decoder
	family string
}

func (d Decoder) repository(blk *decode.Block, family string) repositoryReader {
	return repositoryReader{decode.New(fmt.Sprintf("repository %q", blk.Label()), d.Diags, blk.Parts...), d, family}
}

func (b repositoryReader) read(r Repository) Repository {
	b.d.only(b.Body, b.family, FamilyDeb, "suites", "components", "allow_expired", "apt_origin", "apt_label")
	b.d.only(b.Body, b.family, FamilyRPM, "mirrorlist", "metalink", "priority", "exclude", "repo_gpg_check", "legacy_signatures", "key_url", "key_fingerprints")
	b.addresses(&r)
	if b.family == FamilyRPM {
		r.Priority = int(b.Int("priority", int64(r.Priority), 1, usualPriority))
		if b.Has("exclude") {
			r.Exclude = b.Strings("exclude")
		}
		r.RepoGPGCheck = b.Bool("repo_gpg_check", r.RepoGPGCheck)
		r.LegacySignatures = b.Bool("legacy_signatures", r.LegacySignatures)
	} else {
		b.suites(&r)
	}
	if r.GPGCheck = b.Bool("gpg_check", r.GPGCheck); !r.GPGCheck {
		at := b.Header()
		*b.d.Diags = b.d.Diags.Append(&hcl.Diagnostic{
			Severity: hcl.DiagWarning, Summary: "Signatures are not verified", Subject: &at,
			Detail: fmt.Sprintf("Whoever answers for repository %q decides what is in the image. Write gpg_key = \"keys/FILE\" instead of gpg_check = false.", r.Name),
		})
		if r.RepoGPGCheck {
			b.Errorf(b.Header(), "Contradiction", "Repository %q must be signed (repo_gpg_check) and is not verified (gpg_check = false). Remove one of the two.", r.Name)
		}
	}
	b.keys(&r)
	b.Close()
	return r
}

// addresses reads where the repository is. Whoever says that anew means that place and no other.
func (b repositoryReader) addresses(r *Repository) {
	names := []string{"url", "mirrorlist", "metalink"}
	if slices.ContainsFunc(names, b.Has) && b.family == FamilyRPM {
		r.URL, r.MirrorList, r.Metalink = "", "", ""
	}
	if b.Has("url") {
		r.URL = strings.TrimRight(b.url("url", b.schemes()), "/")
	}
	r.AptOrigin = b.String("apt_origin", r.AptOrigin)
	r.AptLabel = b.String("apt_label", r.AptLabel)
	if b.Later("url", "apt_origin") {
		r.AptOrigin, r.AptLabel = "", ""
	}
	if b.family != FamilyRPM {
		if r.URL == "" && !b.Has("url") {
			b.Require("url", `url = "https://mirror.example.com/debian"`)
		}
		return
	}
	if b.Has("mirrorlist") {
		r.MirrorList = b.url("mirrorlist", remote)
	}
	if b.Has("metalink") {
		r.Metalink = b.url("metalink", remote)
	}
	if r.URL == "" && r.MirrorList == "" && r.Metalink == "" && !slices.ContainsFunc(names, b.Has) {
		b.Errorf(b.Header(), "Missing address", "Nothing says where repository %q is. Write for example: url = \"https://mirror.example.com/9/BaseOS/$basearch/os\", or mirrorlist or metalink", r.Name)
	}
}

// suites reads which parts of a deb repository are taken.
func (b repositoryReader) suites(r *Repository) {
	if b.Has("suites") || len(r.Suites) == 0 {
		b.Require("suites", `suites = ["stable"]`)
		r.Suites = b.Strings("suites")
	}
	if b.Has("components") || len(r.Components) == 0 {
		b.Require("components", `components = ["main"]`)
		r.Components = b.Strings("components")
	}
	r.AllowExpired = b.Bool("allow_expired", r.AllowExpired)
}

// fingerprintPattern is an OpenPGP fingerprint of version 4 or 6, without spaces.
var fingerprintPattern = regexp.MustCompile(`^([0-9A-F]{40}|[0-9A-F]{64})$`)

// keys reads what the repository is verified with.
func (b repositoryReader) keys(r *Repository) {
	if b.Has("keyrings") {
		r.Keyrings = b.Strings("keyrings")
	}
	r.KeyringPackage = b.String("keyring_package", r.KeyringPackage)
	r.KeySource = b.String("key_source", r.KeySource)
	if b.Has("gpg_key") {
		r.KeyFiles, r.KeyDigest = b.keyFiles()
	}
	if b.Has("key_url") {
		r.KeyURL = b.url("key_url", remote)
	}
	if b.Has("key_fingerprints") {
		r.KeyFingerprints = nil
		for _, t := range b.Texts("key_fingerprints") {
			f := strings.ToUpper(strings.ReplaceAll(t.Value, " ", ""))
			if !fingerprintPattern.MatchString(f) {
				b.Errorf(t.Range, "Invalid fingerprint", "%q is not the fingerprint of an OpenPGP key: 40 or 64 hexadecimal digits, as gpg --show-keys prints them. A short key id can be forged.", t.Value)
				continue
			}
			r.KeyFingerprints = append(r.KeyFingerprints, f)
		}
	}
	if r.KeyURL != "" && len(r.KeyFingerprints) == 0 && !b.Has("key_fingerprints") {
		b.Errorf(b.Range("key_url"), "Key is not pinned", "Whoever answers at this address decides which key is trusted. Write also: key_fingerprints = [\"…\"], or keep the key beside the recipe and write: gpg_key = \"keys/FILE\"")
	}
}

// keyFiles reads gpg_key: one path or a list of paths.
func (b repositoryReader) keyFiles() (files []string, digest string) {
	var texts []decode.Text
	if v, _, ok := b.Value("gpg_key"); !ok {
		return nil, ""
	} else if v.Type().IsPrimitiveType() {
		texts = []decode.Text{b.Text("gpg_key")}
	} else if texts = b.Texts("gpg_key"); len(texts) == 0 {
		b.Errorf(b.Range("gpg_key"), "Missing key", "The list of keys is empty. Write: gpg_key = \"keys/FILE\"")
	}
	h := sha256.New()
	for _, t := range texts {
		file := t.Value
		if !filepath.IsAbs(file) {
			file = filepath.Join(b.Dir("gpg_key"), file)
		}
		content, err := fs.ReadFile(b.d.Files, strings.TrimPrefix(filepath.Clean(file), "/"))
		if err != nil {
			b.Errorf(t.Range, "Cannot read file", "The key %q cannot be read: %s. Relative paths start from the directory of the file they are written in.", t.Value, Reason(err))
			continue
		}
		h.Write(content)
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, ""
	}
	return files, "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Schemes of URLs.
var (
	remote  = []string{"http", "https", "file"}
	withISO = []string{"http", "https", "file", "iso"}
)

func (b repositoryReader) schemes() []string {
	if b.family == FamilyRPM {
		return withISO
	}
	return remote
}

// url reads an attribute that is a URL. The file of an iso URL becomes absolute.
func (b repositoryReader) url(name string, schemes []string) string {
	t := b.Text(name)
	if t.Range.Filename == "" { // already reported
		return ""
	}
	err := checkURL(t.Value, schemes)
	if err == nil && b.family == FamilyRPM {
		err = checkVariables(t.Value)
	}
	if err != nil {
		example := "https://mirror.example.com/debian"
		if b.family == FamilyRPM {
			example = "https://mirror.example.com/$releasever/BaseOS/$basearch/os"
		}
		b.Errorf(t.Range, "Invalid URL", "%q is not a repository URL: %s. Write for example: %s = %q", t.Value, err, name, example)
		return ""
	}
	if file, dir, ok := SplitISO(t.Value); ok {
		if !filepath.IsAbs(file) {
			file = filepath.Join(b.Dir(name), file)
		}
		return JoinISO(file, dir)
	}
	return t.Value
}

func checkURL(s string, schemes []string) error {
	if file, dir, ok := SplitISO(s); ok && slices.Contains(schemes, "iso") {
		if file == "" {
			return errors.New("it names no file; a directory of an ISO image is written iso:FILE or iso:FILE!/DIR")
		}
		if dir != "" && (!path.IsAbs(dir) || path.Clean(dir) != dir) {
			return errors.New("the directory behind ! must be an absolute path without \".\" or \"..\" in it")
		}
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("it cannot be parsed")
	case u.Scheme == "file" && u.Host == "" && path.IsAbs(u.Path):
		return nil
	case u.Scheme == "file":
		return errors.New("a file URL has three slashes and an absolute path")
	case u.Scheme != "http" && u.Scheme != "https" && slices.Contains(schemes, "iso"):
		return errors.New("it must start with iso:, http://, https:// or file:///")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it must start with http://, https:// or file:///")
	case u.Host == "":
		return errors.New("it names no host")
	}
	return nil
}

// SplitISO takes an iso URL apart: "iso:FILE!/DIR" into the file and the directory in it, "" for its root. ok is false
// for every other string.
func SplitISO(url string) (file, dir string, ok bool) {
	rest, ok := strings.CutPrefix(url, "iso:")
	file, dir, _ = strings.Cut(rest, "!")
	return file, strings.TrimRight(dir, "/"), ok
}

// JoinISO is the inverse of SplitISO.
func JoinISO(file, dir string) string {
	if dir == "" {
		return "iso:" + file
	}
	return "iso:" + file + "!" + dir
}

// variablePattern is a variable in the URL of an RPM repository.
var variablePattern = regexp.MustCompile(`\$([A-Za-z0-9_]+|\{[A-Za-z0-9_]+\})`)

func variableName(reference string) string { return strings.Trim(reference, "${}") }

func checkVariables(url string) error {
	for _, reference := range variablePattern.FindAllString(url, -1) {
		if name := variableName(reference); name != "basearch" && name != "releasever" {
			return fmt.Errorf("there is no variable %s, only $basearch and $releasever", reference)
		}
	}
	return nil
}

// Expand returns the repository with the variables of its URLs replaced: $basearch by the package manager's name of the
// architecture, $releasever by the version of the distribution.
func (r Repository) Expand(basearch, releasever string) Repository {
	for _, url := range []*string{&r.URL, &r.MirrorList, &r.Metalink, &r.KeyURL} {
		*url = variablePattern.ReplaceAllStringFunc(*url, func(reference string) string {
			if variableName(reference) == "basearch" {
				return basearch
			}
			return releasever
		})
	}
	return r
}
