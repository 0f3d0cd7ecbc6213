// Package deb reads Debian repositories and chooses and unpacks packages
// from them without apt or dpkg.
package deb
