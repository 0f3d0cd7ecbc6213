package repodata

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const repomdPath = "/repodata/repomd.xml"

// parseMirrorList reads a list of base URLs: one a line, comments after "#". URLs of
// kinds that cannot be used (ftp, rsync) are left out; those of this machine's files
// are, unless local is set: whoever serves a list does not choose among them.
func parseMirrorList(p []byte, local bool) ([]string, error) {
	var bases []string
	var remark string // servers explain an empty list in a comment
	for line := range strings.Lines(string(p)) {
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			remark = cmp.Or(remark, strings.TrimSpace(comment))
			continue
		}
		if strings.HasPrefix(line, "<") {
			return nil, errors.New("it is not a list of mirrors but a web page")
		}
		if usableMirror(line, local) {
			bases = append(bases, strings.TrimRight(line, "/"))
		}
	}
	if len(bases) == 0 {
		if remark != "" {
			return nil, fmt.Errorf("it names no http or https mirror; it says: %s", excerpt([]byte(remark)))
		}
		return nil, errors.New("it names no http or https mirror")
	}
	return bases, nil
}

// usableMirror reports whether a URL can be fetched.
func usableMirror(text string, local bool) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host != ""
	case "file":
		return local
	}
	return false
}

// A metalink says which repomd.xml a repository has now and where
// (https://metalinker.org, version 3, as MirrorManager writes it).
type metalink struct {
	bases []string // the preferred one first
	// versions are the repomd.xml that mirrors may have, the current one first.
	versions []repomdVersion
}

// A repomdVersion identifies a repomd.xml.
type repomdVersion struct {
	checksum  checksum
	timestamp int64 // when it was made, in seconds since 1970; 0 if unknown
}

type xmlMetalink struct {
	XMLName xml.Name `xml:"metalink"`
	Files   []struct {
		Name string `xml:"name,attr"`
		xmlVersion
		Alternates []xmlVersion `xml:"alternates>alternate"`
		URLs       []xmlURL     `xml:"resources>url"`
	} `xml:"files>file"`
}

type xmlVersion struct {
	Timestamp string    `xml:"timestamp"`
	Hashes    []xmlHash `xml:"verification>hash"`
}

type xmlURL struct {
	Preference string `xml:"preference,attr"`
	URL        string `xml:",chardata"`
}

// isMetalink reports whether p is XML: no list of mirrors begins so.
func isMetalink(p []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(p), []byte("<")) }

// parseMetalink reads a metalink for a repomd.xml. What local means is said at
// parseMirrorList.
func parseMetalink(p []byte, local bool) (*metalink, error) {
	var doc xmlMetalink
	if err := unmarshal(p, &doc); err != nil {
		return nil, err
	}
	for _, file := range doc.Files {
		if file.Name != "repomd.xml" {
			continue
		}
		m := &metalink{}
		for _, v := range append([]xmlVersion{file.xmlVersion}, file.Alternates...) {
			sum := strongest(v.Hashes)
			if sum.weak() {
				return nil, errors.New("it gives no SHA-256 or SHA-512 digest of repomd.xml")
			}
			m.versions = append(m.versions, repomdVersion{sum, parseTimestamp(v.Timestamp)})
		}
		slices.SortStableFunc(file.URLs, func(a, b xmlURL) int { return cmp.Compare(b.preference(), a.preference()) })
		for _, u := range file.URLs {
			base, ok := strings.CutSuffix(strings.TrimSpace(u.URL), repomdPath)
			if ok && usableMirror(base, local) {
				m.bases = append(m.bases, base)
			}
		}
		if len(m.bases) == 0 {
			return nil, errors.New("it names no http or https mirror")
		}
		return m, nil
	}
	return nil, errors.New("it does not describe a repomd.xml")
}

func (u xmlURL) preference() int {
	n, err := strconv.Atoi(u.Preference)
	if err != nil {
		return 0
	}
	return n
}

// version returns which of the metalink's versions p is: 0 for the current one.
func (m *metalink) version(p []byte) (int, error) {
	for i, v := range m.versions {
		if v.checksum.verify(p) == nil {
			return i, nil
		}
	}
	return 0, m.versions[0].checksum.verify(p)
}
