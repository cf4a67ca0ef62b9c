package persist

import (
	"cmp"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Wish is the network of the next boot, in nobody's words.
type Wish struct {
	Bridges []Bridge
	Taps    []Tap
	// Rest is what no manager makes: machines, the security of ports, servers, forwarding.
	Rest []string
	// File is the drawbridge.yaml that it comes from, for our own unit.
	File Source
}

// Source is the user's file.
type Source struct {
	Path    string // absolute
	Content string
	// Relative is set where it names paths that are relative to its folder.
	Relative bool
	// Uplink is what `up` is told by --uplink, "" where the file says it.
	Uplink string
	// Program is the absolute path of this program.
	Program string
}

// Bridge is a bridge, and the host's own place on it.
type Bridge struct {
	Name, Network string
	// Made: it is ours. One that was there before is written down elsewhere.
	Made          bool
	MAC           model.MAC
	MTU           int // 0: as the kernel makes it
	McastSnooping bool
	// Uplink is "" for none.
	Uplink    string
	UplinkMTU int
	// Moved: the host's place on the uplink's LAN is the bridge, with the uplink's own
	// configuration. Otherwise it has the addresses below, or none.
	Moved bool
	// OwnerFile is the manager's file of the uplink, where the manager tells it.
	OwnerFile string

	Addresses []model.Address // static
	Routes    []model.Route   // static, main table and others
	DHCP4     *Identity       // nil: no DHCP
	DHCP6     bool
	RA        bool
	// Defaults are the default routes of the main table by the bridge, whoever made them,
	// that with the lowest metric first.
	Defaults []model.Route
	// Advertised are the addresses that it has by RAs.
	Advertised []netip.Addr
	Token      string
}

// Identity is by what a DHCP server knows the host.
type Identity struct {
	// ClientID is option 61 as it is sent, type and all; empty for none, or unknown.
	ClientID []byte
	Hostname string
}

// Tap is a persistent tap.
type Tap struct {
	Name, Bridge                                 string
	MAC                                          model.MAC
	MTU                                          int
	Owner, Group                                 string // names or numbers, "" for none
	UID, GID                                     *uint32
	MultiQueue, VnetHeader, PacketInfo, Isolated bool
	Addresses                                    []netip.Prefix
}

// Lease is a DHCP lease that is known of.
type Lease struct {
	Address netip.Addr
	Identity
}

// WishOf reads the wish from the state that a plan leads to. It takes along what is ours;
// a broker's taps end with who asked for them.
func WishOf(after model.Snapshot, own plan.Owned, leases []Lease) Wish {
	var w Wish
	here := after.Here()
	for _, l := range here.Links {
		o := own.Link(l)
		switch {
		case o != nil && l.Tap != nil && (o.Added == nil || o.Added.Holder == nil):
			w.Taps = append(w.Taps, tapOf(here, l))
		case l.Bridge != nil && (o != nil || slices.ContainsFunc(own.Networks, func(n plan.OwnedNetwork) bool { return n.Bridge == l.Name })):
			w.Bridges = append(w.Bridges, bridgeOf(here, l, o != nil, own, leases))
		}
	}
	for _, m := range own.Machines {
		w.Rest = append(w.Rest, "machine "+m)
	}
	for _, n := range own.Services {
		w.Rest = append(w.Rest, "what the network "+n+" is served")
	}
	for _, f := range own.Forwarding {
		w.Rest = append(w.Rest, "what is forwarded for the network "+f.Network)
	}
	for _, p := range own.Secured {
		w.Rest = append(w.Rest, "security of the port "+p.Link)
	}
	return w
}

func tapOf(here *model.Namespace, l model.Link) Tap {
	t := Tap{Name: l.Name, Bridge: l.Master, MAC: l.MAC, MTU: l.MTU, MultiQueue: l.Tap.MultiQueue, VnetHeader: l.Tap.VnetHeader, PacketInfo: l.Tap.PacketInfo, Isolated: l.Port != nil && l.Port.Isolated}
	t.UID, t.GID = l.Tap.Owner, l.Tap.Group
	t.Owner, t.Group = nameOf(l.Tap.OwnerName, l.Tap.Owner), nameOf(l.Tap.GroupName, l.Tap.Group)
	for _, a := range here.AddressesOf(l.Name) {
		if a.Origin == model.Static {
			t.Addresses = append(t.Addresses, a.Prefix)
		}
	}
	return t
}

func bridgeOf(here *model.Namespace, l model.Link, made bool, own plan.Owned, leases []Lease) Bridge {
	b := Bridge{Name: l.Name, Made: made, MAC: l.MAC, MTU: l.MTU, McastSnooping: l.Bridge.McastSnooping, Token: l.Token}
	for _, n := range own.Networks {
		if n.Bridge == l.Name {
			b.Network = n.Name
		}
	}
	for _, u := range own.Uplinks {
		if u.Bridge == l.Name {
			b.Uplink, b.Moved = u.Name, u.Host == "move"
			if up := here.Link(u.Name); up != nil {
				b.UplinkMTU = up.MTU
			}
		}
	}
	for _, a := range here.AddressesOf(l.Name) {
		b.addAddress(a, leases)
	}
	for _, r := range here.RoutesOf(l.Name) {
		if r.IsDefault() && r.Table == model.TableMain {
			b.Defaults = append(b.Defaults, r)
		}
		switch {
		case r.Protocol == "ra":
			b.RA = true
		case r.Protocol == "kernel" || r.Protocol == "dhcp" || r.Table == model.TableLocal || r.Type != "unicast" || r.NextHopID != 0:
			// made with the addresses, by the lease, or not this link's alone
		case b.DHCP4 != nil && r.Is4() && r.Protocol != "static" && r.IsDefault():
			// dhclient's script and others give no protocol to the lease's own route
		default:
			b.Routes = append(b.Routes, r)
		}
	}
	slices.SortStableFunc(b.Defaults, func(x, y model.Route) int { return cmp.Compare(x.Metric, y.Metric) })
	return b
}

// addAddress tells the address's origin once more: networkd and others bring RAs to
// addresses themselves, with a lifetime as a lease has.
func (b *Bridge) addAddress(a model.Address, leases []Lease) {
	lease := slices.IndexFunc(leases, func(l Lease) bool { return l.Address == a.Prefix.Addr() })
	is4 := a.Prefix.Addr().Is4()
	switch {
	case a.Origin == model.LinkLocal || a.Flags.Temporary:
	case is4 && (lease >= 0 || a.Origin == model.DHCP):
		b.DHCP4 = &Identity{}
		if lease >= 0 {
			b.DHCP4 = &leases[lease].Identity
		}
	case a.Origin == model.RA, !is4 && a.Origin == model.DHCP && !a.Prefix.IsSingleIP():
		b.RA, b.Advertised = true, append(b.Advertised, a.Prefix.Addr())
	case a.Origin == model.DHCP:
		b.DHCP6 = true
	default:
		b.Addresses = append(b.Addresses, a)
	}
}
