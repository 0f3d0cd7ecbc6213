package disks

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree is a sysfs made by a test.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree {
	s := tree{t, t.TempDir()}
	s.dir("block")
	return s
}

func (s tree) dir(path string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Join(s.root, path), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s tree) file(path, data string) {
	s.t.Helper()
	s.dir(filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(s.root, path), []byte(data), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s tree) link(path, target string) {
	s.t.Helper()
	s.dir(filepath.Dir(path))
	if err := os.Symlink(target, filepath.Join(s.root, path)); err != nil {
		s.t.Fatal(err)
	}
}

// device makes a device below /sys/devices, of a subsystem and a kind ("scsi/scsi_device").
func (s tree) device(path, subsystem string, values ...string) {
	s.t.Helper()
	path = "devices/" + path
	bus, kind, _ := strings.Cut(subsystem, "/")
	uevent := ""
	if kind != "" {
		uevent = "DEVTYPE=" + kind + "\n"
	}
	s.file(path+"/uevent", uevent)
	if bus != "" {
		s.link(path+"/subsystem", strings.Repeat("../", strings.Count(path, "/")+1)+"bus/"+bus)
	}
	for i := 0; i+1 < len(values); i += 2 {
		value := values[i+1]
		if !strings.HasPrefix(values[i], "vpd_") {
			value += "\n"
		}
		s.file(path+"/"+values[i], value)
	}
}

// disk makes a block device of 8 GiB and links it into /sys/block.
func (s tree) disk(path string, values ...string) {
	s.t.Helper()
	defaults := []string{"size", "16777216", "ro", "0", "removable", "0", "dev", "8:0", "queue/logical_block_size", "512",
		"queue/physical_block_size", "512", "queue/rotational", "0", "queue/zoned", "none"}
	s.device(path, "block/disk", append(defaults, values...)...)
	s.dir("devices/" + path + "/holders")
	s.link("block/"+filepath.Base(path), "../devices/"+path)
}

// class links a device into a class.
func (s tree) class(class, path string) {
	s.t.Helper()
	s.link("class/"+class+"/"+filepath.Base(path), "../../devices/"+path)
}

// list returns what List makes of the tree.
func (s tree) list() ([]Disk, []Skipped) {
	s.t.Helper()
	disks, skipped, err := List(s.root, "/dev")
	if err != nil {
		s.t.Fatal(err)
	}
	return disks, skipped
}

// page80 is a unit serial number page.
func page80(serial string) string {
	return "\x00\x80" + string(binary.BigEndian.AppendUint16(nil, uint16(len(serial)))) + serial
}

// page83 is a device identification page of designators.
func page83(designators ...string) string {
	all := strings.Join(designators, "")
	return "\x00\x83" + string(binary.BigEndian.AppendUint16(nil, uint16(len(all)))) + all
}

// named is a designator: how it is encoded, its association and kind, and the name.
func named(code, association, kind byte, name string) string {
	return string([]byte{code, association<<4 | kind, 0, byte(len(name))}) + name
}
