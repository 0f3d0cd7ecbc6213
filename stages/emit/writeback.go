package emit

import (
	"os"

	"golang.org/x/sys/unix"
)

// writebackSize is how many bytes are written before the kernel is asked to bring them to the disk.
const writebackSize = 32 << 20

// writeback lets a file go to the disk while it is being written, so that the sync in the end is short: left alone,
// Linux begins after seconds or when a tenth of the memory is to be written.
type writeback struct {
	file  *os.File
	begun int64 // bytes from the start of the file that the kernel was asked for
}

// wrote notes that the file is written up to end.
func (w *writeback) wrote(end int64) {
	if end-w.begun < writebackSize {
		return
	}
	// No more than a hint: what goes wrong, the sync tells.
	_ = unix.SyncFileRange(int(w.file.Fd()), w.begun, end-w.begun, unix.SYNC_FILE_RANGE_WRITE)
	w.begun = end
}
