package model

import (
	"net/netip"
	"slices"
	"testing"
)

func at(link, prefix string) Address {
	return Address{Link: link, Prefix: netip.MustParsePrefix(prefix), Origin: Static}
}

// A host with a LAN by its own bridge, one behind NAT, and one that it routes only.
func TestWhatIsBehindTheHost(t *testing.T) {
	s := snapshotWith(
		Link{Name: "eth0", Kind: Physical, Up: true, Carrier: true, Master: "br0"},
		Link{Name: "br0", Kind: Bridged, Up: true, Carrier: true},
		Link{Name: "br1", Kind: Bridged, Up: true, Carrier: true},
		Link{Name: "br2", Kind: Bridged, Up: true, Carrier: true},
	)
	ns := s.Here()
	ns.Addresses = []Address{at("br0", "198.18.0.5/24"), at("br1", "198.19.1.1/24"), at("br2", "198.19.2.1/24")}
	ns.Routes = []Route{{Table: TableMain, Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []NextHop{{Link: "br0", Gateway: netip.MustParseAddr("198.18.0.1")}}}}
	ns.SourceNAT = []SourceNAT{{From: netip.MustParsePrefix("198.19.1.0/24"), Out: "br0"}}
	w := Wire(s)
	if w.Stack("host").Forwards {
		t.Error("it routes without being told to")
	}
	for id, want := range map[string]string{"bridge:br0": "", "bridge:br1": "", "bridge:br2": ""} {
		if got := w.Segment(id).Behind; got != want {
			t.Errorf("not routing, %s is behind %q", id, got)
		}
	}
	ns.Settings = map[string]string{"ipv4/ip_forward": "1"}
	w = Wire(s)
	if !w.Stack("host").Forwards {
		t.Error("it does not route")
	}
	for id, want := range map[string]string{"bridge:br0": "", "bridge:br1": BehindNAT, "bridge:br2": BehindRouter} {
		if got := w.Segment(id).Behind; got != want {
			t.Errorf("%s is behind %q, want %q", id, got, want)
		}
	}
	if nat := w.Interface("host/br0").NAT; len(nat) != 1 {
		t.Errorf("br0 hides %v", nat)
	}
	ns.Addresses = ns.Addresses[:1]
	if w = Wire(s); w.Stack("host").Forwards {
		t.Error("with one address there is nothing to route between")
	}
}

// A domain whose gateway is this very host is behind it: containers say so.
func TestContainersBehindTheirGateway(t *testing.T) {
	s := snapshotWith(Link{Name: "eth0", Kind: Physical, Up: true, Carrier: true}, Link{Name: "docker0", Kind: Bridged, Up: true, Carrier: true},
		Link{Name: "veth1", Kind: Veth, Up: true, Carrier: true, Master: "docker0", Peer: &Ref{Namespace: "docker:web", Name: "eth0"}})
	ns := s.Here()
	ns.Addresses = []Address{at("eth0", "198.18.0.5/24"), at("docker0", "198.19.0.1/24")}
	ns.Settings = map[string]string{"ipv4/ip_forward": "1"}
	ns.SourceNAT = []SourceNAT{{From: netip.MustParsePrefix("198.19.0.0/24"), NotOut: "docker0"}}
	s.Namespaces = append(s.Namespaces, Namespace{Name: "docker:web", Container: &Container{Runtime: "docker", Name: "web"},
		Links:     []Link{{Name: "eth0", Kind: Veth, Up: true, Carrier: true, Peer: &Ref{Name: "veth1"}}},
		Addresses: []Address{at("eth0", "198.19.0.2/24")}, Settings: map[string]string{"ipv4/ip_forward": "1"},
		Routes: []Route{{Table: TableMain, Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.19.0.1")}}}}})
	w := Wire(s)
	if got := w.Segment("bridge:docker0").Behind; got != BehindNAT {
		t.Errorf("docker0's LAN is behind %q", got)
	}
	if w.Stack("netns:docker:web").Forwards {
		t.Error("a container with one address routes")
	}
}

func TestOpenVSwitch(t *testing.T) {
	w := Wire(snapshotWith(
		Link{Name: "ovs-system", Kind: "openvswitch"}, Link{Name: "br-int", Kind: "openvswitch", Up: true, Carrier: true},
		Link{Name: "eth0", Kind: Physical, Up: true, Carrier: true, Master: "ovs-system"},
	))
	if w.Interface("host/ovs-system") != nil || w.Segment("bridge:ovs-system") == nil {
		t.Error("the datapath is not a segment")
	}
	if got := w.Interface("host/eth0").HostEnd; got != (End{InSegment, "bridge:ovs-system"}) {
		t.Errorf("its port's host end is in %v", got)
	}
	if got := w.Interface("host/br-int").WireEnd; got != (End{InSegment, "bridge:ovs-system"}) {
		t.Errorf("its internal port's wire end is in %v", got)
	}
}

func TestMachineName(t *testing.T) {
	for want, args := range map[string][]string{
		"web": {"/usr/bin/kvm", "-S", "-name", "guest=web,debug-threads=on"}, "vm1": {"qemu", "-name", "vm1,process=kvm"}, "db": {"linux", "mem=64M", "umid=db"},
		"fc": {"firecracker", "--id", "fc"}, "": {"qemu", "-name"}, "lk": {"lkvm", "run", "--name", "lk"},
	} {
		if got := MachineName(args); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// guest gives a host br1 with the machine web on it.
func guest(s *Snapshot) {
	ns := s.Here()
	ns.Links = append(ns.Links, Link{Name: "br1", Kind: Bridged, Up: true, Carrier: true, Bridge: &Bridge{}}, Link{Name: "tap1", Kind: TapKind, Up: true, Carrier: true, Master: "br1"})
	s.Machines = []Machine{{Name: "web", VMM: "uml", NICs: []MachineNIC{{Name: "eth1", Link: Ref{Name: "tap1"}}}}}
}

func natHost() Snapshot {
	s := snapshotWith(Link{Name: "eth0", Kind: Physical, Up: true, Carrier: true})
	guest(&s)
	ns := s.Here()
	ns.Addresses = []Address{at("eth0", "198.18.0.5/24"), at("br1", "198.18.7.1/24")}
	ns.Routes = []Route{{Table: TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}}}
	ns.Settings = map[string]string{"ipv4/ip_forward": "0", "ipv4/conf/eth0/forwarding": "1", "ipv4/conf/br1/forwarding": "1"}
	return s
}

// Whom the host hides is told where packets leave: not where they come from, and not of the
// helpers by which a published port is reached by localhost, or by its own network.
func TestNATIsAtTheWayOut(t *testing.T) {
	for name, c := range map[string]struct {
		rules     []SourceNAT
		eth0, br1 []netip.Prefix
	}{
		"by where it does not leave": {[]SourceNAT{{From: prefixes("198.18.7.0/24")[0], NotOut: "br1"}}, prefixes("198.18.7.0/24"), nil},
		"by the link":                {[]SourceNAT{{From: prefixes("198.18.7.0/24")[0], Out: "eth0"}}, prefixes("198.18.7.0/24"), nil},
		"all by the link":            {[]SourceNAT{{Out: "eth0"}}, []netip.Prefix{{}}, nil},
		"anywhere":                   {[]SourceNAT{{From: prefixes("198.18.7.0/24")[0]}}, prefixes("198.18.7.0/24"), nil},
		"another family":             {[]SourceNAT{{From: prefixes("2001:db8:7::/64")[0], NotOut: "br1"}}, nil, nil},
		"helpers": {[]SourceNAT{{From: prefixes("127.0.0.0/8")[0], Out: "br1"}, {From: prefixes("198.18.7.0/24")[0], Out: "br1"},
			{From: prefixes("198.18.7.0/24")[0], NotOut: "br1"}, {From: prefixes("198.18.7.0/24")[0], Out: "eth0"}}, prefixes("198.18.7.0/24"), nil},
	} {
		s := natHost()
		s.Here().SourceNAT = c.rules
		w := Wire(s)
		if got := w.Interface("host/eth0").NAT; !slices.Equal(got, c.eth0) {
			t.Errorf("%s: eth0 hides %v, want %v", name, got, c.eth0)
		}
		if got := w.Interface("host/br1").NAT; !slices.Equal(got, c.br1) {
			t.Errorf("%s: br1 hides %v, want %v", name, got, c.br1)
		}
	}
}
