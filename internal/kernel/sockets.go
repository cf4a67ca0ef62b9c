package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// sock_diag's numbers, include/uapi/linux/inet_diag.h.
const (
	sockDiagByFamily = 20
	inetDiagInfo     = 2 // INET_DIAG_INFO: struct tcp_info
	sizeofDiagMsg    = 72
	sizeofDiagID     = 48
)

// tcpStates are enum of include/net/tcp_states.h in the words of ss(8).
var tcpStates = map[uint8]string{
	1: "established", 2: "syn-sent", 3: "syn-recv", 4: "fin-wait-1", 5: "fin-wait-2",
	6: "time-wait", 7: "unconnected", 8: "close-wait", 9: "last-ack", 10: "listen", 11: "closing",
}

// Sockets lists the TCP and UDP sockets of the namespace. Those in time-wait belong to
// nobody any more, and are left out.
func (k *Kernel) Sockets(ctx context.Context) ([]model.Socket, error) {
	links, err := k.links(ctx)
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var out []model.Socket
	err = k.inside(func() error {
		c, err := openConn(unix.NETLINK_SOCK_DIAG)
		if err != nil {
			return err
		}
		defer c.close()
		for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			for _, family := range bothFamilies {
				list, err := diag(ctx, c, family, protocol, names)
				if isErrno(err, unix.ENOENT, unix.EINVAL, unix.EAFNOSUPPORT) {
					continue // udp_diag is a module of its own, and may not be there
				}
				if err != nil {
					return err
				}
				out = append(out, list...)
			}
		}
		return nil
	})
	return out, refusal("sockets", err)
}

func diag(ctx context.Context, c *conn, family, protocol uint8, names map[int]string) ([]model.Socket, error) {
	request := func() *message {
		b := make([]byte, 8+sizeofDiagID)
		b[0], b[1], b[2] = family, protocol, 1<<(inetDiagInfo-1)
		native.PutUint32(b[4:], ^uint32(1<<6)) // all states but time-wait
		return newMessage(sockDiagByFamily, 0).raw(b)
	}
	var out []model.Socket
	err := c.dump(ctx, request, func(body []byte) error {
		s, index, err := parseSocket(body, protocol)
		if err != nil {
			return err
		}
		if index != 0 {
			s.Bound = names[index]
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// parseSocket reads a struct inet_diag_msg with its attributes. Index is the link that
// the socket is bound to, 0 for none.
func parseSocket(b []byte, protocol uint8) (s model.Socket, index int, err error) {
	if len(b) < sizeofDiagMsg {
		return s, 0, errTruncated
	}
	family, state := b[0], b[1]
	id := b[4:]
	s = model.Socket{
		Protocol: "tcp", State: tcpStates[state],
		Local:  netip.AddrPortFrom(diagAddr(family, id[4:20]), binary.BigEndian.Uint16(id)),
		Remote: netip.AddrPortFrom(diagAddr(family, id[20:36]), binary.BigEndian.Uint16(id[2:])),
		Cookie: uint64(native.Uint32(id[40:])) | uint64(native.Uint32(id[44:]))<<32,
		Queued: native.Uint32(b[60:]), UID: native.Uint32(b[64:]), Inode: uint64(native.Uint32(b[68:])),
	}
	if protocol == unix.IPPROTO_UDP {
		s.Protocol = "udp"
	}
	err = walk(b[sizeofDiagMsg:], func(typ uint16, v []byte) {
		if typ == inetDiagInfo && protocol == unix.IPPROTO_TCP && s.State == "established" {
			s.TCP = parseTCPInfo(v)
		}
	})
	return s, int(int32(native.Uint32(id[36:]))), err
}

// diagAddr unmaps the IPv4 peers of an IPv6 socket.
func diagAddr(family uint8, b []byte) netip.Addr {
	if family == unix.AF_INET {
		b = b[:4]
	}
	return getAddr(b).Unmap()
}

// parseTCPInfo reads struct tcp_info (include/uapi/linux/tcp.h), which grows at its
// end with the kernel's version: nil if it is shorter than that of Linux 4.1.
func parseTCPInfo(b []byte) *model.TCPInfo {
	if len(b) < 136 {
		return nil
	}
	return &model.TCPInfo{
		Retransmits: b[2], Unacknowledged: native.Uint32(b[24:]), TotalRetransmits: native.Uint32(b[100:]),
		Acknowledged: native.Uint64(b[120:]), Received: native.Uint64(b[128:]),
	}
}

// SocketHolders finds the processes that hold sockets, by the sockets' inodes. Those
// whose descriptors may not be read (another user's, without CAP_SYS_PTRACE) are left out.
func (k *Kernel) SocketHolders(inodes map[uint64]bool) (map[uint64]model.Holder, error) {
	out := map[uint64]model.Holder{}
	pids, err := processes()
	if err != nil {
		return nil, fmt.Errorf("holders of sockets: %w", err)
	}
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		entries, err := os.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) && !isErrno(err, unix.ESRCH) {
				return nil, fmt.Errorf("holders of sockets: %w", err)
			}
			continue
		}
		for _, e := range entries {
			target, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			inode, ok := socketInode(target)
			// One that the first process has opened for a service is the service's.
			if h, known := out[inode]; ok && inodes[inode] && (!known || h.PID == 1) {
				out[inode] = model.Holder{PID: pid, Command: command(pid)}
			}
		}
	}
	return out, nil
}

// socketInode reads "socket:[4711]", proc(5).
func socketInode(target string) (uint64, bool) {
	s, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return inode, err == nil
}
