// Package repodata reads what RPM repositories say about themselves: repomd.xml with
// its signature, the lists of packages and files, groups (comps), modules, mirror lists
// and metalinks; and makes a repository of a directory of packages.
//
// # Trust
//
// A repository's metadata hangs on its repomd.xml, which has the digests of everything
// else. repomd.xml itself is believed
//
//   - when its signature repomd.xml.asc is by one of the repository's keys. A repository
//     need not have one, unless [Config.RequireSignature] is set, because packages are
//     signed each; but one that is there must be good.
//   - when its mirror came from a metalink: only with a digest that the metalink gives.
//
// Digests below SHA-256 protect nothing: metadata that repomd.xml lists with SHA-1 or
// MD5 alone is refused, unless [Config.Unverified] is set, and then its digest is
// still compared. SHA-224 is SHA-256 cut short and too short as well; SHA-384 and SHA-512 are
// as good as SHA-256.
//
// # Without metadata
//
// A file or iso URL without repodata/ is a directory of packages: their headers say what
// primary.xml would, and their digests are computed each time the repository is looked
// for, so a large directory is better given metadata with createrepo_c.
//
// # What is left out
//
//   - The SQLite forms of the metadata (primary_db, …), and zchunk: every repository
//     that has them has the XML too. One with nothing but zchunk is an error.
//   - Delta packages, changelogs (other.xml), advisories (updateinfo.xml): an image is built
//     of the newest packages.
//   - Translations of groups and modules, and the langpacks of comps, which tie packages to
//     the language of a running system; a recipe names the packages it wants.
//   - modulemd-obsoletes: dnf, too, ignores them unless it is told otherwise.
package repodata
