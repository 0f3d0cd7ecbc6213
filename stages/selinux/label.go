package selinux

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Options is what the recipe and the distribution say. It is part of the stage's key.
type Options struct {
	// Mode is "enforcing", "permissive" or "disabled", and is written to
	// /etc/selinux/config. Empty: the mode that file has.
	Mode string `json:"mode"`
	// Epoch is the time of what is written, in seconds since 1970.
	Epoch int64 `json:"epoch"`
}

// The modes of SELinux.
const (
	Enforcing  = "enforcing"
	Permissive = "permissive"
	Disabled   = "disabled"
)

const (
	configPath = "/etc/selinux/config"
	xattr      = "security.selinux"
	// autorelabel makes the system label itself when it boots. It would do so at every
	// boot of an image whose root cannot be written.
	autorelabel = ".autorelabel"
)

// PolicyError says that the image cannot have the mode it is to have, because a policy
// is not in it. It is a mistake in the recipe: exit status 2.
type PolicyError struct {
	Mode    string // as asked for
	Missing string // absolute path of what is missing
	Package string // that usually has it
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("SELinux is to be %s, but the image has no policy: %s is missing; add the package %s to rootfs.packages, or set selinux = %q",
		e.Mode, e.Missing, e.Package, Disabled)
}

// ExitStatus is 2: the recipe is wrong.
func (e *PolicyError) ExitStatus() int { return 2 }

// Label returns t with the attribute security.selinux on every entry that its policy has a
// label for, and the mode in its configuration. The tree is the same when the mode is
// disabled already, and when the root knows nothing of SELinux and none is asked for.
// The error is a *PolicyError, or names the file of the root, and the line, that is wrong.
func Label(st *store.Store, t *tree.Tree, o Options) (*tree.Tree, error) {
	if o.Mode != "" && !slices.Contains([]string{Enforcing, Permissive, Disabled}, o.Mode) {
		return nil, fmt.Errorf("%q is no mode of SELinux; it is %q, %q or %q", o.Mode, Enforcing, Permissive, Disabled)
	}
	root := files{st: st, t: t}
	data, there, err := root.read(configPath)
	if err != nil {
		return nil, err
	}
	if !there {
		if o.Mode == "" || o.Mode == Disabled {
			return t, nil
		}
		return nil, &PolicyError{Mode: o.Mode, Missing: configPath, Package: "selinux-policy-" + defaultType}
	}
	config := parseConfig(data)
	if o.Mode != "" && o.Mode != config.mode {
		if t, err = writeMode(root, data, o.Mode, o.Epoch); err != nil {
			return nil, err
		}
	}
	// Without a mode the policy is loaded and not enforced (libselinux, load_policy.c).
	mode := cmp.Or(o.Mode, config.mode, Permissive)
	if mode == Disabled {
		return t, nil
	}
	c, err := loadContexts(root, config.policy, mode)
	if err != nil {
		return nil, err
	}
	return c.label(t)
}

// files reads files of a root.
type files struct {
	st *store.Store
	t  *tree.Tree
}

// lookup returns the regular file at an absolute path, which may lead through links.
func (f files) lookup(path string) (tree.Entry, bool) {
	real, err := f.t.Resolve(strings.TrimPrefix(path, "/"))
	if err != nil {
		return tree.Entry{}, false
	}
	e, ok := f.t.Lookup(real)
	return e, ok && e.Type == tree.Regular
}

// read returns the contents of the file at an absolute path, and whether there is one.
func (f files) read(path string) ([]byte, bool, error) {
	e, ok := f.lookup(path)
	if !ok {
		return nil, false, nil
	}
	data, err := f.st.ReadAll(e.Digest)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return data, true, nil
}

// defaultType is the policy's name when the configuration has none (libselinux,
// selinux_config.c).
const defaultType = "targeted"

// configuration is what /etc/selinux/config says.
type configuration struct {
	mode   string // empty when no line has one
	policy string // name of the directory with the policy
}

func parseConfig(data []byte) configuration {
	c := configuration{policy: defaultType}
	for line := range strings.Lines(string(data)) {
		if mode, ok := lineMode(line); ok && c.mode == "" {
			c.mode = mode
		}
		line = strings.TrimSpace(line)
		if tag := "SELINUXTYPE="; len(line) > len(tag) && strings.EqualFold(line[:len(tag)], tag) {
			c.policy = strings.TrimSpace(line[len(tag):])
		}
	}
	return c
}

// lineMode returns the mode that a line of the configuration sets, if it sets one.
func lineMode(line string) (string, bool) {
	value, ok := strings.CutPrefix(line, "SELINUX=")
	value = strings.ToLower(strings.TrimSpace(value))
	for _, mode := range []string{Enforcing, Permissive, Disabled} {
		if ok && strings.HasPrefix(value, mode) {
			return mode, true
		}
	}
	return "", false
}

// writeMode returns the root with mode in its configuration, which is data now.
func writeMode(root files, data []byte, mode string, epoch int64) (*tree.Tree, error) {
	var b bytes.Buffer
	written := false
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "SELINUX=") {
			if written {
				continue
			}
			line, written = "SELINUX="+mode+"\n", true
		}
		b.WriteString(line)
	}
	if !written {
		if b.Len() > 0 && !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
			b.WriteByte('\n')
		}
		b.WriteString("SELINUX=" + mode + "\n")
	}
	digest, err := root.st.Put(b.Bytes())
	if err != nil {
		return nil, err
	}
	e, _ := root.lookup(configPath)
	e.Digest, e.Size, e.Link, e.MTime = digest, int64(b.Len()), 0, tree.Time{Sec: epoch}
	edit := root.t.Edit()
	edit.Put(e)
	return edit.Tree()
}

// loadContexts reads the contexts of a policy, and makes sure that the kernel will have
// the policy itself.
func loadContexts(root files, policy, mode string) (*contexts, error) {
	dir := "/etc/selinux/" + policy
	missing := func(path string) error {
		return &PolicyError{Mode: mode, Missing: path, Package: "selinux-policy-" + policy}
	}
	if !hasPolicy(root.t, dir+"/policy") {
		return nil, missing(dir + "/policy/policy.*")
	}
	base := dir + "/contexts/files/file_contexts"
	c := &contexts{}
	for _, suffix := range []string{"", ".homedirs", ".local"} {
		data, there, err := root.read(base + suffix)
		if err != nil {
			return nil, err
		}
		if !there {
			if suffix == "" {
				return nil, missing(base)
			}
			continue
		}
		if err := c.parse(base+suffix, data); err != nil {
			return nil, err
		}
	}
	if len(c.specs) == 0 {
		return nil, fmt.Errorf("%s: %w", base, errNoLines)
	}
	c.sort()
	for suffix, subs := range map[string]*[]substitution{".subs": &c.subs, ".subs_dist": &c.distSubs} {
		data, _, err := root.read(base + suffix)
		if err != nil {
			return nil, err
		}
		*subs = parseSubs(data)
	}
	return c, nil
}

// hasPolicy reports whether the directory has a compiled policy: policy.33 or the like.
func hasPolicy(t *tree.Tree, dir string) bool {
	real, err := t.Resolve(strings.TrimPrefix(dir, "/"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(t.Children(real), func(e tree.Entry) bool {
		return e.Type == tree.Regular && strings.HasPrefix(e.Name(), "policy.")
	})
}

// label returns t with its labels.
func (c *contexts) label(t *tree.Tree) (*tree.Tree, error) {
	entries := slices.Clone(t.Entries())
	values := map[string][]byte{} // contexts are few, entries are many
	linked := map[uint32][]byte{}
	value := func(e *tree.Entry) []byte {
		path := "/" + e.Path
		if e.Path == tree.Root {
			path = "/"
		}
		context, ok := c.lookup(path, e.Type)
		if !ok {
			return nil
		}
		if values[context] == nil {
			values[context] = append([]byte(context), 0) // the kernel counts the NUL
		}
		return values[context]
	}
	for i := range entries {
		e := &entries[i]
		if e.Link != 0 && linked[e.Link] == nil {
			linked[e.Link] = value(e)
		}
	}
	kept := entries[:0]
	for i := range entries {
		e := entries[i]
		if e.Path == autorelabel {
			continue
		}
		v := linked[e.Link]
		if e.Link == 0 {
			v = value(&e)
		}
		if v != nil {
			e.Xattrs = withLabel(e.Xattrs, v)
		}
		kept = append(kept, e)
	}
	return tree.New(kept)
}

// withLabel returns a copy of attributes that has the label.
func withLabel(attributes []tree.Xattr, label []byte) []tree.Xattr {
	i, found := slices.BinarySearchFunc(attributes, xattr, func(x tree.Xattr, name string) int { return strings.Compare(x.Name, name) })
	result := make([]tree.Xattr, 0, len(attributes)+1)
	result = append(append(result, attributes[:i]...), tree.Xattr{Name: xattr, Value: label})
	if found {
		i++
	}
	return append(result, attributes[i:]...)
}
