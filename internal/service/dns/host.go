package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownAddresses are this host's, looked up at most once a second. What has one of them as
// its sender comes from the host itself: from outside, the kernel lets no such packet in
// (fib_validate_source). The link that it comes in by does not tell: what the host sends to
// its own address comes by lo, and is told as come in by the link that has the address
// (ip_route_output_key_hash_rcu), with a sender that masquerade may have changed.
type ownAddresses struct {
	mu   sync.Mutex
	list map[netip.Addr]bool
	at   time.Time
}

func (o *ownAddresses) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.list[a] {
		return true
	}
	if time.Since(o.at) < time.Second {
		return false
	}
	o.at = time.Now()
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	o.list = map[netip.Addr]bool{}
	for _, x := range all {
		if n, ok := x.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.IsLinkLocalUnicast() {
				o.list[ip.Unmap()] = true
			}
		}
	}
	return o.list[a]
}
