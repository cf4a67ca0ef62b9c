package nft

import (
	"fmt"
	"strings"
)

// Match is a condition of a rule: one of those below.
type Match interface {
	// Text is the condition in the words of nft(8).
	Text() string
}

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

// Numbers of IANA's protocol registry.
const (
	ProtocolIGMP   = 2
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolICMPv6 = 58
)

// Text is [Match]'s.
func (p Payload) Text() string {
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

// Text is [Match]'s.
func (m L4) Text() string {
	if m.Not {
		return "meta l4proto != " + m.Is
	}
	return "meta l4proto " + m.Is
}

// Text is [Match]'s.
func (Layer) Text() string { return "" }

// WithLayers gives a rule the layers that its fields are of, each once.
func (r Rule) WithLayers() Rule {
	of := map[string]Layer{"ether": {}, "ip": {0x0800}, "arp": {0x0806}, "ip6": {0x86dd}, "frag": {0x86dd}}
	told := map[Layer]bool{}
	var out []Match
	for _, m := range r.Matches {
		words := m.Text()
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

// Text is [Match]'s.
func (Later) Text() string { return "frag frag-off != 0" }

// Text is [Match]'s.
func (o Over) Text() string {
	if o.Bytes {
		return fmt.Sprintf("limit rate over %d bytes/second burst %d bytes", o.Rate, o.Burst)
	}
	return fmt.Sprintf("limit rate over %d/second burst %d packets", o.Rate, o.Burst)
}

// Text is [Match]'s.
func (m InSet) Text() string { return m.Field + " @" + m.Set }

// Text is [Match]'s.
func (m AddTo) Text() string {
	verb := "add"
	if m.Renew {
		verb = "update"
	}
	return fmt.Sprintf("%s @%s { %s }", verb, m.Set, m.Field)
}

// Family matches packets of IPv4 or IPv6 in a table of both. nft(8) puts it before
// whatever looks at a field of that protocol: it is told only where nothing else tells it.
type Family struct{ IPv6, Told bool }

// Interface matches the link that a packet came in by, or leaves by, by its name.
type Interface struct {
	Out, Not bool
	Name     string
}

// Connection matches what connection tracking says of a packet's connection.
type Connection struct {
	// Established: it belongs to one that was let through, or to an error about one.
	Established bool
	// Redirected: it goes to where a rule of NAT sends it.
	Redirected bool
}

// ToHost matches packets for an address of the host's own.
type ToHost struct{}

// Text is [Match]'s.
func (f Family) Text() string {
	switch {
	case !f.Told:
		return ""
	case f.IPv6:
		return "meta nfproto ipv6"
	default:
		return "meta nfproto ipv4"
	}
}

// Text is [Match]'s.
func (i Interface) Text() string {
	word := "iifname "
	if i.Out {
		word = "oifname "
	}
	if i.Not {
		word += "!= "
	}
	return word + fmt.Sprintf("%q", i.Name)
}

// Text is [Match]'s.
func (c Connection) Text() string {
	if c.Established {
		return "ct state established,related"
	}
	return "ct status dnat"
}

// Text is [Match]'s.
func (ToHost) Text() string { return "fib daddr type local" }
