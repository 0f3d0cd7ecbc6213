// Package pipeline turns a recipe into a graph of stages and runs it.
//
// It is the one place where recipe, distribution and stages meet: it translates what
// the recipe says into the plain options of each stage, so that no stage knows what
// a recipe or a distribution is.
//
//	lock → packages → rootfs → configure → customize → scripts → initramfs → boot → filesystems → disk → raw, qcow2
//	     ↘ tools-packages → tools → grub ───────────────────────────────────↗
package pipeline
