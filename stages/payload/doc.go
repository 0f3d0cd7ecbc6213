// Package payload writes a composed disk in the form in which an installer medium carries it. The format, and how it is
// read and put onto a device, is package installer/payload's; this is its build side.
package payload
