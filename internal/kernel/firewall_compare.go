package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// compare asks whether a load is equal to a value, or how it compares with it.
func (d *decoder) compare(b []byte) {
	l, ok := d.regs.get(getBE32(findAttr(b, unix.NFTA_CMP_SREG)))
	v := findAttr(findAttr(b, unix.NFTA_CMP_DATA), unix.NFTA_DATA_VALUE)
	op := getBE32(findAttr(b, unix.NFTA_CMP_OP))
	equality := op == unix.NFT_CMP_EQ || op == unix.NFT_CMP_NEQ
	f, single := l.one()
	switch {
	case ok && len(l.fields) > 0 && l.data == nil && !l.fields[0].known():
		d.unknown(l.fields[0].key)
	case !ok || len(v) == 0 || len(v) > l.size() || l.data != nil:
		d.unknown("cmp")
	case l.mask != nil && single && equality:
		d.compareMasked(f, l, v, op == unix.NFT_CMP_NEQ)
	case l.mask != nil:
		d.unknown(l.fields[0].key)
	case single && !equality:
		d.compareOrder(f, v, op)
	case single && len(v) <= f.size:
		d.ask(model.FirewallMatch{Key: f.key, Not: op == unix.NFT_CMP_NEQ, Values: []string{d.value(f, v)}})
	case op == unix.NFT_CMP_EQ: // of several fields side by side each is asked
		for _, f := range l.fields {
			n := min(f.size, len(v))
			if n == 0 {
				return
			}
			if !f.known() {
				d.unknown(f.key)
			} else {
				d.ask(model.FirewallMatch{Key: f.key, Values: []string{d.value(f, v[:n])}})
			}
			v = v[n:]
		}
	default:
		d.unknown(l.fields[0].key)
	}
}

// compareMasked asks about some bits of a field.
func (d *decoder) compareMasked(f field, l loaded, v []byte, not bool) {
	if len(v) != len(l.mask) {
		d.unknown(f.key)
		return
	}
	want := make([]byte, len(v)) // (x & mask) ^ xor == v is x & mask == v ^ xor
	zero := true
	for i := range v {
		want[i] = v[i] ^ l.xor[i]
		zero = zero && want[i] == 0
	}
	m := model.FirewallMatch{Key: f.key, Not: not}
	switch {
	case f.key == "ct state" || f.key == "ct status": // any bit of the mask, compared with none
		if !zero {
			d.unknown(f.key)
			return
		}
		m.Not, m.Values = !not, ctWords(f.key, l.mask)
	case isAddressKey(f.key) && !strings.HasPrefix(f.key, "ether"):
		p, ok := maskedPrefix(want, l.mask)
		if !ok {
			d.unknown(f.key)
			return
		}
		m.Values = []string{p}
	case f.key == "mark" || f.key == "ct mark" || f.key == "tcp flags":
		bits, mask := number(f, want), number(f, l.mask)
		m.Values = []string{fmt.Sprintf("%#x/%#x", bits, mask)}
	default:
		d.unknown(f.key)
		return
	}
	d.ask(m)
}

// number reads a field's value as one.
func number(f field, v []byte) uint64 {
	if (f.key == "mark" || f.key == "ct mark") && !f.swapped {
		return uint64(getU32(v))
	}
	return new(big.Int).SetBytes(v[:min(len(v), 8)]).Uint64()
}

// ordered are the fields whose bytes, one after the other, are in the order of their values.
func ordered(f field) bool {
	if f.key == "mark" || f.key == "ct mark" {
		return f.swapped
	}
	return isPortKey(f.key) || isAddressKey(f.key) && !strings.HasPrefix(f.key, "ether")
}

func isPortKey(key string) bool {
	return strings.HasSuffix(key, " sport") || strings.HasSuffix(key, " dport")
}

// compareOrder asks whether a field is less or more than a value.
func (d *decoder) compareOrder(f field, v []byte, op uint32) {
	if !ordered(f) || len(v) != f.size {
		d.unknown(f.key)
		return
	}
	from, to := make([]byte, len(v)), bytes.Repeat([]byte{0xff}, len(v))
	none := false
	switch op {
	case unix.NFT_CMP_LT:
		to, none = before(v)
	case unix.NFT_CMP_LTE:
		to = v
	case unix.NFT_CMP_GT:
		from, none = after(v)
	case unix.NFT_CMP_GTE:
		from = v
	default:
		d.unknown(f.key)
		return
	}
	last := len(d.rule.Matches) - 1
	if old := d.from; op == unix.NFT_CMP_LTE && old.key == f.key && old.match == last { // older nft(8) asks for a range so
		d.rule.Matches = slices.Clone(d.rule.Matches)
		d.rule.Matches[last].Values = []string{d.span(f, old.from, to)}
		return
	}
	m := model.FirewallMatch{Key: f.key, Values: []string{}}
	if !none {
		m.Values = []string{d.span(f, from, to)}
	}
	d.ask(m)
	if op == unix.NFT_CMP_GTE {
		d.from = bound{f.key, from, last + 1}
	}
}

// bound is where a range begins, and in which match of the rule.
type bound struct {
	key   string
	from  []byte
	match int
}

// before is the value before one, none where there is none.
func before(v []byte) (out []byte, none bool) {
	out = slices.Clone(v)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			return out, false
		}
	}
	return out, true
}

func after(v []byte) (out []byte, none bool) {
	out = slices.Clone(v)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]++
		if out[i] != 0 {
			return out, false
		}
	}
	return out, true
}

// inRange asks whether a field is between two values.
func (d *decoder) inRange(b []byte) {
	l, ok := d.regs.get(getBE32(findAttr(b, unix.NFTA_RANGE_SREG)))
	from, to := findAttr(findAttr(b, unix.NFTA_RANGE_FROM_DATA), unix.NFTA_DATA_VALUE), findAttr(findAttr(b, unix.NFTA_RANGE_TO_DATA), unix.NFTA_DATA_VALUE)
	f, single := l.one()
	if !ok || !single || l.mask != nil || l.data != nil || !ordered(f) || len(from) != f.size || len(to) != f.size {
		d.unknown("range")
		return
	}
	d.ask(model.FirewallMatch{Key: f.key, Not: getBE32(findAttr(b, unix.NFTA_RANGE_OP)) == unix.NFT_RANGE_NEQ, Values: []string{d.span(f, from, to)}})
}

// span writes the values from one to another.
func (d *decoder) span(f field, from, to []byte) string {
	if bytes.Equal(from, to) {
		return d.value(f, from)
	}
	if strings.HasSuffix(f.key, "name") { // eth, and whatever begins so, up to eti
		name := strings.TrimRight(string(from), "\x00")
		if end := bytes.Repeat([]byte{0xff}, len(from)-len(name)); name != "" && bytes.Equal(to, append([]byte(name), end...)) {
			return name + "*"
		}
		return model.MatchUnknown + "names"
	}
	if !ordered(f) {
		return model.MatchUnknown + hex.EncodeToString(from) + "-" + hex.EncodeToString(to)
	}
	if p, ok := spanPrefix(from, to); ok && isAddressKey(f.key) {
		return p
	}
	return d.value(f, from) + "-" + d.value(f, to)
}

// spanPrefix is the prefix that goes from one address to another, if there is one.
func spanPrefix(from, to []byte) (string, bool) {
	if len(from) != len(to) {
		return "", false
	}
	mask := make([]byte, len(from))
	for i := range from {
		mask[i] = ^(from[i] ^ to[i])
		if from[i]&^mask[i] != 0 || ^to[i]&^mask[i] != 0 {
			return "", false
		}
	}
	return maskedPrefix(from, mask)
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

var (
	layer4Names = words{unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMPV6: "ipv6-icmp"}
	etherNames  = map[uint16]string{unix.ETH_P_IP: "ip", unix.ETH_P_IPV6: "ip6"}
	icmpNames   = words{8: "echo-request", 0: "echo-reply"}
	icmpv6Names = words{128: "echo-request", 129: "echo-reply"}
	nfprotos    = words{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}
	linkTypes   = words{unix.ARPHRD_ETHER: "ether", unix.ARPHRD_LOOPBACK: "loopback"}
	pktTypes    = words{0: "host", 1: "broadcast", 2: "multicast", 3: "other"}
	directions  = words{0: "original", 1: "reply"}
)

// value writes a field's value as nft(8) does; what it does not know begins with "?".
func (d *decoder) value(f field, v []byte) string {
	unknown := model.MatchUnknown + hex.EncodeToString(v)
	if len(v) == 0 || len(v) < f.size && !isAddressKey(f.key) && !strings.HasSuffix(f.key, "name") && f.key != fibSourceKey {
		return unknown
	}
	small := uint32(v[0])
	switch f.key {
	case "iifname", "oifname", "ibrname", "obrname":
		name := getString(v)
		if len(v) < unix.IFNAMSIZ && !bytes.Contains(v, []byte{0}) { // a prefix of names has no end
			name += "*"
		}
		return name
	case "iif", "oif":
		if name := d.ruleset.link(getU32(v)); name != "" && !f.swapped {
			return name
		}
	case "nfproto":
		return nfprotos.word(small)
	case "l4proto", "ip protocol", "ip6 nexthdr":
		return layer4Names.word(small)
	case "protocol", "ether type":
		n := binary.BigEndian.Uint16(v)
		if name, ok := etherNames[n]; ok {
			return name
		}
		return fmt.Sprintf("%#x", n)
	case "ip saddr", "ip daddr":
		return addressValue(v, 4)
	case "ip6 saddr", "ip6 daddr":
		return addressValue(v, 16)
	case "ether saddr", "ether daddr":
		if mac := formatMAC(v); mac != "" {
			return string(mac)
		}
	case "icmp type":
		return icmpNames.word(small)
	case "icmpv6 type":
		return icmpv6Names.word(small)
	case "icmp code", "icmpv6 code":
		return strconv.Itoa(int(small))
	case "mark", "ct mark", "tcp flags":
		return fmt.Sprintf("%#x", number(f, v))
	case "iiftype", "oiftype":
		return linkTypes.word(uint32(native.Uint16(v)))
	case "pkttype":
		return pktTypes.word(small)
	case "ct direction":
		return directions.word(small)
	case "ct state":
		if !f.swapped { // a connection is in one state: one of several bits equals none
			return strings.Join(ctWords(f.key, v), "|")
		}
	case "fib daddr type", "fib saddr type":
		return routeTypes.word(getU32(v))
	case fibSourceKey:
		return fibValue(v)
	}
	if isPortKey(f.key) {
		return strconv.Itoa(int(binary.BigEndian.Uint16(v)))
	}
	return unknown
}

// fibValue: an interface of no number is none; nft(8) asks for no other number, but in one
// byte whether there is one (nft_fib_store_result).
func fibValue(v []byte) string {
	switch strings.TrimRight(string(v), "\x00") {
	case "\x01":
		return "exists"
	case "":
		return "missing"
	}
	return model.MatchUnknown + hex.EncodeToString(v)
}

// addressValue is an address, or a prefix where only its first bytes are compared.
func addressValue(v []byte, size int) string {
	if len(v) >= size {
		return getAddr(v[:size]).String()
	}
	whole := append(slices.Clone(v), make([]byte, size-len(v))...)
	return netip.PrefixFrom(getAddr(whole), 8*len(v)).String()
}

// ctWords are the bits of a state or status of connection tracking (enum ip_conntrack_info as
// NF_CT_STATE_BIT makes bits of it, enum ip_conntrack_status). One that is not known begins with
// "?".
func ctWords(key string, mask []byte) []string {
	names := []string{"invalid", "established", "related", "new", "", "", "untracked"}
	if key == "ct status" {
		names = []string{"expected", "seen-reply", "assured", "confirmed", "snat", "dnat"}
	}
	out := []string{}
	for i := range 32 {
		switch {
		case getU32(mask)&(1<<i) == 0:
		case i < len(names) && names[i] != "":
			out = append(out, names[i])
		default:
			out = append(out, fmt.Sprintf("?%#x", 1<<i))
		}
	}
	return out
}
