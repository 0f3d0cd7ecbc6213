// Package sbomtest checks bills of materials in tests: by the formats' own schemas, which are in
// schemas/, and by reading them with the formats' own libraries.
package sbomtest

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"sync"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
)

// The formats, by the names of their schemas.
const (
	SPDX      = "spdx-schema-2.3.json"
	CycloneDX = "bom-1.6.schema.json"
)

//go:embed schemas/*.json
var schemas embed.FS

// compiled are the schemas of the formats. They refer to each other by where CycloneDX has them.
var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	const base = "http://cyclonedx.org/schema/"
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	files, err := schemas.ReadDir("schemas")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := schemas.ReadFile("schemas/" + file.Name())
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		if err := c.AddResource(base+file.Name(), doc); err != nil {
			return nil, err
		}
	}
	all := map[string]*jsonschema.Schema{}
	for _, name := range []string{SPDX, CycloneDX} {
		if all[name], err = c.Compile(base + name); err != nil {
			return nil, err
		}
	}
	return all, nil
})

// Check returns what is wrong with a document by the schema of its format, SPDX or CycloneDX.
func Check(format string, data []byte) error {
	all, err := compiled()
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return all[format].Validate(doc)
}

// File is a file as a document has it.
type File struct {
	SHA1, SHA256 string // hexadecimal
	Origin       string // where it comes from, for people
}

// SPDXFiles validates an SPDX document and returns its files by absolute path. A path that is there
// twice, or has no origin, fails the test.
func SPDXFiles(t testing.TB, data []byte) map[string]File {
	t.Helper()
	if err := Check(SPDX, data); err != nil {
		t.Fatalf("the document is not SPDX 2.3: %v", err)
	}
	doc, err := spdxjson.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]File{}
	for _, f := range doc.Files {
		var out File
		for _, c := range f.Checksums {
			switch c.Algorithm {
			case "SHA1":
				out.SHA1 = c.Value
			case "SHA256":
				out.SHA256 = c.Value
			}
		}
		_, out.Origin, _ = strings.Cut(f.FileComment, "from: ")
		add(t, files, strings.TrimPrefix(f.FileName, "."), out)
	}
	return files
}

// CycloneDXFiles validates a CycloneDX document and returns its files by absolute path. A path that
// is there twice, or has no origin, fails the test.
func CycloneDXFiles(t testing.TB, data []byte) map[string]File {
	t.Helper()
	if err := Check(CycloneDX, data); err != nil {
		t.Fatalf("the document is not CycloneDX 1.6: %v", err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	files := map[string]File{}
	for _, c := range *bom.Components {
		if c.Type != cdx.ComponentTypeFile {
			continue
		}
		var out File
		for _, h := range *c.Hashes {
			switch h.Algorithm {
			case cdx.HashAlgoSHA1:
				out.SHA1 = h.Value
			case cdx.HashAlgoSHA256:
				out.SHA256 = h.Value
			}
		}
		for _, p := range *c.Properties {
			if p.Name == "imagefactory:origin" {
				out.Origin = p.Value
			}
		}
		add(t, files, c.Name, out)
	}
	return files
}

// add adds a file that is whole, and not there yet.
func add(t testing.TB, files map[string]File, path string, f File) {
	t.Helper()
	if _, ok := files[path]; ok {
		t.Errorf("%s is in the document twice", path)
	}
	if len(f.SHA1) != 40 || len(f.SHA256) != 64 || f.Origin == "" {
		t.Errorf("%s has no sums or no origin: %+v", path, f)
	}
	files[path] = f
}
