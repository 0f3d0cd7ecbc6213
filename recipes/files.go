package recipes

import (
	"encoding/base64"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

// Account names as useradd of every supported distribution takes them (shadow-utils, is_valid_name).
var accountPattern = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

var idPattern = regexp.MustCompile(`^[0-9]{1,10}$`)

// maxID is the largest user or group id; the one above means "none" to the kernel.
const maxID = 1<<32 - 2

// volatile are directories which are empty when the system runs, so that a file put there would never be seen.
var volatile = []string{"/dev", "/proc", "/run", "/sys", "/tmp"}

// imagePath checks an absolute path inside the image.
func (l *loader) imagePath(p string, at hcl.Range, what string) bool {
	clean := path.Clean("/" + p)
	if !path.IsAbs(p) || clean != p || strings.ContainsRune(p, 0) {
		l.errorf(at, "Invalid path", "%s must be an absolute path without \".\", \"..\" or a slash at the end, not %q. Write: %q", what, p, clean)
		return false
	}
	return true
}

func (l *loader) fileBlocks(b *decode.Body) []File {
	var out []File
	for _, blk := range b.Labelled("file", "path", false) {
		s := decode.New(fmt.Sprintf("file %q", blk.Label()), &l.diags, blk.Parts...)
		f := File{Path: blk.Label(), Range: blk.Range, Mode: distros.Mode(s, "mode", 0o644)}
		if l.imagePath(f.Path, blk.Range, "The path of a file") {
			for _, dir := range volatile {
				if f.Path == dir || strings.HasPrefix(f.Path, dir+"/") {
					l.errorf(blk.Range, "File would not be seen", "%s is empty when the system runs, so %s would never be seen. For files made at boot, write a file below /etc/tmpfiles.d.", dir, f.Path)
				}
			}
			if f.Path == "/" {
				l.errorf(blk.Range, "Invalid path", "\"/\" is the root directory, not a file.")
			}
		}
		f.Owner = l.account(s, "owner")
		f.Group = l.account(s, "group")
		content, source := s.Text("content"), s.Text("source")
		switch hasContent, hasSource := s.Has("content"), s.Has("source"); {
		case hasContent && hasSource:
			l.errorf(s.Range("source"), "Two contents", "File %q has both content and source. Remove one of them.", f.Path)
		case !hasContent && !hasSource:
			l.errorf(blk.Range, "Missing content", "File %q needs content = \"…\", or source = \"…\" with the file to copy.", f.Path)
		case hasSource && source.Range.Filename != "":
			f.Source = l.sourceFile(s, "source", source)
		default:
			f.Content = []byte(content.Value)
		}
		s.Close()
		out = append(out, f)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	for i, f := range out {
		if i > 0 && strings.HasPrefix(f.Path, out[i-1].Path+"/") {
			l.errorf(f.Range, "File below a file", "%q is a file, so %q cannot stand below it.", out[i-1].Path, f.Path)
		}
	}
	return out
}

// sourceFile checks that a file on this machine exists and can be copied, and returns its absolute path.
func (l *loader) sourceFile(s *decode.Body, name string, t decode.Text) string {
	abs := l.abs(s.Dir(name), t.Value)
	info, err := l.stat(abs)
	switch {
	case err != nil:
		l.errorf(t.Range, "Cannot read file", "The file %q cannot be read: %s. Relative paths start from the directory of the file they are written in.", t.Value, distros.Reason(err))
	case info.IsDir():
		l.errorf(t.Range, "Not a file", "%q is a directory. Name a file, or use a script with inputs to copy whole directories.", t.Value)
	case !info.Mode().IsRegular():
		l.errorf(t.Range, "Not a file", "%q is not a regular file.", t.Value)
	}
	return abs
}

// account reads an owner or group: a name or a decimal id.
func (l *loader) account(s *decode.Body, name string) string {
	t := s.Text(name)
	if t.Range.Filename == "" {
		return "root"
	}
	l.checkAccount(t)
	return t.Value
}

func (l *loader) checkAccount(t decode.Text) {
	if !accountPattern.MatchString(t.Value) && !idPattern.MatchString(t.Value) {
		l.errorf(t.Range, "Invalid account name", "%q is not the name of a user or group. %s Or write the id: \"1000\"", t.Value, accountRule)
	}
}

const accountRule = "Names have lower case letters, digits, \"_\" and \"-\", start with a letter or \"_\", and are at most 32 characters long."

func (l *loader) users(b *decode.Body) []User {
	var out []User
	uids := map[uint32]string{}
	for _, blk := range b.Labelled("user", "name", false) {
		s := decode.New(fmt.Sprintf("user %q", blk.Label()), &l.diags, blk.Parts...)
		u := User{Name: blk.Label(), Range: blk.Range, System: s.Bool("system", false)}
		if !accountPattern.MatchString(u.Name) {
			l.errorf(blk.Range, "Invalid user name", "%q cannot be the name of a user. %s", u.Name, accountRule)
		}
		if s.Has("uid") {
			id := uint32(s.Int("uid", 0, 0, maxID))
			if other, taken := uids[id]; taken {
				l.errorf(s.Range("uid"), "Duplicate uid", "User %q already has the uid %d. Give them different ones.", other, id)
			}
			uids[id] = u.Name
			u.UID = &id
		}
		home, shell := "/home/"+u.Name, "/bin/bash"
		if u.Name == "root" {
			home = "/root"
		}
		if u.System {
			home, shell = "/nonexistent", "/usr/sbin/nologin"
		}
		if t := s.Text("group"); t.Range.Filename != "" {
			l.checkAccount(t)
			u.Group = t.Value
		}
		for _, t := range s.Texts("groups") {
			l.checkAccount(t)
			u.Groups = append(u.Groups, t.Value)
		}
		u.Home = l.absolute(s, "home", home)
		u.Shell = l.absolute(s, "shell", shell)
		if t := s.Text("comment"); strings.ContainsAny(t.Value, ":\n") {
			l.errorf(t.Range, "Invalid comment", "A user's comment is a field of /etc/passwd: it cannot have \":\" or line ends in it.")
		} else {
			u.Comment = t.Value
		}
		u.SSHAuthorizedKeys = l.sshKeys(s)
		u.PasswordHash = l.passwordHash(s)
		s.Close()
		out = append(out, u)
	}
	return out
}

// absolute reads an optional absolute path inside the image.
func (l *loader) absolute(s *decode.Body, name, def string) string {
	t := s.Text(name)
	if t.Range.Filename == "" {
		return def
	}
	if strings.ContainsAny(t.Value, ":\n") {
		l.errorf(t.Range, "Invalid path", "%q is a field of /etc/passwd: it cannot have \":\" or line ends in it.", name)
	} else {
		l.imagePath(t.Value, t.Range, fmt.Sprintf("%q", name))
	}
	return t.Value
}

// sshKeys reads public keys; an element may be the text of a whole .pub or authorized_keys file.
func (l *loader) sshKeys(s *decode.Body) []string {
	var out []string
	for _, t := range s.Texts("ssh_authorized_keys") {
		for _, line := range strings.Split(t.Value, "\n") {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			switch {
			case strings.Contains(line, "PRIVATE KEY"):
				l.errorf(t.Range, "Private key", "This is a private key, which must never be in an image. Use the public one, which ends with .pub.")
				return nil
			case !isPublicKey(line):
				l.errorf(t.Range, "Invalid public key", "This is not a public key of OpenSSH, which looks like \"ssh-ed25519 AAAA… comment\". To read it from a file, write: [file(\"id_ed25519.pub\")]")
				return out
			}
			out = append(out, line)
		}
	}
	return out
}

// isPublicKey reports whether an authorized_keys line holds a key type followed by the key, whose first bytes name the
// type again (sshd(8), AUTHORIZED_KEYS FILE FORMAT). Options may stand before.
func isPublicKey(line string) bool {
	fields := strings.Fields(line)
	for i := 0; i+1 < len(fields); i++ {
		if !strings.HasPrefix(fields[i], "ssh-") && !strings.HasPrefix(fields[i], "ecdsa-sha2-") && !strings.HasPrefix(fields[i], "sk-") {
			continue
		}
		blob, err := base64.StdEncoding.DecodeString(fields[i+1])
		typ := fields[i]
		if err == nil && len(blob) > 4+len(typ) && string(blob[4:4+len(typ)]) == typ {
			return true
		}
	}
	return false
}

// Hashes crypt(5) of libxcrypt verifies, that are not broken: yescrypt, gost-yescrypt, scrypt, SHA-512, SHA-256, bcrypt.
var hashPattern = regexp.MustCompile(`^(\$(y|gy|7|6|5|2[aby])\$[^:\n\s]{10,}|[!*]+|!\$[^:\n\s]{10,})$`)

func (l *loader) passwordHash(s *decode.Body) *string {
	t := s.Text("password_hash")
	if t.Range.Filename == "" {
		return nil
	}
	if !hashPattern.MatchString(t.Value) {
		l.errorf(t.Range, "Invalid password hash", "This is not a password hash of crypt(5). Hash the password with sha512crypt(password, salt), or on a shell with: openssl passwd -6. For no password write \"*\", to lock the account \"!\".")
	}
	return &t.Value
}

// inputs reads the files and directories a script may see.
func (l *loader) inputs(s *decode.Body) []Input {
	var out []Input
	seen := map[string]bool{}
	for _, t := range s.Texts("inputs") {
		abs := l.abs(s.Dir("inputs"), t.Value)
		info, err := l.stat(abs)
		if err != nil {
			l.errorf(t.Range, "Cannot read input", "The input %q cannot be read: %s. Relative paths start from the directory of the file they are written in.", t.Value, distros.Reason(err))
			continue
		}
		in := Input{Path: abs, Name: filepath.Base(abs), Dir: info.IsDir()}
		switch {
		case !info.IsDir() && !info.Mode().IsRegular():
			l.errorf(t.Range, "Cannot read input", "%q is neither a file nor a directory.", t.Value)
		case in.Name == "/":
			l.errorf(t.Range, "Input too large", "The whole file system cannot be an input. Name the files and directories the script reads.")
		case seen[in.Name]:
			l.errorf(t.Range, "Duplicate input", "Two inputs would both be /run/imagefactory/inputs/%s. Rename one, or put them into one directory.", in.Name)
		}
		seen[in.Name] = true
		out = append(out, in)
	}
	return out
}
