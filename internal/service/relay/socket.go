package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// Sockets are what a relay needs: frames of the link, and of the uplink.
const Sockets = 2

// filter lets through what is not our own and is ARP, ICMPv6, or UDP for a DHCP port; and,
// of the link, what is for a MAC address that nobody has there any more.
func filter(others bool) []bpf.Instruction {
	other := bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 15}
	if others {
		other.SkipTrue = 14
	}
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 16},
		other,
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeARP, SkipTrue: 12},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv6, SkipFalse: 2},
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmp6, SkipTrue: 9, SkipFalse: 10},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv4, SkipFalse: 9},
		bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipFalse: 7},
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 5},
		bpf.LoadMemShift{Off: etherLen},
		bpf.LoadIndirect{Off: etherLen + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: serverPort, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: clientPort, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
}

// Open opens the sockets of a relay in this thread's namespace: CAP_NET_RAW.
func Open(link string, c model.RelayConfig) (files []*os.File, err error) {
	for i, name := range []string{link, c.Uplink} {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f, err := open(ifi.Index, i == 0)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("frames of %s: %w", name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func open(index int, others bool) (*os.File, error) {
	raw, err := bpf.Assemble(filter(others))
	if err != nil {
		return nil, err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	// Without a protocol it hears nothing before its filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "frames")
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}) //nolint:gosec // twenty instructions
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}), Ifindex: index})
	}
	if err == nil && others {
		// A bridge hands what is for nobody of its own to its own interface, too, while
		// that is promiscuous (br_handle_frame_finish).
		err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}) //nolint:gosec // an index
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// wire is an open packet socket.
type wire struct{ conn syscall.RawConn }

func newWire(f *os.File) (*wire, error) {
	c, err := f.SyscallConn()
	return &wire{c}, err
}

// read waits for a frame; other: it was for a MAC address that is not ours.
func (w *wire) read(b []byte) (n int, other bool, err error) {
	rerr := w.conn.Read(func(fd uintptr) bool {
		var sa unix.Sockaddr
		n, sa, err = unix.Recvfrom(int(fd), b, 0)
		if ll, ok := sa.(*unix.SockaddrLinklayer); ok {
			other = ll.Pkttype == unix.PACKET_OTHERHOST
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return n, other, errors.Join(rerr, err)
}

// isDown: a link that was taken down is told once, and may come back.
func isDown(err error) bool { return errors.Is(err, unix.ENETDOWN) }

// write sends a frame as it is.
func (w *wire) write(b []byte) {
	_ = w.conn.Write(func(fd uintptr) bool {
		_, err := unix.Write(int(fd), b)
		return !errors.Is(err, unix.EINTR) // a full queue loses a frame, as a wire does
	})
}
