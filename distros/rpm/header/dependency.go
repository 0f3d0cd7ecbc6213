package header

import "github.com/imagefactory/imagefactory/distros/rpm"

// A Kind is a kind of dependency.
type Kind uint8

// The kinds.
const (
	Provides Kind = iota
	Requires
	Conflicts
	Obsoletes
	Recommends
	Suggests
	Supplements
	Enhances
	Order // of installation only: OrderWithRequires
)

var kindTags = [...]struct{ name, flags, version Tag }{
	Provides:    {TagProvideName, TagProvideFlags, TagProvideVersion},
	Requires:    {TagRequireName, TagRequireFlags, TagRequireVersion},
	Conflicts:   {TagConflictName, TagConflictFlags, TagConflictVersion},
	Obsoletes:   {TagObsoleteName, TagObsoleteFlags, TagObsoleteVersion},
	Recommends:  {TagRecommendName, TagRecommendFlags, TagRecommendVersion},
	Suggests:    {TagSuggestName, TagSuggestFlags, TagSuggestVersion},
	Supplements: {TagSupplementName, TagSupplementFlags, TagSupplementVersion},
	Enhances:    {TagEnhanceName, TagEnhanceFlags, TagEnhanceVersion},
	Order:       {TagOrderName, TagOrderFlags, TagOrderVersion},
}

// Bits of Dep.Flags and of the flags of triggers (rpmds.h, RPMSENSE_*).
const (
	SenseLess          = 1 << 1
	SenseGreater       = 1 << 2
	SenseEqual         = 1 << 3
	SensePostTrans     = 1 << 5 // %posttrans needs it
	SensePrereq        = 1 << 6 // legacy: needed before the package
	SensePreTrans      = 1 << 7 // %pretrans needs it
	SenseInterp        = 1 << 8 // the interpreter of a script
	SenseScriptPre     = 1 << 9
	SenseScriptPost    = 1 << 10
	SenseScriptPreUn   = 1 << 11
	SenseScriptPostUn  = 1 << 12
	SenseScriptVerify  = 1 << 13
	SenseFindRequires  = 1 << 14
	SenseFindProvides  = 1 << 15
	SenseTriggerIn     = 1 << 16
	SenseTriggerUn     = 1 << 17
	SenseTriggerPostUn = 1 << 18
	SenseMissingOK     = 1 << 19
	SensePreUnTrans    = 1 << 20
	SensePostUnTrans   = 1 << 21
	SenseRPMLib        = 1 << 24 // a feature of rpm
	SenseTriggerPreIn  = 1 << 25
	SenseKeyring       = 1 << 26
	SenseConfig        = 1 << 28
	SenseMeta          = 1 << 29 // no order of installation follows from it
)

const senseMask = SenseLess | SenseGreater | SenseEqual

// A Dep is a dependency of a package with all of its bits.
type Dep struct {
	rpm.Dependency
	Flags uint32 // Sense bits
}

// Dependencies returns the package's dependencies of a kind, in the header's order.
func (h *Header) Dependencies(kind Kind) []Dep {
	t := kindTags[kind]
	names, flags, versions := h.Strings(t.name), h.Uint32s(t.flags), h.Strings(t.version)
	deps := make([]Dep, len(names))
	for i, name := range names {
		d := &deps[i]
		d.Name = name
		if flags != nil {
			d.Flags = flags[i]
			d.Pre = flags[i]&(SensePrereq|SenseScriptPre|SenseScriptPost) != 0
		}
		if d.IsRich() {
			continue
		}
		d.Sense = rpm.Sense(d.Flags & senseMask)
		if versions != nil {
			d.EVR = parseEVR(versions[i])
		}
	}
	return deps
}

// parseEVR parses the version of a dependency. rpm takes any text for one, so what
// is no version to rpm.ParseEVR is a version that equals nothing but itself.
func parseEVR(s string) rpm.EVR {
	if s == "" {
		return rpm.EVR{}
	}
	e, err := rpm.ParseEVR(s)
	if err != nil {
		return rpm.EVR{Version: s}
	}
	return e
}
