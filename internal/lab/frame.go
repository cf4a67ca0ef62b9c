package lab

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFrame bounds a frame in bytes; an environment is the largest thing in one.
const maxFrame = 4 << 20

// maxFiles is the most descriptors that travel with one frame: the three standard ones.
const maxFiles = 3

// send writes one frame: a length, JSON, and with it open files by SCM_RIGHTS. The
// files stay open here too.
func send(c *net.UnixConn, v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("message of %d bytes is over the limit of %d", len(body), maxFrame)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd()) //nolint:gosec // a descriptor fits an int
		}
		rights = unix.UnixRights(fds...)
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body))) //nolint:gosec // bounded above
	// Descriptors go with the header, so that the reader has them before the body.
	if _, _, err := c.WriteMsgUnix(frame, rights, nil); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if _, err := c.Write(body); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// receive reads one frame into v and returns the files that came with it, close-on-exec.
// A connection that ends between frames gives io.EOF.
func receive(c *net.UnixConn, v any) (files []*os.File, err error) {
	var header [4]byte
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(header[:], oob)
	if err != nil {
		if errors.Is(err, syscall.ECONNRESET) {
			err = io.EOF
		}
		return nil, err
	}
	if files, err = parseFiles(oob[:oobn]); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	if flags&unix.MSG_CTRUNC != 0 {
		return nil, errors.New("receive: more descriptors than a message may carry")
	}
	if n == 0 {
		return nil, io.EOF
	}
	if _, err := io.ReadFull(c, header[n:]); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > maxFrame {
		return nil, fmt.Errorf("receive: message of %d bytes is over the limit of %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return files, nil
}

func parseFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive: control message: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // credentials or the like: not ours to read
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// unixConn makes a connection of a descriptor; the file is closed.
func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("descriptor is not a unix socket")
	}
	return u, nil
}
