// Package sbom writes bills of materials of images: SPDX 2.3 and CycloneDX 1.6, both as JSON.
// New makes a Document of a build's results; the writers turn it into either format. The same
// build gives the same bytes.
//
// # What is in one
//
//   - The image, the tool that built it and the recipe it was built by.
//   - The packages that are installed, and those of which only files are in the image. Where a
//     trimmed image has no package database any more this is the record of what it has. Each with
//     its package URL, architecture, supplier, licence, the SHA-256 of the package's file as it is
//     locked, its source package and the packages it needs.
//   - The container images that lie in the image, by their pinned digests.
//   - Every path of the image that is not a directory, the EFI system partition's included,
//     with SHA-1, SHA-256 and where it comes from (package provenance). Paths of a file system that
//     the image does not mount begin with its partition's label in brackets: /[ESP]/EFI/….
//
// The sums of a symbolic link are those of its target's text, and those of a device, FIFO or
// socket are of nothing: SPDX wants sums of everything. Paths that are not UTF-8 have the bytes
// which are not, and percent signs, percent-encoded, and say so.
//
// # SPDX
//
// The image is the element SPDXRef-Image, a package with the purpose OPERATING_SYSTEM; SPDXRef-Tool
// and SPDXRef-Recipe are what built it. Relationships:
//
//	image CONTAINS package, container, and files of no package; package CONTAINS file (also
//	those that several packages ship); container CONTAINS file
//	package GENERATED_FROM source package; package DEPENDS_ON package
//	file GENERATED_FROM the recipe (blocks and scripts), the package whose maintainer scripts
//	made it, or what the root was imported from; tool GENERATES file
//
// The comment of a file says which block, script or package it comes from, and what happened to it
// later. Identifiers derive from package URLs and paths; the namespace from the build's key.
//
// # CycloneDX
//
// Packages are components of type library, container images of type container, files of type file; the
// distribution is a component of type operating-system. The serial number derives from the build's
// key. Properties:
//
//	imagefactory:origin             of a file: where it comes from, for people
//	imagefactory:origin:kind        of a file: package, recipe block, script, maintainer script, generated, import
//	imagefactory:package            of a file: package URL of a package that ships it; one for each
//	imagefactory:note               of a file: what it replaced, what later stages changed
//	imagefactory:size               of a regular file: bytes
//	imagefactory:type               of what is no regular file: symlink, character device, …
//	imagefactory:target             of a symbolic link
//	imagefactory:percent-encoded    "true" where the name is not UTF-8
//	imagefactory:architecture       of the image or a package
//	imagefactory:package-file       name of a package's file
//	imagefactory:licence-comment    of a package: what its licence expression does not say
//	imagefactory:licence-text:REF   of the document: text of the licence REF in expressions
//	imagefactory:comment            of a package: that only files of it are there
//	imagefactory:runtime            of a container image: who finds it
//	imagefactory:recipe             of the document: name and SHA-256 of the recipe
//
// # Licences
//
// Expressions are what packages declare, in the terms of SPDX: nobody has concluded anything from
// their files. Of deb packages the paragraphs of a machine-readable copyright file
// (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/) are joined by AND; of rpm packages
// the licence tag is taken, in SPDX's terms or in those that Fedora had before. Names that the SPDX
// list does not have, or that may mean several licences, become LicenseRef-deb-… or LicenseRef-rpm-….
// spdx-licenses.txt is the SPDX licence list 3.29 (CC0-1.0), identifiers of licences and then of
// exceptions.
package sbom
