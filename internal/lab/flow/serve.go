package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Serve answers probes on [EchoPort] of this thread's network namespace, UDP and TCP,
// until ctx ends. Its sockets are bound to no interface, so that an address may move
// from one to another under them, as the sockets of most servers are.
func Serve(ctx context.Context) error {
	address := fmt.Sprintf(":%d", EchoPort)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go echoStreams(ctx, listener)
	config := net.ListenConfig{Control: roomy}
	for range responders {
		packets, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			_ = listener.Close()
			return err
		}
		context.AfterFunc(ctx, func() { _ = packets.Close() })
		go echoPackets(packets.(*net.UDPConn))
	}
	return nil
}

// responders is how many sockets share the port, each with a buffer of its own: the
// kernel chooses one for each flow (SO_REUSEPORT).
const responders = 4

// bufferSize of a socket in bytes: minutes of probes.
const bufferSize = 8 << 20

// roomy gives a socket room for what arrives while this program does not get to run.
// With the usual 212,992 bytes, shared by three flows, 50 ms without a processor
// overflowed it, and looked like losses of the network.
func roomy(_, _ string, c syscall.RawConn) error {
	var err error
	control := c.Control(func(descriptor uintptr) {
		fd := int(descriptor) //nolint:gosec // a descriptor fits an int
		// The first needs the machine's CAP_NET_ADMIN; the second is cut to net.core.rmem_max.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize)
		}
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) // see source
	})
	return errors.Join(control, err)
}

func echoPackets(c *net.UDPConn) {
	buf, control := make([]byte, 2048), make([]byte, 256)
	for {
		n, nc, _, from, err := c.ReadMsgUDPAddrPort(buf, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			// Where there is no way back just now, the prober counts it as lost.
			_, _, _ = c.WriteMsgUDPAddrPort(buf[:n], source(control[:nc]), from)
		}
	}
}

// source makes the control message by which an answer leaves from the address that was
// asked (RFC 1122, 4.1.3.5): of a host's several the kernel would choose by the way out,
// and the prober's socket not know the answer. IPv4 comes here as mapped addresses.
func source(received []byte) []byte {
	messages, _ := unix.ParseSocketControlMessage(received)
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo {
			var info unix.Inet6Pktinfo
			copy(info.Addr[:], m.Data) // and not the link: the way back may be another
			return unix.PktInfo6(&info)
		}
	}
	return nil
}

func echoStreams(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		go func() {
			defer stop()
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}
