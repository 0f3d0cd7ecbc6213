package recipes

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// namespacePattern has the names of containerd's namespaces (identifiers.Validate of containerd), which have at most
// maxNamespace characters.
var namespacePattern = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

const maxNamespace = 76

// containers reads the container blocks.
func (l *loader) containers(b *decode.Body) []Container {
	var out []Container
	seen := map[[3]string]*decode.Block{}
	for _, blk := range b.Repeated("container", "image") {
		s := decode.New(fmt.Sprintf("container %q", blk.Label()), &l.diags, blk.Parts...)
		c := Container{Range: blk.Range, Insecure: s.Bool("insecure", false)}
		named := l.containerName(blk.Label(), blk)
		c.Source, c.SourceReference = l.containerSource(s, blk, named)
		c.Runtime, c.Namespace = l.runtime(s, blk)
		switch name, digest, _ := strings.Cut(blk.Label(), "@"); {
		case hasTag(name):
			c.Name = name
		case named && c.Runtime == RuntimeDocker && !s.Has("source"):
			l.errorf(blk.Range, "Image without a tag", "Docker loads images under a name with a tag, a digest alone is none. Write for example: container %q { … }", name+":1.0@"+digest)
		}
		if s.Has("insecure") && c.Source != "" && !strings.HasPrefix(c.Source, "docker:") {
			l.errorf(s.Range("insecure"), "No registry", "The image comes from a file, and insecure is about registries. Remove the attribute.")
		}
		s.Close()
		key := [3]string{blk.Label(), c.Runtime, c.Namespace}
		if first := seen[key]; first != nil && c.Runtime != "" {
			l.errorf(blk.Range, "Duplicate container", "%s has the image %q already, see %s. Remove one of the blocks, or give it another runtime.", c.Runtime, blk.Label(), decode.Where(first.Range))
			continue
		}
		seen[key] = blk
		out = append(out, c)
	}
	return out
}

// containerName checks the label of a container block.
func (l *loader) containerName(name string, blk *decode.Block) bool {
	host, rest, slash := strings.Cut(name, "/")
	bare, transport := strings.CutPrefix(name, "docker://")
	switch {
	case transport:
		l.errorf(blk.Range, "Place instead of a name", "The label is the name by which the runtime knows the image. Write: container %q { … }", bare)
	case !slash && registryImage.MatchString("docker.io/library/"+name):
		l.errorf(blk.Range, "Image without a registry", "%q names no registry. Write: container %q { … }", name, "docker.io/library/"+name)
	case slash && !strings.ContainsAny(host, ".:") && host != "localhost" && registryImage.MatchString("docker.io/"+name):
		l.errorf(blk.Range, "Image without a registry", "%q names no registry. Write: container %q { … }", name, "docker.io/"+name)
	case !registryImage.MatchString(name):
		l.errorf(blk.Range, "Invalid image", "%q is not the name of a container image: a registry, a path in lower case, and a tag or a digest. Write for example: container \"registry.example.com/pause:3.9\" { … }", name)
	case !strings.ContainsAny(rest, ":@"):
		l.errorf(blk.Range, "Image without a tag", "%q has neither a tag nor a digest. When the one that is usual is meant, write: container %q { … }", name, name+":latest")
	default:
		return true
	}
	return false
}

// containerSource reads where the image is taken from.
func (l *loader) containerSource(s *decode.Body, blk *decode.Block, named bool) (image, reference string) {
	if !s.Has("source") {
		if !named {
			return "", ""
		}
		reference = "docker://" + withoutTag(blk.Label())
		return reference, reference
	}
	t := s.Text("source")
	if t.Range.Filename == "" {
		return "", ""
	}
	image, reference = l.imageReference(t, s.Dir("source"), "source")
	if want := withoutTag(reference); strings.HasPrefix(reference, "docker://") && want != reference {
		l.errorf(t.Range, "Tag and digest", "The digest alone says which image is meant. Write: source = %q", want)
	}
	if name, digest, ok := strings.Cut(blk.Label(), "@"); ok {
		l.errorf(blk.Range, "Digest of another place", "The image comes from source, so it is source that says its digest. Write: container %q { … }, and in source a name that ends with %q", withTag(name), "@"+digest)
	}
	return image, reference
}

// withoutTag drops the tag of a reference that has a digest, too.
func withoutTag(reference string) string {
	name, digest, ok := strings.Cut(reference, "@")
	if !ok {
		return reference
	}
	if hasTag(name) {
		name = name[:strings.LastIndexByte(name, ':')]
	}
	return name + "@" + digest
}

// hasTag reports whether a name ends with a tag; what else has a colon is the port of a registry.
func hasTag(name string) bool {
	return strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/')
}

// withTag adds a tag to a name that has none.
func withTag(name string) string {
	if hasTag(name) {
		return name
	}
	return name + ":latest"
}

func (l *loader) runtime(s *decode.Body, blk *decode.Block) (runtime, namespace string) {
	if !s.Has("runtime") {
		l.errorf(blk.Range, "Missing \"runtime\"", "Every runtime keeps its images in a place of its own. Write in the block: runtime = %q, or %s", RuntimeContainerd, decode.Or(Runtimes[1:]))
	}
	t := s.Text("runtime")
	runtime = t.Value
	if t.Range.Filename != "" && !slices.Contains(Runtimes, runtime) {
		l.errorf(t.Range, "Unknown runtime", "There is no runtime %q. %s", runtime, decode.DidYouMean(runtime, Runtimes))
		runtime = ""
	}
	n := s.Text("namespace")
	switch {
	case n.Range.Filename == "":
		if runtime == RuntimeContainerd {
			namespace = DefaultNamespace
		}
	case runtime != RuntimeContainerd && runtime != "":
		l.errorf(n.Range, "Attribute of another runtime", "Only %q has namespaces, %q has none. Remove the attribute.", RuntimeContainerd, runtime)
	case len(n.Value) > maxNamespace || !namespacePattern.MatchString(n.Value):
		l.errorf(n.Range, "Invalid namespace", "%q cannot be a namespace of containerd: up to %d letters and digits, with single \".\", \"_\" and \"-\" between them. Kubernetes looks in %q.", n.Value, maxNamespace, DefaultNamespace)
	default:
		namespace = n.Value
	}
	return runtime, namespace
}
