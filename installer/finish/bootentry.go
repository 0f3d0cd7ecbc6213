package finish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/imagefactory/imagefactory/stages/partition"
)

// BootEntry is an entry of the firmware's boot menu that starts a file of a partition.
type BootEntry struct {
	// Label is what the menu shows.
	Label string
	// Partition is the one that holds the file: the EFI system partition.
	Partition partition.Placed
	// Loader is the path of the file with backslashes: \EFI\debian\shimx64.efi.
	Loader string
}

// BootResult is what became of a boot entry.
type BootResult struct {
	// Name is the variable: "Boot0003".
	Name string `json:"name"`
	// Reused says that the firmware had the entry already.
	Reused bool `json:"reused,omitempty"`
	// Removed are variables of ours that were deleted, since what they started is gone.
	Removed []string `json:"removed,omitempty"`
}

const (
	orderName  = "BootOrder"
	loadActive = 1 // attribute of a load option: the firmware tries it

	// Device path nodes (UEFI 2.10 section 10.3).
	mediaDevice   = 4
	mediaHard     = 1
	mediaFile     = 4
	pathEnd       = 0x7f
	endEntire     = 0xff
	hardNodeSize  = 42
	formatGPT     = 2
	signatureGUID = 2
)

// SetBootEntry makes the firmware start e first. An entry that says the same is used again, other entries keep their order
// behind it. Entries with e's label are ours: those whose partition is not in present, which has the GUIDs of all
// partitions of this machine, are removed, and so are those that name e's partition otherwise. With a nil present,
// because not all disks could be read, only the latter are.
func SetBootEntry(v Variables, e BootEntry, present map[partition.GUID]bool) (BootResult, error) {
	r, err := setBootEntry(v, e, present)
	if err != nil {
		return r, fmt.Errorf("enter %q into the firmware's boot menu: %w", e.Label, err)
	}
	return r, nil
}

func setBootEntry(v Variables, e BootEntry, present map[partition.GUID]bool) (BootResult, error) {
	var r BootResult
	option, err := e.encode()
	if err != nil {
		return r, err
	}
	entries, err := readEntries(v)
	if err != nil {
		return r, err
	}
	order, err := readOrder(v)
	if err != nil {
		return r, err
	}
	number := -1
	taken := map[uint16]bool{}
	for _, entry := range entries {
		taken[entry.number] = true
		switch {
		case number < 0 && slices.Equal(entry.option, option):
			number, r.Reused = int(entry.number), true
		case entry.staleFor(e, present):
			// First, for firmware with little room needs it for the new one.
			if err := v.Remove(entryName(entry.number)); err != nil {
				return r, err
			}
			r.Removed = append(r.Removed, entryName(entry.number))
			order = slices.DeleteFunc(order, func(n uint16) bool { return n == entry.number })
			delete(taken, entry.number)
		}
	}
	for n := uint16(0); number < 0; n++ {
		if !taken[n] && !slices.Contains(order, n) {
			number = int(n)
		} else if n == 0xffff {
			return r, errors.New("the firmware has no free number for an entry")
		}
	}
	r.Name = entryName(uint16(number))
	if !r.Reused {
		if err := v.Write(r.Name, option); err != nil {
			return r, err
		}
	}
	wanted := append([]uint16{uint16(number)}, slices.DeleteFunc(slices.Clone(order), func(n uint16) bool { return n == uint16(number) })...)
	if slices.Equal(wanted, order) && len(r.Removed) == 0 {
		return r, nil
	}
	var value []byte
	for _, n := range wanted {
		value = binary.LittleEndian.AppendUint16(value, n)
	}
	return r, v.Write(orderName, value)
}

func entryName(number uint16) string { return fmt.Sprintf("Boot%04X", number) }

// readOrder returns the numbers of the entries the firmware tries.
func readOrder(v Variables) ([]uint16, error) {
	value, err := v.Read(orderName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var order []uint16
	for ; len(value) >= 2; value = value[2:] {
		order = append(order, binary.LittleEndian.Uint16(value))
	}
	return order, nil
}

// storedEntry is an entry as the firmware has it.
type storedEntry struct {
	number uint16
	option []byte
}

// readEntries reads all boot entries in the order of their numbers.
func readEntries(v Variables) ([]storedEntry, error) {
	names, err := v.Names()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var entries []storedEntry
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, "Boot")
		number, err := strconv.ParseUint(digits, 16, 16)
		if !ok || len(digits) != 4 || err != nil || name != entryName(uint16(number)) {
			continue // BootOrder, BootNext and the like
		}
		option, err := v.Read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, storedEntry{uint16(number), option})
	}
	return entries, nil
}

// staleFor reports whether a stored entry, which is not e, is one of ours that has become useless.
func (s storedEntry) staleFor(e BootEntry, present map[partition.GUID]bool) bool {
	label, guid, ok := parseOption(s.option)
	return ok && label == e.Label && (guid == e.Partition.GUID || present != nil && !present[guid])
}

// encode returns the EFI_LOAD_OPTION (UEFI 2.10 section 3.1.3).
func (e BootEntry) encode() ([]byte, error) {
	switch {
	case e.Label == "" || strings.ContainsRune(e.Label, 0):
		return nil, errors.New("it has no label")
	case !strings.HasPrefix(e.Loader, `\`) || strings.ContainsAny(e.Loader, "/\x00"):
		return nil, fmt.Errorf("%q is no path of a file for firmware; write it like \\EFI\\debian\\shimx64.efi", e.Loader)
	case e.Partition.Number < 1 || e.Partition.GUID.IsZero() || e.Partition.Size <= 0:
		return nil, errors.New("there is no partition to start it from")
	}
	le := binary.LittleEndian
	hard := []byte{mediaDevice, mediaHard, hardNodeSize, 0}
	hard = le.AppendUint32(hard, uint32(e.Partition.Number))
	hard = le.AppendUint64(hard, uint64(e.Partition.Start/sectorSize))
	hard = le.AppendUint64(hard, uint64(e.Partition.Size/sectorSize))
	hard = append(hard, diskOrder(e.Partition.GUID)...)
	hard = append(hard, formatGPT, signatureGUID)

	name := terminated(e.Loader)
	file := append(le.AppendUint16([]byte{mediaDevice, mediaFile}, uint16(4+len(name))), name...)

	path := slices.Concat(hard, file, []byte{pathEnd, endEntire, 4, 0})
	option := le.AppendUint32(nil, loadActive)
	option = le.AppendUint16(option, uint16(len(path)))
	return slices.Concat(option, terminated(e.Label), path), nil
}

// parseOption returns the label of a load option and the GUID of the GPT partition its path begins with; ok is false when
// it begins otherwise.
func parseOption(p []byte) (label string, guid partition.GUID, ok bool) {
	if len(p) < 6 {
		return "", guid, false
	}
	pathSize := int(binary.LittleEndian.Uint16(p[4:]))
	p = p[6:]
	var units []uint16
	for {
		if len(p) < 2 {
			return "", guid, false
		}
		u := binary.LittleEndian.Uint16(p)
		p = p[2:]
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	if pathSize < hardNodeSize || len(p) < pathSize ||
		p[0] != mediaDevice || p[1] != mediaHard || binary.LittleEndian.Uint16(p[2:]) != hardNodeSize || p[40] != formatGPT || p[41] != signatureGUID {
		return "", guid, false
	}
	copy(guid[:], diskOrder(partition.GUID(p[24:40])))
	return string(utf16.Decode(units)), guid, true
}

// terminated returns s in UTF-16 with a zero behind it.
func terminated(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// diskOrder returns a GUID with its first three fields little endian, or back (UEFI 2.10 appendix A).
func diskOrder(g partition.GUID) []byte {
	return []byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}
