// Package ext4 writes ext4 file systems straight from trees, and reads them.
package ext4
