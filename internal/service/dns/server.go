package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// idleTime is how long a TCP connection may say nothing.
const idleTime = 10 * time.Second

// Sockets is how many a server has: for each address one of UDP and one of TCP.
func Sockets(c model.DNSConfig) int { return 2 * len(c.Listen) }

// Open opens the sockets in this thread's namespace: CAP_NET_BIND_SERVICE. The addresses
// may still be tentative. An error wraps EADDRINUSE where another server has the port.
func Open(c model.DNSConfig) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			files = nil
		}
	}()
	config := net.ListenConfig{Control: func(network, _ string, rc syscall.RawConn) (err error) {
		cerr := rc.Control(func(fd uintptr) {
			if network == "udp6" || network == "tcp6" {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
			}
		})
		return errors.Join(cerr, err)
	}}
	config.SetMultipathTCP(false) // Go's default for listeners
	for _, a := range c.Listen {
		at := netip.AddrPortFrom(a, port).String()
		udp, err := config.ListenPacket(context.Background(), "udp", at)
		if err != nil {
			return files, fmt.Errorf("UDP port %d of %s: %w", port, a, err)
		}
		f, err := udp.(*net.UDPConn).File()
		udp.Close()
		if err != nil {
			return files, err
		}
		files = append(files, f)
		tcp, err := config.Listen(context.Background(), "tcp", at)
		if err != nil {
			return files, fmt.Errorf("TCP port %d of %s: %w", port, a, err)
		}
		f, err = tcp.(*net.TCPListener).File()
		tcp.Close()
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Server answers for one network.
type Server struct {
	Config model.DNSConfig
	Link   string
	// Static are the machines whose addresses are fixed.
	Static []model.StaticLease
	Log    func(format string, args ...any)

	names   atomic.Pointer[names]
	own     ownAddresses
	limits  limits
	trouble atomic.Pointer[string]
	calls   sync.WaitGroup

	mu        sync.Mutex
	upstreams []netip.AddrPort // of the host's resolv.conf
	good      netip.AddrPort   // the one that answered last
}

// SetLeases makes the names be those of the leases, beside the file's.
func (s *Server) SetLeases(leases []model.Lease) { s.names.Store(newNames(s.Config, s.Static, leases)) }

// SetUpstreams tells the host's name servers, which are asked where the configuration
// names none.
func (s *Server) SetUpstreams(list []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upstreams = slices.Clone(list)
}

// Trouble says what does not work just now, "" for nothing.
func (s *Server) Trouble() string {
	if t := s.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

func (s *Server) noteUpstream(err error) {
	text := ""
	if err != nil {
		text = fmt.Sprintf("names of the world cannot be resolved: %v", err)
	}
	if old := s.trouble.Swap(&text); text != "" && (old == nil || *old != text) {
		s.Log("dns: %s", text)
	}
}

// Run answers on the sockets of [Open] until ctx ends.
func (s *Server) Run(ctx context.Context, sockets []*os.File) error {
	ifi, err := net.InterfaceByName(s.Link)
	if err != nil || len(sockets) != Sockets(s.Config) {
		return fmt.Errorf("DNS on %s: %d sockets: %w", s.Link, len(sockets), errors.Join(err, model.ErrInvalid))
	}
	if s.names.Load() == nil {
		s.SetLeases(nil)
	}
	var all sync.WaitGroup
	for i := 0; i < len(sockets); i += 2 {
		udp, err := net.FilePacketConn(sockets[i])
		if err != nil {
			return fmt.Errorf("DNS on %s: %w", s.Link, err)
		}
		tcp, err := net.FileListener(sockets[i+1])
		if err != nil {
			return fmt.Errorf("DNS on %s: %w", s.Link, err)
		}
		stop := context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })
		defer stop()
		six := s.Config.Listen[i/2].Is6()
		all.Go(func() { s.serveUDP(ctx, udp, six, ifi.Index) })
		all.Go(func() { s.serveTCP(ctx, tcp) })
	}
	all.Wait()
	s.calls.Wait()
	return nil
}

// isClient tells whether an address is of the network.
func (s *Server) isClient(a netip.Addr) bool {
	return slices.ContainsFunc(s.Config.Clients, func(p netip.Prefix) bool { return p.Contains(a) })
}

// reader reads datagrams with the link that they came in by.
type reader func(b []byte) (n, index int, from net.Addr, err error)

func readerOf(c net.PacketConn, six bool) (reader, error) {
	if six {
		p := ipv6.NewPacketConn(c)
		return func(b []byte) (int, int, net.Addr, error) {
			n, cm, from, err := p.ReadFrom(b)
			if err != nil || cm == nil {
				return n, 0, from, err
			}
			return n, cm.IfIndex, from, nil
		}, p.SetControlMessage(ipv6.FlagInterface, true)
	}
	p := ipv4.NewPacketConn(c)
	return func(b []byte) (int, int, net.Addr, error) {
		n, cm, from, err := p.ReadFrom(b)
		if err != nil || cm == nil {
			return n, 0, from, err
		}
		return n, cm.IfIndex, from, nil
	}, p.SetControlMessage(ipv4.FlagInterface, true)
}

func (s *Server) serveUDP(ctx context.Context, c net.PacketConn, six bool, link int) {
	read, err := readerOf(c, six)
	if err != nil {
		s.Log("dns: %v", err)
		return
	}
	buf := make([]byte, maxQuery)
	for ctx.Err() == nil {
		n, index, from, err := read(buf)
		if err != nil {
			if ctx.Err() == nil {
				s.Log("dns: %v", err) // an ICMP error of an earlier answer
				time.Sleep(10 * time.Millisecond)
			}
			continue
		}
		peer := from.(*net.UDPAddr).AddrPort()
		who := peer.Addr().Unmap().WithZone("")
		network := index == link && (who.IsLinkLocalUnicast() || s.isClient(who))
		host := s.own.has(who)
		if !network && !host || !s.limits.allow(who, weight(host), time.Now()) {
			continue
		}
		s.answerUDP(ctx, c, slices.Clone(buf[:n]), who, from)
	}
}

// weight of one question in a client's budget.
func weight(host bool) float64 {
	if host {
		return 0.1
	}
	return 1
}

func (s *Server) answerUDP(ctx context.Context, c net.PacketConn, raw []byte, who netip.Addr, from net.Addr) {
	q, refused, err := parseQuery(raw)
	switch {
	case err != nil:
		return
	case refused != nil:
		_, _ = c.WriteTo(refused, from)
		return
	}
	if local := s.names.Load().answer(q); local != nil {
		_, _ = c.WriteTo(q.fit(local), from)
		return
	}
	end, ok := s.limits.begin(who)
	if !ok {
		_, _ = c.WriteTo(q.refuse(dnsmessage.RCodeServerFailure), from)
		return
	}
	s.calls.Go(func() {
		defer end()
		if answer := s.forward(ctx, q, false); ctx.Err() == nil {
			// What the name server sent fits: it was told the same size by the same question.
			_, _ = c.WriteTo(answer, from)
		}
	})
}

func (s *Server) serveTCP(ctx context.Context, l net.Listener) {
	for ctx.Err() == nil {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				s.Log("dns: %v", err)
				time.Sleep(100 * time.Millisecond) // out of descriptors, maybe
			}
			continue
		}
		who := addrOf(c.RemoteAddr())
		host := s.own.has(who)
		// Which link it came by is not told. A sender's address that is of the network is
		// that of one of its hosts: the answer goes there, and nowhere else.
		if !host && !s.isClient(who) {
			c.Close()
			continue
		}
		end, ok := s.limits.connect(who)
		if !ok {
			c.Close()
			continue
		}
		s.calls.Go(func() {
			defer end()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			s.converse(ctx, c, who, host)
		})
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// converse answers one question after the other on a connection (RFC 7766).
func (s *Server) converse(ctx context.Context, c net.Conn, who netip.Addr, host bool) {
	for {
		_ = c.SetDeadline(time.Now().Add(idleTime))
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(length[:]))
		if n > maxQuery || !s.limits.allow(who, weight(host), time.Now()) {
			return
		}
		raw := make([]byte, n)
		if _, err := io.ReadFull(c, raw); err != nil {
			return
		}
		answer, ok := s.answerTCP(ctx, raw, who)
		if !ok {
			return
		}
		_ = c.SetDeadline(time.Now().Add(idleTime))
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil { //nolint:gosec // read with a length of two bytes
			return
		}
	}
}

func (s *Server) answerTCP(ctx context.Context, raw []byte, who netip.Addr) (answer []byte, ok bool) {
	q, refused, err := parseQuery(raw)
	switch {
	case err != nil:
		return nil, false
	case refused != nil:
		return refused, true
	}
	if local := s.names.Load().answer(q); local != nil {
		return local, true
	}
	end, free := s.limits.begin(who)
	if !free {
		return q.refuse(dnsmessage.RCodeServerFailure), true
	}
	defer end()
	return s.forward(ctx, q, true), true
}

// Check tells why a configuration cannot be served.
func Check(c model.DNSConfig) error {
	if len(c.Listen) == 0 {
		return fmt.Errorf("DNS: no address to listen at: %w", model.ErrInvalid)
	}
	for _, name := range append([]model.DNSName{{}}, c.Names...) {
		full := strings.Trim(canonical(name.Name)+"."+canonical(c.Zone), ".")
		long := slices.ContainsFunc(strings.Split(full, "."), func(label string) bool { return len(label) > 63 })
		if len(full) > 253 || long || strings.Contains(full, "..") {
			return fmt.Errorf("DNS: %q is not a name: it has an empty label, one of more than 63 bytes, or more than 253 in all: %w", full, model.ErrInvalid)
		}
	}
	return nil
}
