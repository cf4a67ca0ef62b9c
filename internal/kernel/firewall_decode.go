package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// loaded is what an instruction has put into a register.
type loaded struct {
	key  string // in nft(8)'s words
	mask []byte // that was laid over it
	data []byte // of an immediate value
}

// decoder turns the instructions of a rule into what they ask and decide. What it does not
// know becomes a match that is not understood, so that nobody guesses.
type decoder struct {
	family   string
	is6      bool // an earlier match has said so
	loads    map[uint32]loaded
	elements func(set string) []setElement
	rule     model.FirewallRule
	out      []model.FirewallRule
}

// rules are those that one rule stands for: several where a map tells the verdict.
func (d *decoder) rules(expressions []byte) []model.FirewallRule {
	d.is6 = d.family == "ip6"
	_ = walk(expressions, func(_ uint16, e []byte) {
		d.expression(getString(findAttr(e, unix.NFTA_EXPR_NAME)), findAttr(e, unix.NFTA_EXPR_DATA))
	})
	return append(d.out, d.rule)
}

func (d *decoder) ask(m model.FirewallMatch) { d.rule.Matches = append(d.rule.Matches, m) }

func (d *decoder) unknown(name string) {
	d.ask(model.FirewallMatch{Key: model.MatchUnknown + name})
}

func (d *decoder) expression(name string, b []byte) {
	switch name {
	case "payload":
		d.loads[getBE32(findAttr(b, unix.NFTA_PAYLOAD_DREG))] = loaded{key: d.payload(b)}
	case "meta":
		if reg := findAttr(b, unix.NFTA_META_DREG); reg != nil {
			d.loads[getBE32(reg)] = loaded{key: metaKey(getBE32(findAttr(b, unix.NFTA_META_KEY)))}
		}
	case "ct":
		if reg := findAttr(b, unix.NFTA_CT_DREG); reg != nil {
			d.loads[getBE32(reg)] = loaded{key: ctKey(getBE32(findAttr(b, unix.NFTA_CT_KEY)))}
		}
	case "bitwise":
		l := d.loads[getBE32(findAttr(b, unix.NFTA_BITWISE_SREG))]
		l.mask = findAttr(findAttr(b, unix.NFTA_BITWISE_MASK), unix.NFTA_DATA_VALUE)
		d.loads[getBE32(findAttr(b, unix.NFTA_BITWISE_DREG))] = l
	case "cmp":
		d.compare(b)
	case "range":
		l := d.loads[getBE32(findAttr(b, unix.NFTA_RANGE_SREG))]
		from, to := findAttr(findAttr(b, unix.NFTA_RANGE_FROM_DATA), unix.NFTA_DATA_VALUE), findAttr(findAttr(b, unix.NFTA_RANGE_TO_DATA), unix.NFTA_DATA_VALUE)
		d.ask(model.FirewallMatch{Key: l.key, Not: getBE32(findAttr(b, unix.NFTA_RANGE_OP)) == unix.NFT_RANGE_NEQ, Values: []string{d.value(l.key, from) + "-" + d.value(l.key, to)}})
	case "lookup":
		d.lookup(b)
	case "immediate":
		d.immediate(b)
	case "masq":
		d.rule.Verdict = "masquerade"
	case "redir":
		d.rule.Verdict = "redirect"
	case "nat":
		d.nat(b)
	case "reject":
		d.rule.Verdict = "reject"
	case "queue":
		d.rule.Verdict = "queue"
	case "match":
		d.extension(b)
	case "target":
		d.target(b)
	case "counter", "log", "notrack", "objref", "last", "dup", "dynset", "synproxy", "tproxy", "fwd", "flow_offload":
	default: // limit, quota, connlimit, fib, exthdr, socket, rt, osf, numgen, hash, xfrm ...
		d.unknown(name)
		for _, reg := range []uint16{1} { // what they load, if they do, is not known
			d.loads[uint32(reg)] = loaded{key: model.MatchUnknown + name}
		}
	}
}

// payload names a field of a packet by its place in it.
func (d *decoder) payload(b []byte) string {
	offset, size := getBE32(findAttr(b, unix.NFTA_PAYLOAD_OFFSET)), getBE32(findAttr(b, unix.NFTA_PAYLOAD_LEN))
	type place struct{ base, offset uint32 }
	at := place{getBE32(findAttr(b, unix.NFTA_PAYLOAD_BASE)), offset}
	names := map[place]string{
		{unix.NFT_PAYLOAD_LL_HEADER, 0}: "ether daddr", {unix.NFT_PAYLOAD_LL_HEADER, 6}: "ether saddr", {unix.NFT_PAYLOAD_LL_HEADER, 12}: "ether type",
		{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0}: "th sport", {unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2}: "th dport",
	}
	if at.base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 1 && offset == 0 {
		return map[bool]string{false: "icmp type", true: "icmpv6 type"}[d.is6]
	}
	if at.base == unix.NFT_PAYLOAD_NETWORK_HEADER {
		if d.is6 {
			return orUnknown(map[uint32]string{8: "ip6 saddr", 24: "ip6 daddr", 6: "ip6 nexthdr"}[offset], "payload")
		}
		return orUnknown(map[uint32]string{12: "ip saddr", 16: "ip daddr", 9: "ip protocol"}[offset], "payload")
	}
	return orUnknown(names[at], "payload")
}

func orUnknown(key, what string) string {
	if key == "" {
		return model.MatchUnknown + what
	}
	return key
}

func metaKey(key uint32) string {
	return orUnknown(map[uint32]string{
		unix.NFT_META_IIFNAME: "iifname", unix.NFT_META_OIFNAME: "oifname", unix.NFT_META_NFPROTO: "nfproto", unix.NFT_META_L4PROTO: "l4proto",
		unix.NFT_META_PROTOCOL: "protocol", unix.NFT_META_MARK: "mark", unix.NFT_META_PKTTYPE: "pkttype",
		unix.NFT_META_BRI_IIFNAME: "ibrname", unix.NFT_META_BRI_OIFNAME: "obrname",
	}[key], fmt.Sprintf("meta %d", key))
}

func ctKey(key uint32) string {
	return orUnknown(map[uint32]string{unix.NFT_CT_STATE: "ct state", unix.NFT_CT_STATUS: "ct status"}[key], fmt.Sprintf("ct %d", key))
}

func (d *decoder) compare(b []byte) {
	l := d.loads[getBE32(findAttr(b, unix.NFTA_CMP_SREG))]
	v := findAttr(findAttr(b, unix.NFTA_CMP_DATA), unix.NFTA_DATA_VALUE)
	op := getBE32(findAttr(b, unix.NFTA_CMP_OP))
	m := model.FirewallMatch{Key: l.key, Not: op == unix.NFT_CMP_NEQ}
	switch {
	case l.key == "" || strings.HasPrefix(l.key, model.MatchUnknown):
		d.unknown(strings.TrimPrefix(l.key, model.MatchUnknown))
		return
	case l.key == "ct state" || l.key == "ct status": // any bit of a mask, compared with none
		m.Not = !m.Not
		m.Values = ctWords(l.key, l.mask)
		if l.mask == nil {
			m.Not, m.Values = !m.Not, ctWords(l.key, v)
		}
	case l.mask != nil:
		p, ok := maskedPrefix(v, l.mask)
		if !ok {
			d.unknown(l.key)
			return
		}
		m.Values = []string{p}
	case op != unix.NFT_CMP_EQ && op != unix.NFT_CMP_NEQ:
		n := new(big.Int).SetBytes(v).Uint64()
		m.Values = []string{map[uint32]string{
			unix.NFT_CMP_LT: fmt.Sprintf("0-%d", n-1), unix.NFT_CMP_LTE: fmt.Sprintf("0-%d", n),
			unix.NFT_CMP_GT: fmt.Sprintf("%d-65535", n+1), unix.NFT_CMP_GTE: fmt.Sprintf("%d-65535", n),
		}[op]}
	default:
		m.Values = []string{d.value(l.key, v)}
	}
	d.learn(m)
	d.ask(d.named(m))
}

// learn notes what a match says about what follows.
func (d *decoder) learn(m model.FirewallMatch) {
	if m.Not || len(m.Values) != 1 {
		return
	}
	if m.Key == "nfproto" || m.Key == "protocol" || m.Key == "ether type" {
		d.is6 = m.Values[0] == "ipv6" || m.Values[0] == "ip6"
	}
}

// named tells of a port which protocol an earlier match has asked for.
func (d *decoder) named(m model.FirewallMatch) model.FirewallMatch {
	field, ok := strings.CutPrefix(m.Key, "th ")
	if !ok {
		return m
	}
	for i := len(d.rule.Matches) - 1; i >= 0; i-- {
		x := d.rule.Matches[i]
		if (x.Key == "l4proto" || x.Key == "ip protocol" || x.Key == "ip6 nexthdr") && len(x.Values) == 1 && (x.Values[0] == "tcp" || x.Values[0] == "udp") && !x.Not {
			m.Key = x.Values[0] + " " + field
		}
	}
	return m
}

func (d *decoder) lookup(b []byte) {
	l := d.loads[getBE32(findAttr(b, unix.NFTA_LOOKUP_SREG))]
	set := getString(findAttr(b, unix.NFTA_LOOKUP_SET))
	elements := d.elements(set)
	if findAttr(b, unix.NFTA_LOOKUP_DREG) != nil { // a map: each element with its own verdict
		for _, e := range elements {
			if e.verdict == "" {
				d.unknown("map " + set)
				return
			}
			one := d.rule
			one.Matches = append(append([]model.FirewallMatch(nil), d.rule.Matches...), d.elementMatch(l, e))
			one.Verdict, one.Target = e.verdict, e.target
			d.out = append(d.out, one)
		}
		d.rule.Verdict = ""
		return
	}
	m := model.FirewallMatch{Key: l.key, Not: getBE32(findAttr(b, unix.NFTA_LOOKUP_FLAGS))&unix.NFT_LOOKUP_F_INV != 0}
	if strings.HasPrefix(l.key, model.MatchUnknown) || l.key == "" || l.mask != nil && !strings.HasPrefix(l.key, "ct ") {
		d.unknown("set " + set)
		return
	}
	m.Values = d.setValues(l.key, elements)
	d.ask(d.named(m))
}

func (d *decoder) elementMatch(l loaded, e setElement) model.FirewallMatch {
	if l.key == "ct state" {
		return model.FirewallMatch{Key: l.key, Values: ctWords(l.key, e.key)}
	}
	return model.FirewallMatch{Key: orUnknown(l.key, "map"), Values: []string{d.value(l.key, e.key)}}
}

// setValues are the values of a set; intervals are a first value, and one that is no longer in it.
func (d *decoder) setValues(key string, elements []setElement) []string {
	intervals := false
	for _, e := range elements {
		intervals = intervals || e.end
	}
	sorted := append([]setElement(nil), elements...)
	if intervals {
		sortElements(sorted)
	}
	var out []string
	for i := 0; i < len(sorted); i++ {
		e := sorted[i]
		switch {
		case e.end:
		case intervals && i+1 < len(sorted) && sorted[i+1].end:
			last := new(big.Int).SetBytes(sorted[i+1].key)
			last.Sub(last, big.NewInt(1))
			to := last.FillBytes(make([]byte, len(e.key)))
			if bytes.Equal(to, e.key) {
				out = append(out, d.value(key, e.key))
			} else {
				out = append(out, d.value(key, e.key)+"-"+d.value(key, to))
			}
		default:
			if key == "ct state" {
				out = append(out, ctWords(key, e.key)...)
				continue
			}
			out = append(out, d.value(key, e.key))
		}
	}
	if out == nil {
		out = []string{} // an empty set: nothing is in it
	}
	return out
}

func sortElements(list []setElement) {
	for i := 1; i < len(list); i++ {
		for j := i; j > 0; j-- {
			c := bytes.Compare(list[j].key, list[j-1].key)
			if c > 0 || c == 0 && !list[j].end {
				break
			}
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

func (d *decoder) immediate(b []byte) {
	data := findAttr(b, unix.NFTA_IMMEDIATE_DATA)
	reg := getBE32(findAttr(b, unix.NFTA_IMMEDIATE_DREG))
	if reg != unix.NFT_REG_VERDICT {
		d.loads[reg] = loaded{data: findAttr(data, unix.NFTA_DATA_VALUE)}
		return
	}
	d.rule.Verdict, d.rule.Target = parseVerdict(findAttr(data, unix.NFTA_DATA_VERDICT))
}

func (d *decoder) nat(b []byte) {
	d.rule.Verdict = "snat"
	if getBE32(findAttr(b, unix.NFTA_NAT_TYPE)) == unix.NFT_NAT_DNAT {
		d.rule.Verdict = "dnat"
	}
	to := ""
	if reg := findAttr(b, unix.NFTA_NAT_REG_ADDR_MIN); reg != nil {
		if a := getAddr(d.loads[getBE32(reg)].data); a.IsValid() {
			to = a.String()
		}
	}
	if reg := findAttr(b, unix.NFTA_NAT_REG_PROTO_MIN); reg != nil {
		if v := d.loads[getBE32(reg)].data; len(v) >= 2 {
			port := strconv.Itoa(int(binary.BigEndian.Uint16(v)))
			if strings.Contains(to, ":") {
				to = "[" + to + "]"
			}
			to += ":" + port
		}
	}
	d.rule.Target = to
}

// value writes a value as nft(8) does.
func (d *decoder) value(key string, v []byte) string {
	switch key {
	case "iifname", "oifname", "ibrname", "obrname":
		name := getString(v)
		if len(v) < unix.IFNAMSIZ && !bytes.Contains(v, []byte{0}) { // a prefix of names has no end
			name += "*"
		}
		return name
	case "nfproto":
		return map[byte]string{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}[first(v)]
	case "l4proto", "ip protocol", "ip6 nexthdr":
		if name, ok := map[byte]string{unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMPV6: "ipv6-icmp"}[first(v)]; ok {
			return name
		}
		return strconv.Itoa(int(first(v)))
	case "protocol", "ether type":
		if len(v) >= 2 {
			switch n := binary.BigEndian.Uint16(v); n {
			case unix.ETH_P_IP:
				return "ip"
			case unix.ETH_P_IPV6:
				return "ip6"
			default:
				return fmt.Sprintf("%#x", n)
			}
		}
	case "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr":
		return addressValue(v, map[bool]int{true: 16, false: 4}[strings.HasPrefix(key, "ip6")])
	case "ether saddr", "ether daddr":
		return string(formatMAC(v))
	case "icmp type":
		return map[byte]string{8: "echo-request", 0: "echo-reply"}[first(v)]
	case "icmpv6 type":
		return map[byte]string{128: "echo-request", 129: "echo-reply"}[first(v)]
	case "mark":
		return fmt.Sprint(getU32(v))
	case "pkttype":
		return map[byte]string{0: "host", 1: "broadcast", 2: "multicast", 3: "other"}[first(v)]
	case "th sport", "th dport", "tcp dport", "tcp sport", "udp dport", "udp sport":
		if len(v) >= 2 {
			return strconv.Itoa(int(binary.BigEndian.Uint16(v)))
		}
	}
	return "?" + hex.EncodeToString(v)
}

func first(v []byte) byte {
	if len(v) == 0 {
		return 0xff
	}
	return v[0]
}

// addressValue is an address, or a prefix where only its first bytes are compared.
func addressValue(v []byte, size int) string {
	if len(v) >= size {
		return getAddr(v[:size]).String()
	}
	whole := append(append([]byte(nil), v...), make([]byte, size-len(v))...)
	return netip.PrefixFrom(getAddr(whole), 8*len(v)).String()
}

// maskedPrefix is a prefix by its address and mask, if the mask is one.
func maskedPrefix(v, mask []byte) (string, bool) {
	bits := 0
	for bits < 8*len(mask) && mask[bits/8]&(0x80>>(bits%8)) != 0 {
		bits++
	}
	for i := bits; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return "", false
		}
	}
	a, ok := netip.AddrFromSlice(v)
	if !ok || len(v) != len(mask) {
		return "", false
	}
	return netip.PrefixFrom(a, bits).String(), true
}

// ctWords are the bits of a state or status of connection tracking (ip_conntrack_info,
// ip_conntrack_status).
func ctWords(key string, mask []byte) []string {
	names := []struct {
		bit  uint32
		word string
	}{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}}
	if key == "ct status" {
		names = []struct {
			bit  uint32
			word string
		}{{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}}
	}
	bits := getU32(mask)
	var out []string
	for _, n := range names {
		if bits&n.bit != 0 {
			out = append(out, n.word)
		}
	}
	return out
}

// extension reads a match of iptables, as iptables-nft keeps those that nf_tables has no
// words for: the state of the connection, which nearly every ruleset asks for.
func (d *decoder) extension(b []byte) {
	name, info := getString(findAttr(b, unix.NFTA_MATCH_NAME)), findAttr(b, unix.NFTA_MATCH_INFO)
	switch name {
	case "comment":
		return
	case "conntrack":
		// struct xt_conntrack_mtinfo3: eight addresses and masks, two times, a protocol, four
		// ports, then which are asked for, which inverted, and the mask of states.
		const flags, inverted, states, ofState = 146, 148, 150, 1
		if len(info) >= states+2 && native.Uint16(info[flags:]) == ofState {
			mask := native.AppendUint32(nil, uint32(native.Uint16(info[states:])))
			d.ask(model.FirewallMatch{Key: "ct state", Not: native.Uint16(info[inverted:])&ofState != 0, Values: ctWords("ct state", mask)})
			return
		}
	case "tcp", "udp": // struct xt_tcp, xt_udp: ranges of the source's and the destination's ports
		if len(info) >= 8 {
			for i, field := range []string{"sport", "dport"} {
				from, to := native.Uint16(info[4*i:]), native.Uint16(info[4*i+2:])
				if from != 0 || to != 0xffff {
					d.ask(model.FirewallMatch{Key: name + " " + field, Values: []string{fmt.Sprintf("%d-%d", from, to)}})
				}
			}
			return
		}
	}
	d.unknown(name)
}

func (d *decoder) target(b []byte) {
	switch name := getString(findAttr(b, unix.NFTA_TARGET_NAME)); name {
	case "MASQUERADE":
		d.rule.Verdict = "masquerade"
	case "SNAT", "DNAT", "REDIRECT", "REJECT":
		d.rule.Verdict = strings.ToLower(name)
		if name == "SNAT" || name == "DNAT" {
			d.rule.Target = natTarget(findAttr(b, unix.NFTA_TARGET_INFO))
		}
	case "QUEUE", "NFQUEUE":
		d.rule.Verdict = "queue"
	}
}

// natTarget reads struct nf_nat_range(2): flags, the first and the last address, the first and
// last port.
func natTarget(info []byte) string {
	const mapIPs, mapPorts = 1, 2 // NF_NAT_RANGE_MAP_IPS, _PROTO_SPECIFIED
	if len(info) < 40 || native.Uint32(info)&mapIPs == 0 {
		return ""
	}
	a := getAddr(info[4:20])
	if bytes.Equal(info[8:20], make([]byte, 12)) {
		a = getAddr(info[4:8])
	}
	if native.Uint32(info)&mapPorts != 0 {
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(info[36:])).String()
	}
	return a.String()
}
