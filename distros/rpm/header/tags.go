package header

import "strconv"

// A Tag says what an entry of a header is (rpmtag.h).
type Tag uint32

// Regions.
const (
	TagHeaderImage      Tag = 61  // region of headers that rpm made anew from packages of rpm 3
	TagHeaderSignatures Tag = 62  // region of a signature header
	TagHeaderImmutable  Tag = 63  // region of a package's header, as it was built and signed
	TagHeaderI18NTable  Tag = 100 // locales of the strings of type I18NString
)

// What the signature header becomes in the database.
const (
	TagSigSize                Tag = 257 // length of header and payload in bytes
	TagSigPGP                 Tag = 259 // signature of header and payload by an RSA key
	TagSigMD5                 Tag = 261 // MD5 digest of header and payload
	TagSigGPG                 Tag = 262 // signature of header and payload by another key
	TagPubKeys                Tag = 266
	TagDSAHeader              Tag = 267 // signature of the header by a key of another kind than RSA
	TagRSAHeader              Tag = 268 // signature of the header by an RSA key
	TagSHA1Header             Tag = 269 // digest of the header, hexadecimal
	TagLongSigSize            Tag = 270 // instead of SigSize
	TagLongArchiveSize        Tag = 271 // instead of ArchiveSize
	TagSHA256Header           Tag = 273 // digest of the header, hexadecimal
	TagSigFileSignatures      Tag = 274 // IMA signatures of files
	TagSigFileSignatureLength Tag = 275
	TagVeritySignatures       Tag = 276 // fs-verity signatures of files
	TagVeritySignatureAlgo    Tag = 277
	TagOpenPGP                Tag = 278 // base64 signatures of the header (rpm 4.20)
	TagSHA3_256Header         Tag = 279 // digest of the header, hexadecimal (rpm 6)
)

// The package.
const (
	TagName               Tag = 1000
	TagVersion            Tag = 1001
	TagRelease            Tag = 1002
	TagEpoch              Tag = 1003
	TagSummary            Tag = 1004
	TagDescription        Tag = 1005
	TagBuildTime          Tag = 1006 // seconds since 1970
	TagBuildHost          Tag = 1007
	TagInstallTime        Tag = 1008 // seconds since 1970; database only
	TagSize               Tag = 1009 // of all files, in bytes
	TagDistribution       Tag = 1010
	TagVendor             Tag = 1011
	TagLicense            Tag = 1014
	TagPackager           Tag = 1015
	TagGroup              Tag = 1016
	TagURL                Tag = 1020
	TagOS                 Tag = 1021
	TagArch               Tag = 1022
	TagArchiveSize        Tag = 1046 // of the uncompressed payload, in bytes
	TagSourceRPM          Tag = 1044
	TagRPMVersion         Tag = 1064
	TagChangelogTime      Tag = 1080
	TagChangelogName      Tag = 1081
	TagChangelogText      Tag = 1082
	TagCookie             Tag = 1094
	TagPrefixes           Tag = 1098
	TagInstPrefixes       Tag = 1099
	TagSourcePackage      Tag = 1106 // there in source packages
	TagOptFlags           Tag = 1122
	TagDistURL            Tag = 1123
	TagPayloadFormat      Tag = 1124 // "cpio"
	TagPayloadCompressor  Tag = 1125 // "gzip", "bzip2", "lzma", "xz", "zstd"
	TagPayloadFlags       Tag = 1126
	TagInstallColor       Tag = 1127 // database only
	TagInstallTID         Tag = 1128 // the transaction; database only
	TagPlatform           Tag = 1132
	TagSourcePkgID        Tag = 1146
	TagDistTag            Tag = 1155
	TagLongSize           Tag = 5009 // instead of Size
	TagBugURL             Tag = 5012
	TagVCS                Tag = 5034
	TagEncoding           Tag = 5062
	TagModularityLabel    Tag = 5096
	TagPayloadDigest      Tag = 5092 // digest of the compressed payload, hexadecimal
	TagPayloadDigestAlgo  Tag = 5093 // see DigestAlgo
	TagPayloadDigestAlt   Tag = 5097 // digest of the uncompressed payload, hexadecimal
	TagUpstreamReleases   Tag = 5101
	TagRPMFormat          Tag = 5114 // version of the package format: 4 or 6
	TagPayloadSize        Tag = 5112 // of the compressed payload, in bytes (rpm 6)
	TagPayloadSizeAlt     Tag = 5113 // of the uncompressed payload, in bytes (rpm 6)
	TagPayloadSHA512      Tag = 5121 // (rpm 6)
	TagPayloadSHA512Alt   Tag = 5122 // (rpm 6)
	TagPayloadSHA3_256    Tag = 5123 // (rpm 6)
	TagPayloadSHA3_256Alt Tag = 5124 // (rpm 6)
)

// Files.
const (
	TagOldFileNames        Tag = 1027 // whole paths, in packages of rpm 3
	TagFileSizes           Tag = 1028
	TagFileStates          Tag = 1029 // database only
	TagFileModes           Tag = 1030
	TagFileRDevs           Tag = 1033
	TagFileMTimes          Tag = 1034
	TagFileDigests         Tag = 1035 // hexadecimal, see FileDigestAlgo
	TagFileLinkTos         Tag = 1036
	TagFileFlags           Tag = 1037
	TagFileUserName        Tag = 1039
	TagFileGroupName       Tag = 1040
	TagFileVerifyFlags     Tag = 1045
	TagFileDevices         Tag = 1095
	TagFileInodes          Tag = 1096
	TagFileLangs           Tag = 1097
	TagDirIndexes          Tag = 1116 // for each file an index of DirNames
	TagBaseNames           Tag = 1117
	TagDirNames            Tag = 1118 // ending in a slash
	TagOrigDirIndexes      Tag = 1119
	TagOrigBaseNames       Tag = 1120
	TagOrigDirNames        Tag = 1121
	TagFileColors          Tag = 1140
	TagFileClass           Tag = 1141
	TagClassDict           Tag = 1142
	TagFileDependsX        Tag = 1143
	TagFileDependsN        Tag = 1144
	TagDependsDict         Tag = 1145
	TagPolicies            Tag = 1150
	TagLongFileSizes       Tag = 5008 // instead of FileSizes
	TagFileCaps            Tag = 5010 // capabilities as text
	TagFileDigestAlgo      Tag = 5011 // see DigestAlgo; MD5 when it is missing
	TagFileSignatures      Tag = 5090
	TagFileSignatureLength Tag = 5091
)

// Dependencies.
const (
	TagProvideName       Tag = 1047
	TagProvideFlags      Tag = 1112
	TagProvideVersion    Tag = 1113
	TagRequireName       Tag = 1049
	TagRequireFlags      Tag = 1048
	TagRequireVersion    Tag = 1050
	TagConflictName      Tag = 1054
	TagConflictFlags     Tag = 1053
	TagConflictVersion   Tag = 1055
	TagObsoleteName      Tag = 1090
	TagObsoleteFlags     Tag = 1114
	TagObsoleteVersion   Tag = 1115
	TagRecommendName     Tag = 5046
	TagRecommendVersion  Tag = 5047
	TagRecommendFlags    Tag = 5048
	TagSuggestName       Tag = 5049
	TagSuggestVersion    Tag = 5050
	TagSuggestFlags      Tag = 5051
	TagSupplementName    Tag = 5052
	TagSupplementVersion Tag = 5053
	TagSupplementFlags   Tag = 5054
	TagEnhanceName       Tag = 5055
	TagEnhanceVersion    Tag = 5056
	TagEnhanceFlags      Tag = 5057
	TagOrderName         Tag = 5035 // order of installation alone
	TagOrderVersion      Tag = 5036
	TagOrderFlags        Tag = 5037
)

// Scriptlets: text, program with its arguments, flags.
const (
	TagPreIn             Tag = 1023
	TagPostIn            Tag = 1024
	TagPreUn             Tag = 1025
	TagPostUn            Tag = 1026
	TagPreInProg         Tag = 1085
	TagPostInProg        Tag = 1086
	TagPreUnProg         Tag = 1087
	TagPostUnProg        Tag = 1088
	TagPreTrans          Tag = 1151
	TagPostTrans         Tag = 1152
	TagPreTransProg      Tag = 1153
	TagPostTransProg     Tag = 1154
	TagVerifyScript      Tag = 1079
	TagVerifyScriptProg  Tag = 1091
	TagPreUnTrans        Tag = 5103
	TagPostUnTrans       Tag = 5104
	TagPreUnTransProg    Tag = 5105
	TagPostUnTransProg   Tag = 5106
	TagPreInFlags        Tag = 5020
	TagPostInFlags       Tag = 5021
	TagPreUnFlags        Tag = 5022
	TagPostUnFlags       Tag = 5023
	TagPreTransFlags     Tag = 5024
	TagPostTransFlags    Tag = 5025
	TagVerifyScriptFlags Tag = 5026
	TagPreUnTransFlags   Tag = 5107
	TagPostUnTransFlags  Tag = 5108
)

// Triggers on packages.
const (
	TagTriggerScripts     Tag = 1065
	TagTriggerName        Tag = 1066
	TagTriggerVersion     Tag = 1067
	TagTriggerFlags       Tag = 1068
	TagTriggerIndex       Tag = 1069 // for each name an index of TriggerScripts
	TagTriggerScriptProg  Tag = 1092
	TagTriggerScriptFlags Tag = 5027
)

// Triggers on files, after each package.
const (
	TagFileTriggerScripts     Tag = 5066
	TagFileTriggerScriptProg  Tag = 5067
	TagFileTriggerScriptFlags Tag = 5068
	TagFileTriggerName        Tag = 5069 // path prefixes
	TagFileTriggerIndex       Tag = 5070
	TagFileTriggerVersion     Tag = 5071
	TagFileTriggerFlags       Tag = 5072
	TagFileTriggerPriorities  Tag = 5084
)

// Triggers on files, after the transaction.
const (
	TagTransFileTriggerScripts     Tag = 5076
	TagTransFileTriggerScriptProg  Tag = 5077
	TagTransFileTriggerScriptFlags Tag = 5078
	TagTransFileTriggerName        Tag = 5079 // path prefixes
	TagTransFileTriggerIndex       Tag = 5080
	TagTransFileTriggerVersion     Tag = 5081
	TagTransFileTriggerFlags       Tag = 5082
	TagTransFileTriggerPriorities  Tag = 5085
)

// Tags of the signature header of a package that differ from those of the database,
// where they would collide with the tags of the package.
const (
	SigTagSize          Tag = 1000 // length of header and payload in bytes
	SigTagPGP           Tag = 1002 // signature of header and payload by an RSA key
	SigTagMD5           Tag = 1004 // MD5 digest of header and payload
	SigTagGPG           Tag = 1005 // signature of header and payload by another key
	SigTagPayloadSize   Tag = 1007 // of the uncompressed payload, in bytes
	SigTagReservedSpace Tag = 1008 // room for signatures
	SigTagReserved      Tag = 999  // the same (rpm 6)
)

// tags describes the tags of package headers.
var tags = map[Tag]struct {
	name string
	kind Type
}{
	TagHeaderImage:                 {"HeaderImage", Bin},
	TagHeaderSignatures:            {"HeaderSignatures", Bin},
	TagHeaderImmutable:             {"HeaderImmutable", Bin},
	TagHeaderI18NTable:             {"HeaderI18NTable", StringArray},
	TagSigSize:                     {"SigSize", Int32},
	TagSigPGP:                      {"SigPGP", Bin},
	TagSigMD5:                      {"SigMD5", Bin},
	TagSigGPG:                      {"SigGPG", Bin},
	TagPubKeys:                     {"PubKeys", StringArray},
	TagDSAHeader:                   {"DSAHeader", Bin},
	TagRSAHeader:                   {"RSAHeader", Bin},
	TagSHA1Header:                  {"SHA1Header", String},
	TagLongSigSize:                 {"LongSigSize", Int64},
	TagLongArchiveSize:             {"LongArchiveSize", Int64},
	TagSHA256Header:                {"SHA256Header", String},
	TagSigFileSignatures:           {"SigFileSignatures", StringArray},
	TagSigFileSignatureLength:      {"SigFileSignatureLength", Int32},
	TagVeritySignatures:            {"VeritySignatures", StringArray},
	TagVeritySignatureAlgo:         {"VeritySignatureAlgo", Int32},
	TagOpenPGP:                     {"OpenPGP", StringArray},
	TagSHA3_256Header:              {"SHA3_256Header", String},
	TagName:                        {"Name", String},
	TagVersion:                     {"Version", String},
	TagRelease:                     {"Release", String},
	TagEpoch:                       {"Epoch", Int32},
	TagSummary:                     {"Summary", I18NString},
	TagDescription:                 {"Description", I18NString},
	TagBuildTime:                   {"BuildTime", Int32},
	TagBuildHost:                   {"BuildHost", String},
	TagInstallTime:                 {"InstallTime", Int32},
	TagSize:                        {"Size", Int32},
	TagDistribution:                {"Distribution", String},
	TagVendor:                      {"Vendor", String},
	TagLicense:                     {"License", String},
	TagPackager:                    {"Packager", String},
	TagGroup:                       {"Group", I18NString},
	TagURL:                         {"URL", String},
	TagOS:                          {"OS", String},
	TagArch:                        {"Arch", String},
	TagArchiveSize:                 {"ArchiveSize", Int32},
	TagSourceRPM:                   {"SourceRPM", String},
	TagRPMVersion:                  {"RPMVersion", String},
	TagChangelogTime:               {"ChangelogTime", Int32},
	TagChangelogName:               {"ChangelogName", StringArray},
	TagChangelogText:               {"ChangelogText", StringArray},
	TagCookie:                      {"Cookie", String},
	TagPrefixes:                    {"Prefixes", StringArray},
	TagInstPrefixes:                {"InstPrefixes", StringArray},
	TagSourcePackage:               {"SourcePackage", Int32},
	TagOptFlags:                    {"OptFlags", String},
	TagDistURL:                     {"DistURL", String},
	TagPayloadFormat:               {"PayloadFormat", String},
	TagPayloadCompressor:           {"PayloadCompressor", String},
	TagPayloadFlags:                {"PayloadFlags", String},
	TagInstallColor:                {"InstallColor", Int32},
	TagInstallTID:                  {"InstallTID", Int32},
	TagPlatform:                    {"Platform", String},
	TagSourcePkgID:                 {"SourcePkgID", Bin},
	TagDistTag:                     {"DistTag", String},
	TagLongSize:                    {"LongSize", Int64},
	TagBugURL:                      {"BugURL", String},
	TagVCS:                         {"VCS", String},
	TagEncoding:                    {"Encoding", String},
	TagModularityLabel:             {"ModularityLabel", String},
	TagPayloadDigest:               {"PayloadDigest", StringArray},
	TagPayloadDigestAlgo:           {"PayloadDigestAlgo", Int32},
	TagPayloadDigestAlt:            {"PayloadDigestAlt", StringArray},
	TagUpstreamReleases:            {"UpstreamReleases", String},
	TagRPMFormat:                   {"RPMFormat", Int32},
	TagPayloadSize:                 {"PayloadSize", Int64},
	TagPayloadSizeAlt:              {"PayloadSizeAlt", Int64},
	TagPayloadSHA512:               {"PayloadSHA512", String},
	TagPayloadSHA512Alt:            {"PayloadSHA512Alt", String},
	TagPayloadSHA3_256:             {"PayloadSHA3_256", String},
	TagPayloadSHA3_256Alt:          {"PayloadSHA3_256Alt", String},
	TagOldFileNames:                {"OldFileNames", StringArray},
	TagFileSizes:                   {"FileSizes", Int32},
	TagFileStates:                  {"FileStates", Char},
	TagFileModes:                   {"FileModes", Int16},
	TagFileRDevs:                   {"FileRDevs", Int16},
	TagFileMTimes:                  {"FileMTimes", Int32},
	TagFileDigests:                 {"FileDigests", StringArray},
	TagFileLinkTos:                 {"FileLinkTos", StringArray},
	TagFileFlags:                   {"FileFlags", Int32},
	TagFileUserName:                {"FileUserName", StringArray},
	TagFileGroupName:               {"FileGroupName", StringArray},
	TagFileVerifyFlags:             {"FileVerifyFlags", Int32},
	TagFileDevices:                 {"FileDevices", Int32},
	TagFileInodes:                  {"FileInodes", Int32},
	TagFileLangs:                   {"FileLangs", StringArray},
	TagDirIndexes:                  {"DirIndexes", Int32},
	TagBaseNames:                   {"BaseNames", StringArray},
	TagDirNames:                    {"DirNames", StringArray},
	TagOrigDirIndexes:              {"OrigDirIndexes", Int32},
	TagOrigBaseNames:               {"OrigBaseNames", StringArray},
	TagOrigDirNames:                {"OrigDirNames", StringArray},
	TagFileColors:                  {"FileColors", Int32},
	TagFileClass:                   {"FileClass", Int32},
	TagClassDict:                   {"ClassDict", StringArray},
	TagFileDependsX:                {"FileDependsX", Int32},
	TagFileDependsN:                {"FileDependsN", Int32},
	TagDependsDict:                 {"DependsDict", Int32},
	TagPolicies:                    {"Policies", StringArray},
	TagLongFileSizes:               {"LongFileSizes", Int64},
	TagFileCaps:                    {"FileCaps", StringArray},
	TagFileDigestAlgo:              {"FileDigestAlgo", Int32},
	TagFileSignatures:              {"FileSignatures", StringArray},
	TagFileSignatureLength:         {"FileSignatureLength", Int32},
	TagProvideName:                 {"ProvideName", StringArray},
	TagProvideFlags:                {"ProvideFlags", Int32},
	TagProvideVersion:              {"ProvideVersion", StringArray},
	TagRequireName:                 {"RequireName", StringArray},
	TagRequireFlags:                {"RequireFlags", Int32},
	TagRequireVersion:              {"RequireVersion", StringArray},
	TagConflictName:                {"ConflictName", StringArray},
	TagConflictFlags:               {"ConflictFlags", Int32},
	TagConflictVersion:             {"ConflictVersion", StringArray},
	TagObsoleteName:                {"ObsoleteName", StringArray},
	TagObsoleteFlags:               {"ObsoleteFlags", Int32},
	TagObsoleteVersion:             {"ObsoleteVersion", StringArray},
	TagRecommendName:               {"RecommendName", StringArray},
	TagRecommendVersion:            {"RecommendVersion", StringArray},
	TagRecommendFlags:              {"RecommendFlags", Int32},
	TagSuggestName:                 {"SuggestName", StringArray},
	TagSuggestVersion:              {"SuggestVersion", StringArray},
	TagSuggestFlags:                {"SuggestFlags", Int32},
	TagSupplementName:              {"SupplementName", StringArray},
	TagSupplementVersion:           {"SupplementVersion", StringArray},
	TagSupplementFlags:             {"SupplementFlags", Int32},
	TagEnhanceName:                 {"EnhanceName", StringArray},
	TagEnhanceVersion:              {"EnhanceVersion", StringArray},
	TagEnhanceFlags:                {"EnhanceFlags", Int32},
	TagOrderName:                   {"OrderName", StringArray},
	TagOrderVersion:                {"OrderVersion", StringArray},
	TagOrderFlags:                  {"OrderFlags", Int32},
	TagPreIn:                       {"PreIn", String},
	TagPostIn:                      {"PostIn", String},
	TagPreUn:                       {"PreUn", String},
	TagPostUn:                      {"PostUn", String},
	TagPreInProg:                   {"PreInProg", StringArray},
	TagPostInProg:                  {"PostInProg", StringArray},
	TagPreUnProg:                   {"PreUnProg", StringArray},
	TagPostUnProg:                  {"PostUnProg", StringArray},
	TagPreTrans:                    {"PreTrans", String},
	TagPostTrans:                   {"PostTrans", String},
	TagPreTransProg:                {"PreTransProg", StringArray},
	TagPostTransProg:               {"PostTransProg", StringArray},
	TagVerifyScript:                {"VerifyScript", String},
	TagVerifyScriptProg:            {"VerifyScriptProg", StringArray},
	TagPreUnTrans:                  {"PreUnTrans", String},
	TagPostUnTrans:                 {"PostUnTrans", String},
	TagPreUnTransProg:              {"PreUnTransProg", StringArray},
	TagPostUnTransProg:             {"PostUnTransProg", StringArray},
	TagPreInFlags:                  {"PreInFlags", Int32},
	TagPostInFlags:                 {"PostInFlags", Int32},
	TagPreUnFlags:                  {"PreUnFlags", Int32},
	TagPostUnFlags:                 {"PostUnFlags", Int32},
	TagPreTransFlags:               {"PreTransFlags", Int32},
	TagPostTransFlags:              {"PostTransFlags", Int32},
	TagVerifyScriptFlags:           {"VerifyScriptFlags", Int32},
	TagPreUnTransFlags:             {"PreUnTransFlags", Int32},
	TagPostUnTransFlags:            {"PostUnTransFlags", Int32},
	TagTriggerScripts:              {"TriggerScripts", StringArray},
	TagTriggerName:                 {"TriggerName", StringArray},
	TagTriggerVersion:              {"TriggerVersion", StringArray},
	TagTriggerFlags:                {"TriggerFlags", Int32},
	TagTriggerIndex:                {"TriggerIndex", Int32},
	TagTriggerScriptProg:           {"TriggerScriptProg", StringArray},
	TagTriggerScriptFlags:          {"TriggerScriptFlags", Int32},
	TagFileTriggerScripts:          {"FileTriggerScripts", StringArray},
	TagFileTriggerScriptProg:       {"FileTriggerScriptProg", StringArray},
	TagFileTriggerScriptFlags:      {"FileTriggerScriptFlags", Int32},
	TagFileTriggerName:             {"FileTriggerName", StringArray},
	TagFileTriggerIndex:            {"FileTriggerIndex", Int32},
	TagFileTriggerVersion:          {"FileTriggerVersion", StringArray},
	TagFileTriggerFlags:            {"FileTriggerFlags", Int32},
	TagFileTriggerPriorities:       {"FileTriggerPriorities", Int32},
	TagTransFileTriggerScripts:     {"TransFileTriggerScripts", StringArray},
	TagTransFileTriggerScriptProg:  {"TransFileTriggerScriptProg", StringArray},
	TagTransFileTriggerScriptFlags: {"TransFileTriggerScriptFlags", Int32},
	TagTransFileTriggerName:        {"TransFileTriggerName", StringArray},
	TagTransFileTriggerIndex:       {"TransFileTriggerIndex", Int32},
	TagTransFileTriggerVersion:     {"TransFileTriggerVersion", StringArray},
	TagTransFileTriggerFlags:       {"TransFileTriggerFlags", Int32},
	TagTransFileTriggerPriorities:  {"TransFileTriggerPriorities", Int32},
}

// signatureTypes are the types of the tags that signature headers alone have.
var signatureTypes = map[Tag]Type{
	SigTagSize:          Int32,
	SigTagPGP:           Bin,
	SigTagMD5:           Bin,
	SigTagGPG:           Bin,
	SigTagPayloadSize:   Int32,
	SigTagReservedSpace: Bin,
	SigTagReserved:      Bin,
}

// firstPackageTag is the first tag of packages; those below it mean the same in
// signature headers.
const firstPackageTag = 999

// String returns the name of a package's tag, or its number.
func (t Tag) String() string {
	if known, ok := tags[t]; ok {
		return known.name
	}
	return strconv.FormatUint(uint64(t), 10)
}
