package model

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// Forwarding is what goes between a network of ours and the rest of the world by way of
// the host: what is forwarded, what is hidden, and whether the host itself is reached.
// Everything else that comes by its link to be forwarded, or would leave by it, is dropped.
// It is one part of one table of nftables, inet drawbridge.
//
// That the kernel forwards at all is a setting of the links, not this.
type Forwarding struct {
	// Network of the file, by which it is known.
	Network string `json:"network"`
	// Link is the host's own interface on the network: a bridge, or a plain tap.
	Link string `json:"link"`
	// Subnets are the network's own addresses: packets from others that come by Link are not
	// forwarded. Empty: any may be.
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// Out: connections that the network's machines open are forwarded, wherever they go.
	Out bool `json:"out,omitempty"`
	// In: connections to the machines that others open are forwarded, not only those to
	// what is published.
	In bool `json:"in,omitempty"`
	// Masquerade are those of Subnets whose packets leave with the host's own address: that
	// of whatever link they leave by, but for Link.
	Masquerade []netip.Prefix `json:"masquerade,omitempty"`
	// Publish are the machines' ports that are reached at the host's addresses.
	Publish []Publish `json:"publish,omitempty"`
	// Guard4 and Guard6 are links by which this host forwards for its networks only, and
	// would not without them: from one of those to another nothing goes.
	Guard4 []string `json:"guard4,omitempty"`
	Guard6 []string `json:"guard6,omitempty"`
	// Closed: the host itself takes nothing that comes by Link.
	Closed bool `json:"closed,omitempty"`

	// Altered: somebody changed the rules; they are not those of these values. It is
	// observed, and compared with nothing.
	Altered bool `json:"altered,omitempty"`
}

// Publish is one port of the host that leads to a machine's.
type Publish struct {
	Protocol string `json:"protocol"` // tcp or udp
	// Address of the host's that it is reached at; the zero Addr for all of To's family.
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port"`
	// To and ToPort are the machine's.
	To     netip.Addr `json:"to"`
	ToPort uint16     `json:"to_port"`
}

// Same compares what is asked for.
func (f Forwarding) Same(o Forwarding) bool {
	return !f.Altered && !o.Altered && reflect.DeepEqual(f.Wish(), o.Wish())
}

// Wish is f without what is only observed, and with one way of being empty.
func (f Forwarding) Wish() Forwarding {
	f.Altered = false
	f.Subnets, f.Masquerade, f.Publish = orNil(f.Subnets), orNil(f.Masquerade), orNil(f.Publish)
	f.Guard4, f.Guard6 = orNil(f.Guard4), orNil(f.Guard6)
	return f
}

// Check refuses what no rules can be made of.
func (f Forwarding) Check() error {
	object := "forwarding of " + f.Network
	if f.Network == "" || CheckLinkName(f.Link) != nil {
		return refuse(object, ErrInvalid)
	}
	for _, p := range f.Subnets {
		if !p.IsValid() || p.Masked() != p {
			return refuse(object, ErrInvalid)
		}
	}
	for _, l := range slices.Concat(f.Guard4, f.Guard6) {
		if CheckLinkName(l) != nil {
			return refuse(object, ErrInvalid)
		}
	}
	for _, p := range f.Masquerade {
		if !slices.Contains(f.Subnets, p) {
			return refuse(object, ErrInvalid)
		}
	}
	for _, p := range f.Publish {
		family := !p.Address.IsValid() || p.Address.Is4() == p.To.Is4()
		if p.Protocol != "tcp" && p.Protocol != "udp" || p.Port == 0 || !p.To.IsValid() || p.ToPort == 0 || !family {
			return refuse(object, ErrInvalid)
		}
	}
	return nil
}

// ForwardingOf finds what is forwarded for a network, nil if there is nothing about it.
func (n *Namespace) ForwardingOf(network string) *Forwarding {
	for i := range n.Forwarding {
		if n.Forwarding[i].Network == network {
			return &n.Forwarding[i]
		}
	}
	return nil
}

// SetForwarding makes the rules of a network, in the place of those that it has, in one
// transaction.
type SetForwarding struct {
	Forwarding Forwarding `json:"forwarding"`
}

// DropForwarding takes the rules of a network away, and with the last of them the table.
// What has none is no error.
type DropForwarding struct {
	Network string `json:"network"`
}

// Op implements [Operation].
func (SetForwarding) Op() string { return "set-forwarding" }

// Op implements [Operation].
func (DropForwarding) Op() string { return "drop-forwarding" }

// Object implements [Operation].
func (o SetForwarding) Object() string { return o.Forwarding.Network }

// Object implements [Operation].
func (o DropForwarding) Object() string { return o.Network }

func (o SetForwarding) apply(s *Snapshot) error {
	if err := o.Forwarding.Check(); err != nil {
		return err
	}
	n := s.Here()
	n.dropForwarding(o.Forwarding.Network)
	n.Forwarding = append(n.Forwarding, o.Forwarding.Wish())
	slices.SortFunc(n.Forwarding, compareForwarding)
	return nil
}

func (o DropForwarding) apply(s *Snapshot) error {
	s.Here().dropForwarding(o.Network)
	return nil
}

func (n *Namespace) dropForwarding(network string) {
	n.Forwarding = slices.DeleteFunc(n.Forwarding, func(f Forwarding) bool { return f.Network == network })
	if len(n.Forwarding) == 0 {
		n.Forwarding = nil // one way of being empty
	}
}

func compareForwarding(a, b Forwarding) int { return strings.Compare(a.Network, b.Network) }

// sourceNAT are the rules by which the stack hides somebody, ours among them.
func (n *Namespace) sourceNAT() []SourceNAT {
	out := slices.Clip(n.SourceNAT)
	for _, f := range n.Forwarding {
		for _, p := range f.Masquerade {
			out = append(out, SourceNAT{From: p, NotOut: f.Link})
		}
	}
	return out
}
