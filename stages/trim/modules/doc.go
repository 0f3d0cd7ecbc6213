// Package modules takes kernel modules and firmware out of a tree that a machine of some purpose never needs.
//
// # Choosing
//
// Each module belongs to one class or to none, by where its source lies in the kernel (Classes). Choose removes the modules
// of classes that the options name, except those that a module which stays depends on (modules.dep), or wants loaded with it
// (modules.softdep), and those that /etc/modules, /etc/modules-load.d, /usr/lib/modules-load.d or the initramfs's list name.
// Modules of no class stay unless they are named. Of firmware, what stays is what modules that stay and drivers built
// into the kernel name (MODULE_FIRMWARE, with wildcards), what some classes load by names that they make up
// (Class.Firmware), and the microcode of processors. Links in the way to such a file stay with it.
//
// # Indexes
//
// Apply writes modules.dep, modules.alias, modules.softdep, modules.weakdep, modules.symbols, modules.devname, the binary
// indexes of the first, second and fifth, and modules.order, byte for byte as depmod(8) would for the modules that are left.
// They are derived from what the depmod of the distribution left in the tree, so its version does not matter; only the
// order of dependencies has to be computed anew, from the symbols of the modules. modules.builtin* are about the kernel itself
// and stay as they are. Modules that modules.order does not list (of no distribution's kernel) keep the places they had, which
// depmod gives them by the order in which it meets them on disk.
package modules
