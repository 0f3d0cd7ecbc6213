package sbom

import (
	"errors"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// ErrNoSystem says that a tree does not tell which distribution it is.
var ErrNoSystem = errors.New("there is neither /etc/os-release nor /usr/lib/os-release in the image")

// ReadSystem reads which distribution is in the tree. Without os-release the error is
// ErrNoSystem.
func ReadSystem(st *store.Store, t *tree.Tree) (System, error) {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		p, err := t.Resolve(name)
		if err != nil {
			continue
		}
		e, ok := t.Lookup(p)
		if !ok || e.Type != tree.Regular {
			continue
		}
		data, err := st.ReadAll(e.Digest)
		if err != nil {
			return System{}, fmt.Errorf("%s: %w", name, err)
		}
		return parseSystem(string(data)), nil
	}
	return System{}, ErrNoSystem
}

// parseSystem reads an os-release(5) file. Lines that are none are passed over, as everybody does.
func parseSystem(text string) System {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		values[name] = unquote(value)
	}
	s := System{
		ID: strings.ToLower(values["ID"]), VersionID: values["VERSION_ID"], Name: values["NAME"], Title: values["PRETTY_NAME"], Homepage: values["HOME_URL"],
	}
	if s.ID == "" {
		s.ID = "linux" // os-release(5)
	}
	if s.Name == "" {
		s.Name = "Linux"
	}
	if s.Title == "" {
		s.Title = strings.TrimSpace(s.Name + " " + s.VersionID)
	}
	return s
}

// unquote takes the quotes of the shell off a value.
func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '"' && s[0] != '\'' {
		return s
	}
	quote := s[0]
	s = s[1 : len(s)-1]
	if quote == '\'' || !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
