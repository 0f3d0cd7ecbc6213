// Package containers puts container images into a root, so that the container runtime
// in it has them on the first boot, without a network.
package containers
