package model

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// The levels of a port's security.
const (
	SecurityStrict = "strict" // its own MAC and addresses; no DHCP server, router or switch
	SecurityMAC    = "mac"    // its own MAC, whatever it sends
	SecurityOff    = "off"    // limits only
	// SecurityClosed is for a bridge's own interface: nothing goes from the bridge to the
	// host, nor from the host into it.
	SecurityClosed = "closed"
)

// What is known of the addresses of a secured port.
const (
	SourceAny   = "any"   // nothing: it may use any (IPv6: but a router's)
	SourceList  = "list"  // they are given
	SourceLease = "lease" // what a DHCP server gives to its MAC
)

// What a secured port may be allowed beside its own.
const (
	AllowDHCPServer = "dhcp-server"
	AllowRouter     = "router" // router advertisements, and packets of others
	AllowSTP        = "stp"
	AllowVLAN       = "vlan" // tagged frames: only their MAC is looked at
)

// PortSecurity says what may be sent by whoever has the wire end of a link. Everything
// else is dropped as it arrives at the link, before a bridge or the stack sees it.
type PortSecurity struct {
	Link  string `json:"link"`
	Level string `json:"level"`
	// MACs that frames may come from: the NIC's own, then allowed ones.
	MACs []MAC `json:"macs,omitempty"`
	// IPv4 is SourceAny, SourceList or SourceLease, IPv6 SourceAny or SourceList;
	// empty unless the level is strict.
	IPv4 string `json:"ipv4,omitempty"`
	IPv6 string `json:"ipv6,omitempty"`
	// Sources are the addresses of a list, both families in the order of the file.
	Sources []netip.Prefix `json:"sources,omitempty"`
	// Allow are the words above, sorted.
	Allow []string `json:"allow,omitempty"`
	// Guarded, with SecurityOff: what is addressed to the bridge itself (01:80:c2:00:00:00
	// to 0f) is dropped. The kernel does not forward it, but gives it to the host by the
	// port, whatever is in it (br_handle_frame). The other levels drop it anyway.
	Guarded bool `json:"guarded,omitempty"`
	// Rate that the port may send and receive with, each, in bits/s; 0: no limit.
	Rate int64 `json:"rate,omitempty"`
	// Storm is how many broadcast and multicast frames it may send a second; 0: no limit.
	Storm int64 `json:"storm,omitempty"`

	// The rest is observed, and compared with nothing.

	// Altered: somebody changed the rules; they are not those of these values.
	Altered bool `json:"altered,omitempty"`
	// Learned are the leases seen on their way to the port.
	Learned []netip.Addr `json:"learned,omitempty"`
	// Seen are the addresses that the port was seen to use, each by how it was seen.
	Seen []SeenAddress `json:"seen,omitempty"`
	// Dropped counts frames by the reason for which they were dropped.
	Dropped map[string]uint64 `json:"dropped,omitempty"`
}

// SeenAddress is an address that somebody was seen to use.
type SeenAddress struct {
	Address netip.Addr `json:"address"`
	// By is dhcp (a server gave it), arp or nd (it was told by that protocol).
	By string `json:"by"`
	// SecondsAgo it was last told; of a lease that is not known.
	SecondsAgo int `json:"seconds_ago,omitempty"`
}

// How an address is seen.
const (
	SeenByDHCP = "dhcp"
	SeenByARP  = "arp"
	SeenByND   = "nd"
)

// Allows tells whether a word is among those allowed.
func (p PortSecurity) Allows(word string) bool { return slices.Contains(p.Allow, word) }

// Same compares what is asked for, not what was observed.
func (p PortSecurity) Same(o PortSecurity) bool {
	return !p.Altered && !o.Altered && reflect.DeepEqual(p.Wish(), o.Wish())
}

// Wish is p without what is only observed.
func (p PortSecurity) Wish() PortSecurity {
	p.Altered, p.Learned, p.Seen, p.Dropped = false, nil, nil, nil
	// One way of being empty, so that what went through JSON is equal.
	p.MACs, p.Sources, p.Allow = slices.Clip(p.MACs), slices.Clip(p.Sources), slices.Clip(p.Allow)
	if len(p.MACs) == 0 {
		p.MACs = nil
	}
	if len(p.Sources) == 0 {
		p.Sources = nil
	}
	if len(p.Allow) == 0 {
		p.Allow = nil
	}
	return p
}

// SecurityOf finds the security of a link's port, nil if it has none.
func (n *Namespace) SecurityOf(link string) *PortSecurity {
	for i := range n.Secured {
		if n.Secured[i].Link == link {
			return &n.Secured[i]
		}
	}
	return nil
}

// SecurePorts secures ports, or changes how they are: what they had before is replaced
// in one transaction, so that at no time a port is without. Leases that were learned stay.
type SecurePorts struct {
	Ports []PortSecurity `json:"ports"`
}

// FreePorts takes the security off ports. What has none is no error.
type FreePorts struct {
	Links []string `json:"links"`
}

// SetIsolated keeps ports of a bridge from every other isolated one, or no longer:
// frames go between them and ports that are not isolated, such as the uplink.
type SetIsolated struct {
	Links    []string `json:"links"`
	Isolated bool     `json:"isolated"`
}

// Op implements [Operation].
func (SecurePorts) Op() string { return "secure-ports" }

// Op implements [Operation].
func (FreePorts) Op() string { return "free-ports" }

// Op implements [Operation].
func (SetIsolated) Op() string { return "set-isolated" }

// Object implements [Operation].
func (o SecurePorts) Object() string { return strings.Join(NameRuns(o.Names()), " ") }

// Object implements [Operation].
func (o FreePorts) Object() string { return strings.Join(NameRuns(o.Links), " ") }

// Object implements [Operation].
func (o SetIsolated) Object() string { return strings.Join(NameRuns(o.Links), " ") }

// Names are the links of the ports.
func (o SecurePorts) Names() []string {
	out := make([]string, len(o.Ports))
	for i, p := range o.Ports {
		out[i] = p.Link
	}
	return out
}

func (o SecurePorts) apply(s *Snapshot) error {
	n := s.Here()
	for _, p := range o.Ports {
		if _, err := n.mustLink(p.Link); err != nil {
			return err
		}
		if err := p.check(); err != nil {
			return err
		}
	}
	gone := map[string]bool{}
	learned := map[string][]netip.Addr{}
	for _, p := range o.Ports {
		gone[p.Link] = true
		if was := n.SecurityOf(p.Link); was != nil && p.IPv4 == SourceLease {
			learned[p.Link] = was.Learned
		}
	}
	n.dropSecurity(gone)
	for _, p := range o.Ports {
		p = p.Wish()
		p.Learned = learned[p.Link]
		n.Secured = append(n.Secured, p)
	}
	slices.SortFunc(n.Secured, func(a, b PortSecurity) int { return NaturalCompare(a.Link, b.Link) })
	return nil
}

// check refuses what makes no sense.
func (p PortSecurity) check() error {
	levels := []string{SecurityStrict, SecurityMAC, SecurityOff, SecurityClosed}
	sources := []string{SourceAny, SourceList, SourceLease}
	strict := p.Level == SecurityStrict
	switch {
	case !slices.Contains(levels, p.Level),
		(strict || p.Level == SecurityMAC) && len(p.MACs) == 0,
		strict && (!slices.Contains(sources, p.IPv4) || !slices.Contains(sources[:2], p.IPv6)),
		p.Level == SecurityOff && p.Rate == 0 && p.Storm == 0 && !p.Guarded,
		p.Level == SecurityClosed && (p.Rate > 0 || p.Storm > 0),
		p.Rate < 0, p.Storm < 0:
		return refuse("port security of "+p.Link, ErrInvalid)
	}
	for _, m := range p.MACs {
		if !m.Valid() {
			return refuse("port security of "+p.Link, ErrInvalid)
		}
	}
	return nil
}

// Check refuses what no port can be secured with.
func (p PortSecurity) Check() error { return p.check() }

func (o FreePorts) apply(s *Snapshot) error {
	gone := map[string]bool{}
	for _, l := range o.Links {
		gone[l] = true
	}
	s.Here().dropSecurity(gone)
	return nil
}

func (n *Namespace) dropSecurity(gone map[string]bool) {
	n.Secured = slices.DeleteFunc(n.Secured, func(p PortSecurity) bool { return gone[p.Link] })
	if len(n.Secured) == 0 {
		n.Secured = nil // one way of being empty
	}
}

func (o SetIsolated) apply(s *Snapshot) error {
	n := s.Here()
	for _, link := range o.Links {
		l, err := n.mustLink(link)
		if err != nil {
			return err
		}
		if l.Port == nil {
			return refuse(link, ErrInvalid)
		}
		l.Port.Isolated = o.Isolated
	}
	return nil
}

// DroppedTotal is how many frames were dropped, for whatever reason.
func (p PortSecurity) DroppedTotal() (total uint64) {
	for n := range maps.Values(p.Dropped) {
		total += n
	}
	return total
}
