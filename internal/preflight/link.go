package preflight

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Membership is a multicast group that a link has joined.
type Membership struct {
	Link  string
	Group netip.Addr
}

// automatic are the groups that the kernel joins by itself on every link.
var automatic = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.1/32"), netip.MustParsePrefix("224.0.0.2/32"), netip.MustParsePrefix("224.0.0.106/32"),
	netip.MustParsePrefix("ff01::1/128"), netip.MustParsePrefix("ff01::2/128"),
	netip.MustParsePrefix("ff02::1/128"), netip.MustParsePrefix("ff02::2/128"), netip.MustParsePrefix("ff02::6a/128"), netip.MustParsePrefix("ff05::2/128"),
	netip.MustParsePrefix("ff02::1:ff00:0/104"), // solicited-node groups follow their addresses
}

// memberships: a group is joined on a link (ip_mc_join_group), not by the host. Those that
// the plan sees to go on, but for a socket that wants to hear by this very link only.
func (c *checker) memberships() {
	var lost, kept []netip.Addr
	for _, group := range Joined(c.Facts.Memberships)[c.move.From] {
		if c.seenTo(group) {
			kept = append(kept, group)
		} else {
			lost = append(lost, group)
		}
	}
	for _, group := range lost {
		c.add(Warn, c.move.From, fmt.Sprintf("a program has joined the multicast group %s on it, and does not hear it on %s", group, c.move.To),
			"start that program anew afterwards")
	}
	if four := slices.IndexFunc(kept, netip.Addr.Is4); four >= 0 && c.move.Plug {
		c.add(Note, c.move.From, fmt.Sprintf("programs have joined multicast groups on it (%s, for one): they go on hearing them by %s, but for one that has cleared IP_MULTICAST_ALL", kept[four], c.move.To),
			"start such a program anew afterwards")
	}
}

// seenTo tells whether a process of ours hears a group on the other link, or on this one
// until now.
func (c *checker) seenTo(group netip.Addr) bool {
	return slices.ContainsFunc(c.Groups, func(o model.JoinGroups) bool {
		return (o.From == c.move.From || o.To == c.move.From) && slices.Contains(o.Groups, group)
	})
}

// Joined lists the groups that programs have joined, by link: those that the kernel joins
// by itself on every link are left out.
func Joined(all []Membership) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, m := range all {
		own := slices.ContainsFunc(automatic, func(p netip.Prefix) bool { return p.Contains(m.Group) })
		if !own && !slices.Contains(out[m.Link], m.Group) {
			out[m.Link] = append(out[m.Link], m.Group)
		}
	}
	for _, groups := range out {
		slices.SortFunc(groups, netip.Addr.Compare)
	}
	return out
}

// temporary: IFA_F_TEMPORARY cannot be set by hand (inet6_rtm_newaddr masks it).
func (c *checker) temporary() {
	for _, a := range c.Before.Here().AddressesOf(c.move.From) {
		if a.Flags.Temporary && c.move.Host {
			c.add(Note, c.move.From, fmt.Sprintf("%s is a temporary address (RFC 8981): it cannot be moved; the kernel makes a new one on %s, and connections from the old one end", a.Prefix, c.move.To), "")
		}
	}
}

// rules: a routing policy rule goes by the name of the interface. The plan gives each a twin
// that names the bridge, but for "not ... iif eth0": a twin beside that would leave nothing
// that neither of them matches.
func (c *checker) rules() {
	for _, r := range c.Before.Here().Rules {
		if r.IIF != c.move.From && r.OIF != c.move.From || !strings.HasPrefix(r.Selector, "not ") {
			continue
		}
		family := ""
		if r.Family == 6 {
			family = "-6 "
		}
		rule := fmt.Sprintf("priority %d %s %s", r.Priority, r.Selector, r.Action)
		c.add(Warn, c.move.From, "the routing rule also matches what comes and goes by "+c.move.To+" from now on: "+rule,
			fmt.Sprintf("write it for %s: ip %srule add %s", c.move.To, family, c.replace(rule)))
	}
}

// bridgeFilter: with br_netfilter, frames that a bridge forwards pass through iptables'
// FORWARD (br_nf_forward_ip).
func (c *checker) bridgeFilter() {
	on := false
	if c.Passes != nil && c.Passes(c.move.To) {
		return
	}
	for _, name := range []string{"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
		on = on || c.Before.Here().Settings[name] == "1"
	}
	for _, chain := range c.Facts.Firewall.ForwardDrop {
		if on {
			c.add(Warn, c.move.To, fmt.Sprintf("frames between its ports pass through the firewall (br_netfilter), and %s drops by default: machines would reach the host only", chain),
				"sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, or allow them: iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT")
		}
	}
}

// Mount is a line of /proc/mounts.
type Mount struct{ Source, Point, Type, Options string }

var networkFilesystems = []string{"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "9p"}

// rootOverNetwork: where / comes by the uplink, a moment without it stops this program too.
func (c *checker) rootOverNetwork() {
	for _, m := range c.Facts.Mounts {
		if m.Point != "/" {
			continue
		}
		by := ""
		switch server := m.server(); {
		case slices.Contains(networkFilesystems, m.Type) && server.IsValid():
			if way, ok := c.Before.Here().WayTo(server); ok && way.Link == c.move.From {
				by = fmt.Sprintf("%s from %s", m.Type, server)
			}
		case slices.Contains(networkFilesystems, m.Type):
			by = m.Type + " from " + m.Source
		case strings.HasPrefix(m.Source, "/dev/nbd"):
			by = "a network block device, " + m.Source
		case c.Facts.ISCSI && strings.HasPrefix(m.Source, "/dev/"):
			by = "a disk that may be iSCSI's, " + m.Source
		}
		if by != "" {
			c.add(Warn, c.move.From, fmt.Sprintf("the root file system may come by it (%s): if the move fails half-way, nothing can be read that would mend it", by),
				"do it from the console, with --confirm")
		}
	}
}

// server is the address that a network file system is mounted from, invalid if unknown.
func (m Mount) server() netip.Addr {
	for o := range strings.SplitSeq(m.Options, ",") {
		if v, ok := strings.CutPrefix(o, "addr="); ok {
			a, _ := netip.ParseAddr(v)
			return a
		}
	}
	host := strings.TrimPrefix(m.Source, "//")
	if i := strings.LastIndex(host, ":/"); i > 0 {
		host = host[:i]
	} else {
		host, _, _ = strings.Cut(host, "/")
	}
	a, _ := netip.ParseAddr(strings.Trim(host, "[]"))
	return a
}

// Heard is a frame of a switch's.
type Heard struct {
	Link     string
	Protocol string // stp or lldp
	From     model.MAC
	Detail   string
}

func (c *checker) heard() {
	for _, h := range c.Facts.Heard {
		if h.Link != c.move.From {
			continue
		}
		if h.Protocol == "stp" {
			c.add(Warn, h.Link, fmt.Sprintf("the switch there speaks the spanning tree protocol (%s from %s): if its port has BPDU guard, a machine that sends a BPDU gets the port shut, for the bridge forwards what it does not speak itself", h.Detail, h.From),
				fmt.Sprintf("keep BPDUs of machines off the wire: nft add table bridge drawbridge '{ chain out { type filter hook postrouting priority 0; oifname %q ether daddr 01:80:c2:00:00:00 drop; }; }'", h.Link))
			continue
		}
		c.add(Note, h.Link, fmt.Sprintf("is plugged into %s (LLDP from %s)", h.Detail, h.From), "")
	}
}
