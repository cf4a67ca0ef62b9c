package iproute

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// The parts of a bundle that other programs tell, where they are there.
const (
	partNft       = "nft -j list ruleset"
	partIptables  = "iptables-save -t nat"
	partWireguard = "wg show all endpoints"
	partLeases    = "leases" // what DHCP clients have noted down
	partActive    = "active" // TEAM INDEX: the port that a team sends by, of teamnl(8)
)

// Extras is what programs beside ip(8) and bridge(8) know of a host's network, as they
// print it; each may be empty.
type Extras struct {
	Nft       []byte // nft -j list ruleset
	Iptables  []byte // iptables-save -t nat
	Wireguard []byte // wg show all endpoints
	// Leases are lines of the files of DHCP clients: of dhclient.leases(5), and of those of
	// systemd-networkd and NetworkManager.
	Leases []byte
	// Active has a line TEAM INDEX for each team with an active port.
	Active []byte
}

// Apply adds them to a namespace.
func (e Extras) Apply(n *model.Namespace) error {
	wireguard(n, string(e.Wireguard))
	leases(n, string(e.Leases))
	activePorts(n, string(e.Active))
	nat, err := SourceNAT(e.Nft, e.Iptables)
	n.SourceNAT = nat
	return err
}

// wireguard notes the peers' endpoints: "wg0<TAB>KEY<TAB>198.18.0.9:51820", or "(none)"; wg
// leaves the name out where it is that of the line before.
func wireguard(n *model.Namespace, text string) {
	name := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 2 && name != "" {
			f = append([]string{name}, f...)
		}
		if len(f) != 3 {
			continue
		}
		name = f[0]
		l := n.Link(f[0])
		if l == nil || l.Kind != model.Wireguard {
			continue
		}
		if l.Tunnel == nil {
			l.Tunnel = &model.Tunnel{}
		}
		l.Tunnel.Peers++
		if at, err := netip.ParseAddrPort(f[2]); err == nil {
			l.Tunnel.Remote = at.Addr().String()
		}
		if l.Tunnel.Peers > 1 {
			l.Tunnel.Remote = "" // there is no one far end
		}
	}
}

// leases notes which server each address was leased by.
func leases(n *model.Namespace, text string) {
	servers := map[netip.Addr]netip.Addr{}
	var leased, server netip.Addr
	note := func() {
		if leased.IsValid() && server.IsValid() {
			servers[leased] = server
			leased, server = netip.Addr{}, netip.Addr{}
		}
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		for _, key := range []string{"fixed-address ", "ADDRESS="} {
			if v, ok := strings.CutPrefix(line, key); ok {
				leased = address(v)
			}
		}
		for _, key := range []string{"option dhcp-server-identifier ", "SERVER_ADDRESS="} {
			if v, ok := strings.CutPrefix(line, key); ok {
				server = address(v)
			}
		}
		note()
	}
	for i := range n.Addresses {
		a := &n.Addresses[i]
		if a.Origin == model.DHCP {
			a.Server = servers[a.Prefix.Addr()]
		}
	}
}

func activePorts(n *model.Namespace, text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		index, err := strconv.Atoi(f[1])
		team := n.Link(f[0])
		at := slices.IndexFunc(n.Links, func(l model.Link) bool { return l.Index == index })
		if err == nil && team != nil && at >= 0 && n.Links[at].Master == team.Name {
			team.ActivePort = n.Links[at].Name
		}
	}
}

// readExtras applies what of them a bundle has.
func (n *namespace) readExtras(out *model.Namespace) error {
	e := Extras{
		Nft: []byte(n.text(partNft)), Iptables: []byte(n.text(partIptables)), Wireguard: []byte(n.text(partWireguard)),
		Leases: []byte(n.text(partLeases)), Active: []byte(n.text(partActive)),
	}
	if err := e.Apply(out); err != nil {
		return fmt.Errorf("%s: %w", partNft, err)
	}
	return nil
}
