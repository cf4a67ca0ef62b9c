package ra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// RFC 4861, 6.2 and 10.
const (
	initialAdvertisements = 3
	initialInterval       = 16 * time.Second
	// minDelay is between two multicast advertisements.
	minDelay = 3 * time.Second
	// maxAnswerDelay keeps the routers of a LAN from answering at once. Here is one only,
	// and a VM that boots waits for it.
	maxAnswerDelay = 20 * time.Millisecond
	// retry is how soon what could not be sent is tried again: a bridge without ports has
	// no link-local address yet.
	retry = time.Second
	// addressTime is how long a link with carrier may be without a link-local address that it
	// can send from: looking for a duplicate takes a second or two (RFC 4862, 5.4).
	addressTime = 10 * time.Second
	// finals are the advertisements that take back, and finalDelay is between them.
	finals     = 3
	finalDelay = 30 * time.Millisecond
	// Answers to single hosts, a second: who asks faster hears those to all.
	answersPerSecond = 50
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// Open opens a sender's socket on a link of this thread's namespace: CAP_NET_RAW.
func Open(link string) ([]*os.File, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("ICMPv6 on %s: %w", link, err)
	}
	defer raw.Close()
	f, err := raw.(*net.IPConn).File()
	if err != nil {
		return nil, fmt.Errorf("ICMPv6 on %s: %w", link, err)
	}
	c := ipv6.NewPacketConn(raw)
	var filter ipv6.ICMPFilter
	filter.SetAll(true) // blocks all
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(
		unix.SetsockoptString(int(f.Fd()), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, link),
		unix.SetNonblock(int(f.Fd()), true), // Fd has made it blocking
		c.SetICMPFilter(&filter),
		c.SetMulticastInterface(ifi),
		// Receivers drop anything that may have come through a router: RFC 4861, 6.1.2.
		c.SetMulticastHopLimit(255), c.SetHopLimit(255),
		c.SetMulticastLoopback(false),
		// The membership is the socket's: it goes along with the descriptor.
		c.JoinGroup(ifi, &net.IPAddr{IP: allRouters.AsSlice()}),
	)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("ICMPv6 on %s: %w", link, err)
	}
	return []*os.File{f}, nil
}

// Sender advertises on one link.
type Sender struct {
	Config model.RAConfig
	Link   string
	// Final tells, once ctx has ended, what is still so then: everything else is taken back.
	// ok is false where nothing is to be sent at all.
	Final func() (still model.RAConfig, ok bool)
	Log   func(format string, args ...any)

	lacking time.Time // since when a link with carrier has no address to send from
	trouble atomic.Pointer[string]
	sent    atomic.Uint64
}

// Trouble says what does not work just now, "" for nothing.
func (s *Sender) Trouble() string {
	if t := s.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// Run advertises on the socket of [Open] until ctx ends.
func (s *Sender) Run(ctx context.Context, sockets []*os.File) error {
	ifi, err := net.InterfaceByName(s.Link)
	if err != nil || len(sockets) != 1 {
		return fmt.Errorf("RA on %s: %d sockets: %w", s.Link, len(sockets), errors.Join(err, model.ErrInvalid))
	}
	raw, err := net.FilePacketConn(sockets[0])
	if err != nil {
		return fmt.Errorf("RA on %s: %w", s.Link, err)
	}
	conn := ipv6.NewPacketConn(raw)
	defer conn.Close()
	if err := conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true); err != nil {
		return fmt.Errorf("RA on %s: %w", s.Link, err)
	}
	asked := make(chan netip.Addr, 64)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		s.listen(ctx, conn, ifi, asked)
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	s.advertise(ctx, conn, ifi, asked)
	<-heard
	s.takeBack(conn, ifi)
	return nil
}

// listen notes who solicits.
func (s *Sender) listen(ctx context.Context, conn *ipv6.PacketConn, ifi *net.Interface, asked chan<- netip.Addr) {
	buf := make([]byte, 1500)
	for {
		n, cm, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.Log("ra: %v", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry):
			}
			continue
		}
		if cm == nil || cm.IfIndex != ifi.Index || !solicits(buf[:n], cm.HopLimit) {
			continue
		}
		who := netip.IPv6Unspecified()
		if ip, ok := from.(*net.IPAddr); ok {
			who, _ = netip.AddrFromSlice(ip.IP)
		}
		select {
		case asked <- who:
		default: // so many are waiting that all are told soon
		}
	}
}

func (s *Sender) advertise(ctx context.Context, conn *ipv6.PacketConn, ifi *net.Interface, asked <-chan netip.Addr) {
	at := time.NewTimer(0)
	defer at.Stop()
	var last time.Time // of the last one to all
	due := time.Now()
	answers, second := 0, time.Now()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case who := <-asked:
			now := time.Now()
			if now.Sub(second) >= time.Second {
				answers, second = 0, now
			}
			if who.IsLinkLocalUnicast() && answers < answersPerSecond {
				answers++
				s.send(conn, ifi, who, model.RAConfig{})
				continue
			}
			// Who asks has no address yet: all are told, and not too often.
			wanted := now.Add(rand.N(maxAnswerDelay)) //nolint:gosec // no secret
			if earliest := last.Add(minDelay); wanted.Before(earliest) {
				wanted = earliest
			}
			if wanted.Before(due) {
				due = wanted
				at.Reset(time.Until(due))
			}
			continue
		case <-at.C:
		}
		wait := retry
		if s.send(conn, ifi, allNodes, model.RAConfig{}) {
			last = time.Now()
			sent++
			most := time.Duration(interval(s.Config)) * time.Second
			wait = most/3 + rand.N(most-most/3) //nolint:gosec // no secret
			if sent < initialAdvertisements {
				wait = min(wait, initialInterval)
			}
		}
		due = time.Now().Add(wait)
		at.Reset(wait)
	}
}

// takeBack sends what remains so.
func (s *Sender) takeBack(conn *ipv6.PacketConn, ifi *net.Interface) {
	still, ok := model.RAConfig{}, false
	if s.Final != nil {
		still, ok = s.Final()
	}
	if !ok {
		return
	}
	gone := s.Config
	s.Config = still
	for n := range finals {
		if n > 0 {
			time.Sleep(finalDelay)
		}
		if !s.send(conn, ifi, allNodes, gone) {
			return
		}
	}
}

// send sends to one host or all, and tells whether it went.
func (s *Sender) send(conn *ipv6.PacketConn, ifi *net.Interface, to netip.Addr, gone model.RAConfig) bool {
	_, err := conn.WriteTo(message(s.Config, gone, ifi.HardwareAddr, ifi.MTU), &ipv6.ControlMessage{HopLimit: 255, IfIndex: ifi.Index},
		&net.IPAddr{IP: to.AsSlice(), Zone: ifi.Name})
	text := ""
	if err != nil && !s.settling(err, time.Now()) {
		text = fmt.Sprintf("router advertisements cannot be sent on %s: %v", s.Link, err)
		if old := s.trouble.Load(); old == nil || *old != text {
			s.Log("ra: %v", err)
		}
	}
	if err == nil {
		s.sent.Add(1)
	}
	s.trouble.Store(&text)
	return err == nil
}

// settling tells whether an error says only that the link has no link-local address yet.
// Without carrier, as a bridge has none whose ports all lack it, it gets none, and nobody is
// there to hear.
func (s *Sender) settling(err error, now time.Time) bool {
	ifi, gone := net.InterfaceByName(s.Link)
	switch {
	case !errors.Is(err, unix.EADDRNOTAVAIL) || gone != nil:
		s.lacking = time.Time{}
		return false
	case ifi.Flags&net.FlagRunning == 0:
		s.lacking = time.Time{}
		return true
	case s.lacking.IsZero():
		s.lacking = now
	}
	return now.Sub(s.lacking) < addressTime
}
