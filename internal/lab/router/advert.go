package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv6"
)

// AdvertConfig says what a router advertises, RFC 4861.
type AdvertConfig struct {
	Link     string
	Prefix   netip.Prefix  // on-link, and for stateless autoconfiguration (RFC 4862)
	DNS      []netip.Addr  // RFC 8106
	Interval time.Duration // between unasked advertisements
	Lifetime time.Duration // as a default router, and of the prefix and name servers
}

// The ICMPv6 types and options that are used here.
const (
	typeRouterSolicitation  = 133
	typeRouterAdvertisement = 134

	optionSourceLinkAddress = 1
	optionPrefix            = 3
	optionMTU               = 5
	optionRDNSS             = 25
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// Advertise sends router advertisements on a link of this thread's namespace, every
// interval and to whoever solicits one, until ctx ends.
func Advertise(ctx context.Context, c AdvertConfig, logger *log.Logger) error {
	link, err := net.InterfaceByName(c.Link)
	if err != nil {
		return fmt.Errorf("link %s: %w", c.Link, err)
	}
	conn, err := listenICMP(link)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	a := &advertiser{link: link, message: advertisement(c, link), conn: conn, log: logger}
	solicited := make(chan struct{}, 1)
	go a.listen(ctx, solicited)
	go a.run(ctx, c.Interval, solicited)
	return nil
}

type advertiser struct {
	link    *net.Interface
	message []byte
	conn    *ipv6.PacketConn
	log     *log.Logger
}

func listenICMP(link *net.Interface) (*ipv6.PacketConn, error) {
	raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("open an ICMPv6 socket: %w", err)
	}
	conn := ipv6.NewPacketConn(raw)
	var filter ipv6.ICMPFilter
	filter.SetAll(true) // blocks all
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(
		conn.SetICMPFilter(&filter),
		conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		conn.SetMulticastInterface(link),
		// Receivers drop anything that may have come through a router: RFC 4861, 6.1.2.
		conn.SetMulticastHopLimit(255),
		conn.SetHopLimit(255),
		conn.SetMulticastLoopback(false),
		conn.JoinGroup(link, &net.IPAddr{IP: allRouters.AsSlice()}),
	)
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("set up the ICMPv6 socket: %w", err)
	}
	return conn, nil
}

// listen notes valid solicitations: RFC 4861, 6.1.1.
func (a *advertiser) listen(ctx context.Context, solicited chan<- struct{}) {
	buf := make([]byte, 1500)
	for {
		n, cm, _, err := a.conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() == nil {
				a.log.Printf("ra: %v", err)
			}
			return
		}
		if n < 8 || buf[0] != typeRouterSolicitation || cm == nil || cm.HopLimit != 255 || cm.IfIndex != a.link.Index {
			continue
		}
		select {
		case solicited <- struct{}{}:
		default: // one is due already
		}
	}
}

func (a *advertiser) run(ctx context.Context, interval time.Duration, solicited <-chan struct{}) {
	every := time.NewTicker(interval)
	defer every.Stop()
	a.send(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-solicited:
			// To all, as RFC 4861, 6.2.6, allows: the one who asked may have no address yet.
		}
		a.send(ctx)
	}
}

func (a *advertiser) send(ctx context.Context) {
	_, err := a.conn.WriteTo(a.message, &ipv6.ControlMessage{HopLimit: 255, IfIndex: a.link.Index},
		&net.IPAddr{IP: allNodes.AsSlice(), Zone: a.link.Name})
	if err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrClosed) {
		a.log.Printf("ra: send: %v", err)
	}
}

// advertisement is the message: RFC 4861, 4.2 and 4.6. The kernel fills the checksum in.
func advertisement(c AdvertConfig, link *net.Interface) []byte {
	seconds := uint32(c.Lifetime / time.Second)
	b := []byte{typeRouterAdvertisement, 0, 0, 0, 64, 0} // hop limit 64; neither M nor O
	b = binary.BigEndian.AppendUint16(b, uint16(min(seconds, 9000)))
	b = append(b, make([]byte, 8)...) // reachable and retransmission times: not told

	b = append(b, optionSourceLinkAddress, 1)
	b = append(b, link.HardwareAddr...)

	b = append(b, optionMTU, 1, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(link.MTU)) //nolint:gosec // an MTU fits

	const onLink, autonomous = 0x80, 0x40
	b = append(b, optionPrefix, 4, byte(c.Prefix.Bits()), onLink|autonomous)
	b = binary.BigEndian.AppendUint32(b, seconds) // valid
	b = binary.BigEndian.AppendUint32(b, seconds) // preferred
	b = append(b, 0, 0, 0, 0)
	b = append(b, c.Prefix.Masked().Addr().AsSlice()...)

	if len(c.DNS) > 0 {
		b = append(b, optionRDNSS, byte(1+2*len(c.DNS)), 0, 0)
		b = binary.BigEndian.AppendUint32(b, seconds)
		for _, a := range c.DNS {
			b = append(b, a.AsSlice()...)
		}
	}
	return b
}
