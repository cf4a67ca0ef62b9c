package plan

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// What must follow a host's addresses to another interface, besides its routes: the
// rules of the routing policy that name it, and what keeps SLAAC addresses alive.

// waitRouter is how long an answer to a router solicitation may take, in milliseconds:
// half a second, but 3 s where the router has just advertised (RFC 4861, 6.2.6).
const waitRouter = 3500

// copyRules makes the rules that name one link be in force for another as well.
func (b *builder) copyRules(from, to string) {
	var rules []model.Rule
	for _, r := range b.here().RulesOf(from) {
		// "not ... iif eth0" is for all that does not come by eth0: a twin beside it would
		// leave nothing that neither of them matches.
		if strings.HasPrefix(r.Selector, "not ") {
			continue // internal/preflight tells of it
		}
		rules = append(rules, r)
	}
	if len(rules) == 0 {
		return
	}
	b.step(fmt.Sprintf("Give the rules that name %s a twin that names %s", from, to),
		fmt.Sprintf("The host's traffic comes and goes by %s from now on, and must be routed by the same rules.", to),
		model.CopyRules{From: from, To: to, Rules: rules})
}

// dropRules takes the twins away again.
func (b *builder) dropRules(u OwnedUplink) {
	var ours []model.Rule
	for _, r := range b.own.Rules {
		if r.Names(u.Bridge) && slices.Contains(b.here().Rules, r) {
			ours = append(ours, r)
		}
	}
	if len(ours) > 0 {
		b.step("Delete the rules that name "+u.Bridge, fmt.Sprintf("The host's traffic comes and goes by %s again.", u.Name),
			model.DeleteRules{Link: u.Bridge, Rules: ours, Of: u.Name})
	}
	b.own.Rules = slices.DeleteFunc(b.own.Rules, func(r model.Rule) bool { return r.Names(u.Bridge) })
}

// keepAutoconf sees to it that what router advertisements gave to one link goes on being
// refreshed on another: its addresses, before they are moved, and its default routes.
func (b *builder) keepAutoconf(from, to string, moving []model.Address, routes []model.Route) {
	learned := addresses(moving, func(a model.Address) bool { return a.Origin == model.RA && a.Lifetime != nil })
	hasRoute := slices.ContainsFunc(routes, func(r model.Route) bool { return r.Protocol == "ra" && r.Expires != 0 })
	if len(learned) == 0 && !hasRoute {
		return
	}
	b.hearRouters(from, to)
	if len(learned) > 0 {
		b.keepIdentifier(from, to, learned)
	}
}

// hearRouters lets a link hear advertisements where its settings would not: somebody else
// than the kernel did it on the old one (NetworkManager, systemd-networkd), and does not
// know the new one.
func (b *builder) hearRouters(from, to string) {
	if hears(b.here(), to) {
		return
	}
	b.step(fmt.Sprintf("Let %s hear router advertisements", to),
		fmt.Sprintf("%s has addresses or routes from them that run out unless they are refreshed, and the kernel did not do it there.", from),
		model.SetSetting{Path: "ipv6/conf/" + to + "/accept_ra", Value: "2"})
	b.note("something else than the kernel hears router advertisements at %s; on %s the kernel does", from, to)
}

// hears is ipv6_accept_ra: 1 counts for a host, 2 for a router as well.
func hears(ns *model.Namespace, link string) bool {
	accept, known := ns.Settings["ipv6/conf/"+link+"/accept_ra"]
	return !known || accept == "2" || accept == "1" && ns.Settings["ipv6/conf/"+link+"/forwarding"] != "1"
}

// keepIdentifier makes a link form the very addresses that the other one has. It does by
// itself where they are made of the MAC address, which it has too. A stable-privacy one
// (RFC 7217) is made of the device's permanent MAC address, and a bridge has none: the
// next advertisement would make another address, and refresh the old one no more.
func (b *builder) keepIdentifier(from, to string, learned []model.Address) {
	mac := b.here().Link(from).MAC
	var tokens []string
	for _, a := range learned {
		if id := identifier(a.Prefix.Addr()); a.Prefix.Bits() == 64 && !slices.Contains(tokens, id) {
			tokens = append(tokens, id)
		}
	}
	mode := b.here().Settings["ipv6/conf/"+to+"/addr_gen_mode"]
	switch {
	case len(tokens) == 0, len(tokens) == 1 && tokens[0] == eui64(mac) && (mode == "" || mode == "0"):
		return
	case len(tokens) > 1:
		b.note("the SLAAC addresses of %s end in different identifiers (%s): %s can go on with the first only, the others run out and are made anew", from, strings.Join(tokens, ", "), to)
	}
	b.step(fmt.Sprintf("Let %s make its addresses with %s", to, tokens[0]),
		fmt.Sprintf("The SLAAC address of %s is not made of its MAC address. With its interface identifier, %s refreshes it rather than making another.", from, to),
		model.SetToken{Link: to, Token: tokens[0]})
}

// identifier is the lower half of an address, as ip-token(8) writes it.
func identifier(a netip.Addr) string {
	b := a.As16()
	clear(b[:8])
	return netip.AddrFrom16(b).String()
}

// eui64 is the identifier that is made of a MAC address, RFC 4291, appendix A.
func eui64(mac model.MAC) string {
	m, err := hex.DecodeString(strings.ReplaceAll(string(mac), ":", ""))
	if err != nil || len(m) != 6 {
		return ""
	}
	var b [16]byte
	copy(b[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(b).String()
}

// solicit makes the kernel's own default route out of the one that stands in for it.
func (b *builder) solicit(link string) {
	if slices.ContainsFunc(b.here().RoutesOf(link), model.Route.IsInterimRA) && hears(b.here(), link) {
		b.step(fmt.Sprintf("Ask for router advertisements on %s", link),
			"The moved default route stands in for the kernel's own, which comes with the next advertisement: asked for, it comes at once.",
			model.SolicitRouters{Link: link, Timeout: waitRouter})
	}
}

// joinGroups makes a bridge hear what programs hear on its uplink, before the uplink is
// plugged in: not one datagram is missed.
func (b *builder) joinGroups(uplink, bridge string) {
	groups := b.opt.Multicast[uplink]
	if len(groups) == 0 {
		return
	}
	b.step(fmt.Sprintf("Let %s hear the multicast groups of %s", bridge, uplink),
		fmt.Sprintf("Programs have joined %s on %s, and hear it there only. A small process of ours joins on %s until 'down'; the kernel then gives what arrives to those programs as well.", groupList(groups), uplink, bridge),
		model.JoinGroups{From: uplink, To: bridge, Groups: groups})
	if u := b.own.uplinkOf(bridge); u != nil {
		u.Groups = groups
	}
}

// leaveGroups ends that: on the uplink the programs never left them.
func (b *builder) leaveGroups(u OwnedUplink) {
	if len(u.Groups) > 0 {
		if o := b.own.uplinkOf(u.Bridge); o != nil {
			o.Groups = nil
		}
		b.step("Leave the multicast groups on "+u.Bridge, fmt.Sprintf("The programs that joined %s hear it on %s again.", groupList(u.Groups), u.Name),
			model.LeaveGroups{From: u.Name, To: u.Bridge, Groups: u.Groups})
	}
}

func groupList(groups []netip.Addr) string {
	words := make([]string, len(groups))
	for i, g := range groups {
		words[i] = g.String()
	}
	return strings.Join(words, ", ")
}

// followCommands are the commands for what follows the addresses.
func followCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.CopyRules:
		return each(model.Renamed(op.Rules, op.From, op.To), func(r model.Rule) string { return "ip" + ruleFamily(r) + " rule add " + ruleWords(r) })
	case model.DeleteRules:
		return each(op.Rules, func(r model.Rule) string { return "ip" + ruleFamily(r) + " rule del " + ruleWords(r) })
	case model.SetToken:
		return []string{fmt.Sprintf("ip token set %s dev %s", op.Token, op.Link)}
	case model.JoinGroups:
		return each(op.Groups, func(g netip.Addr) string { return "socat -u " + listener(op.To, g) + " - &" })
	case model.LeaveGroups:
		return each(op.Groups, func(g netip.Addr) string { return fmt.Sprintf("pkill -f '%s'", listener(op.To, g)) })
	case model.SolicitRouters:
		return []string{"rdisc6 -1 " + op.Link, fmt.Sprintf("ip -6 route del default dev %s proto ra metric %d", op.Link, model.MetricInterimRA)}
	}
	return nil
}

// listener is the address of socat(1) that joins a group on a link.
func listener(link string, group netip.Addr) string {
	if group.Is4() {
		return fmt.Sprintf("UDP4-RECV:0,ip-add-membership=%s:%s", group, link)
	}
	return fmt.Sprintf("UDP6-RECV:0,ipv6-join-group=[%s]:%s", group, link)
}

func ruleFamily(r model.Rule) string {
	if r.Family == 6 {
		return " -6"
	}
	return ""
}

func ruleWords(r model.Rule) string {
	return fmt.Sprintf("%s priority %d %s", r.Selector, r.Priority, r.Action)
}
