// Package profiles has what a role of a machine needs, as data: which packages a trimmed image is
// reached from, and what no image of the role uses. Nothing here is about one distribution;
// names of packages of all of them stand side by side, and those which are not installed mean
// nothing.
//
// # Format
//
// A file NAME.hcl has one block profile "NAME":
//
//	description   text     one line
//	inherits      text     another profile, whose blocks this one continues; blocks of one label
//	                       are joined, attributes written here replace those there
//	reachable     bool     true: packages that nothing kept needs go; false: only what is named goes
//	essential     bool     true: packages which the package manager calls essential are kept
//	scripts       list     globs of packages that others need in their maintainer scripts only, whatever
//	                       they declare; such needs count only while the package manager is kept
//	links         list     globs of directories in which symbolic links go with what they lead to
//
//	role "NAME" {          packages that are kept, with what they need, where they are installed
//	  packages    list     globs
//	  reason      text     what the machine does with them: "gives names to devices"
//	}
//
//	need "NAME" {          a need that packages have and do not declare, or declare without having it
//	  of          list     globs of packages
//	  on          list     globs of packages
//	  drop        bool     true: of works without on, although it says that it needs it
//	  reason      text
//	}
//
//	manager {              the package manager: its packages go, and the database with the last of them
//	  packages    list     globs
//	  reason      text
//	}
//
//	paths "NAME" {         files which go, whoever owns them
//	  globs       list     as in a recipe: elements of path.Match, "**" for any number of them
//	  except      list     globs of what stays among them
//	  unless      list     globs of packages: while any of them is kept, the files stay
//	  reason      text
//	}
//
//	leftovers "NAME" {     files without an owner, which maintainer scripts or programs of packages made
//	  packages    list     globs: the paths go when none of the packages is kept
//	  paths       list     globs
//	}
//
//	services "NAME" {      unit files, where they are there
//	  enable, disable, mask, remove   lists of globs of names with their suffixes
//	  unless      list     globs of packages: while any of them is kept, the units are as they were
//	  reason      text
//	}
//
//	modules {              kernel modules and firmware (package stages/trim/modules, whose Options these are)
//	  drop, keep  list     classes that go, "*" for all, and those of them that stay
//	  keep_modules, remove_modules, keep_firmware   lists
//	  firmware    bool     true: firmware that no module left asks for goes
//	}
//
//	exception "NAME" {     what the checks after trimming must not report
//	  kind, path, need    text     as in a recipe
//	  reason      text
//	}
//
// Globs of packages are path.Match's on the name.
package profiles
