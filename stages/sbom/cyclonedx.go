package sbom

import (
	"bytes"
	"io"
	"slices"
	"strconv"

	"github.com/imagefactory/imagefactory/stages/tree"
)

type cdxProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type cdxHash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type cdxSupplier struct {
	Name    string       `json:"name"`
	Contact []cdxContact `json:"contact,omitempty"`
}

type cdxContact struct {
	Email string `json:"email"`
}

type cdxLicense struct {
	Expression string `json:"expression"`
}

type cdxReference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type cdxPedigree struct {
	Ancestors []cdxComponent `json:"ancestors"`
}

type cdxComponent struct {
	Type        string         `json:"type"`
	Ref         string         `json:"bom-ref,omitempty"`
	Supplier    *cdxSupplier   `json:"supplier,omitempty"`
	Name        string         `json:"name"`
	Version     string         `json:"version,omitempty"`
	Description string         `json:"description,omitempty"`
	Hashes      []cdxHash      `json:"hashes,omitempty"`
	Licenses    []cdxLicense   `json:"licenses,omitempty"`
	PURL        string         `json:"purl,omitempty"`
	Pedigree    *cdxPedigree   `json:"pedigree,omitempty"`
	References  []cdxReference `json:"externalReferences,omitempty"`
	Properties  []cdxProperty  `json:"properties,omitempty"`
}

type cdxTools struct {
	Components []cdxComponent `json:"components"`
}

type cdxPhase struct {
	Phase string `json:"phase"`
}

type cdxMetadata struct {
	Timestamp  string        `json:"timestamp"`
	Lifecycles []cdxPhase    `json:"lifecycles"`
	Tools      cdxTools      `json:"tools"`
	Component  cdxComponent  `json:"component"`
	Properties []cdxProperty `json:"properties,omitempty"`
}

type cdxDependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// The names of properties; the package's doc says what they hold.
const (
	propertyOrigin   = "imagefactory:origin"
	propertyKind     = "imagefactory:origin:kind"
	propertyPackage  = "imagefactory:package"
	propertyNote     = "imagefactory:note"
	propertyType     = "imagefactory:type"
	propertyTarget   = "imagefactory:target"
	propertyEncoded  = "imagefactory:percent-encoded"
	propertySize     = "imagefactory:size"
	propertyFileName = "imagefactory:package-file"
	propertyLicense  = "imagefactory:licence-comment"
	propertyText     = "imagefactory:licence-text:"
	propertyArch     = "imagefactory:architecture"
	propertyRecipe   = "imagefactory:recipe"
	propertyRuntime  = "imagefactory:runtime"
	propertyComment  = "imagefactory:comment"
)

// CycloneDX returns the document as CycloneDX 1.6 in JSON.
func CycloneDX(d *Document) ([]byte, error) {
	var b bytes.Buffer
	err := WriteCycloneDX(&b, d)
	return b.Bytes(), err
}

// WriteCycloneDX writes the document as CycloneDX 1.6 in JSON
// (https://cyclonedx.org/docs/1.6/json/, ECMA-424). The error is about the document or what w
// gave.
func WriteCycloneDX(w io.Writer, d *Document) error {
	if err := d.check(); err != nil {
		return err
	}
	c := cdxWriter{newWriter(w), d}
	c.open()
	c.field("$schema", "http://cyclonedx.org/schema/bom-1.6.schema.json")
	c.field("bomFormat", "CycloneDX")
	c.field("specVersion", "1.6")
	c.field("serialNumber", "urn:uuid:"+uuid(d))
	c.field("version", 1)
	c.field("metadata", c.metadata())
	c.list("components", func() {
		c.item(c.system())
		for i := range d.Packages {
			c.item(c.component(&d.Packages[i]))
		}
		for _, container := range d.Containers {
			c.item(c.container(container))
		}
		c.files()
	})
	c.list("dependencies", c.dependencies)
	c.close()
	return c.flush()
}

// cdxWriter writes one document.
type cdxWriter struct {
	*writer
	*Document
}

const (
	refImage  = "image"
	refSystem = "operating-system"
)

// metadata returns what the document says of itself and of the image.
func (c *cdxWriter) metadata() cdxMetadata {
	m := cdxMetadata{
		Timestamp:  timestamp(c.Epoch),
		Lifecycles: []cdxPhase{{"build"}},
		Tools:      cdxTools{[]cdxComponent{{Type: "application", Name: c.Tool.Name, Version: c.Tool.Version}}},
		Component: cdxComponent{
			Type: "operating-system", Ref: refImage, Name: c.Name, Version: c.Version, Description: c.System.Title + " for " + c.Arch,
			Properties: []cdxProperty{{propertyArch, c.Arch}},
		},
	}
	if c.Recipe.SHA256 != "" {
		m.Properties = []cdxProperty{{propertyRecipe, c.Recipe.Name + " " + c.Recipe.SHA256}}
	}
	for _, t := range licenseTexts(c.Document) {
		m.Properties = append(m.Properties, cdxProperty{propertyText + t.ID, t.Text})
	}
	return m
}

// system returns the distribution.
func (c *cdxWriter) system() cdxComponent {
	o := cdxComponent{Type: "operating-system", Ref: refSystem, Name: c.System.ID, Version: c.System.VersionID, Description: c.System.Title}
	if url := webAddress(c.System.Homepage); url != "" {
		o.References = []cdxReference{{"website", url}}
	}
	return o
}

// component returns a package.
func (c *cdxWriter) component(p *Package) cdxComponent {
	o := cdxComponent{Type: "library", Ref: p.PURL, Name: p.Name, Version: p.Version, Description: p.Summary, PURL: p.PURL}
	if name, address := p.supplier(c.System); name != "" {
		o.Supplier = &cdxSupplier{Name: name}
		if address != "" {
			o.Supplier.Contact = []cdxContact{{address}}
		}
	}
	if p.SHA256 != "" {
		o.Hashes = []cdxHash{{"SHA-256", p.SHA256}}
	}
	if p.License.Expression != "" {
		o.Licenses = []cdxLicense{{p.License.Expression}}
	}
	if url := webAddress(p.Homepage); url != "" {
		o.References = []cdxReference{{"website", url}}
	}
	if p.Arch != "" {
		o.Properties = append(o.Properties, cdxProperty{propertyArch, p.Arch})
	}
	if p.FileName != "" {
		o.Properties = append(o.Properties, cdxProperty{propertyFileName, p.FileName})
	}
	if p.License.Comment != "" {
		o.Properties = append(o.Properties, cdxProperty{propertyLicense, p.License.Comment})
	}
	if p.Comment != "" {
		o.Properties = append(o.Properties, cdxProperty{propertyComment, p.Comment})
	}
	if p.Source.Name != "" {
		o.Pedigree = &cdxPedigree{[]cdxComponent{{Type: "library", Name: p.Source.Name, Version: p.Source.Version, PURL: p.Source.PURL}}}
	}
	return o
}

// container returns a container image.
func (c *cdxWriter) container(image Container) cdxComponent {
	return cdxComponent{
		Type: "container", Ref: containerRef(image), Name: image.Reference, Version: image.Digest.String(),
		Hashes: []cdxHash{{"SHA-256", image.Digest.Hex()}}, PURL: containerURL(image), Properties: []cdxProperty{{propertyRuntime, image.Runtime}},
	}
}

// containerRef is the reference of a container image's component. Several runtimes may have one
// image.
func containerRef(image Container) string {
	return "container:" + image.Runtime + ":" + image.Reference + ":" + image.Digest.Hex()
}

// files writes a component for every file.
func (c *cdxWriter) files() {
	for i := range c.Files {
		f := &c.Files[i]
		c.appended(func(p []byte) []byte {
			name, encoded := text(f.Path)
			ref := "file:"
			if encoded {
				ref = "file-percent-encoded:" // another file may have this as its name
			}
			p = append(p, `{"type":"file","bom-ref":`...)
			p = appendString(p, ref+name)
			p = append(p, `,"name":`...)
			p = appendString(p, name)
			p = append(p, `,"hashes":[{"alg":"SHA-1","content":`...)
			p = appendHex(p, f.SHA1[:])
			p = append(p, `},{"alg":"SHA-256","content":`...)
			p = appendHex(p, f.SHA256[:])
			p = append(p, `}],"properties":[`...)
			p = appendProperty(p, propertyOrigin, f.Origin.String())
			p = appendProperty(append(p, ','), propertyKind, string(f.Origin.Kind))
			for k, of := range append([]int{f.Package}, f.Shared...) {
				if of >= 0 && (k == 0 || of != f.Package) {
					p = appendProperty(append(p, ','), propertyPackage, c.Packages[of].PURL)
				}
			}
			switch f.Type {
			case tree.Regular:
				p = appendProperty(append(p, ','), propertySize, strconv.FormatInt(f.Size, 10))
			case tree.Symlink:
				target, _ := text(f.Target)
				p = appendProperty(append(p, ','), propertyType, f.Type.String())
				p = appendProperty(append(p, ','), propertyTarget, target)
			default:
				p = appendProperty(append(p, ','), propertyType, f.Type.String())
			}
			if f.Note != "" {
				note, _ := text(f.Note)
				p = appendProperty(append(p, ','), propertyNote, note)
			}
			if encoded {
				p = appendProperty(append(p, ','), propertyEncoded, "true")
			}
			return append(p, "]}"...)
		})
	}
}

// appendProperty appends a property of a component.
func appendProperty(p []byte, name, value string) []byte {
	p = append(p, `{"name":"`...)
	p = append(p, name...)
	p = append(p, `","value":`...)
	p = appendString(p, value)
	return append(p, '}')
}

// dependencies writes which packages need which. The image depends on all of them.
func (c *cdxWriter) dependencies() {
	image := cdxDependency{Ref: refImage, DependsOn: []string{refSystem}}
	for i := range c.Packages {
		image.DependsOn = append(image.DependsOn, c.Packages[i].PURL)
	}
	for _, container := range c.Containers {
		image.DependsOn = append(image.DependsOn, containerRef(container))
	}
	c.item(image)
	for i := range c.Packages {
		d := cdxDependency{Ref: c.Packages[i].PURL}
		for _, need := range c.Packages[i].Needs {
			d.DependsOn = append(d.DependsOn, c.Packages[need].PURL)
		}
		slices.Sort(d.DependsOn)
		c.item(d)
	}
}
