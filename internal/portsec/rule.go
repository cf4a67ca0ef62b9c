package portsec

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// Table is the name of our table in the netdev family: there is one in a namespace.
const Table = "drawbridge"

// Routers is the set of the routers that were heard, shared by all ports.
const Routers = "routers"

// The hooks of a base chain.
const (
	Ingress = "ingress" // what the wire end sends
	Egress  = "egress"  // what it gets (Linux 5.16)
)

// Chain is a chain of rules. One with a hook is called by the kernel, the others are
// gone to.
type Chain struct {
	Name  string
	Hook  string // "" for one that is gone to
	Drop  bool   // the policy of one with a hook
	Rules []Rule
}

// Priority of the chains at their hook: before whatever else is there.
const Priority = -300

// Rule is a list of matches and what happens to a frame that all of them fit.
type Rule struct {
	Matches []Match
	// Reason counts what the rule drops, under that name.
	Reason  string
	Verdict Verdict
}

// Verdict is what becomes of a frame: dropped, accepted, or looked at by another chain,
// from which it does not come back. The zero value goes on to the next rule.
type Verdict struct {
	Drop, Accept bool
	Goto         string
}

// Set is a set that rules of the data path fill.
type Set struct {
	Name    string
	IPv6    bool
	Timeout int // seconds until an element is forgotten; 0: never
	Size    int
}

// Match is a condition of a rule: one of those below.
type Match interface{ text() string }

// Base is where an offset counts from.
type Base int

// The bases, as NFT_PAYLOAD_* number them.
const (
	Link Base = iota
	Network
	Transport
)

// Payload compares bytes of the frame. A frame that ends before them does not match,
// whatever the comparison.
type Payload struct {
	Base   Base
	Offset int // bytes
	Not    bool
	Mask   []byte // nil: all bits
	Value  []byte
	// Words for nft(8): the field and the value, "" for its raw form.
	Field, Is string
}

// L4 compares the protocol above IP, behind all extension headers that the kernel can
// walk; a packet whose headers it cannot walk does not match, whatever the comparison.
type L4 struct {
	Protocol byte
	Not      bool
	Is       string
}

// Layer matches frames of an EtherType, of the innermost header; 0 stands for any frame of
// an Ethernet. nft(8) puts it before whatever looks at a field of that protocol, and shows
// a rule without it in numbers.
type Layer struct{ EtherType uint16 }

// Later matches the fragments of IPv6 packets but the first.
type Later struct{}

// Over matches what exceeds a rate.
type Over struct {
	Rate  uint64 // a second
	Burst uint32
	Bytes bool // else frames
}

// InSet matches where bytes of the frame are in a set, or not.
type InSet struct {
	Base        Base
	Offset, Len int
	Set         string
	Field       string
}

// AddTo puts bytes of the frame into a set, or renews them there. It always matches.
type AddTo struct {
	Base        Base
	Offset, Len int
	Set         string
	Renew       bool
	Field       string
}

// ProtocolICMPv6, ProtocolUDP and ProtocolIGMP are numbers of IANA's protocol registry.
const (
	protocolIGMP   = 2
	protocolUDP    = 17
	protocolICMPv6 = 58
)

func (p Payload) text() string {
	field, is := p.Field, p.Is
	if field == "" {
		field = fmt.Sprintf("@%s,%d,%d", [...]string{"ll", "nh", "th"}[p.Base], 8*p.Offset, 8*len(p.Value))
		is = fmt.Sprintf("0x%x", p.Value)
	}
	if p.Mask != nil && p.Field == "" {
		field += fmt.Sprintf(" & 0x%x", p.Mask)
		is = "== " + is
		if p.Not {
			is = "!=" + is[2:]
		}
		return field + " " + is
	}
	if p.Not {
		is = "!= " + is
	}
	return field + " " + is
}

func (m L4) text() string {
	if m.Not {
		return "meta l4proto != " + m.Is
	}
	return "meta l4proto " + m.Is
}

func (Layer) text() string { return "" }

// layers gives a rule the layers that its fields are of, each once.
func (r Rule) layers() Rule {
	of := map[string]Layer{"ether": {}, "ip": {0x0800}, "arp": {0x0806}, "ip6": {0x86dd}, "frag": {0x86dd}}
	told := map[Layer]bool{}
	var out []Match
	for _, m := range r.Matches {
		words := m.text()
		if a, is := m.(AddTo); is {
			words = a.Field
		}
		word, _, _ := strings.Cut(words, " ")
		if l, is := of[word]; is && !told[l] {
			told[l] = true
			out = append(out, l)
		}
		out = append(out, m)
	}
	r.Matches = out
	return r
}

func (Later) text() string { return "frag frag-off != 0" }

func (o Over) text() string {
	if o.Bytes {
		return fmt.Sprintf("limit rate over %d bytes/second burst %d bytes", o.Rate, o.Burst)
	}
	return fmt.Sprintf("limit rate over %d/second burst %d packets", o.Rate, o.Burst)
}

func (m InSet) text() string { return m.Field + " @" + m.Set }

func (m AddTo) text() string {
	verb := "add"
	if m.Renew {
		verb = "update"
	}
	return fmt.Sprintf("%s @%s { %s }", verb, m.Set, m.Field)
}

// Text is the rule in the words of nft(8).
func (r Rule) Text() string {
	var words []string
	for _, m := range r.Matches {
		if text := m.text(); text != "" {
			words = append(words, text)
		}
	}
	if r.Reason != "" {
		words = append(words, "counter")
	}
	switch {
	case r.Verdict.Drop:
		words = append(words, "drop")
	case r.Verdict.Accept:
		words = append(words, "accept")
	case r.Verdict.Goto != "":
		words = append(words, "goto "+r.Verdict.Goto)
	}
	if r.Reason != "" {
		words = append(words, fmt.Sprintf("comment %q", r.Reason))
	}
	return strings.Join(words, " ")
}

// The fields that the rules look at.

func macBytes(m model.MAC) []byte {
	var b []byte
	for octet := range strings.SplitSeq(string(m), ":") {
		n, _ := strconv.ParseUint(octet, 16, 8) // checked by model.PortSecurity.Check
		b = append(b, byte(n))
	}
	return b
}

func etherSource(m model.MAC, not bool) Payload {
	return Payload{Base: Link, Offset: 6, Value: macBytes(m), Not: not, Field: "ether saddr", Is: string(m)}
}

// etherType is of the outermost header: the kernel takes a VLAN tag off before the
// rules run, but gives it back to who looks at these bytes (nft_payload_copy_vlan).
func etherType(t uint16, word string) Payload {
	return Payload{Base: Link, Offset: 12, Value: be16(t), Field: "ether type", Is: word}
}

func arpSource(m model.MAC, not bool) Payload {
	return Payload{Base: Network, Offset: 8, Value: macBytes(m), Not: not, Field: "arp saddr ether", Is: string(m)}
}

func port(source bool, n uint16, not bool) Payload {
	if source {
		return Payload{Base: Transport, Value: be16(n), Not: not, Field: "udp sport", Is: fmt.Sprint(n)}
	}
	return Payload{Base: Transport, Offset: 2, Value: be16(n), Not: not, Field: "udp dport", Is: fmt.Sprint(n)}
}

func icmpv6Type(t byte) Payload {
	return Payload{Base: Transport, Value: []byte{t}, Field: "icmpv6 type", Is: fmt.Sprint(t)}
}

// raw are bytes behind the header of IP that nft(8) has no word for.
func raw(offset int, value ...byte) Payload {
	return Payload{Base: Transport, Offset: offset, Value: value}
}

// within compares an address with a prefix.
func within(base Base, offset int, field string, p netip.Prefix) Payload {
	m := Payload{Base: base, Offset: offset, Value: p.Masked().Addr().AsSlice(), Field: field, Is: p.Masked().String()}
	if p.IsSingleIP() {
		m.Is = p.Addr().String()
		return m
	}
	m.Mask = make([]byte, len(m.Value))
	for i := range p.Bits() {
		m.Mask[i/8] |= 1 << (7 - i%8)
	}
	return m
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
