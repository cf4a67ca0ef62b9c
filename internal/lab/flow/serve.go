package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
)

// Serve answers probes on [EchoPort] of this thread's network namespace, UDP and TCP,
// until ctx ends. Its sockets are bound to no interface, so that an address may move
// from one to another under them, as the sockets of most servers are.
func Serve(ctx context.Context) error {
	address := fmt.Sprintf(":%d", EchoPort)
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		_ = packets.Close()
		return err
	}
	context.AfterFunc(ctx, func() {
		_ = packets.Close()
		_ = listener.Close()
	})
	go echoPackets(packets)
	go echoStreams(ctx, listener)
	return nil
}

func echoPackets(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			// Where there is no way back just now, the prober counts it as lost.
			_, _ = c.WriteTo(buf[:n], from)
		}
	}
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
