// Package e2e tests imagefactory as its users meet it: the built program is run
// by an ordinary user, and what it made is booted under real firmware and
// looked at from inside, by the system in the image itself.
//
// The tests run as root, because only root can create the ordinary users that
// they build as; nothing of a build is done as root.
//
// Environment:
//
//	IMAGEFACTORY_TEST=full  also what takes many minutes: every output under
//	                        every firmware, and all examples
//	IMAGEFACTORY_E2E_CACHE  where downloads are kept between runs (default: a
//	                        directory in the user's cache directory); the RPM
//	                        distribution of package rpmdistro is kept beside it,
//	                        in a directory of that name with "-rpm" appended
//
// A failed test leaves the guest's console and the build's output in
// the directory that its log names.
package e2e
