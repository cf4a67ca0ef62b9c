package guest

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// names are the name servers that DHCP has told, by the link. They are kept here and not
// in /etc/resolv.conf: a guest in a namespace shares that with its host.
type names struct {
	mu sync.Mutex
	of map[string]netip.Addr
}

// tell notes what a lease says; nil for a lease that is over.
func (n *names) tell(link string, ack *dhcpv4.DHCPv4) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.of, link)
	if ack == nil {
		return
	}
	for _, ip := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && !a.IsUnspecified() {
			if n.of == nil {
				n.of = map[string]netip.Addr{}
			}
			n.of[link] = a
			return
		}
	}
}

// server is a name server that was told, of the first link by name.
func (n *names) server() (a netip.Addr, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := ""
	for link := range n.of {
		if first == "" || link < first {
			first = link
		}
	}
	return n.of[first], first != ""
}

// use makes this process resolve names by them, and by what the system has where DHCP has
// told none.
func (n *names) use() {
	var d net.Dialer
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if a, ok := n.server(); ok {
			address = netip.AddrPortFrom(a, 53).String()
		}
		return d.DialContext(ctx, network, address)
	}}
}
