// Package provenance says where every path of an image comes from: a package, a block of
// the recipe, a script, a maintainer script of a package, or a stage of imagefactory
// itself. It compares the trees after each stage and executes nothing.
//
// # Rules
//
// The origin of a path is the last stage that created it or changed its contents:
//
//   - The contents of a file are its bytes, those of a link its target, those of a device its
//     numbers. A directory has none: its origin is who created it. Another type is another
//     thing.
//   - Another mode, owner or extended attribute leaves the origin as it is and is recorded as
//     a change. Times count for nothing, and neither does the label of SELinux
//     (security.selinux), which every path has.
//   - A file that goes from one path to another in a stage (same bytes, the old path gone)
//     keeps its origin; so does another name of a file that was there. Both are recorded as
//     changes. A copy is new, and has the path it is a copy of in From. Files of less than 256
//     bytes are alike by chance: they count as renamed only under the same name, and never
//     as copies.
//   - When contents are replaced, the origin they had is kept in Earlier.
//
// Who in a stage is to name is decided by the first that fits of:
//
//  1. a package that the step unpacked and that ships the path with these contents. Paths are mapped
//     through the links of directories as stages/rootfs does. Of several packages which ship
//     the same the first by name is the origin and the others are in Shared; of a directory
//     it is the first that asks for the mode and owner it has.
//  2. a package of the database of installed packages of the step, by its list of files. This
//     is for roots that a program of the host installed, or that came whole.
//  3. a claim of the step: a path or pattern and its origin, such as a block of the recipe.
//  4. a source of the step, a package which has a file of these contents: boot programs come
//     from packages in this way. The path there is in From. Files of less than 256 bytes must
//     have the same name.
//  5. for maintainer scripts: what package's it was, see below.
//  6. the origin of the step. A directory with nothing better takes that of the first path in
//     it that the same stage made.
//
// # Whose maintainer script it was
//
// Nothing tells this for certain, so Evidence says how it was told. The first that fits of:
//
//   - the package whose file it was, when the scripts changed a file or link that a package ships;
//   - a link, alternatives included: the package that it leads to;
//   - compiled Python, the package of the source file;
//   - what well-known programs make (ld.so.cache, hwdb.bin, modules.dep …): the program's package;
//   - the records of systemd's helper: the package of the unit;
//   - the only package whose scripts name the absolute path, or that of a directory above that
//     no package ships;
//   - in /var/lib, /var/cache, /var/log, /var/spool, /usr/share, /usr/lib and /etc: the package that alone
//     ships the directory, or failing that the one the directory is named after.
//
// Everything else is of "maintainer scripts", without a package.
package provenance
