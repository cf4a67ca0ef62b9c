package model

import "slices"

// MaxPorts of a bridge: BR_MAX_PORTS less the unused port 0 (net/bridge/br_private.h).
const MaxPorts = 1023

// The MTUs that an Ethernet interface takes: ETH_MIN_MTU, ETH_MAX_MTU.
const minMTU, maxMTU = 68, 65535

// A bridge that was given no MTU sinks to the smallest MTU of its ports
// (br_mtu_auto_adjust). That is not simulated: whether it was given one cannot be read
// back from the kernel.
func (o CreateBridge) apply(s *Snapshot) error {
	n := s.Here()
	if err := n.addLink(Link{Name: o.Name, Kind: Bridged, MAC: o.MAC, MTU: o.MTU, Up: true,
		Bridge: &Bridge{AgeingTime: 30000, McastSnooping: true}}); err != nil {
		return err
	}
	if o.MAC == "" {
		// Until its first port, or until it is given a MAC, nothing computes its carrier
		// (br_port_state_selection), which is on.
		l := n.Link(o.Name)
		l.Carrier, l.OperState = true, "unknown"
	}
	return nil
}

func (o CreateTap) apply(s *Snapshot) error {
	return s.Here().addLink(o.link())
}

func (o CreateTap) link() Link {
	return Link{Name: o.Name, Kind: TapKind, MAC: o.MAC, MTU: o.MTU, Tap: &Tap{
		Owner: o.Owner, OwnerName: o.OwnerName, Group: o.Group, GroupName: o.GroupName,
		Persistent: true, VnetHeader: o.VnetHeader, MultiQueue: o.MultiQueue}}
}

// newPort is a bridge's port as br_add_if makes it.
func newPort() *BridgePort { return &BridgePort{Learning: true, Flood: true} }

func (o CreateVeth) apply(s *Snapshot) error {
	here, there := s.Here(), s.Namespace(o.Peer.Namespace)
	peer := o.Peer
	if err := here.addLink(Link{Name: o.Name, Kind: Veth, MAC: o.MAC, MTU: o.MTU, Peer: &peer}); err != nil {
		return err
	}
	if there == nil {
		return nil // the other half is in a namespace that was not observed
	}
	return there.addLink(Link{Name: peer.Name, Kind: Veth, MAC: o.PeerMAC, MTU: o.MTU, Peer: &Ref{here.Name, o.Name}})
}

func (o DeleteLink) apply(s *Snapshot) error {
	n := s.Here()
	l := n.Link(o.Name)
	if l == nil {
		return nil
	}
	if !o.Identifies(l) {
		return refuse(o.Name, ErrNotOurs)
	}
	if l.Kind == Veth && l.Peer != nil {
		if there := s.Namespace(l.Peer.Namespace); there != nil {
			there.dropLink(l.Peer.Name)
		}
	}
	n.dropLink(o.Name)
	return nil
}

func (o MoveLink) apply(s *Snapshot) error {
	n := s.Here()
	l, err := n.mustLink(o.Link)
	if err != nil {
		return err
	}
	moved := *l
	if o.NewName != "" {
		moved.Name = o.NewName
	}
	moved.Up, moved.Carrier, moved.Master, moved.Port = false, false, "", nil
	if l.Peer != nil {
		if p := s.Namespace(l.Peer.Namespace); p != nil && p.Link(l.Peer.Name) != nil {
			p.Link(l.Peer.Name).Peer = &Ref{o.Namespace, moved.Name}
		}
	}
	n.dropLink(o.Link)
	if there := s.Namespace(o.Namespace); there != nil {
		return there.addLink(moved)
	}
	return nil
}

func (o SetUp) apply(s *Snapshot) error {
	n := s.Here()
	l, err := n.mustLink(o.Link)
	if err != nil {
		return err
	}
	if l.Up == o.Up {
		return nil
	}
	l.Up = o.Up
	if !o.Up {
		// fib_disable_ip drops the IPv4 routes and addrconf_ifdown the IPv6 addresses
		// (unless keep_addr_on_down); IPv4 addresses stay.
		l.Carrier = false
		n.dropRoutes(map[string]bool{o.Link: true})
		n.Addresses = slices.DeleteFunc(n.Addresses, func(a Address) bool {
			return a.Link == o.Link && a.Prefix.Addr().Is6()
		})
		n.Neighbours = slices.DeleteFunc(n.Neighbours, func(nb Neighbour) bool { return nb.Link == o.Link })
		return nil
	}
	if l.Kind == Physical || l.Kind == Wireless {
		l.Carrier = true // a plan assumes that what it brings up is plugged in
	}
	for _, a := range n.AddressesOf(o.Link) {
		n.addConnected(a)
	}
	return nil
}

func (o SetMaster) apply(s *Snapshot) error {
	n := s.Here()
	l, err := n.mustLink(o.Link)
	if err != nil {
		return err
	}
	if o.Master == "" {
		l.Master, l.Port = "", nil
		return nil
	}
	m, err := n.mustLink(o.Master)
	if err != nil {
		return err
	}
	if l.Master == o.Master {
		return nil
	}
	// br_add_if: no loopback (EINVAL), no bridge in a bridge (ELOOP); a parent of
	// macvlans has its rx handler taken already (EBUSY).
	switch {
	case m.Kind != Bridged && m.Kind != VRF && m.Kind != Bond && m.Kind != Team:
		return refuse(o.Master, ErrInvalid)
	case l.Kind == Loopback, m.Kind == Bridged && l.Kind == Bridged:
		return refuse(o.Link, ErrInvalid)
	case m.Kind == Bridged && n.hasMacvlans(o.Link):
		return refuse(o.Link, ErrBusy)
	case m.Kind == Bridged && len(n.Ports(o.Master)) >= MaxPorts:
		return refuse(o.Master, ErrPortLimit)
	}
	l.Master = o.Master
	if m.Kind == Bridged {
		l.Port = newPort()
	}
	return nil
}

func (n *Namespace) hasMacvlans(link string) bool {
	return slices.ContainsFunc(n.Links, func(l Link) bool {
		return (l.Kind == Macvlan || l.Kind == Macvtap || l.Kind == IPvlan) && l.Parent != nil && *l.Parent == (Ref{n.Name, link})
	})
}

func (o SetMAC) apply(s *Snapshot) error {
	l, err := s.Here().mustLink(o.Link)
	if err != nil {
		return err
	}
	if !o.MAC.Valid() {
		return refuse(o.Link, ErrInvalid)
	}
	l.MAC = o.MAC
	return nil
}

func (o SetMTU) apply(s *Snapshot) error {
	l, err := s.Here().mustLink(o.Link)
	if err != nil {
		return err
	}
	if o.MTU < minMTU || o.MTU > maxMTU {
		return refuse(o.Link, ErrInvalid)
	}
	l.MTU = o.MTU
	return nil
}

func (o WaitUp) apply(s *Snapshot) error {
	n := s.Here()
	l, err := n.mustLink(o.Link)
	if err != nil {
		return err
	}
	n.settle()
	if l.OperState != "up" && l.OperState != "unknown" {
		return refuse(o.Link, ErrBusy)
	}
	return nil
}

func (o RedirectIngress) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.From); err != nil {
		return err
	}
	_, err := n.mustLink(o.To)
	return err
}

// EndRedirect leaves nothing in the snapshot, as its beginning did.
func (o EndRedirect) apply(*Snapshot) error { return nil }
