package rpmdb

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb/sqlite"
)

const packagesTable = "Packages"

// index is one of the tables beside Packages.
type index struct {
	name string
	tag  header.Tag
	// rich says that its names may be rich dependencies.
	rich bool
	// numbers is the tag that has idx for each key; 0: keys are counted.
	numbers header.Tag
	// columns have an index of SQLite's.
	columns []string
}

var (
	byKey      = []string{"key"}
	byKeyAndID = []string{"key", "hnum"}
)

// indexes are the tables in rpm's order.
var indexes = []index{
	{name: "Name", tag: header.TagName, columns: byKey},
	{name: "Basenames", tag: header.TagBaseNames, columns: byKeyAndID},
	{name: "Group", tag: header.TagGroup, columns: byKey},
	{name: "Requirename", tag: header.TagRequireName, rich: true, columns: byKeyAndID},
	{name: "Providename", tag: header.TagProvideName, columns: byKeyAndID},
	{name: "Conflictname", tag: header.TagConflictName, rich: true, columns: byKeyAndID},
	{name: "Obsoletename", tag: header.TagObsoleteName, columns: byKeyAndID},
	{name: "Triggername", tag: header.TagTriggerName, columns: byKeyAndID},
	{name: "Dirnames", tag: header.TagDirNames, columns: byKeyAndID},
	{name: "Installtid", tag: header.TagInstallTID},
	{name: "Sigmd5", tag: header.TagSigMD5},
	{name: "Sha1header", tag: header.TagSHA1Header, columns: byKey},
	{name: "Filetriggername", tag: header.TagFileTriggerName, numbers: header.TagFileTriggerIndex, columns: byKeyAndID},
	{name: "Transfiletriggername", tag: header.TagTransFileTriggerName, numbers: header.TagTransFileTriggerIndex, columns: byKeyAndID},
	{name: "Recommendname", tag: header.TagRecommendName, rich: true, columns: byKeyAndID},
	{name: "Suggestname", tag: header.TagSuggestName, rich: true, columns: byKeyAndID},
	{name: "Supplementname", tag: header.TagSupplementName, rich: true, columns: byKeyAndID},
	{name: "Enhancename", tag: header.TagEnhanceName, rich: true, columns: byKeyAndID},
}

// table returns the table with rows of (key, hnum, idx).
func (x *index) table(rows []sqlite.Row) sqlite.Table {
	kind := "TEXT"
	if x.tag == header.TagInstallTID || x.tag == header.TagSigMD5 {
		kind = "BLOB"
	}
	t := sqlite.Table{
		Name: x.name,
		SQL:  fmt.Sprintf("CREATE TABLE '%s' (key '%s' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum))", x.name, kind),
		Rows: rows,
	}
	for i, column := range x.columns {
		name := x.name + "_" + column + "_idx"
		t.Indexes = append(t.Indexes, sqlite.Index{Name: name, SQL: fmt.Sprintf("CREATE INDEX '%s' ON '%s'(%s ASC)", name, x.name, column), Column: i})
	}
	return t
}

// indexKey is a row of an index.
type indexKey struct {
	key   any // string or []byte
	index uint32
}

// keys returns the rows that a header has in the index, in rpm's order.
func (x *index) keys(h *header.Header) []indexKey {
	switch x.tag {
	case header.TagSigMD5:
		if sum := h.Bytes(x.tag); len(sum) > 0 {
			return []indexKey{{key: sum}}
		}
		return nil
	case header.TagInstallTID:
		id, ok := h.Uint32(x.tag)
		if !ok {
			return nil
		}
		return []indexKey{{key: binary.LittleEndian.AppendUint32(nil, id)}}
	case header.TagGroup:
		group := "Unknown"
		if h.Has(x.tag) {
			group = h.String(x.tag) // of the C locale
		}
		return []indexKey{{key: group}}
	case header.TagRequireName:
		return x.names(h, requires(h))
	case header.TagTriggerName:
		seen := map[string]bool{}
		return x.names(h, func(_ int, name string) bool {
			again := seen[name]
			seen[name] = true
			return !again
		})
	}
	return x.names(h, func(int, string) bool { return true })
}

// names returns the rows for the strings of the index's tag which keep wants.
func (x *index) names(h *header.Header, keep func(i int, name string) bool) []indexKey {
	var numbers []uint32
	if x.numbers != 0 {
		numbers = h.Uint32s(x.numbers)
	}
	var keys []indexKey
	for i, name := range h.Strings(x.tag) {
		if !keep(i, name) {
			continue
		}
		number := uint32(i)
		if numbers != nil {
			number = numbers[i]
		}
		keys = append(keys, indexKey{key: name, index: number})
		if x.rich && strings.HasPrefix(name, "(") {
			for _, part := range richNames(name) {
				keys = append(keys, indexKey{key: part, index: number})
			}
		}
	}
	return keys
}

// Requirements with a bit of transient are needed by the installation only, unless they
// have one of lasting too (rpmds.h, isTransientReq).
const (
	transient = header.SenseScriptPre | header.SenseScriptPost | header.SenseRPMLib | header.SenseKeyring | header.SensePreTrans | header.SensePostTrans
	lasting   = header.SenseScriptPreUn | header.SenseScriptPostUn | header.SenseMeta
)

// requires tells the requirements of a package that has to be there from those that
// had to be while it was installed.
func requires(h *header.Header) func(int, string) bool {
	flags := h.Uint32s(header.TagRequireFlags)
	return func(i int, _ string) bool {
		return i >= len(flags) || flags[i]&transient == 0 || flags[i]&lasting != 0
	}
}
