package scan

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/scan/extract"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// ContentDir is where distributions install the content of the SCAP Security Guide.
const ContentDir = "/usr/share/xml/scap/ssg/content"

// OpenSCAPOptions says how to run oscap.
type OpenSCAPOptions struct {
	Scratch string // directory in which the tree is extracted, and removed afterwards; "": the usual one for temporary files
	Content string // a data stream, or a directory in which the one for the tree is looked for; "": ContentDir
	Profile string // identifier, or its last part; "": "standard" where there is one, else the first
}

// OpenSCAP is what the program oscap found by other rules than ours.
type OpenSCAP struct {
	Skipped string           `json:"skipped,omitempty"` // why it was not run, and what to do about it
	Version string           `json:"version,omitempty"` // of oscap
	Content string           `json:"content,omitempty"` // the data stream's file
	Profile string           `json:"profile,omitempty"` // its identifier
	Results []OpenSCAPResult `json:"results,omitempty"`
	// Warnings are oscap's own errors: checks that it could not make, such as those of
	// packages in a tree without the files of its package manager, count as failed.
	Warnings []string `json:"warnings,omitempty"`
}

// OpenSCAPResult is what became of one rule.
type OpenSCAPResult struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Severity string `json:"severity"`
	Result   string `json:"result"` // XCCDF's: "pass", "fail", "notapplicable", "notchecked", …
}

// counts returns how many rules passed and failed.
func (o *OpenSCAP) counts() (passed, failed int) {
	for _, r := range o.Results {
		switch r.Result {
		case "pass", "fixed":
			passed++
		case "fail":
			failed++
		}
	}
	return passed, failed
}

// RunOpenSCAP evaluates the content for the tree's distribution over the tree: it is
// extracted, and oscap is told to look there (OSCAP_PROBE_ROOT), as oscap-chroot does.
// Unlike there, nothing of the tree is run, which may be anybody's: see
// runWithoutChroot. Where oscap, content or the rights to extract owners are missing,
// the result says so in Skipped.
func RunOpenSCAP(ctx context.Context, st *store.Store, t *tree.Tree, o OpenSCAPOptions) (*OpenSCAP, error) {
	program, err := exec.LookPath("oscap")
	if err != nil {
		return &OpenSCAP{Skipped: "oscap is not installed: install the package openscap-scanner"}, nil
	}
	result := &OpenSCAP{}
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", program, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	result.Version = first[strings.LastIndexByte(first, ' ')+1:]

	if result.Content, result.Skipped, err = findContent(files.Root{Store: st, Tree: t}, cmp.Or(o.Content, ContentDir)); err != nil || result.Skipped != "" {
		return result, err
	}
	if result.Profile, err = findProfile(ctx, program, result.Content, o.Profile); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Scratch, "openscap-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	switch err := extract.To(ctx, st, t, root); {
	case errors.Is(err, extract.ErrNotRoot):
		result.Skipped = "it takes root to extract the tree with its owners, which the rules are about: run the scan as root"
		return result, nil
	case err != nil:
		return nil, err
	}
	apt, err := aptConfig(files.Root{Store: st, Tree: t}, dir)
	if err != nil {
		return nil, err
	}
	results := filepath.Join(dir, "results.xml")
	cmd := exec.CommandContext(ctx, program, "xccdf", "eval", "--profile", result.Profile, "--results", results, result.Content)
	cmd.Env = append(os.Environ(), "OSCAP_PROBE_ROOT="+root, "OSCAP_EVALUATION_TARGET=image", "OSCAP_PROBE_OS_NAME=Linux", "APT_CONFIG="+apt, "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err = runWithoutChroot(cmd); errors.Is(err, errKeepsChroot) {
		result.Skipped = "oscap cannot be kept from running programs of the tree here: it takes the capability CAP_SETPCAP"
		return result, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		err = nil // some rules failed
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	for line := range strings.Lines(stderr.String()) {
		if text, ok := strings.CutPrefix(line, "E: oscap:"); ok {
			if text = strings.TrimSpace(text); !slices.Contains(result.Warnings, text) {
				result.Warnings = append(result.Warnings, text)
			}
		}
	}
	f, err := os.Open(results)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if result.Results, err = parseXCCDF(f); err != nil {
		return nil, fmt.Errorf("the results of %s: %w", program, err)
	}
	return result, nil
}

// aptConfig writes a configuration of libapt, by which oscap reads the package database
// of Debian and its relatives, and returns its path. It keeps libapt from asking the
// tree's dpkg for its architectures, and from the host's configuration.
func aptConfig(root files.Root, dir string) (string, error) {
	var architectures []string
	f, ok, err := root.Read("/var/lib/dpkg/arch")
	if err != nil {
		return "", err
	}
	if ok {
		architectures = strings.Fields(string(f.Data))
	} else if f, ok, err = root.Read("/var/lib/dpkg/status"); err != nil {
		return "", err
	} else if ok {
		for line := range strings.Lines(string(f.Data)) {
			if name, ok := strings.CutPrefix(line, "Architecture:"); ok && strings.TrimSpace(name) != "all" {
				architectures = append(architectures, strings.TrimSpace(name))
				break
			}
		}
	}
	var b strings.Builder
	for i, name := range architectures {
		if !architecture.MatchString(name) {
			return "", fmt.Errorf("%s: %q is no name of an architecture", f.Path, name)
		}
		if i == 0 {
			fmt.Fprintf(&b, "APT::Architecture \"%s\";\n", name)
		}
		fmt.Fprintf(&b, "APT::Architectures:: \"%s\";\n", name)
	}
	for _, name := range []string{"parts", "main", "sourcelist", "sourceparts", "preferences", "preferencesparts"} {
		fmt.Fprintf(&b, "Dir::Etc::%s \"/dev/null\";\n", name)
	}
	path := filepath.Join(dir, "apt.conf")
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

var architecture = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// errKeepsChroot says that a program cannot be kept from calling chroot.
var errKeepsChroot = errors.New("the capability to change the root directory cannot be dropped")

// runWithoutChroot runs a command that can never change its root directory. Libraries
// that oscap uses do that to run programs of the tree, such as dpkg, as root. Without
// the capability they fail instead.
func runWithoutChroot(cmd *exec.Cmd) error {
	result := make(chan error)
	go func() {
		// What a thread may hand on to its children cannot be taken back: the thread ends
		// with this function, because it is never unlocked.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_CHROOT, 0, 0, 0); err != nil {
			result <- fmt.Errorf("%w: %w", errKeepsChroot, err)
			return
		}
		result <- cmd.Run()
	}()
	return <-result
}

// platform matches the operating system that a benchmark says it is for (NIST IR 7275,
// 6.2.5), as a CPE name (NIST IR 7695, the URI form). Its checks name others as well.
var platform = regexp.MustCompile(`platform idref="(cpe:/o:([^:"]+):([^:"]+):([^:"]+))[":]`)

// findContent returns the data stream for the operating system of the root, or why there
// is none.
func findContent(root files.Root, where string) (content, skipped string, err error) {
	info, err := os.Stat(where)
	if err == nil && !info.IsDir() {
		return where, "", nil
	}
	release, err := osRelease(root)
	if err != nil {
		return "", "", err
	}
	name := strings.TrimSpace(release["ID"] + " " + release["VERSION_ID"])
	if name == "" {
		return "", "the tree has no os-release, by which content for its distribution is found", nil
	}
	streams, err := filepath.Glob(filepath.Join(where, "*-ds.xml"))
	if err != nil {
		return "", "", err
	}
	slices.Sort(streams)
	for _, path := range streams {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", "", err
		}
		for _, m := range platform.FindAllSubmatch(data, -1) {
			if sameSystem(release, string(m[1]), string(m[2]), string(m[3]), string(m[4])) {
				return path, "", nil
			}
		}
	}
	if len(streams) == 0 {
		return "", fmt.Sprintf("there is no content in %s: install the SCAP Security Guide (package scap-security-guide, or ssg-%s and the like)", where, release["ID"]), nil
	}
	return "", fmt.Sprintf("none of the %d data streams in %s is for %s: install a newer SCAP Security Guide, or name a data stream", len(streams), where, name), nil
}

// sameSystem reports whether the name of a system in a data stream is that of an
// os-release: by its CPE_NAME, or by identifier and version where it has none.
func sameSystem(release map[string]string, whole, vendor, product, version string) bool {
	if own := release["CPE_NAME"]; own != "" {
		own = strings.Replace(own, "cpe:2.3:o:", "cpe:/o:", 1)
		return own == whole || strings.HasPrefix(own, whole+":")
	}
	id := release["ID"]
	return id != "" && version == release["VERSION_ID"] && (vendor == id || product == id || strings.HasPrefix(product, id+"_"))
}

// osRelease reads os-release(5).
func osRelease(root files.Root) (map[string]string, error) {
	values := map[string]string{}
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, ok, err := root.Read(p)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		for line := range strings.Lines(string(f.Data)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
				values[key] = strings.Trim(value, `"'`)
			}
		}
		break
	}
	return values, nil
}

// findProfile returns the identifier of a profile of a data stream.
func findProfile(ctx context.Context, program, content, wanted string) (string, error) {
	cmd := exec.CommandContext(ctx, program, "info", "--profiles", content)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		if id, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		if id == wanted || strings.HasSuffix(id, "_profile_"+cmp.Or(wanted, "standard")) {
			return id, nil
		}
	}
	if wanted != "" {
		return "", fmt.Errorf("%s has no profile %q; it has %s", content, wanted, strings.Join(ids, ", "))
	}
	if len(ids) == 0 {
		return "", fmt.Errorf("%s has no profiles", content)
	}
	return ids[0], nil
}

// parseXCCDF reads the rules' results out of a document with a TestResult (NIST IR 7275,
// 6.6). Titles are those of the rules in the same document. Rules that the profile does
// not select are left out.
func parseXCCDF(r io.Reader) ([]OpenSCAPResult, error) {
	titles := map[string]string{}
	var results []OpenSCAPResult
	decoder := xml.NewDecoder(r)
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "Rule":
			var rule struct {
				ID    string `xml:"id,attr"`
				Title text   `xml:"title"`
			}
			if err := decoder.DecodeElement(&rule, &start); err != nil {
				return nil, err
			}
			titles[rule.ID] = rule.Title.Value
		case "rule-result":
			var result struct {
				ID       string `xml:"idref,attr"`
				Severity string `xml:"severity,attr"`
				Result   string `xml:"result"`
			}
			if err := decoder.DecodeElement(&result, &start); err != nil {
				return nil, err
			}
			if result.Result != "notselected" {
				results = append(results, OpenSCAPResult{result.ID, "", result.Severity, result.Result})
			}
		}
	}
	for i := range results {
		results[i].Title = titles[results[i].ID]
	}
	return results, nil
}

// text is the text of an element, without the markup in it.
type text struct{ Value string }

// UnmarshalXML implements xml.Unmarshaler.
func (t *text) UnmarshalXML(decoder *xml.Decoder, start xml.StartElement) error {
	var b strings.Builder
	for depth := 1; depth > 0; {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			b.Write(token)
		}
	}
	t.Value = strings.Join(strings.Fields(b.String()), " ")
	return nil
}
