package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// What iptables-nft keeps in the form that iptables-legacy has, because nf_tables has no
// words for it, or because it is old: structures of linux/netfilter/xt_*.h, in the byte order
// of the host. One of another revision or length is not understood.

// extension reads a match of iptables.
func (d *decoder) extension(b []byte) {
	name, revision, info := getString(findAttr(b, unix.NFTA_MATCH_NAME)), getBE32(findAttr(b, unix.NFTA_MATCH_REV)), findAttr(b, unix.NFTA_MATCH_INFO)
	understood := false
	switch name {
	case "comment":
		d.rule.Comment, understood = getString(info), true
	case "conntrack":
		understood = revision >= 2 && revision <= 3 && d.xtConntrack(info)
	case "tcp", "udp":
		understood = d.xtPorts(name, info)
	case "multiport":
		understood = revision == 1 && d.xtMultiport(info)
	case "mark", "connmark":
		understood = revision == 1 && d.xtMark(map[string]string{"mark": "mark", "connmark": "ct mark"}[name], info)
	case "addrtype":
		understood = revision == 1 && d.xtAddrType(info)
	case "icmp", "icmp6":
		understood = d.xtICMP(map[string]string{"icmp": "icmp", "icmp6": "icmpv6"}[name], info)
	case "mac":
		understood = d.xtMAC(info)
	}
	if !understood {
		d.unknown(name)
	}
}

// xtConntrack reads struct xt_conntrack_mtinfo2 or 3: eight addresses and masks, two times, a
// protocol, four ports, then which are asked for, which inverted, the masks of states and of
// statuses.
func (d *decoder) xtConntrack(info []byte) bool {
	const flags, inverted, states, statuses = 146, 148, 150, 152
	const ofState, ofStatus, alias = 1, 1 << 6, 1 << 13
	if len(info) < statuses+2 {
		return false
	}
	asked, not := native.Uint16(info[flags:]), native.Uint16(info[inverted:])
	state, status := uint32(native.Uint16(info[states:])), uint32(native.Uint16(info[statuses:]))
	if asked&^(ofState|ofStatus|alias) != 0 {
		return false
	}
	if asked&ofState != 0 {
		const snat, dnat, untracked, nftUntracked = 1 << 6, 1 << 7, 1 << 8, 1 << 6 // XT_CONNTRACK_STATE_*, NF_CT_STATE_UNTRACKED_BIT
		const ctSNAT, ctDNAT = 1 << 4, 1 << 5                                      // IPS_SRC_NAT, IPS_DST_NAT
		translated := (state&snat)>>6*ctSNAT | (state&dnat)>>7*ctDNAT
		plain := state&^(snat|dnat|untracked) | (state&untracked)>>8*nftUntracked
		switch {
		case translated != 0 && plain != 0: // one of two fields
			return false
		case translated != 0:
			d.ask(model.FirewallMatch{Key: "ct status", Not: not&ofState != 0, Values: ctWords("ct status", native.AppendUint32(nil, translated))})
		default:
			d.ask(model.FirewallMatch{Key: "ct state", Not: not&ofState != 0, Values: ctWords("ct state", native.AppendUint32(nil, plain))})
		}
	}
	if asked&ofStatus != 0 {
		d.ask(model.FirewallMatch{Key: "ct status", Not: not&ofStatus != 0, Values: ctWords("ct status", native.AppendUint32(nil, status))})
	}
	return true
}

// xtPorts reads struct xt_tcp or xt_udp: ranges of the source's and the destination's ports; of
// TCP an option and flags.
func (d *decoder) xtPorts(name string, info []byte) bool {
	at := map[string]int{"tcp": 11, "udp": 8}[name] // invflags
	if len(info) <= at || name == "tcp" && info[8] != 0 {
		return false
	}
	inverted := info[at]
	if inverted&^0x7 != 0 {
		return false
	}
	for i, field := range []string{"sport", "dport"} {
		from, to := native.Uint16(info[4*i:]), native.Uint16(info[4*i+2:])
		not := inverted&(1<<i) != 0
		if from == 0 && to == 0xffff && !not {
			continue
		}
		word := fmt.Sprintf("%d-%d", from, to)
		if from == to {
			word = fmt.Sprint(from)
		}
		d.ask(model.FirewallMatch{Key: name + " " + field, Not: not, Values: []string{word}})
	}
	if name == "tcp" && info[9] != 0 {
		d.ask(model.FirewallMatch{Key: "tcp flags", Not: inverted&4 != 0, Values: []string{fmt.Sprintf("%#x/%#x", info[10], info[9])}})
	}
	return true
}

// xtMultiport reads struct xt_multiport_v1: whose ports, how many, the ports, for each whether it
// begins a range, and whether all of it is inverted.
func (d *decoder) xtMultiport(info []byte) bool {
	const either, most, ports, ranges, inverted = 2, 15, 2, 32, 47
	if len(info) <= inverted || info[0] >= either || info[1] > most {
		return false
	}
	m := model.FirewallMatch{Key: "th " + []string{"sport", "dport"}[info[0]], Not: info[inverted] != 0, Values: []string{}}
	if d.layer4 == "tcp" || d.layer4 == "udp" {
		m.Key = d.layer4 + strings.TrimPrefix(m.Key, "th")
	}
	for i := 0; i < int(info[1]); i++ {
		word := fmt.Sprint(native.Uint16(info[ports+2*i:]))
		if info[ranges+i] != 0 {
			if i++; i >= int(info[1]) {
				return false
			}
			word += "-" + fmt.Sprint(native.Uint16(info[ports+2*i:]))
		}
		m.Values = append(m.Values, word)
	}
	d.ask(m)
	return true
}

// xtMark reads struct xt_mark_mtinfo1 or xt_connmark_mtinfo1: mark, mask, inverted.
func (d *decoder) xtMark(key string, info []byte) bool {
	if len(info) < 9 {
		return false
	}
	d.ask(model.FirewallMatch{Key: key, Not: info[8] != 0, Values: []string{fmt.Sprintf("%#x/%#x", getU32(info), getU32(info[4:]))}})
	return true
}

// xtAddrType reads struct xt_addrtype_info_v1: masks of types of the source and of the
// destination, and flags.
func (d *decoder) xtAddrType(info []byte) bool {
	const notSource, notDest = 1, 2
	if len(info) < 8 || getU32(info[4:])&^(notSource|notDest) != 0 {
		return false
	}
	for i, key := range []string{"fib saddr type", "fib daddr type"} {
		mask := native.Uint16(info[2*i:])
		if mask == 0 {
			continue
		}
		m := model.FirewallMatch{Key: key, Not: getU32(info[4:])&(1<<i) != 0}
		for n := range uint32(16) {
			if mask&(1<<n) != 0 {
				m.Values = append(m.Values, routeTypes.word(n))
			}
		}
		d.ask(m)
	}
	return true
}

// xtICMP reads struct ipt_icmp or ip6t_icmp: a type, a range of codes, inverted.
func (d *decoder) xtICMP(family string, info []byte) bool {
	if len(info) < 4 || info[3] > 1 {
		return false
	}
	anyType, anyCode := info[0] == 0xff, info[1] == 0 && info[2] == 0xff
	if info[3] != 0 && !anyCode { // not both together
		return false
	}
	names := map[string]words{"icmp": icmpNames, "icmpv6": icmpv6Names}[family]
	if !anyType || info[3] != 0 {
		d.ask(model.FirewallMatch{Key: family + " type", Not: info[3] != 0, Values: []string{names.word(uint32(info[0]))}})
	}
	if !anyCode {
		d.ask(model.FirewallMatch{Key: family + " code", Values: []string{fmt.Sprintf("%d-%d", info[1], info[2])}})
	}
	return true
}

// xtMAC reads struct xt_mac_info.
func (d *decoder) xtMAC(info []byte) bool {
	if len(info) < 12 {
		return false
	}
	d.ask(model.FirewallMatch{Key: "ether saddr", Not: getU32(info[8:]) != 0, Values: []string{string(formatMAC(info[:6]))}})
	return true
}

// harmless are targets of iptables that decide nothing about this packet.
var harmless = map[string]bool{
	"LOG": true, "NFLOG": true, "ULOG": true, "TCPMSS": true, "TCPOPTSTRIP": true, "CHECKSUM": true, "CLASSIFY": true, "AUDIT": true,
	"TRACE": true, "SECMARK": true, "CONNSECMARK": true, "DSCP": true, "TOS": true, "ECN": true, "RATEEST": true, "LED": true,
	"IDLETIMER": true, "TEE": true, "SET": true,
}

// target reads a target of iptables, and tells whether the rule is done with it.
func (d *decoder) target(b []byte) bool {
	name, info := getString(findAttr(b, unix.NFTA_TARGET_NAME)), findAttr(b, unix.NFTA_TARGET_INFO)
	revision := getBE32(findAttr(b, unix.NFTA_TARGET_REV))
	switch name {
	case "MASQUERADE", "SNAT", "DNAT", "REDIRECT":
		target, ok := xtRange(name, info)
		switch {
		case name == "MASQUERADE":
			return d.ends("masquerade", "")
		case !ok && name == "REDIRECT":
			return d.ends("?REDIRECT", "")
		}
		return d.ends(strings.ToLower(name), target)
	case "REJECT":
		return d.ends("reject", "")
	case "QUEUE", "NFQUEUE":
		return d.ends("queue", "")
	case "MARK":
		if revision == 2 && len(info) >= 8 { // struct xt_mark_tginfo2
			d.sets("mark", fmt.Sprintf("mark & %#x ^ %#x", ^getU32(info[4:]), getU32(info)))
			return false
		}
		d.sets("mark", "")
	case "CONNMARK":
		d.xtConnmark(revision, info)
	case "CT", "NOTRACK":
		if name == "NOTRACK" || len(info) >= 2 && native.Uint16(info)&1 != 0 { // XT_CT_NOTRACK
			d.sets("notrack", "")
		} else if len(info) < 4 || native.Uint16(info[2:]) != 0 { // a zone
			d.sets("ct state", "")
		}
	default:
		if harmless[name] {
			return false
		}
		d.unknown(name)
		return d.ends(model.MatchUnknown+name, "")
	}
	return false
}

// xtConnmark reads struct xt_connmark_tginfo1 or 2: three masks and what is to be done.
func (d *decoder) xtConnmark(revision uint32, info []byte) {
	const set, save, restore = 0, 1, 2
	at := map[uint32]int{1: 12, 2: 14}[revision] // 2 has a shift before it
	if at == 0 || len(info) <= at || at == 14 && info[13] != 0 {
		d.sets("mark", "")
		d.sets("ct mark", "")
		return
	}
	mark, mask, nfmask := getU32(info), getU32(info[4:]), getU32(info[8:])
	full := mask == 0xffffffff && nfmask == 0xffffffff
	switch to := ""; info[at] {
	case set:
		d.sets("ct mark", fmt.Sprintf("ct mark & %#x ^ %#x", ^mask, mark))
	case save:
		if full {
			to = "mark"
		}
		d.sets("ct mark", to)
	case restore:
		if full {
			to = "ct mark"
		}
		d.sets("mark", to)
	}
}
