package iproute

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// linkRow is a link as "ip -d -j link" and "ip -d -j addr" print it
// (iproute2, ip/ipaddress.c, print_linkinfo).
type linkRow struct {
	Index     int      `json:"ifindex"`
	Name      string   `json:"ifname"`
	Link      string   `json:"link"`
	LinkIndex int      `json:"link_index"`
	NetNSID   *int     `json:"link_netnsid"`
	Flags     []string `json:"flags"`
	MTU       int      `json:"mtu"`
	Qdisc     string   `json:"qdisc"`
	Master    string   `json:"master"`
	OperState string   `json:"operstate"`
	Group     string   `json:"group"`
	Type      string   `json:"link_type"`
	Address   string   `json:"address"`
	Alias     string   `json:"ifalias"`
	Info      linkInfo `json:"linkinfo"`
	// AddressInfo is in the rows of "ip addr".
	AddressInfo []addressRow `json:"addr_info"`
}

type linkInfo struct {
	Kind      string          `json:"info_kind"`
	Data      json.RawMessage `json:"info_data"`
	SlaveKind string          `json:"info_slave_kind"`
	SlaveData json.RawMessage `json:"info_slave_data"`
}

// infoData has the keys of info_data and info_slave_data that the model knows, of all
// kinds together; each kind sets its own.
type infoData struct {
	// bridge (ip/iplink_bridge.c), times in hundredths of a second
	STP           int    `json:"stp_state"`
	ForwardDelay  uint32 `json:"forward_delay"`
	AgeingTime    uint32 `json:"ageing_time"`
	VLANFiltering int    `json:"vlan_filtering"`
	Snooping      int    `json:"mcast_snooping"`
	Querier       int    `json:"mcast_querier"`
	// bridge port (ip/iplink_bridge_slave.c)
	State    string `json:"state"`
	Priority any    `json:"priority"`
	Cost     uint32 `json:"cost"`
	Hairpin  bool   `json:"hairpin"`
	Guard    bool   `json:"guard"`
	Learning bool   `json:"learning"`
	Flood    bool   `json:"flood"`
	Isolated bool   `json:"isolated"`
	Locked   bool   `json:"locked"`
	// tun (ip/iptuntap.c)
	TunType    string `json:"type"`
	PacketInfo bool   `json:"pi"`
	VnetHeader bool   `json:"vnet_hdr"`
	MultiQueue bool   `json:"multi_queue"`
	Persistent bool   `json:"persist"`
	User       any    `json:"user"`
	Group      any    `json:"group"` // of a tun; a vxlan's multicast group
	// vlan, macvlan, ipvlan, bond, vrf, tunnels
	Protocol string `json:"protocol"`
	Active   string `json:"active_slave"`
	ID       uint32 `json:"id"`
	Mode     any    `json:"mode"`
	Table    any    `json:"table"`
	Link     string `json:"link"`
	Local    any    `json:"local"`
	Remote   any    `json:"remote"`
	Remote6  any    `json:"remote6"`
	Group6   any    `json:"group6"`
	Local6   any    `json:"local6"`
	Port     any    `json:"port"`
	InputKey any    `json:"ikey"`
}

// isReal leaves out the empty objects that iproute2 prints for what it filtered out.
func (r linkRow) isReal() bool { return r.Name != "" }

func (r linkRow) link(known map[int]string, ns string) model.Link {
	name, _, _ := strings.Cut(r.Name, "@") // iproute2 before 5.0 wrote "eth0@if5" here
	l := model.Link{
		Name: name, Index: r.Index, MTU: r.MTU, Up: slices.Contains(r.Flags, "UP"), Carrier: slices.Contains(r.Flags, "LOWER_UP"),
		OperState: strings.ToLower(r.OperState), Group: groupNumber(r.Group), Qdisc: r.Qdisc, Alias: r.Alias, Master: r.Master,
	}
	if m := model.MAC(strings.ToLower(r.Address)); m.Valid() {
		l.MAC = m
	}
	var d infoData
	_ = json.Unmarshal(orEmpty(r.Info.Data), &d) // a key of another type is left as it is not known
	l.Kind = r.kind(d)
	r.setDetails(&l, d)
	if r.Info.SlaveKind == "bridge" {
		var p infoData
		_ = json.Unmarshal(orEmpty(r.Info.SlaveData), &p)
		l.Port = portOf(p)
	}
	lower := r.Link
	if lower == "" && r.LinkIndex != 0 && r.NetNSID == nil {
		lower = known[r.LinkIndex]
	}
	if lower == "" {
		lower = d.Link // a vxlan's own device
	}
	switch ref := (model.Ref{Namespace: ns, Name: lower}); {
	case lower == name:
	case l.Kind == model.Veth && (lower != "" || r.LinkIndex != 0):
		if r.NetNSID != nil {
			ref = model.Ref{} // in another namespace: see pairVeths
		}
		l.Peer = &ref
	case lower != "":
		l.Parent = &ref
	}
	return l
}

func orEmpty(b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("{}")
	}
	return b
}

func (r linkRow) kind(d infoData) model.Kind {
	switch k := r.Info.Kind; {
	case k == "tun" && d.TunType == "tap":
		return model.TapKind
	case k == "tun":
		return model.TunKind
	case k != "":
		return model.Kind(k)
	case r.Type == "loopback":
		return model.Loopback
	case r.Type == "ether":
		if strings.HasPrefix(r.Name, "wl") { // systemd.net-naming-scheme(7); ip does not tell
			return model.Wireless
		}
		return model.Physical
	default:
		return model.Kind(r.Type)
	}
}

func (r linkRow) setDetails(l *model.Link, d infoData) {
	switch l.Kind {
	case model.Bridged:
		l.Bridge = &model.Bridge{STP: d.STP != 0, ForwardDelay: d.ForwardDelay, AgeingTime: d.AgeingTime,
			VLANFiltering: d.VLANFiltering != 0, McastSnooping: d.Snooping != 0, McastQuerier: d.Querier != 0}
	case model.TapKind, model.TunKind:
		l.Tap = &model.Tap{Persistent: d.Persistent, PacketInfo: d.PacketInfo, VnetHeader: d.VnetHeader, MultiQueue: d.MultiQueue}
		l.Tap.OwnerName, l.Tap.Owner = account(d.User)
		l.Tap.GroupName, l.Tap.Group = account(d.Group)
	case model.VLANKind:
		l.VLAN = &model.VLAN{ID: uint16(d.ID), Protocol: strings.ToLower(d.Protocol)}
	case model.Macvlan, model.Macvtap, model.IPvlan, model.Bond, "ipvtap":
		l.Mode, l.ActivePort = word(d.Mode), d.Active
	case model.VRF:
		l.VRFTable = number(d.Table)
	case model.VXLAN, model.Geneve:
		l.Tunnel = &model.Tunnel{ID: d.ID, Port: uint16(number(d.Port)), Local: firstAddress(d.Local, d.Local6), Remote: firstAddress(d.Remote, d.Remote6, d.Group, d.Group6)}
	case model.GRE, model.Gretap, model.IPIP, model.SIT:
		l.Tunnel = &model.Tunnel{ID: number(d.InputKey), Local: firstAddress(d.Local), Remote: firstAddress(d.Remote)}
	}
}

func portOf(p infoData) *model.BridgePort {
	return &model.BridgePort{State: strings.ToLower(p.State), Cost: p.Cost, Priority: uint16(number(p.Priority)), Learning: p.Learning,
		Flood: p.Flood, Hairpin: p.Hairpin, Isolated: p.Isolated, Locked: p.Locked, Guard: p.Guard}
}

// account is a user or group, by name or by number.
func account(v any) (string, *uint32) {
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseUint(v, 10, 32); err == nil {
			id := uint32(n)
			return "", &id
		}
		return v, nil
	case float64:
		id := uint32(v)
		return "", &id
	default:
		return "", nil
	}
}

func word(v any) string {
	s, _ := v.(string)
	return s
}

// number reads what is a number, or one in a string: "0x8000", "10".
func number(v any) uint32 {
	switch v := v.(type) {
	case float64:
		return uint32(v)
	case string:
		if n, err := strconv.ParseUint(v, 0, 32); err == nil {
			return uint32(n)
		}
		if a := address(v); a.Is4() { // a GRE key is printed like an address
			b := a.As4()
			return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		}
	}
	return 0
}

func firstAddress(vs ...any) string {
	for _, v := range vs {
		if a := address(word(v)); a.IsValid() && !a.IsUnspecified() {
			return a.String()
		}
	}
	return ""
}

// groupNumber of a link group: "default", or a number (/etc/iproute2/group).
func groupNumber(s string) uint32 {
	n, _ := strconv.ParseUint(s, 0, 32)
	return uint32(n)
}

// findLower finds the lower links that are in another namespace: of a macvlan, an ipvlan or
// a VLAN that was moved. It is told by its index there; who made them is mostly the first
// namespace, so it is looked for there, and else where one only has a link of that index.
func findLower(s *model.Snapshot, spaces []*namespace) {
	for i, ns := range spaces {
		for _, r := range ns.lower {
			var found []model.Ref
			for j, o := range s.Namespaces {
				for _, l := range o.Links {
					if l.Index == r.LinkIndex && j != i && l.Kind != model.Loopback {
						found = append(found, model.Ref{Namespace: o.Name, Name: l.Name})
					}
				}
			}
			if len(found) == 1 || len(found) > 1 && found[0].Namespace == "" {
				s.Namespaces[i].Link(r.Name).Parent = &found[0]
			}
		}
	}
}

// half is one half of a veth pair that is across namespaces, with the other's index.
type half struct{ space, index, peer int }

// pairVeths finds the halves of pairs that are in two namespaces. Each tells the index of
// the other, and by which id its namespace knows the other's; what the ids of the first
// namespace mean is told by "ip netns list". Without that, two halves are a pair if no
// others tell the same two indexes.
func pairVeths(s *model.Snapshot, spaces []*namespace) error {
	ids, err := rows[struct {
		Name string `json:"name"`
		ID   *int   `json:"id"`
	}](spaces[0], partNetns)
	if err != nil {
		return err
	}
	halves := map[half]string{}
	for i, ns := range spaces {
		for _, r := range ns.far {
			halves[half{i, r.Index, r.LinkIndex}] = r.Name
		}
	}
	pair := func(i int, name string, j int, peer string) {
		a, b := s.Namespaces[i].Link(name), s.Namespaces[j].Link(peer)
		a.Peer, b.Peer = &model.Ref{Namespace: spaces[j].name, Name: peer}, &model.Ref{Namespace: spaces[i].name, Name: name}
	}
	for _, id := range ids {
		j := slices.IndexFunc(spaces, func(n *namespace) bool { return n.name == id.Name })
		for _, r := range spaces[0].far {
			if peer, ok := halves[half{j, r.LinkIndex, r.Index}]; ok && id.ID != nil && *id.ID == *r.NetNSID {
				pair(0, r.Name, j, peer)
			}
		}
	}
	for i, ns := range spaces {
		for _, r := range ns.far {
			var others []int
			for j := range spaces {
				if _, ok := halves[half{j, r.LinkIndex, r.Index}]; ok && j != i && *s.Namespaces[j].Link(halves[half{j, r.LinkIndex, r.Index}]).Peer == (model.Ref{}) {
					others = append(others, j)
				}
			}
			if len(others) == 1 && *s.Namespaces[i].Link(r.Name).Peer == (model.Ref{}) {
				pair(i, r.Name, others[0], halves[half{others[0], r.LinkIndex, r.Index}])
			}
		}
	}
	return nil
}
