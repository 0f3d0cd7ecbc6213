package transaction

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// queryTags are the tags that a script with -q may name.
var queryTags = map[string]func(*header.Header) string{
	"NAME":    (*header.Header).Name,
	"VERSION": func(h *header.Header) string { return h.EVR().Version },
	"RELEASE": func(h *header.Header) string { return h.EVR().Release },
	"EPOCH": func(h *header.Header) string {
		if epoch, ok := h.Uint32(header.TagEpoch); ok {
			return strconv.FormatUint(uint64(epoch), 10)
		}
		return "(none)"
	},
	"EVR":   func(h *header.Header) string { return h.EVR().String() },
	"ARCH":  (*header.Header).Arch,
	"NEVRA": (*header.Header).NEVRA,
	"NVRA": func(h *header.Header) string {
		return h.Name() + "-" + h.EVR().Version + "-" + h.EVR().Release + "." + h.Arch()
	},
	"OS":           func(h *header.Header) string { return h.String(header.TagOS) },
	"SOURCERPM":    func(h *header.Header) string { return h.String(header.TagSourceRPM) },
	"INSTPREFIXES": func(h *header.Header) string { return h.String(header.TagPrefixes) },
}

// formatQuery replaces the tags in a script with -q, rpm's query format: %{NAME}, %% and
// the escapes with a backslash. Lists, conditions, formats and other tags are errors.
func formatQuery(h *header.Header, text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '[', ']', '}':
			return "", fmt.Errorf("its query format has a %q, which is not supported; write \\%c where it is meant as it stands", c, c)
		case '\\':
			if i++; i == len(text) {
				return "", fmt.Errorf("its query format ends in a backslash")
			}
			if escaped, ok := map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11}[text[i]]; ok {
				b.WriteByte(escaped)
			} else {
				b.WriteByte(text[i])
			}
		case '%':
			if strings.HasPrefix(text[i:], "%%") {
				b.WriteByte('%')
				i++
				continue
			}
			end := strings.IndexByte(text[i:], '}')
			if !strings.HasPrefix(text[i:], "%{") || end < 0 {
				return "", fmt.Errorf("its query format has a %% that begins no %%{TAG}")
			}
			tag := text[i+2 : i+end]
			value, ok := queryTags[strings.TrimPrefix(strings.ToUpper(tag), "RPMTAG_")]
			if !ok {
				return "", fmt.Errorf("its query format asks for %%{%s}, which is not supported", tag)
			}
			b.WriteString(value(h))
			i += end
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
