package dns

import (
	"errors"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	port = 53
	// ttl in seconds: a VM's address may change with its next start.
	ttl = 30
	// plainSize is the largest answer to a question without EDNS, ednsSize what we take
	// (RFC 6891; DNS flag day 2020), maxQuery the longest question that is read.
	plainSize = 512
	ednsSize  = 1232
	maxQuery  = 4096
)

// query is a question as it came.
type query struct {
	raw      []byte
	header   dnsmessage.Header
	question dnsmessage.Question
	name     string // canonical
	edns     bool
	size     int // the largest answer by UDP
}

var errNoQuery = errors.New("not a question")

// parseQuery reads a question. With errNoQuery nothing is answered; any other answer that
// is not nil is the refusal.
func parseQuery(b []byte) (q query, refused []byte, err error) {
	var p dnsmessage.Parser
	if q.header, err = p.Start(b); err != nil || q.header.Response {
		return q, nil, errNoQuery
	}
	q.raw, q.size = b, plainSize
	if q.header.OpCode != 0 {
		return q, refusal(q.header, dnsmessage.RCodeNotImplemented), nil
	}
	if !q.readOn(&p) {
		return q, refusal(q.header, dnsmessage.RCodeFormatError), nil
	}
	return q, nil, nil
}

// readOn reads what follows the header, and tells whether it is as it should be: one
// question (two at once: nobody does), maybe EDNS, and nothing that cannot be read.
func (q *query) readOn(p *dnsmessage.Parser) bool {
	var err error
	if q.question, err = p.Question(); err != nil {
		return false
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return false
	}
	q.name = canonical(q.question.Name.String())
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return errors.Is(err, dnsmessage.ErrSectionDone)
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns, q.size = true, min(max(int(h.Class), plainSize), ednsSize)
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}

// refusal is an answer without a question.
func refusal(h dnsmessage.Header, code dnsmessage.RCode) []byte {
	b, _ := (&dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RCode: code}}).Pack()
	return b
}

// refuse is an answer to q that says why there is none.
func (q query) refuse(code dnsmessage.RCode) []byte { return q.pack(code, nil, false) }

// pack makes an answer. own: it is ours to know, and may be remembered that it is not there.
func (q query) pack(code dnsmessage.RCode, answers []dnsmessage.Resource, own bool) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: q.header.ID, Response: true, Authoritative: own, RecursionDesired: q.header.RecursionDesired,
			RecursionAvailable: true, CheckingDisabled: q.header.CheckingDisabled, RCode: code},
		Questions: []dnsmessage.Question{q.question},
		Answers:   answers,
	}
	if own && len(answers) == 0 {
		m.Authorities = []dnsmessage.Resource{authority(q.question.Name)}
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		if h.SetEDNS0(ednsSize, dnsmessage.RCodeSuccess, false) == nil {
			m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
		}
	}
	b, err := m.Pack()
	if err != nil {
		return refusal(q.header, dnsmessage.RCodeServerFailure)
	}
	return b
}

// authority lets who asks remember for a while that there is no such thing (RFC 2308).
func authority(name dnsmessage.Name) dnsmessage.Resource {
	ns := dnsmessage.MustNewName("drawbridge.invalid.")
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeSOA, Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   &dnsmessage.SOAResource{NS: ns, MBox: ns, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, MinTTL: ttl},
	}
}

// answer answers what is the network's own; nil for a question that is not.
func (n *names) answer(q query) []byte {
	if q.question.Class != dnsmessage.ClassINET && q.question.Class != dnsmessage.ClassANY {
		return q.refuse(dnsmessage.RCodeNotImplemented)
	}
	if a, is := reverseOf(q.name); is && n.ownReverse(a) {
		return n.pointer(q, a)
	}
	own, local := n.local(q.name)
	if q.name == "localhost" { // RFC 6761, 6.3
		return q.addresses([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})
	}
	if !local {
		return nil
	}
	as, known := n.addresses[own]
	if !known && own != "" {
		return q.pack(dnsmessage.RCodeNameError, nil, true)
	}
	return q.addresses(sorted(as))
}

func (n *names) pointer(q query, a netip.Addr) []byte {
	own, known := n.reverse[a]
	if !known {
		return q.pack(dnsmessage.RCodeNameError, nil, true)
	}
	full, err := n.full(own)
	if err != nil || q.question.Type != dnsmessage.TypePTR && q.question.Type != dnsmessage.TypeALL {
		return q.pack(dnsmessage.RCodeSuccess, nil, true)
	}
	return q.pack(dnsmessage.RCodeSuccess, []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: q.question.Name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   &dnsmessage.PTRResource{PTR: full},
	}}, true)
}

// addresses answers with those of the kind that was asked for.
func (q query) addresses(as []netip.Addr) []byte {
	var out []dnsmessage.Resource
	for _, a := range as {
		h := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttl}
		switch t := q.question.Type; {
		case a.Is4() && (t == dnsmessage.TypeA || t == dnsmessage.TypeALL):
			h.Type = dnsmessage.TypeA
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && (t == dnsmessage.TypeAAAA || t == dnsmessage.TypeALL):
			h.Type = dnsmessage.TypeAAAA
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return q.pack(dnsmessage.RCodeSuccess, out, true)
}

// fit cuts an answer by UDP that is too long for who asked: he comes again by TCP.
func (q query) fit(b []byte) []byte {
	if len(b) <= q.size {
		return b
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.header.ID, Response: true, Truncated: true, RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q.question}}
	cut, err := m.Pack()
	if err != nil {
		return refusal(q.header, dnsmessage.RCodeServerFailure)
	}
	return cut
}

// answers tells whether b answers a question that was sent on with an id of ours.
func (q query) answers(b []byte, id uint16) (rcode dnsmessage.RCode, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 {
		return 0, false
	}
	got, err := p.Question()
	if err != nil { // some refuse without repeating the question
		return h.RCode, errors.Is(err, dnsmessage.ErrSectionDone) && h.RCode != dnsmessage.RCodeSuccess
	}
	return h.RCode, got.Type == q.question.Type && got.Class == q.question.Class && canonical(got.Name.String()) == q.name
}
