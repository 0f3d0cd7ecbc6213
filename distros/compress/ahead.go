package compress

import (
	"bufio"
	"io"
)

// ReadAhead reads r in a goroutine, so that decompressing and parsing, which take
// about as long, go on at the same time. After stop r is not read any more.
func ReadAhead(r io.Reader) (ahead io.Reader, stop func()) {
	const chunk = 512 << 10
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := io.CopyBuffer(in, r, make([]byte, chunk))
		in.CloseWithError(err) // nil: the end
	}()
	stop = func() {
		out.Close()
		<-done
	}
	return bufio.NewReaderSize(out, chunk), stop
}
