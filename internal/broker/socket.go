package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// network is Go's name for SOCK_SEQPACKET on a unix socket: connections, whose messages
// keep their borders.
const network = "unixpacket"

// Listen makes the broker's socket, which everybody may connect to: the policy decides.
// What an earlier broker left behind is taken away; one that answers is an error.
func Listen(path string) (*net.UnixListener, error) {
	address := &net.UnixAddr{Name: path, Net: network}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if conn, err := net.DialUnix(network, nil, address); err == nil {
		conn.Close()
		return nil, fmt.Errorf("broker: another one answers at %s already", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) { // a socket that nobody listens at
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	l, err := net.ListenUnix(network, address)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return l, nil
}

// Inherited takes a listening socket that somebody else has made, as systemd does.
func Inherited(f *os.File) (*net.UnixListener, error) {
	defer f.Close()
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("broker: the socket that was passed on: %w", err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("broker: the socket that was passed on: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok || kind != unix.SOCK_SEQPACKET {
		l.Close()
		return nil, errors.New("broker: the socket that was passed on is not a unix socket of packets (hint: ListenSequentialPacket= in the .socket unit)")
	}
	u.SetUnlinkOnClose(false) // it is not ours
	return u, nil
}

// receive reads one message. Descriptors that come with it are closed by the kernel: no
// room is offered for them.
func receive(conn *net.UnixConn) ([]byte, error) {
	buf := make([]byte, MaxMessage+1)
	n, _, _, _, err := conn.ReadMsgUnix(buf, nil)
	switch {
	case err != nil:
		return nil, err
	case n == 0: // the end; a message of nothing looks the same
		return nil, io.EOF
	default:
		return buf[:n], nil
	}
}

// send writes one message, with a descriptor or without.
func send(conn *net.UnixConn, data []byte, tap *os.File) error {
	var rights []byte
	if tap != nil {
		rights = unix.UnixRights(int(tap.Fd()))
	}
	_, _, err := conn.WriteMsgUnix(data, rights, nil)
	return err
}

// NoBroker says that nobody answers.
type NoBroker struct {
	Socket string
	Err    error
}

func (e *NoBroker) Error() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return fmt.Sprintf("the broker at %s: %v\n  hint: its socket does not let this user in", e.Socket, e.Err)
	}
	return fmt.Sprintf("no broker answers at %s: %v\n  hint: as root: drawbridge serve --broker", e.Socket, e.Err)
}

func (e *NoBroker) Unwrap() error { return e.Err }

// Ask asks a broker for a tap. The descriptor is nil for one that is opened by its name.
// The error is a [*Refusal] or a [*NoBroker].
func Ask(ctx context.Context, socket string, r Request) (Reply, *os.File, error) {
	r.Version = Version
	var d net.Dialer
	c, err := d.DialContext(ctx, network, socket)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return Reply{}, nil, &NoBroker{socket, err}
	}
	conn := c.(*net.UnixConn)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	data, err := encodeRequest(r)
	if err != nil {
		return Reply{}, nil, err
	}
	if err := send(conn, data, nil); err != nil {
		return Reply{}, nil, cutOff(err)
	}
	return answerFrom(conn, r)
}

// cutOff is a connection that the broker closed without a word: it does so with those of
// a user who has too many.
func cutOff(err error) error {
	return refuse(KindBusy, "try again", "the broker closed the connection: %v", err)
}

func answerFrom(conn *net.UnixConn, r Request) (Reply, *os.File, error) {
	buf, oob := make([]byte, MaxMessage), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return Reply{}, nil, cutOff(err)
	}
	taps, err := descriptors(oob[:oobn])
	if err != nil {
		return Reply{}, nil, err
	}
	reply, err := decodeReply(buf[:n])
	if err == nil {
		err = reply.err()
	}
	if err == nil && (len(taps) == 1) != (r.Kind == KindDescriptor) {
		err = fmt.Errorf("the broker sent %d descriptors", len(taps))
	}
	if err != nil {
		for _, t := range taps {
			t.Close()
		}
		return reply, nil, err
	}
	if len(taps) == 0 {
		return reply, nil, nil
	}
	return reply, taps[0], nil
}

func descriptors(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("the broker's answer: %w", err)
	}
	var out []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // something else than descriptors
		}
		for _, fd := range fds {
			out = append(out, os.NewFile(uintptr(fd), "tap"))
		}
	}
	return out, nil
}
