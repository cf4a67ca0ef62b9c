package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
)

// passages are those that the networks need: one in each filter of others that drops what it
// does not know, and that their packets pass. Those are the packets that the host forwards
// for them, with br_netfilter also the frames that their bridges do, and the questions to a
// network's own name server. What else of the host machines reach, its firewall decides.
func (b *builder) passages(w *wanted) (out []model.Passage) {
	if b.here().SecurityUnseen { // then what we made is the best that is known
		return slices.DeleteFunc(slices.Clone(b.own.Passages), func(p model.Passage) bool {
			return !slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool { return wb.network == p.Network })
		})
	}
	for _, f := range b.here().Firewalls {
		if f.Drops == "" {
			continue
		}
		for _, wb := range w.bridges {
			p := model.Passage{Network: wb.network, Firewall: f.Name, Input: f.Input, Before: f.End}
			switch {
			case f.Name == model.Firewalld:
				p.Zone, p.Crossings = b.zone(wb, f)
			case f.Input:
				p.Crossings = w.served(wb, f)
			default:
				p.Crossings = b.crossings(w, wb, f)
			}
			if len(p.Crossings) > 0 {
				out = append(out, p)
			}
		}
	}
	return out
}

// crossings are the pairs of links between which a network's packets pass a filter of what is
// forwarded.
func (b *builder) crossings(w *wanted, wb wantedBridge, f model.Firewall) (out []model.Crossing) {
	add := func(in, to string) {
		if c := (model.Crossing{In: in, Out: to}); !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	for _, six := range []bool{false, true} {
		if six && !f.IPv6 || !six && !f.IPv4 {
			continue
		}
		if b.filtersBridges(six) {
			add(wb.name, wb.name)
		}
		if wb.via != "" {
			add(wb.name, wb.via)
			add(wb.via, wb.name)
		}
		if !wb.opens() || !hasFamily(*wb.forwarding, six) {
			continue
		}
		for _, l := range b.outward(w, six) {
			add(wb.name, l)
			add(l, wb.name)
		}
	}
	return out
}

// filtersBridges tells whether br_netfilter shows the filters of IP what a bridge forwards.
func (b *builder) filtersBridges(six bool) bool {
	key := "bridge/bridge-nf-call-iptables"
	if six {
		key = "bridge/bridge-nf-call-ip6tables"
	}
	return b.here().Settings[key] == "1"
}

// served are the ports of the host's that a network's machines ask at, and that a filter of
// the host's own packets sees: those of its name server. DHCP is heard by a packet socket,
// before any filter.
func (w *wanted) served(wb wantedBridge, f model.Firewall) (out []model.Crossing) {
	s := w.service(wb.network)
	if s == nil || s.DNS == nil || !slices.ContainsFunc(s.DNS.Listen, func(a netip.Addr) bool { return a.Is4() && f.IPv4 || a.Is6() && f.IPv6 }) {
		return nil
	}
	for _, protocol := range []string{"tcp", "udp"} {
		out = append(out, model.Crossing{In: wb.name, Protocol: protocol, Port: 53})
	}
	return out
}

// zone is the zone of firewalld that a network's links are to be in, and those of them that
// the zone is not known of yet. A zone is for all that comes in by a link, for the host as
// well as for others: so a network has one for both.
//
// A bridge that the host is on a LAN by, or that is routed to one, is in the zone of that LAN:
// what goes between links of a zone passes. Machines behind the host are trusted, as what
// they may is our own rules' to say. What somebody has put into a zone stays there.
func (b *builder) zone(wb wantedBridge, f model.Firewall) (zone string, out []model.Crossing) {
	filtered := b.filtersBridges(false) || b.filtersBridges(true)
	links := []string{wb.name}
	switch lan := f.Zones[wb.uplink]; {
	case wb.via != "":
		zone = orSame(f.Zones[wb.via], f.Zones[""])
		links = append(links, wb.via)
	case wb.uplink != "" && (filtered || lan != "" && lan != f.Zones[""]):
		zone = orSame(lan, f.Zones[""])
	case wb.uplink == "" && (filtered || wb.opens()):
		zone = "trusted"
	}
	for _, l := range links {
		mine := b.own.zoned(l)
		if is := f.Zones[l]; zone != "" && (is == "" || mine && is == zone) {
			out = append(out, model.Crossing{In: l})
		}
	}
	return zone, out
}

// zoned tells whether a link was put into a zone by us.
func (o *Owned) zoned(link string) bool {
	return slices.ContainsFunc(o.Passages, func(p model.Passage) bool {
		return p.Zone != "" && slices.Contains(p.Crossings, model.Crossing{In: link})
	})
}

// openPassages opens those that are not as they should be.
func (b *builder) openPassages(w *wanted) {
	if b.here().SecurityUnseen {
		return
	}
	for _, p := range b.passages(w) {
		if why := b.locked(p); why != "" {
			b.note("%s drops what comes from or goes to network %s: %s. %s. Let it through: %s", p.Firewall, p.Network, b.here().FirewallOf(p).Drops, why, strings.Join(passageCommands(model.OpenPassage{Passage: p}), "; "))
			continue
		}
		open, is := b.here().Passage(p)
		if open {
			if !slices.ContainsFunc(b.own.Passages, p.Same) {
				b.own.record(model.OpenPassage{Passage: p}, &b.now)
			}
			continue
		}
		// Taken away first, so that what is undone brings the former one back.
		if is != nil {
			was := *is
			was.Misplaced = false
			if was.Check() != nil { // it cannot be told any more what it was
				was = p
			}
			b.step("Take network "+p.Network+" out of "+PlaceOf(p), "It is to pass there otherwise, or somebody changed its rules.", model.ClosePassage{Passage: was})
		}
		b.step("Let network "+p.Network+" through "+PlaceOf(p), b.passageWhy(w, p), model.OpenPassage{Passage: p})
	}
}

func (b *builder) passageWhy(w *wanted, p model.Passage) string {
	drops := b.here().FirewallOf(p).Drops
	routed := slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool { return wb.network == p.Network && wb.via != "" })
	switch {
	case p.Zone == "trusted":
		return "There " + drops + ", and an accept of our own table does not overrule that. Machines of this network are trusted there: what they may, our own rules say. It is told to firewalld as it runs, and nothing is written to its files."
	case p.Zone != "":
		return "There " + drops + ". What goes between links of one zone passes: the machines are on that LAN, and so they are in its zone. It is told to firewalld as it runs, and nothing is written to its files."
	case p.Input:
		return "There " + drops + ", also what machines ask the name server of their own network. These rules come after all of its own, and let through those questions only."
	case routed:
		return "There " + drops + ", also what is routed between the LAN and the machines. These rules come after all of its own, and name these two links only. Everything else of it stays as it is."
	default:
		return "There " + drops + ", and an accept of our own table does not overrule that. These rules come after all of its own, and name the links of this network only; what they let through, our own rules have looked at. Everything else of it stays as it is."
	}
}

// PlaceOf names the place of a passage: "the FORWARD of iptables-nft", "the chain inet
// filter forward", "firewalld, in its zone trusted".
func PlaceOf(p model.Passage) string {
	if p.Zone != "" {
		return p.Firewall + ", in its zone " + p.Zone
	}
	if chain, nft := strings.CutPrefix(p.Firewall, "nft "); nft {
		return "the chain " + chain
	}
	return "the " + forward.IptablesChain(p.Input) + " of " + p.Firewall
}

// locked says why a passage cannot be made by us, "" if it can.
func (b *builder) locked(p model.Passage) string {
	switch f := b.here().FirewallOf(p); {
	case p.Zone != "" && b.opt.NoFirewalld != "":
		return b.opt.NoFirewalld
	case p.Zone == "" && f.Locked:
		return "Only the program that made that table may change it"
	}
	return ""
}

// closePassages takes those away that no network needs any more.
func (b *builder) closePassages(w *wanted) {
	wanted := b.passages(w)
	for _, p := range slices.Clone(b.own.Passages) {
		if slices.ContainsFunc(wanted, p.At) {
			continue
		}
		if b.here().FirewallOf(p) == nil && !b.here().SecurityUnseen { // it went, and ours with it
			b.own.record(model.ClosePassage{Passage: p}, &b.now)
			continue
		}
		b.step("Take network "+p.Network+" out of "+PlaceOf(p), "Nothing of the network passes there any more: it is as before.", model.ClosePassage{Passage: p})
	}
}

// passageCommands are for iptables(8), nft(8) and firewall-cmd(1), nil for any other operation.
func passageCommands(op model.Operation) (out []string) {
	switch op := op.(type) {
	case model.OpenPassage:
		p := op.Passage
		for i, c := range p.Crossings {
			chain, nft := strings.CutPrefix(p.Firewall, "nft ")
			switch {
			case p.Zone != "":
				out = append(out, fmt.Sprintf("firewall-cmd --zone=%s --add-interface=%s", p.Zone, c.In))
			case nft && p.Before > 0: // counted from 0 on
				out = append(out, fmt.Sprintf("nft insert rule %s index %d %s", chain, p.Before-1+i, forward.NFTRule(p.Network, c).Text()))
			case nft:
				out = append(out, fmt.Sprintf("nft add rule %s %s", chain, forward.NFTRule(p.Network, c).Text()))
			case p.Before > 0:
				out = append(out, fmt.Sprintf("%s -I %s %d %s", p.Firewall, forward.IptablesChain(p.Input), p.Before+i, forward.Rule(p.Network, c)))
			default:
				out = append(out, fmt.Sprintf("%s -A %s %s", p.Firewall, forward.IptablesChain(p.Input), forward.Rule(p.Network, c)))
			}
		}
	case model.ClosePassage:
		p := op.Passage
		if chain, nft := strings.CutPrefix(p.Firewall, "nft "); nft {
			return []string{fmt.Sprintf("for h in $(nft -a list chain %s | sed -n 's/.*\"%s\" # handle //p'); do nft delete rule %s handle $h; done", chain, forward.Comment(p.Network), chain)}
		}
		for _, c := range p.Crossings {
			if p.Zone != "" {
				out = append(out, fmt.Sprintf("firewall-cmd --zone=%s --remove-interface=%s", p.Zone, c.In))
			} else {
				out = append(out, fmt.Sprintf("%s -D %s %s", p.Firewall, forward.IptablesChain(p.Input), forward.Rule(p.Network, c)))
			}
		}
	}
	return out
}

// Passes tells whether a bridge has, or gets, a passage through the chains of others that
// frames between its ports come through.
func (p Plan) Passes(bridge string) bool {
	return slices.ContainsFunc(p.Owned.Passages, func(x model.Passage) bool {
		return slices.Contains(x.Crossings, model.Crossing{In: bridge, Out: bridge}) || x.Zone != "" && slices.Contains(x.Crossings, model.Crossing{In: bridge})
	})
}
