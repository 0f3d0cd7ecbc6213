package selinux

import (
	"bytes"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

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
