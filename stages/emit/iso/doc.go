// Package iso composes hybrid ISO 9660 images.
package iso
