package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// upstreamTime is the patience with one name server, forwardTime with all of them:
	// who asks gives up after five seconds.
	upstreamTime = 1500 * time.Millisecond
	forwardTime  = 4500 * time.Millisecond
)

var errNoUpstream = errors.New("no name server of the host's is known")

// forward asks the upstreams one after the other, the one that answered last first.
func (s *Server) forward(ctx context.Context, q query, tcp bool) []byte {
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	upstreams := s.upstreamsNow()
	var last []byte
	err := errNoUpstream
	for _, u := range upstreams {
		var answer []byte
		var code dnsmessage.RCode
		if answer, code, err = ask(ctx, q, u, tcp); err != nil {
			continue
		}
		binary.BigEndian.PutUint16(answer, q.header.ID)
		if code != dnsmessage.RCodeServerFailure && code != dnsmessage.RCodeRefused {
			s.prefer(u)
			s.noteUpstream(nil)
			return answer
		}
		last = answer
	}
	if last != nil {
		return last
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.noteUpstream(err)
	}
	return q.refuse(dnsmessage.RCodeServerFailure)
}

// ask sends a question to a name server, from a port and with an id that nobody can guess.
func ask(ctx context.Context, q query, to netip.AddrPort, tcp bool) (answer []byte, code dnsmessage.RCode, err error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTime)
	defer cancel()
	network := "udp"
	if tcp {
		network = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, to.String())
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	id := uint16(rand.Uint32()) //nolint:gosec // ChaCha8, seeded by the kernel
	out := slices.Clone(q.raw)
	binary.BigEndian.PutUint16(out, id)
	if tcp {
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...) //nolint:gosec // read from two bytes
	}
	if _, err := conn.Write(out); err != nil {
		return nil, 0, err
	}
	buf := make([]byte, 65535)
	for {
		n, err := readAnswer(conn, buf, tcp)
		if err != nil {
			return nil, 0, fmt.Errorf("%s does not answer: %w", to, err)
		}
		if code, ok := q.answers(buf[:n], id); ok {
			return buf[:n], code, nil
		}
		if tcp {
			return nil, 0, fmt.Errorf("%s answers something else", to)
		}
	}
}

func readAnswer(conn net.Conn, buf []byte, tcp bool) (int, error) {
	if !tcp {
		return conn.Read(buf)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return 0, err
	}
	return io.ReadFull(conn, buf[:binary.BigEndian.Uint16(length[:])])
}

// upstreamsNow are the name servers in the order in which they are asked, without
// ourselves: a host whose resolv.conf names us would ask in a circle.
func (s *Server) upstreamsNow() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.Config.Upstreams
	if len(list) == 0 {
		list = s.upstreams
	}
	list = slices.DeleteFunc(slices.Clone(list), func(u netip.AddrPort) bool {
		return u.Port() == port && slices.Contains(s.Config.Listen, u.Addr())
	})
	if i := slices.Index(list, s.good); i > 0 {
		list[0], list[i] = list[i], list[0]
	}
	return list
}

func (s *Server) prefer(u netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good = u
}
