package selinux

import (
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
	// Directories are made, for root alone, where the root lacks them: those that the file
	// system would otherwise make later, and without a label. Absolute paths.
	Directories []string `json:"directories,omitempty"`
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
// The error is a *PolicyError or an *UnlabelledError, or names the file of the root, and
// the line, that is wrong.
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
	if t, err = o.addDirectories(t); err != nil {
		return nil, err
	}
	labelled, unknown, err := c.label(t)
	if err == nil && len(unknown) > 0 && mode == Enforcing {
		return nil, &UnlabelledError{Paths: unknown}
	}
	return labelled, err
}

// addDirectories returns t with o.Directories.
func (o Options) addDirectories(t *tree.Tree) (*tree.Tree, error) {
	edit := t.Edit()
	for _, dir := range o.Directories {
		if err := edit.MkdirAll(strings.TrimPrefix(dir, "/"), tree.Entry{Mode: 0o700, MTime: tree.Time{Sec: o.Epoch}}); err != nil {
			return nil, err
		}
	}
	return edit.Tree()
}

// UnlabelledError says that an image which enforces its policy would have files that
// the policy does not know, and which nobody could use. It is a mistake in the recipe or in
// the policy: exit status 2.
type UnlabelledError struct {
	Paths []string // absolute, in order
}

func (e *UnlabelledError) Error() string {
	text := e.Paths[0]
	if more := len(e.Paths) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("SELinux is to be %s, but no line of the policy's file_contexts says how to label %s; add lines to file_contexts.local, or set selinux = %q",
		Enforcing, text, Permissive)
}

// ExitStatus is 2: the recipe is wrong.
func (e *UnlabelledError) ExitStatus() int { return 2 }

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

// label returns t with its labels, and the absolute paths that no line is about.
func (c *contexts) label(t *tree.Tree) (labelled *tree.Tree, unknown []string, err error) {
	values := map[string][]byte{none: nil} // contexts are few, entries are many
	value := func(e *tree.Entry) (value []byte, known bool) {
		context, ok := c.lookup(absolute(e.Path), e.Type)
		if ok && values[context] == nil {
			values[context] = append([]byte(context), 0) // the kernel counts the NUL
		}
		return values[context], context != ""
	}
	// An inode has the label of the first of its names that has one.
	type inode struct {
		value []byte
		known bool
	}
	inodes := map[uint32]inode{}
	for _, e := range t.Entries() {
		if e.Link == 0 || inodes[e.Link].value != nil {
			continue
		}
		v, known := value(&e)
		inodes[e.Link] = inode{v, known || inodes[e.Link].known}
	}
	entries := make([]tree.Entry, 0, t.Len())
	for _, e := range t.Entries() {
		if e.Path == autorelabel {
			continue
		}
		i := inodes[e.Link]
		if e.Link == 0 {
			i.value, i.known = value(&e)
		}
		if !i.known {
			unknown = append(unknown, absolute(e.Path))
		}
		if i.value != nil {
			e.Xattrs = withLabel(e.Xattrs, i.value)
		}
		entries = append(entries, e)
	}
	labelled, err = tree.New(entries)
	return labelled, unknown, err
}

// absolute returns the path of an entry with the slash that policies begin with.
func absolute(path string) string {
	if path == tree.Root {
		return "/"
	}
	return "/" + path
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
