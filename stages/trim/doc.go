// Package trim is the stage that leaves out of a root what its role does not need, and says why each thing is
// there or gone. It is an operation on trees: nothing of the target is executed.
//
// # Packages
//
// What stays is found like this, each step keeping packages with all that they need:
//
//  1. keep of the recipe: packages, and the owners of units that it names. What these need stays whatever
//     the profile says.
//  2. packages that the recipe installs, Options.Requested;
//  3. packages that a role of the profile names, and with essential = true those that the package manager calls
//     essential.
//
// Everything else goes. A profile that is not "reachable" keeps every package instead. What remove of the recipe
// names goes in any case, and so does the package manager where the profile names one, unless step 1 keeps it;
// their needs are not followed. Needs that only maintainer scripts have count while a package manager is kept. A need
// which several packages meet keeps those that are kept anyway, or else the first.
//
// # Files
//
// A file goes with the last of its packages. Then files go which paths and remove of the recipe and the rules of the
// profile match, and leftovers of packages that went; nothing that keep of the recipe matches goes. Kernel modules which go
// like this, or by their class, and firmware that no module left asks for, are left out by package modules, which
// makes the indexes of depmod anew. Directories that became empty go unless a kept package owns them. Then unit files are
// changed, links of alternatives go to what is left, and symbolic links in the profile's directories of links go that led
// somewhere before and lead nowhere now.
//
// The database of packages is changed as package installed describes, or dropped with the package manager.
//
// # Checks
//
// In the end package guard compares the tree with what it was. Whatever lacks something is an error that says what
// to write into the recipe.
package trim
