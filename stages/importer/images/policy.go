package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/types"

	"github.com/imagefactory/imagefactory/stages/store"
)

// systemPolicy is the host's signature policy, see containers-policy.json(5). One of
// the user takes its place.
const systemPolicy = "/etc/containers/policy.json"

// PolicyError says that the signature policy does not let an image be used. It is the
// host that has to change, or the recipe; the exit status is 3.
type PolicyError struct{ Text string }

func (e *PolicyError) Error() string { return e.Text }

// ExitStatus is 3: the host does not allow it.
func (e *PolicyError) ExitStatus() int { return 3 }

// decision is what the host's policy says about an image.
type decision struct {
	path         string // of the policy; empty: there is none
	requirements []requirement
}

// requirement is one that an image must meet. Those of signatures have more members,
// which are not looked at: they cannot be met here.
type requirement struct {
	Type string `json:"type"`
}

// policyFile is the file format. Members that are not known are errors, as they are for
// the programs the format was made for: they might forbid something.
type policyFile struct {
	Default    []requirement                       `json:"default"`
	Transports map[string]map[string][]requirement `json:"transports"`
}

// policyPath returns the policy that counts; empty where there is none.
func policyPath() (string, error) {
	var candidates []string
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".config/containers/policy.json"))
	}
	for _, path := range append(candidates, systemPolicy) {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// loadPolicy returns what the policy demands of an image.
func loadPolicy(ref types.ImageReference) (*decision, error) {
	path, err := policyPath()
	if err != nil || path == "" {
		return &decision{}, err
	}
	p, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	requirements, err := parsePolicy(p, ref)
	if err != nil {
		return nil, &PolicyError{fmt.Sprintf("the signature policy %s cannot be read: %v", path, err)}
	}
	return &decision{path: path, requirements: requirements}, nil
}

// parsePolicy returns the requirements of the narrowest scope that has the image.
func parsePolicy(p []byte, ref types.ImageReference) ([]requirement, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(p, &members); err != nil {
		return nil, err
	}
	for name := range members {
		if name != "default" && name != "transports" {
			return nil, fmt.Errorf("the member %q is not known", name)
		}
	}
	var file policyFile
	if err := json.NewDecoder(bytes.NewReader(p)).Decode(&file); err != nil {
		return nil, err
	}
	if len(file.Default) == 0 {
		return nil, errors.New(`it has no member "default"`)
	}
	requirements := file.Default
	if scopes := file.Transports[ref.Transport().Name()]; scopes != nil {
		names := append([]string{ref.PolicyConfigurationIdentity()}, ref.PolicyConfigurationNamespaces()...)
		for _, name := range append(names, "") {
			if found, ok := scopes[name]; ok && (name != "" || len(found) > 0) {
				requirements = found
				break
			}
		}
	}
	if len(requirements) == 0 {
		return nil, errors.New("it has a list of requirements that is empty")
	}
	return requirements, nil
}

// check refuses an image that the policy does not accept. All requirements must be met.
func (d *decision) check(ref types.ImageReference) error {
	for _, r := range d.requirements {
		switch r.Type {
		case "insecureAcceptAnything":
		case "reject":
			return &PolicyError{fmt.Sprintf("the signature policy %s rejects it; allow it there, in the scope %q of the transport %q", d.path, ref.PolicyConfigurationIdentity(), ref.Transport().Name())}
		default:
			return &PolicyError{fmt.Sprintf("the signature policy %s demands a signature (%s), which imagefactory cannot verify; copy the image with a program that can (skopeo copy … oci:DIR:TAG), and name the copy in the recipe", d.path, r.Type)}
		}
	}
	return nil
}

// checkUnpinned refuses an image that nothing vouches for: a registry's, by a tag,
// without a policy. form is how a recipe has references; see Options.
func (d *decision) checkUnpinned(ref types.ImageReference, now store.Digest, form func(string) string) error {
	if _, ok := digestOf(ref); ok || d.path != "" || !isRemote(ref) {
		return nil
	}
	pinned, err := atDigest(ref, now)
	if err != nil {
		return err
	}
	return &PolicyError{fmt.Sprintf("it is not signed, and no signature policy (%s) says that it need not be; name it by digest, which today is %s, or write a policy (see containers-policy.json(5))",
		systemPolicy, form(ref.Transport().Name()+":"+pinned.StringWithinTransport()))}
}
