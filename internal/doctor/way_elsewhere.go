package doctor

import (
	"fmt"
	"net/netip"
)

// Way is where the kernel sends what machines of a network send into the world.
type Way struct {
	Network string
	Link    string // the network's bridge
	// Uplink is where they are hosts of the LAN; "" for a network behind NAT.
	Uplink string
	From   netip.Addr
	// Out is the link that it leaves by.
	Out string
	// Gateway of the LAN that the uplink is on, where one is known.
	Gateway netip.Addr
}

// wayElsewhere: a VPN that takes the host's default route takes the machines' as well.
var wayElsewhere = Check{
	ID:    "way-elsewhere",
	Title: "A VPN has taken the machines' way out",
	Shows: "machines reach the LAN, and nothing beyond it",
	Knows: "the kernel was asked by which link a packet from a machine leaves (RTM_GETROUTE). Of a routed network it must be the uplink: beyond a VPN nobody knows addresses of the LAN. Of a network behind NAT it may be any, and must forward what comes back; that is switched on for the links that there were",
	Mends: "behind NAT: drawbridge up, or watch with heal: true. Routed: a rule of the routing policy lets what comes from the machines leave by the LAN's own gateway; or the network is made one of mode: nat",
	Needs: []Fact{FactWays},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, w := range h.Facts.Ways {
			family := "IPv4"
			if w.From.Is6() {
				family = "IPv6"
			}
			f := Finding{Object: w.Network, Severity: Broken, Sure: Certain,
				Seen: []string{fmt.Sprintf("%s: from %s, in by %s, it leaves by %s", family, w.From, w.Link, w.Out)}}
			switch {
			case w.Uplink == "" && !h.forwardsBack(w):
				f.What = fmt.Sprintf("network %s leaves by %s, and what comes back by it is not forwarded (%s)", w.Network, w.Out, family)
				f.Mend = byHand("let it be forwarded: the rules and the settings of the network follow", "drawbridge up")
			case w.Uplink != "" && w.Out != w.Uplink:
				f.What = fmt.Sprintf("what machines of network %s send beyond the LAN leaves by %s, where nobody knows their addresses (%s)", w.Network, w.Out, family)
				f.Mend = byHand("let them leave by the LAN's own gateway, whatever the host does; or use mode: nat, and they are behind "+w.Out+" with its address", ownWay(w)...)
			default:
				continue
			}
			out = append(out, f)
		}
		return out
	},
}

func (h *Host) forwardsBack(w Way) bool {
	if w.From.Is4() {
		return h.setting("ipv4/conf/"+w.Out+"/forwarding") != "0"
	}
	return h.setting("ipv6/conf/all/forwarding") == "1" || h.setting("ipv6/conf/"+w.Out+"/force_forwarding") == "1"
}

// ownWay are the commands by which what comes from a bridge takes the LAN's gateway. All else
// that the main table knows goes first: its default routes are left out, also those in halves
// (0.0.0.0/1) that some VPNs make.
func ownWay(w Way) []string {
	ip, gateway := "ip", "GATEWAY"
	if w.From.Is6() {
		ip = "ip -6"
	}
	if w.Gateway.IsValid() {
		gateway = w.Gateway.String()
	}
	return []string{
		fmt.Sprintf("%s route add default via %s dev %s table 19700", ip, gateway, w.Uplink),
		fmt.Sprintf("%s rule add pref 5100 iif %s lookup main suppress_prefixlength 1", ip, w.Link),
		fmt.Sprintf("%s rule add pref 5101 iif %s lookup 19700", ip, w.Link),
	}
}
