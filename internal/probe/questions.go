package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"drawbridge/internal/model"
)

// gateway is asked by ARP or neighbour discovery, on whichever of its links is the
// host's own at that time: a bridge's port hears no answer.
type gateway struct {
	set    *Set
	target netip.Addr
	links  []string // the uplink and the bridge
}

func (g gateway) name() string            { return "gateway " + g.target.String() }
func (g gateway) patience() time.Duration { return chooseTime }

func (g gateway) ask(ctx context.Context, ns *model.Namespace) error {
	link, source := vantage(ns, g.links, g.target)
	if link == "" {
		return errors.New("no link has an address to ask it from")
	}
	err := g.set.inside(func() error { return Neighbour(ctx, link, source, g.target) })
	if err != nil {
		return fmt.Errorf("asked on the wire of %s: %w", link, err)
	}
	return nil
}

// vantage is the link, and the address on it, that a neighbour is asked from. A port is
// none: what comes in by it goes to its bridge.
func vantage(ns *model.Namespace, links []string, target netip.Addr) (link string, source netip.Addr) {
	for _, name := range links {
		l := ns.Link(name)
		if l == nil || l.Port != nil || l.Master != "" {
			continue
		}
		for _, a := range ns.AddressesOf(name) {
			own := a.Prefix.Addr()
			switch {
			case own.Is4() != target.Is4():
			case a.Prefix.Contains(target):
				return name, own // link-local for link-local, and the right one of several subnets
			case link == "":
				link, source = name, own
			}
		}
	}
	return link, source
}

// nameServer is asked for the root's name servers: whatever the answer is, also a
// refusal, it is there.
type nameServer struct {
	set    *Set
	server netip.Addr
}

func (n nameServer) name() string            { return "name server " + n.server.String() }
func (n nameServer) patience() time.Duration { return chooseTime }

// queryWait is how long one query waits for its answer. A server that has to ask others
// first still knows the root's.
const queryWait = 600 * time.Millisecond

func (n nameServer) ask(ctx context.Context, _ *model.Namespace) error {
	id := uint16(rand.Uint32()) //nolint:gosec // it tells answers apart, and keeps nobody out
	query, err := dnsQuery(id)
	if err != nil {
		return err
	}
	conn, err := n.set.dialAddr(ctx, "udp", netip.AddrPortFrom(n.server, 53))
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 1500)
	for range tries {
		if err := ctx.Err(); err != nil {
			return ErrNoAnswer
		}
		if _, err := conn.Write(query); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(soonest(ctx, queryWait)); err != nil {
			return err
		}
		for {
			size, err := conn.Read(buf)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return err
			}
			if isDNSAnswer(buf[:size], id) {
				return nil
			}
		}
	}
	return fmt.Errorf("asked %d times by DNS over UDP: %w", tries, ErrNoAnswer)
}

func dnsQuery(id uint16) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	root := dnsmessage.Question{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeNS, Class: dnsmessage.ClassINET}
	if err := b.Question(root); err != nil {
		return nil, err
	}
	return b.Finish()
}

func isDNSAnswer(b []byte, id uint16) bool {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	return err == nil && h.Response && h.ID == id
}

// soonest is the end of a wait, or of the context where that is nearer.
func soonest(ctx context.Context, wait time.Duration) time.Time {
	end := time.Now().Add(wait)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return d
	}
	return end
}

// dialAddr connects inside the namespace: a socket belongs to the namespace of the
// thread that makes it, whoever uses it later.
func (s *Set) dialAddr(ctx context.Context, network string, to netip.AddrPort) (conn net.Conn, err error) {
	err = s.inside(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, to.String())
		return err
	})
	return conn, err
}

// dial is dialAddr for names as well. They are looked up inside the namespace, and the
// addresses tried in turn: a Dialer would try them from threads that are elsewhere.
func (s *Set) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, network, port)
	if err != nil {
		return nil, err
	}
	addrs, err := s.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, a := range addrs {
		conn, err := s.dialAddr(ctx, network, netip.AddrPortFrom(a, uint16(number)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *Set) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	asked, done := context.WithCancel(ctx)
	defer done()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if len(s.Servers) > 0 { // those of the namespace, which the resolver does not know
			address = netip.AddrPortFrom(s.Servers[rand.IntN(len(s.Servers))], 53).String() //nolint:gosec // any will do
		}
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		conn, err := s.dialAddr(ctx, network, to)
		if err == nil {
			// The resolver's own context knows no deadline (net.Resolver.lookupIPAddr
			// detaches it), and it would wait 5 s for an answer that nobody wants.
			context.AfterFunc(asked, func() { _ = conn.Close() })
		}
		return conn, err
	}}
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// Servers reads the name servers of a resolv.conf(5).
func Servers(resolvConf []byte) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(string(resolvConf)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
