package repodata

import (
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Modules are the module streams of a repository, as its modules.yaml describes them
// (modulemd version 2, https://github.com/fedora-modularity/libmodulemd).
type Modules struct {
	streams  []*moduleVersion
	defaults []moduleDefaults
}

// A moduleVersion is one build of a stream of a module.
type moduleVersion struct {
	name, stream string
	version      uint64
	context      string
	profiles     map[string][]string
	// requires are the streams of other modules that will do; "-x" is any but x, and
	// none at all any. All maps count, as with libdnf: that they be alternatives is
	// for the build system, which writes one.
	requires      []map[string][]string
	artifacts     []string // "name-epoch:version-release.arch"
	demodularized []string // names of packages that are no longer the module's
}

// A moduleDefaults says which stream of a module is used when nobody chooses.
type moduleDefaults struct {
	module   string
	stream   string // empty: none
	modified uint64 // the highest counts
}

type yamlModule struct {
	Name         string     `yaml:"name"`
	Stream       yamlString `yaml:"stream"`
	Version      uint64     `yaml:"version"`
	Context      yamlString `yaml:"context"`
	Dependencies []struct {
		Requires map[yamlString]yamlStrings `yaml:"requires"`
	} `yaml:"dependencies"`
	Profiles map[string]struct {
		RPMs []string `yaml:"rpms"`
	} `yaml:"profiles"`
	Artifacts struct {
		RPMs []string `yaml:"rpms"`
	} `yaml:"artifacts"`
	Demodularized struct {
		RPMs []string `yaml:"rpms"`
	} `yaml:"demodularized"`
}

type yamlDefaults struct {
	Module   string     `yaml:"module"`
	Stream   yamlString `yaml:"stream"`
	Modified uint64     `yaml:"modified"`
}

// A yamlString is a scalar as it is written: the stream 1.10 is not the number 1.1.
type yamlString string

// UnmarshalYAML takes any scalar.
func (s *yamlString) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: not a single value", n.Line)
	}
	*s = yamlString(n.Value)
	return nil
}

// yamlStrings is a list of scalars, or one.
type yamlStrings []string

// UnmarshalYAML takes a list of scalars, or one.
func (l *yamlStrings) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = yamlStrings{n.Value}
		return nil
	}
	var list []yamlString
	if err := n.Decode(&list); err != nil {
		return err
	}
	*l = make(yamlStrings, len(list))
	for i, s := range list {
		(*l)[i] = string(s)
	}
	return nil
}

// ParseModules reads a modules.yaml document: a stream of YAML documents, of which
// those of the kinds modulemd (version 2) and modulemd-defaults (version 1) count.
func ParseModules(r io.Reader) (*Modules, error) {
	m := &Modules{}
	decoder := yaml.NewDecoder(r)
	for i := 1; ; i++ {
		var doc struct {
			Document string    `yaml:"document"`
			Version  int       `yaml:"version"`
			Data     yaml.Node `yaml:"data"`
		}
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err == nil {
			err = m.add(doc.Document, doc.Version, &doc.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
	}
}

func (m *Modules) add(kind string, version int, data *yaml.Node) error {
	switch kind {
	case "modulemd":
		if version != 2 {
			return fmt.Errorf("version %d of modulemd is not supported, but version 2", version)
		}
		var y yamlModule
		if err := data.Decode(&y); err != nil {
			return err
		}
		if !isWord(y.Name) || !isWord(string(y.Stream)) {
			return fmt.Errorf("%q is not a module's name and stream", excerpt([]byte(y.Name+":"+string(y.Stream))))
		}
		m.streams = append(m.streams, y.module())
	case "modulemd-defaults":
		if version != 1 {
			return fmt.Errorf("version %d of modulemd-defaults is not supported, but version 1", version)
		}
		var y yamlDefaults
		if err := data.Decode(&y); err != nil {
			return err
		}
		m.defaults = append(m.defaults, moduleDefaults{y.Module, string(y.Stream), y.Modified})
	}
	return nil
}

func (y *yamlModule) module() *moduleVersion {
	v := &moduleVersion{
		name: y.Name, stream: string(y.Stream), version: y.Version, context: string(y.Context),
		artifacts: y.Artifacts.RPMs, demodularized: y.Demodularized.RPMs,
		profiles: make(map[string][]string),
	}
	for name, p := range y.Profiles {
		v.profiles[name] = p.RPMs
	}
	for _, d := range y.Dependencies {
		requires := make(map[string][]string)
		for module, streams := range d.Requires {
			requires[string(module)] = streams
		}
		v.requires = append(v.requires, requires)
	}
	return v
}
