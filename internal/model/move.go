package model

import "net/netip"

// Move is a change of the link by which the host is on an Ethernet.
type Move struct {
	// From loses its host end's place in the stack, To takes it.
	From string `json:"from"`
	To   string `json:"to"`
	// Plug: From becomes a port of To, which is a bridge; else it is the way back.
	Plug bool `json:"plug"`
	// Host: the host's addresses and routes go along; else they go away.
	Host bool `json:"host"`
}

// Way is how the stack reaches an address: by which link, through which gateway.
type Way struct {
	Link string
	// Gateway is invalid for a neighbour.
	Gateway netip.Addr
}

// WayTo looks the main table up for an address: the longest prefix, then the lowest
// metric. It knows nothing of rules and other tables. ok is false without a route.
func (n *Namespace) WayTo(a netip.Addr) (way Way, ok bool) {
	var best *Route
	for i := range n.Routes {
		r := &n.Routes[i]
		switch {
		case r.Table != TableMain || r.Type != "unicast" || len(r.NextHops) == 0 || !r.Destination.Contains(a):
		case best == nil, r.Destination.Bits() > best.Destination.Bits(),
			r.Destination.Bits() == best.Destination.Bits() && r.Metric < best.Metric:
			best = r
		}
	}
	if best == nil {
		return Way{}, false
	}
	return Way{Link: best.Link(), Gateway: best.Gateway()}, true
}
