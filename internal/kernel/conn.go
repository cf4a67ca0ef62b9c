package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one netlink socket. It belongs to the namespace of the thread that made it.
type conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
	// batch is how many acknowledgements the receive buffer surely holds.
	batch int
}

// The kernel sizes the pieces of a dump by the largest buffer it has seen, up to
// 32 KiB (netlink_recvmsg, max_recvmsg_len).
const receiveSize = 64 << 10

// Each acknowledgement takes about 1 KiB of the receive buffer (its skb's true size).
const (
	bigBuffer  = 8 << 20
	bigBatch   = 2048
	smallBatch = 128
	// sendLimit stays under the default send buffer of 208 KiB (netlink_sendmsg: EMSGSIZE).
	sendLimit = 128 << 10
)

func openConn(protocol int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	c := &conn{fd: fd, seq: uint32(time.Now().Unix()), buf: make([]byte, receiveSize), batch: smallBatch}
	// Older kernels lack some of these; what they add is words and strictness only.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bigBuffer) == nil {
		c.batch = bigBatch
	}
	// The kernel answers at once; a silence means a lost answer.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink bind: %w", err)
	}
	return c, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

func (c *conn) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

func (c *conn) receive() ([]byte, error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(c.fd, c.buf, nil, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil, errors.New("netlink: no answer from the kernel in 10 s")
		case err != nil:
			return nil, fmt.Errorf("netlink receive: %w", err)
		case flags&unix.MSG_TRUNC != 0:
			c.buf = make([]byte, max(n, 2*len(c.buf)))
			return nil, errTruncated
		}
		return c.buf[:n], nil
	}
}

// header is a received nlmsghdr.
type header struct {
	typ, flags uint16
	seq        uint32
}

// eachMessage calls fn with every message of a datagram.
func eachMessage(b []byte, fn func(h header, body []byte) error) error {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(native.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return errTruncated
		}
		h := header{native.Uint16(b[4:]), native.Uint16(b[6:]), native.Uint32(b[8:])}
		if err := fn(h, b[unix.SizeofNlMsghdr:n]); err != nil {
			return err
		}
		b = b[min(align4(n), len(b)):]
	}
	return nil
}

// dumpTries is how often a dump is repeated that changes while it is read.
const dumpTries = 50

var errInterrupted = errors.New("changed while it was read")

// dump sends a request and gives every message of the answer to fn, in order. The
// whole dump is collected first and thrown away when the kernel marks it as
// interrupted (NLM_F_DUMP_INTR), so that fn never sees a part of the truth.
func (c *conn) dump(ctx context.Context, request func() *message, fn func(body []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for try := range dumpTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		bodies, err := c.dumpOnce(request())
		switch {
		case errors.Is(err, errInterrupted), errors.Is(err, errTruncated), isErrno(err, unix.ENOBUFS, unix.EBUSY):
			// EBUSY: a dump that was given up half-way is still being read out.
			time.Sleep(time.Duration(try) * time.Millisecond)
			continue
		case err != nil:
			return err
		}
		for _, b := range bodies {
			if err := fn(b); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("netlink dump: %w, %d times in a row", errInterrupted, dumpTries)
}

func (c *conn) dumpOnce(m *message) ([][]byte, error) {
	c.seq++
	seq := c.seq
	if err := c.send(m.finish(seq, unix.NLM_F_DUMP)); err != nil {
		return nil, fmt.Errorf("netlink send: %w", err)
	}
	var bodies [][]byte
	interrupted, done := false, false
	for !done {
		b, err := c.receive()
		if err != nil {
			return nil, err
		}
		arena := append([]byte(nil), b...)
		err = eachMessage(arena, func(h header, body []byte) error {
			if h.seq != seq {
				return nil // what is left of a dump that was given up
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.typ {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				return parseAck(h, body)
			case unix.NLMSG_NOOP:
			default:
				bodies = append(bodies, body)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if interrupted {
		return nil, errInterrupted
	}
	return bodies, nil
}

// do sends one message and waits for its acknowledgement.
func (c *conn) do(m *message) error { return c.doAll([]*message{m})[0] }

// doAll sends messages, as many as fit in one sendmsg each time, and gives the
// kernel's answer to every one. The kernel carries out each by itself: one that is
// refused does not stop those behind it, and is answered also where no acknowledgement
// was asked for (netlink_rcv_skb). So only the last of them asks for one.
func (c *conn) doAll(ms []*message) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, len(ms))
	for start := 0; start < len(ms); {
		var b []byte
		end := start
		first := c.seq + 1
		for end < len(ms) && end-start < c.batch && (end == start || len(b)+len(ms[end].b) <= sendLimit) {
			c.seq++
			b = append(b, ms[end].finish(c.seq, 0)...)
			end++
		}
		last := b[len(b)-len(ms[end-1].b):]
		native.PutUint16(last[6:], native.Uint16(last[6:])|unix.NLM_F_ACK)
		if err := c.exchange(b, first, errs[start:end]); err != nil {
			for i := start; i < len(ms); i++ {
				errs[i] = err
			}
			return errs
		}
		start = end
	}
	return errs
}

// exchange sends messages numbered from first and collects the refusals, until the last
// of them is acknowledged or refused.
func (c *conn) exchange(b []byte, first uint32, errs []error) error {
	if err := c.send(b); err != nil {
		return fmt.Errorf("netlink send: %w", err)
	}
	for done := false; !done; {
		b, err := c.receive()
		if err != nil {
			return err
		}
		err = eachMessage(b, func(h header, body []byte) error {
			i := int(h.seq - first)
			if h.typ == unix.NLMSG_ERROR && i >= 0 && i < len(errs) {
				errs[i] = parseAck(h, body)
				done = i == len(errs)-1
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// get sends a request that is answered by one message, and returns its body.
func (c *conn) get(m *message) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	seq := c.seq
	if err := c.send(m.finish(seq, 0)); err != nil {
		return nil, fmt.Errorf("netlink send: %w", err)
	}
	for {
		b, err := c.receive()
		if err != nil {
			return nil, err
		}
		var answer []byte
		err = eachMessage(b, func(h header, body []byte) error {
			if h.seq != seq {
				return nil
			}
			if h.typ == unix.NLMSG_ERROR {
				return parseAck(h, body)
			}
			answer = append([]byte(nil), body...)
			return nil
		})
		if err != nil || answer != nil {
			return answer, err
		}
	}
}
