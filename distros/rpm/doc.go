// Package rpm knows the packages of RPM distributions by their metadata: versions,
// dependencies, rich ones among them, and the solver that chooses what to install.
// What lies in package files, repositories and the package database is in the
// packages below it.
package rpm
