package iproute

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

type neighbourRow struct {
	Dst    string          `json:"dst"`
	Dev    string          `json:"dev"`
	MAC    string          `json:"lladdr"`
	Router json.RawMessage `json:"router"` // the key alone, with null
	Proxy  json.RawMessage `json:"proxy"`
	State  []string        `json:"state"`
}

type fdbRow struct {
	MAC    string `json:"mac"`
	Link   string `json:"ifname"`
	Dev    string `json:"dev"` // before iproute2 4.20
	VLAN   uint16 `json:"vlan"`
	Master string `json:"master"`
	State  string `json:"state"`
	Remote string `json:"dst"`
}

type vlanRow struct {
	Link  string `json:"ifname"`
	VLANs []struct {
		ID    uint16   `json:"vlan"`
		End   uint16   `json:"vlanEnd"`
		Flags []string `json:"flags"`
	} `json:"vlans"`
}

// portRow is a bridge's port as "bridge -d -j link" prints it; it stands in where
// "ip link" was given without -d.
type portRow struct {
	Link   string `json:"ifname"`
	Master string `json:"master"`
	infoData
}

// read makes a namespace of its sections, as far as they are there.
func (n *namespace) read() (model.Namespace, []string, error) {
	out := model.Namespace{Name: n.name, Links: []model.Link{}, Addresses: []model.Address{}, Routes: []model.Route{}, FDB: []model.FDBEntry{}}
	var lacks []string
	for _, w := range wanted {
		if len(n.all(w.part)) == 0 && (w.part != partLink || !n.detailed()) {
			lacks = append(lacks, w.lacks+" ('"+w.part+"')")
		}
	}
	for _, part := range []func(*model.Namespace) error{n.readLinks, n.readRoutes, n.readNeighbours, n.readPorts} {
		if err := part(&out); err != nil {
			return out, nil, err
		}
	}
	n.readText(&out)
	if err := n.readExtras(&out); err != nil {
		return out, nil, err
	}
	if len(n.all(partVLAN)) == 0 && slices.ContainsFunc(out.Links, func(l model.Link) bool { return l.Bridge != nil && l.Bridge.VLANFiltering }) {
		lacks = append(lacks, "the VLANs that its bridge keeps apart ('"+partVLAN+"')")
	}
	return out, lacks, nil
}

// detailed tells whether the output of "ip addr" has the kinds of links, which -d adds.
func (n *namespace) detailed() bool {
	return slices.ContainsFunc(n.all(partAddress), func(s section) bool { return strings.Contains(string(s.text), `"linkinfo"`) })
}

func (n *namespace) readLinks(out *model.Namespace) error {
	links, err := rows[linkRow](n, partLink)
	if err != nil {
		return err
	}
	withAddresses, err := rows[linkRow](n, partAddress)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(links, linkRow.isReal) {
		links = withAddresses
	}
	names, seen := map[int]string{}, map[string]bool{}
	for _, r := range links {
		names[r.Index] = r.Name
	}
	for _, r := range links {
		if !r.isReal() || seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		l := r.link(names, n.name)
		if r.NetNSID != nil && l.Kind == model.Veth {
			r.Name = l.Name
			n.far = append(n.far, r)
		} else if r.NetNSID != nil && l.Parent == nil && r.LinkIndex != 0 {
			r.Name = l.Name
			n.lower = append(n.lower, r)
		}
		out.Links = append(out.Links, l)
	}
	for _, r := range withAddresses {
		name, _, _ := strings.Cut(r.Name, "@")
		for _, row := range r.AddressInfo {
			if a, ok := row.address(name); ok {
				out.Addresses = append(out.Addresses, a)
			}
		}
	}
	return nil
}

func (n *namespace) readRoutes(out *model.Namespace) error {
	for _, part := range []string{partRoute, partRoute6} {
		list, err := rows[routeRow](n, part)
		if err != nil {
			return err
		}
		for _, r := range list {
			rt, ok := r.route(part == partRoute6)
			// "ip route show table all" prints both families, where it was not told one.
			if ok && !slices.ContainsFunc(out.Routes, func(o model.Route) bool { return part == partRoute6 && sameRoute(o, rt) }) {
				out.Routes = append(out.Routes, rt)
			}
		}
	}
	for family, part := range map[int]string{4: partRule, 6: partRule6} {
		list, err := rows[ruleRow](n, part)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Src != "" {
				out.Rules = append(out.Rules, r.rule(family))
			}
		}
	}
	return nil
}

func sameRoute(a, b model.Route) bool {
	return a.Table == b.Table && a.Destination == b.Destination && a.Metric == b.Metric && a.Type == b.Type && a.From == b.From && slices.Equal(a.NextHops, b.NextHops)
}

func (n *namespace) readNeighbours(out *model.Namespace) error {
	list, err := rows[neighbourRow](n, partNeighbour)
	if err != nil {
		return err
	}
	for _, r := range list {
		a := address(r.Dst)
		if !a.IsValid() {
			continue
		}
		nb := model.Neighbour{Link: r.Dev, Address: a, MAC: model.MAC(r.MAC), Router: r.Router != nil, Proxy: r.Proxy != nil, State: "none"}
		if len(r.State) > 0 {
			nb.State = strings.ToLower(r.State[0])
		}
		out.Neighbours = append(out.Neighbours, nb)
	}
	entries, err := rows[fdbRow](n, partFDB)
	if err != nil {
		return err
	}
	for _, r := range entries {
		e := model.FDBEntry{Link: orElse(r.Link, r.Dev), MAC: model.MAC(r.MAC), Master: r.Master, VLAN: r.VLAN, Remote: address(r.Remote)}
		if r.State == "permanent" || r.State == "static" {
			e.State = r.State
		}
		if e.Link != "" {
			out.FDB = append(out.FDB, e)
		}
	}
	return nil
}

// readPorts adds what bridge(8) knows about ports.
func (n *namespace) readPorts(out *model.Namespace) error {
	ports, err := rows[portRow](n, partBridgeLink)
	if err != nil {
		return err
	}
	for _, p := range ports {
		name, _, _ := strings.Cut(p.Link, "@")
		if l := out.Link(name); l != nil && l.Port == nil && p.Master != "" && l.Kind != model.Bridged {
			l.Master, l.Port = p.Master, portOf(p.infoData)
		}
	}
	vlans, err := rows[vlanRow](n, partVLAN)
	if err != nil {
		return err
	}
	for _, v := range vlans {
		l := out.Link(v.Link)
		if l == nil || l.Port == nil {
			continue
		}
		// They mean something only where the bridge filters by them.
		if m := out.Link(l.Master); m == nil || m.Bridge == nil || !m.Bridge.VLANFiltering {
			continue
		}
		for _, r := range v.VLANs {
			for id := r.ID; id <= max(r.ID, r.End) && id < 4095; id++ {
				l.Port.VLANs = append(l.Port.VLANs, model.PortVLAN{ID: id, PVID: slices.Contains(r.Flags, "PVID"), Untagged: slices.Contains(r.Flags, "Egress Untagged")})
			}
		}
	}
	return nil
}

// readText reads what is not JSON: settings, and who holds taps.
func (n *namespace) readText(out *model.Namespace) {
	for _, s := range n.all(partSysctl) {
		for line := range strings.Lines(string(s.text)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			key = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(key), "net."), ".", "/") // as sysctl(8) writes it
			if ok {
				if out.Settings == nil {
					out.Settings = map[string]string{}
				}
				out.Settings[key] = strings.TrimSpace(value)
			}
		}
	}
	names := map[int]string{}
	for _, s := range n.all(partMachines) {
		for line := range strings.Lines(string(s.text)) {
			if pid, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				if pid, err := strconv.Atoi(pid); err == nil {
					names[pid] = model.MachineName([]string{"-name", name})
				}
			}
		}
	}
	for _, s := range n.all(partHolders) {
		for line := range strings.Lines(string(s.text)) {
			f := strings.Fields(line)
			if len(f) < 3 {
				continue
			}
			pid, err := strconv.Atoi(f[1])
			if l := out.Link(f[0]); err == nil && l != nil && l.Tap != nil {
				l.Tap.Holders = append(l.Tap.Holders, model.Holder{PID: pid, Command: strings.Join(f[2:], " "), Name: names[pid]})
			}
		}
	}
}

func (n *namespace) text(part string) string {
	for _, s := range n.all(part) {
		return strings.TrimSpace(string(s.text))
	}
	return ""
}

func (n *namespace) host() string {
	return orElse(strings.SplitN(n.text(partHostname), "\n", 2)[0], "host")
}
