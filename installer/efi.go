package installer

import (
	"fmt"

	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/installer/report"
	"github.com/imagefactory/imagefactory/installer/target"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// setBootEntry enters the system into the firmware's boot menu, where there is one. Firmware whose memory for variables is full
// or broken is no reason to give up a system that starts by the path every firmware tries by itself: that is a warning.
func (m *machine) setBootEntry(partitions []partition.Placed) {
	entry := m.config.EFI
	if entry.Loader == "" {
		return
	}
	m.stage = "efi"
	m.load("fs-efivarfs")
	if err := m.trySetBootEntry(partitions); err != nil {
		m.say("Warning: the firmware's boot menu was not changed: %v. Choose the disk there by hand if it does not start by itself.", err)
		return
	}
}

func (m *machine) trySetBootEntry(partitions []partition.Placed) error {
	variables, absent, err := finish.EFIVariables()
	if err != nil {
		return err
	}
	if absent != "" {
		m.say("No boot entry: %s.", absent)
		return nil
	}
	entry := finish.BootEntry{Label: m.config.EFI.Label, Loader: m.config.EFI.Loader}
	for _, p := range partitions {
		if p.Number == m.config.EFI.Partition {
			entry.Partition = p
		}
	}
	if entry.Partition.Number == 0 {
		return fmt.Errorf("the disk has no partition %d", m.config.EFI.Partition)
	}
	present := m.present
	if present != nil {
		for _, p := range partitions {
			present[p.GUID] = true
		}
	}
	result, err := finish.SetBootEntry(variables, entry, present)
	if err != nil {
		return err
	}
	m.say("The firmware starts %q (%s) first.", entry.Label, result.Name)
	m.report.Send(report.EFI{Label: entry.Label, Loader: entry.Loader})
	return nil
}

// presentPartitions are the GUIDs of the partitions on all disks; nil when a disk could not be read, so that nobody takes a
// partition for gone that is only out of sight.
func presentPartitions(contents map[string]target.Inspection) map[partition.GUID]bool {
	present := map[partition.GUID]bool{}
	for _, inspection := range contents {
		if inspection.Err != nil {
			return nil
		}
		for _, p := range inspection.Contents.Partitions {
			if guid, err := partition.ParseGUID(p.GUID); err == nil {
				present[guid] = true
			}
		}
	}
	return present
}
