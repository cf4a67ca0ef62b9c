package kernel

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// decoder turns the instructions of a rule into what they ask and decide. It knows some of
// them, and of those the forms that nft(8) and iptables-nft write. Whatever else it meets
// becomes a match, a value or a verdict that is not understood, so that nobody guesses:
// a rule that is not wholly understood is never surely true.
type decoder struct {
	ruleset *rulesetDecoder
	table   nftID // its family and table
	regs    registers
	layer3  int    // 4, 6, or 0 where the rule has not asked for it
	layer4  string // tcp, udp, icmp, ipv6-icmp, where the rule has asked for one
	rule    model.FirewallRule
	from    bound // of a range that the match before has begun
	out     *[]model.FirewallRule
}

// mostRules is how many rules one may stand for: each element of a map that it looks into
// makes one.
const mostRules = 4096

// expression is one instruction.
type expression struct {
	name string
	attr []byte
}

// decodeRule are the rules that one rule stands for: several where a map tells the verdict,
// and one for each thing that it writes down on the way.
func (r *rulesetDecoder) decodeRule(table nftID, expressions []byte) []model.FirewallRule {
	var list []expression
	err := walk(expressions, func(_ uint16, e []byte) {
		list = append(list, expression{getString(findAttr(e, unix.NFTA_EXPR_NAME)), findAttr(e, unix.NFTA_EXPR_DATA)})
	})
	var out []model.FirewallRule
	d := decoder{ruleset: r, table: table, out: &out, layer3: map[string]int{"ip": 4, "ip6": 6}[table.family]}
	if err != nil {
		list = []expression{{name: "truncated"}}
	}
	d.run(list)
	return out
}

// run goes through instructions up to the first that ends the rule.
func (d *decoder) run(list []expression) {
	for i, e := range list {
		if d.step(e, list[i+1:]) {
			return
		}
	}
	d.emit()
}

// emit is for a rule at its end; one that has neither decided nor written only counts or
// notes, and is left out.
func (d *decoder) emit() {
	if d.rule.Verdict != "" {
		*d.out = append(*d.out, d.rule)
	}
}

// ends gives the rule its verdict: what comes after it is not reached.
func (d *decoder) ends(verdict, target string) bool {
	d.rule.Verdict, d.rule.Target = verdict, target
	d.emit()
	return true
}

func (d *decoder) ask(m model.FirewallMatch) {
	d.rule.Matches = append(slices.Clone(d.rule.Matches), m)
	d.learn(m)
}

func (d *decoder) unknown(name string) {
	d.ask(model.FirewallMatch{Key: model.MatchUnknown + strings.TrimPrefix(name, model.MatchUnknown)})
}

// sets notes down what the rule writes: as a rule of its own, for it is written even where
// a later question of the rule is answered no.
func (d *decoder) sets(key, to string) {
	one := d.rule
	one.Sets, one.To = key, to
	*d.out = append(*d.out, one)
}

// learn notes what a match says about what follows.
func (d *decoder) learn(m model.FirewallMatch) {
	if m.Not || len(m.Values) != 1 {
		return
	}
	switch m.Key {
	case "nfproto", "protocol", "ether type":
		switch m.Values[0] {
		case "ipv4", "ip":
			d.layer3 = 4
		case "ipv6", "ip6":
			d.layer3 = 6
		}
	case "l4proto", "ip protocol", "ip6 nexthdr":
		d.layer4 = m.Values[0]
	}
}

// step does one instruction, and tells whether the rule is done with it.
func (d *decoder) step(e expression, rest []expression) (done bool) {
	b := e.attr
	switch e.name {
	case "payload":
		d.payload(b)
	case "meta":
		d.meta(b)
	case "ct":
		d.ct(b)
	case "fib":
		d.regs.load(getBE32(findAttr(b, unix.NFTA_FIB_DREG)), fibField(b))
	case "bitwise":
		d.bitwise(b)
	case "byteorder":
		d.byteorder(b)
	case "cmp":
		d.compare(b)
	case "range":
		d.inRange(b)
	case "lookup":
		return d.lookup(b, rest)
	case "immediate":
		return d.immediate(b)
	case "masq":
		return d.ends("masquerade", "")
	case "redir":
		return d.redirect(b)
	case "nat":
		return d.nat(b)
	case "reject", "queue":
		return d.ends(e.name, "")
	case "match":
		d.extension(b)
	case "target":
		return d.target(b)
	case "notrack":
		d.sets("notrack", "")
	case "dynset":
		d.dynset(b)
	case "objref":
		d.object(b)
	case "counter", "log", "last", "dup", "flow_offload": // they decide nothing about this packet
	case "limit", "quota", "connlimit", "exthdr", "socket", "rt", "osf", "numgen", "hash", "xfrm", "tunnel", "inner":
		d.asks(e)
	default: // fwd, tproxy, synproxy, and those of a kernel to come: they may end it in any way
		d.unknown(e.name)
		return d.ends(model.MatchUnknown+e.name, "")
	}
	return false
}

// asks is an instruction that only asks, or loads, what is not understood.
func (d *decoder) asks(e expression) {
	const exthdrSREG = 7 // NFTA_EXTHDR_SREG: it writes an option, of TCP mostly
	if e.name == "exthdr" && findAttr(e.attr, exthdrSREG) != nil {
		return
	}
	d.regs.forget() // where it loads to is not known
	d.unknown(e.name)
}

func (d *decoder) meta(b []byte) {
	key := getBE32(findAttr(b, unix.NFTA_META_KEY))
	if reg := findAttr(b, unix.NFTA_META_DREG); reg != nil {
		d.regs.load(getBE32(reg), metaField(key))
		return
	}
	switch key {
	case unix.NFT_META_MARK:
		d.sets("mark", d.regs.written(getBE32(findAttr(b, unix.NFTA_META_SREG))))
	case unix.NFT_META_NFTRACE, unix.NFT_META_PRIORITY, unix.NFT_META_SECMARK, unix.NFT_META_RTCLASSID:
	default: // pkttype, broute
		d.sets(model.MatchUnknown+fmt.Sprintf("meta %d", key), "")
	}
}

func (d *decoder) ct(b []byte) {
	key := getBE32(findAttr(b, unix.NFTA_CT_KEY))
	if reg := findAttr(b, unix.NFTA_CT_DREG); reg != nil {
		d.regs.load(getBE32(reg), ctField(key))
		return
	}
	const ctEventMask, ctSREG = 19, 4 // NFT_CT_EVENTMASK, NFTA_CT_SREG
	switch key {
	case unix.NFT_CT_MARK:
		d.sets("ct mark", d.regs.written(getBE32(findAttr(b, ctSREG))))
	case unix.NFT_CT_LABELS, unix.NFT_CT_HELPER, ctEventMask, unix.NFT_CT_SECMARK:
	default: // a zone: another connection's state may be found
		d.sets("ct state", "")
	}
}

// dynset puts something into a set. With a limit in it, it asks as well.
func (d *decoder) dynset(b []byte) {
	const expressions = 10 // NFTA_DYNSET_EXPRESSIONS
	stateful := findAttr(b, unix.NFTA_DYNSET_EXPR) != nil && !onlyCounts(findAttr(b, unix.NFTA_DYNSET_EXPR))
	_ = walk(findAttr(b, expressions), func(_ uint16, e []byte) { stateful = stateful || !onlyCounts(e) })
	if stateful || getBE32(findAttr(b, unix.NFTA_DYNSET_FLAGS))&unix.NFT_DYNSET_F_INV != 0 {
		d.unknown("limit")
	}
}

func onlyCounts(e []byte) bool {
	name := getString(findAttr(e, unix.NFTA_EXPR_NAME))
	return name == "counter" || name == "last"
}

// object names a stateful object: one that counts decides nothing, one that limits does.
func (d *decoder) object(b []byte) {
	const quota, limit, connlimit = 2, 4, 5 // NFT_OBJECT_*
	switch typ := findAttr(b, unix.NFTA_OBJREF_IMM_TYPE); {
	case typ == nil: // of a map: without an element the rule is over
		d.unknown("map of objects")
	case getBE32(typ) == quota, getBE32(typ) == limit, getBE32(typ) == connlimit:
		d.unknown("limit " + getString(findAttr(b, unix.NFTA_OBJREF_IMM_NAME)))
	case getBE32(typ) == 10: // NFT_OBJECT_SYNPROXY
		d.unknown("synproxy")
	}
}

// immediate loads a value, or is the verdict.
func (d *decoder) immediate(b []byte) bool {
	data := findAttr(b, unix.NFTA_IMMEDIATE_DATA)
	reg := getBE32(findAttr(b, unix.NFTA_IMMEDIATE_DREG))
	if reg != unix.NFT_REG_VERDICT {
		v := findAttr(data, unix.NFTA_DATA_VALUE)
		d.regs.put(reg, loaded{fields: []field{{size: len(v)}}, data: v})
		return false
	}
	verdict, target := parseVerdict(findAttr(data, unix.NFTA_DATA_VERDICT))
	if verdict == "continue" {
		return false
	}
	return d.ends(verdict, target)
}
