package header

// arrays are tags whose items belong together, one by one: with the first tag there
// must be as many of each other that is there.
var arrays = [][]Tag{
	{TagProvideName, TagProvideFlags, TagProvideVersion},
	{TagRequireName, TagRequireFlags, TagRequireVersion},
	{TagConflictName, TagConflictFlags, TagConflictVersion},
	{TagObsoleteName, TagObsoleteFlags, TagObsoleteVersion},
	{TagRecommendName, TagRecommendFlags, TagRecommendVersion},
	{TagSuggestName, TagSuggestFlags, TagSuggestVersion},
	{TagSupplementName, TagSupplementFlags, TagSupplementVersion},
	{TagEnhanceName, TagEnhanceFlags, TagEnhanceVersion},
	{TagOrderName, TagOrderFlags, TagOrderVersion},
	{TagTriggerName, TagTriggerFlags, TagTriggerVersion, TagTriggerIndex},
	{TagTriggerScripts, TagTriggerScriptProg, TagTriggerScriptFlags},
	{TagFileTriggerName, TagFileTriggerFlags, TagFileTriggerVersion, TagFileTriggerIndex},
	{TagFileTriggerScripts, TagFileTriggerScriptProg, TagFileTriggerScriptFlags, TagFileTriggerPriorities},
	{TagTransFileTriggerName, TagTransFileTriggerFlags, TagTransFileTriggerVersion, TagTransFileTriggerIndex},
	{TagTransFileTriggerScripts, TagTransFileTriggerScriptProg, TagTransFileTriggerScriptFlags, TagTransFileTriggerPriorities},
	{TagChangelogTime, TagChangelogName, TagChangelogText},
	{TagBaseNames, TagDirIndexes},
}

// fileArrays have an item for each file.
var fileArrays = []Tag{TagFileSizes, TagLongFileSizes, TagFileStates, TagFileModes, TagFileRDevs, TagFileMTimes, TagFileDigests,
	TagFileLinkTos, TagFileFlags, TagFileUserName, TagFileGroupName, TagFileVerifyFlags, TagFileDevices, TagFileInodes, TagFileLangs, TagFileCaps, TagFileSignatures, TagVeritySignatures}

// indexes are tags whose items are indexes of another tag's.
var indexes = map[Tag]Tag{
	TagDirIndexes:            TagDirNames,
	TagTriggerIndex:          TagTriggerScripts,
	TagFileTriggerIndex:      TagFileTriggerScripts,
	TagTransFileTriggerIndex: TagTransFileTriggerScripts,
}

// checkArrays checks that arrays that belong together have the same length, and that
// indexes point at something.
func (h *Header) checkArrays() error {
	for _, group := range arrays {
		for _, t := range group[1:] {
			if h.Has(t) && h.Count(t) != h.Count(group[0]) {
				return malformed("there are %d items of tag %v but %d of %v", h.Count(t), t, h.Count(group[0]), group[0])
			}
		}
	}
	names := TagBaseNames
	switch {
	case h.Has(TagBaseNames) && !h.Has(TagDirIndexes):
		return malformed("files have names but no directories")
	case h.Has(TagOldFileNames) && h.Has(TagBaseNames):
		return malformed("files have two kinds of names")
	case h.Has(TagOldFileNames):
		names = TagOldFileNames
	}
	for _, t := range fileArrays {
		if h.Has(t) && h.Count(t) != h.Count(names) {
			return malformed("there are %d items of tag %v but %d files", h.Count(t), t, h.Count(names))
		}
	}
	for t, of := range indexes {
		for _, i := range h.Uint32s(t) {
			if int64(i) >= int64(h.Count(of)) {
				return malformed("tag %v points at item %d of %v, which has %d", t, i, of, h.Count(of))
			}
		}
	}
	return nil
}
