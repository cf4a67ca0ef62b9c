package dhcp4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Sockets are what a server needs, in the order of [Open]: datagrams for port 67, ARP, and
// one that only keeps the port.
const Sockets = 3

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
)

// Filters for payloads without their Ethernet header; what has a VLAN tag is of another
// network.
var (
	udpFilter = []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 8},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipFalse: 6},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: serverPort, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
	arpFilter = []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
)

// Open opens the sockets on a link of this thread's namespace: CAP_NET_RAW, and
// CAP_NET_BIND_SERVICE. An error wraps EADDRINUSE where another server has the port.
func Open(link string) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			files = nil
		}
	}()
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	for _, s := range []struct {
		protocol uint16
		filter   []bpf.Instruction
	}{{etherIPv4, udpFilter}, {etherARP, arpFilter}} {
		f, err := openPacket(ifi.Index, s.protocol, s.filter)
		if err != nil {
			return files, fmt.Errorf("packets of %s: %w", link, err)
		}
		files = append(files, f)
	}
	f, err := keepPort(link)
	if err != nil {
		return files, fmt.Errorf("UDP port %d on %s: %w", serverPort, link, err)
	}
	return append(files, f), nil
}

func openPacket(index int, protocol uint16, filter []bpf.Instruction) (*os.File, error) {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return nil, err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	// Without a protocol it hears nothing yet: everything that it ever hears has gone
	// through the filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "packets")
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}) //nolint:gosec // eleven instructions
	if err == nil {
		// A burst of a thousand clients must find room.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(protocol), Ifindex: index})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// keepPort binds port 67 on a link: no second server begins there unnoticed, and the
// stack does not answer what is for us with "port unreachable".
func keepPort(link string) (*os.File, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, link) })
	}}
	c, err := config.ListenPacket(context.Background(), "udp4", fmt.Sprintf(":%d", serverPort))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(*net.UDPConn).File()
}

func control(c syscall.RawConn, fn func(fd int) error) (err error) {
	cerr := c.Control(func(fd uintptr) { err = fn(int(fd)) })
	return errors.Join(cerr, err)
}

// wire is an open packet socket.
type wire struct {
	conn     syscall.RawConn
	file     *os.File
	protocol uint16
	index    int
}

func newWire(f *os.File, protocol uint16, index int) (*wire, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &wire{c, f, protocol, index}, nil
}

// read waits for a packet, and tells the hardware address that it came from.
func (w *wire) read(b []byte) (n int, from [6]byte, err error) {
	rerr := w.conn.Read(func(fd uintptr) bool {
		var sa unix.Sockaddr
		n, sa, err = unix.Recvfrom(int(fd), b, 0)
		if ll, ok := sa.(*unix.SockaddrLinklayer); ok {
			copy(from[:], ll.Addr[:6])
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return n, from, errors.Join(rerr, err)
}

// write sends a packet to a hardware address.
func (w *wire) write(b []byte, to [6]byte) error {
	sa := &unix.SockaddrLinklayer{Protocol: bigEndian(w.protocol), Ifindex: w.index, Halen: 6}
	copy(sa.Addr[:], to[:])
	var err error
	werr := w.conn.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, 0, sa)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return errors.Join(werr, err)
}

// addressOf makes the packet of an answer.
func (a *answer) packet(server netip.Addr) []byte { return packUDP(server, a.to, a.message.ToBytes()) }
