// Package importer is the stage that makes a root file system of something that holds
// one already: a tar archive (Archive), or a container image (Image).
package importer
