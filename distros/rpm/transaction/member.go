package transaction

import (
	"cmp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Member is a package of a transaction.
type Member struct {
	Header *header.Header
	// Tree is what the package installs. It is the caller's: nothing here looks at it.
	Tree *tree.Tree
}

// Masks of the flags of dependencies, as rpm groups them (rpmds.h).
const (
	// unorderedFlags are what a dependency can be for without deciding the order, unless
	// one of orderedFlags is there too.
	unorderedFlags = header.SenseRPMLib | header.SenseConfig | header.SensePreTrans | header.SensePostTrans |
		header.SensePreUnTrans | header.SensePostUnTrans | header.SenseScriptVerify | header.SenseMeta
	orderedFlags = header.SenseScriptPre | header.SenseScriptPost | header.SenseScriptPreUn | header.SenseScriptPostUn
	// installFlags make a requirement strong: a scriptlet that runs at installation needs it.
	installFlags = header.SenseScriptPre | header.SenseScriptPost | header.SenseRPMLib | header.SenseKeyring |
		header.SensePreTrans | header.SensePostTrans
	// requireFlags are all of requirements. With SensePrereq alone of them it is a Prereq of
	// old packages.
	requireFlags = header.SenseInterp | orderedFlags | header.SenseScriptVerify | header.SenseFindRequires | header.SenseRPMLib |
		header.SenseKeyring | header.SensePreTrans | header.SensePostTrans | header.SensePreUnTrans | header.SensePostUnTrans |
		header.SensePrereq | header.SenseMeta | header.SenseMissingOK
)

// color64 is the bit of 64-bit code in FILECOLORS.
const color64 = 2

// compareMembers orders members by name, version and architecture.
func compareMembers(a, b *Member) int {
	return cmp.Or(
		strings.Compare(a.Header.Name(), b.Header.Name()),
		rpm.CompareEVR(a.Header.EVR(), b.Header.EVR()),
		strings.Compare(a.Header.Arch(), b.Header.Arch()),
	)
}

// sorted returns members in the order of compareMembers.
func sorted(members []*Member) []*Member {
	members = slices.Clone(members)
	slices.SortStableFunc(members, compareMembers)
	return members
}

// overlap reports whether some version is in both ranges (rpmdsCompare). A range
// without bounds overlaps with everything.
func overlap(a, b rpm.Dependency) bool {
	if a.Sense == 0 || b.Sense == 0 {
		return true
	}
	x, y := a.EVR, b.EVR
	if x.Release == "" || y.Release == "" { // any release will do
		x.Release, y.Release = "", ""
	}
	both := a.Sense & b.Sense
	switch c := rpm.CompareEVR(x, y); {
	case c < 0:
		return a.Sense&rpm.Greater != 0 || b.Sense&rpm.Less != 0
	case c > 0:
		return a.Sense&rpm.Less != 0 || b.Sense&rpm.Greater != 0
	}
	return both != 0
}
