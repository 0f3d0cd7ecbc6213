package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The caller and its helper talk over a socket pair in frames: the length of the
// rest in 4 bytes, then a gob. Open files travel with the length. Both ends are the
// same executable, so the format has no version.

// maxFrame bounds what a damaged length can make the reader allocate.
const maxFrame = 1 << 30

// setup is the first frame to a helper. The answer is a response with Mode set.
type setup struct {
	Mode     Mode
	Forced   bool   // do not fall back from Chroot to Plain
	Store    string // directory of the store
	Dir      string // directory of the root
	Identity string // what a root's owners on disk depend on; see the index format
}

// operation is what a helper is asked to do.
type operation string

const (
	opCheckout operation = "checkout"
	opCapture  operation = "capture"
	opRun      operation = "run"
	opRemove   operation = "remove"
	opCancel   operation = "cancel" // ends the operation in progress; has no response
)

// request asks for one operation. With opRun come three files: stdin, stdout and
// stderr.
type request struct {
	Op      operation
	Tree    []byte // opCheckout: the encoded tree
	Command runSpec
}

// response is the result of one operation.
type response struct {
	Mode     Mode // after setup: the mode in fact
	Note     string
	Tree     []byte // opCapture
	Stats    Stats
	Exit     *ExitError
	Problem  string // an error
	Remedy   string
	OnHost   bool // the error is a HostError
	Canceled bool
}

// err turns the response's failure back into an error.
func (r *response) err() error {
	switch {
	case r.Exit != nil:
		return r.Exit
	case r.OnHost:
		return &HostError{Problem: r.Problem, Remedy: r.Remedy}
	case r.Problem != "":
		return errors.New(r.Problem)
	}
	return nil
}

// fail records err as the result.
func (r *response) fail(err error) {
	var host *HostError
	switch {
	case errors.As(err, &r.Exit):
	case errors.As(err, &host) && host == err:
		r.OnHost, r.Problem, r.Remedy = true, host.Problem, host.Remedy
	case errors.As(err, &host):
		r.OnHost, r.Problem = true, err.Error()
	default:
		r.Problem = err.Error()
	}
}

// channel is one end of the socket pair.
type channel struct {
	conn *net.UnixConn
}

// newChannel takes over f, a stream socket.
func newChannel(f *os.File) (*channel, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("%s is not a unix socket", f.Name())
	}
	return &channel{conn: u}, nil
}

// send writes one frame. The files stay the caller's.
func (c *channel) send(v any, files ...*os.File) error {
	var body bytes.Buffer
	body.Write(make([]byte, 4))
	if err := gob.NewEncoder(&body).Encode(v); err != nil {
		return err
	}
	frame := body.Bytes()
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-4))
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := c.conn.WriteMsgUnix(frame[:4], oob, nil); err != nil {
		return err
	}
	_, err := c.conn.Write(frame[4:])
	return err
}

// receive reads one frame into v and returns the files that came with it.
func (c *channel) receive(v any) ([]*os.File, error) {
	var length [4]byte
	oob := make([]byte, unix.CmsgSpace(8*4))
	n, oobn, _, _, err := c.conn.ReadMsgUnix(length[:], oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := receivedFiles(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.conn, length[n:]); err != nil {
		return files, err
	}
	size := binary.LittleEndian.Uint32(length[:])
	if size > maxFrame {
		return files, fmt.Errorf("a message of %d bytes is too long", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return files, err
	}
	return files, gob.NewDecoder(bytes.NewReader(body)).Decode(v)
}

// receivedFiles returns the files in control messages. Go's net package set
// close-on-exec on them.
func receivedFiles(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "stdio"))
		}
	}
	return files, nil
}
