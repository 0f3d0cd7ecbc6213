// Package transaction knows what rpm does when it installs packages, all of them into
// an empty root: in which order it installs them (Order), and which scriptlets of
// which packages it then runs, in which order, with which arguments and input (Steps).
//
// # Order of installation
//
// As rpm's ordering (rpmtsOrder): a package comes after those it requires. Packages
// that require each other in a circle form a group (Tarjan's strongly connected
// components); inside it, the package farthest from any requirement of a scriptlet
// comes first, and then what that makes possible. Of several possible packages the one
// that most others require comes first. rpm leaves what then remains to the order in
// which packages were named; here that is their name and version, so that the result does not
// depend on the caller. Requirements that rpm does not order by (rpmlib(), config(),
// meta, and those of %pretrans, %posttrans and %verify alone) are passed over. Which of
// several packages satisfies a requirement, when they do, is decided as in rpm: by a file
// before by a provided capability, a package of 64-bit code before others, then by the
// order of names. Weak dependencies count like requirements, as they did up to rpm 4.18;
// later versions make less of them.
//
// # Order of scriptlets
//
// rpm-scriptlets(7) has the table; what follows is the part about new packages in an
// empty root, with what the manual leaves out and rpm 4.18 does (the tests of
// stages/configure compare with it).
//
//	all packages: %pretrans
//	each package, in the order of installation:
//	    sysusers        of it: users and groups from its provides (rpm 4.19)
//	    %triggerprein   of packages before it, set off by it
//	    %triggerprein   of it, set off by packages before it
//	    %pre            of it
//	    owners          of its files by name; rpm does it while unpacking
//	    %filetriggerin  of it and packages before it, for its files; priority 10000 and higher
//	    %filetriggerin  of it, for the files of packages before it; the same priorities
//	    %post           of it
//	    %triggerin      of it and packages before it, set off by it
//	    %triggerin      of it, set off by it and packages before it
//	    %filetriggerin  as above, priorities below 10000
//	all packages: %posttrans
//	all packages: %transfiletriggerin, for all files
//
// A set of file triggers runs in the order of priority, the highest first, then of
// packages, then of the specification; %transfiletriggerin package after package, and
// those of one package in that order. A %triggerin that its own package sets off runs
// twice, as in rpm.
//
// The argument of a package's own scripts is the number of installed packages of its
// name, counting it: 1 in an empty root. Triggers get the number of installed packages
// of their own name, and of the name that set them off; a package counts once its
// files are there. File triggers get the same since rpm 4.20 (%transfiletriggerin the
// first number alone), and 0 before; the version of the package named rpm among those
// to install decides, and without one they get numbers.
//
// %preun, %postun, %triggerun and the like never run in an empty root.
//
// # Failures
//
// A failing %pretrans, %pre or sysusers keeps rpm from installing the package; here it
// is to end the build (Step.Critical). All others are warnings.
package transaction
