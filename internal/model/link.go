package model

import (
	"strconv"
	"strings"
)

// MAC is a hardware address in lower-case colon form, "" when a link has none.
type MAC string

// Valid tells whether it is six octets in colon form.
func (m MAC) Valid() bool {
	octets := strings.Split(string(m), ":")
	for _, o := range octets {
		if _, err := strconv.ParseUint(o, 16, 8); err != nil || len(o) != 2 {
			return false
		}
	}
	return len(octets) == 6
}

// Unicast tells whether it can be a NIC's own: valid, not a group's (the first octet's
// lowest bit, IEEE 802), and not all zero.
func (m MAC) Unicast() bool {
	if !m.Valid() || m == "00:00:00:00:00:00" {
		return false
	}
	first, _ := strconv.ParseUint(string(m[:2]), 16, 8) // valid: two hex digits
	return first&1 == 0
}

// Kind is what a link is. A kind that is not named here is kept as the kernel
// writes it in IFLA_INFO_KIND, and shown as itself.
type Kind string

// The kinds that this program knows the two ends of.
const (
	Physical  Kind = "physical" // no IFLA_INFO_KIND, ARPHRD_ETHER
	Wireless  Kind = "wireless" // physical, with a phy80211
	Loopback  Kind = "loopback"
	Bridged   Kind = "bridge"
	TapKind   Kind = "tap" // IFLA_INFO_KIND "tun" in tap mode
	TunKind   Kind = "tun"
	Veth      Kind = "veth"
	VLANKind  Kind = "vlan"
	Bond      Kind = "bond"
	Team      Kind = "team"
	Macvlan   Kind = "macvlan"
	Macvtap   Kind = "macvtap"
	IPvlan    Kind = "ipvlan"
	VXLAN     Kind = "vxlan"
	Dummy     Kind = "dummy"
	IFB       Kind = "ifb"
	VRF       Kind = "vrf"
	GRE       Kind = "gre"
	Gretap    Kind = "gretap"
	IPIP      Kind = "ipip"
	SIT       Kind = "sit"
	Geneve    Kind = "geneve"
	Wireguard Kind = "wireguard"
)

// Link is one network interface.
type Link struct {
	Name string `json:"name"`
	// Index is the kernel's number for it: it may differ tomorrow, and nothing is
	// named by it. The journal notes it to know our own object from a stranger's.
	Index int  `json:"index,omitempty"`
	Kind  Kind `json:"kind"`
	MAC   MAC  `json:"mac,omitempty"`
	MTU   int  `json:"mtu,omitempty"` // bytes
	// Up is IFF_UP, what the administrator asked for.
	Up bool `json:"up"`
	// Carrier is IFF_LOWER_UP: the wire end is plugged in and alive.
	Carrier bool `json:"carrier"`
	// OperState is RFC 2863's state in the kernel's lower-case words: up, down,
	// lowerlayerdown, dormant, unknown ...
	OperState string `json:"oper_state,omitempty"`
	Group     uint32 `json:"group,omitempty"`
	Qdisc     string `json:"qdisc,omitempty"`
	Alias     string `json:"alias,omitempty"`
	// Driver is the kernel driver of a physical link, "" if unknown.
	Driver string `json:"driver,omitempty"`
	// Master is the bridge, bond, team or VRF that the host end is plugged into.
	Master string `json:"master,omitempty"`
	// Parent is the link that the wire end is plugged into: a VLAN's, macvlan's,
	// ipvlan's lower link, a vxlan's device.
	Parent *Ref `json:"parent,omitempty"`
	// Peer is the other half of a veth pair. Name is "" when only its index in
	// another namespace, which was not observed, is known.
	Peer *Ref `json:"peer,omitempty"`

	Bridge *Bridge     `json:"bridge,omitempty"` // of a bridge
	Port   *BridgePort `json:"port,omitempty"`   // of a bridge's port
	Tap    *Tap        `json:"tap,omitempty"`    // of a tap or tun
	VLAN   *VLAN       `json:"vlan,omitempty"`   // of a VLAN
	Tunnel *Tunnel     `json:"tunnel,omitempty"` // of vxlan, geneve, gre, ipip, sit
	// Managers are the programs beside us that see to it, the surest known first, where they
	// were looked for (internal/manager).
	Managers []Manager `json:"managers,omitempty"`
	// Mode is a macvlan's, ipvlan's or bond's mode in ip-link's words.
	Mode string `json:"mode,omitempty"`
	// ActivePort is the member that a bond in active-backup mode sends by.
	ActivePort string `json:"active_port,omitempty"`
	// Token is the interface identifier that SLAAC addresses are made with, "::5", where
	// somebody set one (ip-token(8)).
	Token string `json:"token,omitempty"`
	// VRFTable is the routing table of a VRF.
	VRFTable uint32 `json:"vrf_table,omitempty"`
}

// Bridge holds a bridge's settings (IFLA_BR_*). Times are in hundredths of a second,
// as the kernel counts them.
type Bridge struct {
	STP           bool   `json:"stp"`
	ForwardDelay  uint32 `json:"forward_delay"`
	AgeingTime    uint32 `json:"ageing_time,omitempty"`
	VLANFiltering bool   `json:"vlan_filtering,omitempty"`
	McastSnooping bool   `json:"mcast_snooping,omitempty"`
	McastQuerier  bool   `json:"mcast_querier,omitempty"`
	// VLANs of the bridge's own interface. Read only where the firewall is.
	VLANs []PortVLAN `json:"vlans,omitempty"`
}

// BridgePort holds the settings of a link as a bridge's port (IFLA_BRPORT_*).
type BridgePort struct {
	// State in the words of bridge(8): disabled, listening, learning, forwarding, blocking.
	State    string     `json:"state"`
	Cost     uint32     `json:"cost,omitempty"`
	Priority uint16     `json:"priority,omitempty"`
	Learning bool       `json:"learning"`
	Flood    bool       `json:"flood"`
	Hairpin  bool       `json:"hairpin,omitempty"`
	Isolated bool       `json:"isolated,omitempty"`
	Locked   bool       `json:"locked,omitempty"`
	Guard    bool       `json:"guard,omitempty"` // BPDU guard
	VLANs    []PortVLAN `json:"vlans,omitempty"`
}

// PortVLAN is one VLAN of a bridge's port.
type PortVLAN struct {
	ID       uint16 `json:"id"`
	PVID     bool   `json:"pvid,omitempty"`
	Untagged bool   `json:"untagged,omitempty"`
}

// Tap holds the settings of a tap or tun (IFLA_TUN_*), and who has its wire end.
type Tap struct {
	// Owner and Group may open it without CAP_NET_ADMIN; nil: nobody.
	Owner      *uint32  `json:"owner,omitempty"`
	OwnerName  string   `json:"owner_name,omitempty"`
	Group      *uint32  `json:"group,omitempty"`
	GroupName  string   `json:"group_name,omitempty"`
	Persistent bool     `json:"persistent"`
	PacketInfo bool     `json:"packet_info,omitempty"`
	VnetHeader bool     `json:"vnet_header,omitempty"`
	MultiQueue bool     `json:"multi_queue,omitempty"`
	Holders    []Holder `json:"holders,omitempty"`
}

// Holder is a process that has a tap's descriptor open: it has the wire end.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // /proc/PID/comm
	// Name is what the virtual machine that it runs was called by who started it.
	Name string `json:"name,omitempty"`
	// Machine is the machine that the process is, "" if it is no known one.
	Machine string `json:"machine,omitempty"`
}

// VLAN is an 802.1Q or 802.1ad tag.
type VLAN struct {
	ID       uint16 `json:"id"`
	Protocol string `json:"protocol,omitempty"` // 802.1q or 802.1ad
}

// Tunnel tells where an encapsulating link leads.
type Tunnel struct {
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	ID     uint32 `json:"id,omitempty"` // VNI or key
	Port   uint16 `json:"port,omitempty"`
	// Peers of a wireguard; Remote is that of the only one.
	Peers int `json:"peers,omitempty"`
}

// Counters are what went by a link since it was made.
type Counters struct {
	ReceivedFrames uint64 `json:"received_frames"`
	ReceivedBytes  uint64 `json:"received_bytes"`
	SentFrames     uint64 `json:"sent_frames"`
	SentBytes      uint64 `json:"sent_bytes"`
}

// FarEnd is the same, as who has the other end of the cable sees it.
func (c Counters) FarEnd() Counters {
	return Counters{c.SentFrames, c.SentBytes, c.ReceivedFrames, c.ReceivedBytes}
}
