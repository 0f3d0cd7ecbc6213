// Package scan compares a tree with the rules of package baselines, and lists what
// deserves a look in it: set-user-ID programs, files with capabilities, files that
// everybody can write or nobody owns, empty passwords, weak and private keys. It runs
// nothing of the target and needs no privilege: all of it is in the tree.
//
// # JSON, format 1
//
// WriteJSON writes a Result. Fields are only ever added; one that changed its meaning
// would change "format".
//
//	format     1
//	name       what was scanned
//	profile    of the rules
//	counts     pass, fail, not_applicable, skipped: how many rules
//	rules      in the profile's order:
//	             id, title, reason, references, severity: the rule (package baselines)
//	             status: "pass", "fail", "not-applicable" or "skipped"
//	             checks: what was looked at, a sentence
//	             explanation: why the rule does not apply
//	             evidence: path, line (from 1), found, and of failures wanted
//	             settable: whether stage harden makes the rule pass
//	             remedy: what to do about a failure that is not settable
//	inventory  lists ordered by path, empty rather than missing:
//	             setid, world_writable, no_account, no_package: path, type, mode
//	               (octal), owner, group, packages that own it
//	             capabilities: the same, and capabilities in getcap's notation
//	             packages_known: whether the tree has a database of packages; without
//	               one, packages are missing and no_package is empty
//	             empty_passwords: name, path, line
//	             weak_keys: path, line, type, bits, fingerprint, comment
//	             private_keys: path, line, kind, encrypted, packages
//	openscap   where OpenSCAP was asked for:
//	             skipped: why it was not run; then nothing else is there
//	             version of oscap, content (the file), profile, and results: id,
//	               title, severity, result, as XCCDF has them (NIST IR 7275,
//	               6.6.4.2), in the order of the content
//
// # JUnit
//
// WriteJUnit writes one test suite with a test case for each rule, which is how
// GitLab shows them: failures have the evidence as text, rules that do not apply or
// are left out are skipped. Results of OpenSCAP are a suite of their own, in which
// nothing but "pass" and "fail" counts.
package scan
