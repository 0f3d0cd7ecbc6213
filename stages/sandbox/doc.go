// Package sandbox runs programs of the target system, the only place where
// imagefactory does: maintainer scripts of packages, scripts of recipes, and tools
// such as dracut. It needs no privilege.
package sandbox
