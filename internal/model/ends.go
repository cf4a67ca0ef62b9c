package model

// wireKind is what the wire end of a kind of link is in.
type wireKind int

const (
	wireLAN        wireKind = iota // an Ethernet, while it has a carrier
	wireOwnSegment                 // the bridge's
	wirePeer                       // the other half of a pair
	wireParent                     // another link
	wireTunnel                     // a far address
	wireHolder                     // a process that has it open, as a tun's
	wireDatapath                   // Open vSwitch's
	wireNothing                    // none ever
)

// wire tells what the wire end of a kind is in. An unknown kind is taken for an Ethernet.
func (k Kind) wire() wireKind {
	switch k {
	case Bridged:
		return wireOwnSegment
	case Veth, "vxcan", "netkit":
		return wirePeer
	case VLANKind, Macvlan, Macvtap, IPvlan, "ipvtap", "macsec":
		return wireParent
	case VXLAN, Geneve, GRE, Gretap, IPIP, SIT, Wireguard,
		"ip6tnl", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "vti", "vti6", "xfrm", "ppp", "bareudp", "gtp", "amt", "l2tpeth":
		return wireTunnel
	case TunKind:
		return wireHolder
	case openVSwitch:
		return wireDatapath
	case TapKind, Dummy, IFB, "nlmon", "vcan":
		return wireNothing
	}
	return wireLAN
}

// openVSwitch is the kind of the datapath's own device and of the switch's internal ports
// (net/openvswitch/vport-internal_dev.c). All switches are in one datapath: which ports
// belong to which one, ovs-vswitchd alone knows.
const openVSwitch Kind = "openvswitch"

const ovsDatapath = "ovs-system"

// isDatapath: its ports have it as master (net/openvswitch/vport-netdev.c).
func (l *Link) isDatapath() bool { return l.Kind == openVSwitch && l.Name == ovsDatapath }
