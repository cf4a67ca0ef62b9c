package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"drawbridge/internal/model"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func config() model.DNSConfig {
	return model.DNSConfig{Listen: []netip.Addr{addr("198.18.7.1")}, Clients: []netip.Prefix{netip.MustParsePrefix("198.18.7.0/24"), netip.MustParsePrefix("2001:db8:7::/64")}, Zone: "Home.Arpa",
		Names: []model.DNSName{{Name: "gateway", Addresses: []netip.Addr{addr("2001:db8:7::1"), addr("198.18.7.1")}}}}
}

func testNames() *names {
	return newNames(config(), []model.StaticLease{{MAC: "02:00:00:00:00:09", Name: "web", Address: addr("198.18.7.9")}, {MAC: "02:00:00:00:00:0a", Name: "db"}},
		[]model.Lease{{Address: addr("198.18.7.100"), Name: "alice"}, {Address: addr("198.18.7.101")}, {Address: addr("198.18.7.102"), Name: "gateway"}})
}

// ask packs a question, with EDNS where size is not 0.
func pack(t testing.TB, name string, kind dnsmessage.Type, size int) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 99, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	if size > 0 {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(size, 0, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswers(t *testing.T) {
	n := testNames()
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		code dnsmessage.RCode
		want []string // nil and code 0: not ours
		ours bool
	}{
		{"alice.home.arpa.", dnsmessage.TypeA, 0, []string{"198.18.7.100"}, true},
		{"ALICE.HOME.ARPA.", dnsmessage.TypeA, 0, []string{"198.18.7.100"}, true},
		{"alice.home.arpa.", dnsmessage.TypeAAAA, 0, nil, true},
		{"alice.", dnsmessage.TypeA, 0, []string{"198.18.7.100"}, true},
		{"web.home.arpa.", dnsmessage.TypeA, 0, []string{"198.18.7.9"}, true},
		{"gateway.home.arpa.", dnsmessage.TypeA, 0, []string{"198.18.7.1"}, true}, // not the lease that calls itself so
		{"gateway.home.arpa.", dnsmessage.TypeALL, 0, []string{"198.18.7.1", "2001:db8:7::1"}, true},
		{"db.home.arpa.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil, true}, // it has no address yet
		{"nobody.home.arpa.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil, true},
		{"nobody.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil, true},
		{"home.arpa.", dnsmessage.TypeA, 0, nil, true},
		{"a.b.home.arpa.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil, true},
		{"nothome.arpa.", dnsmessage.TypeA, 0, nil, false},
		{"www.example.com.", dnsmessage.TypeA, 0, nil, false},
		{".", dnsmessage.TypeNS, 0, nil, false},
		{"localhost.", dnsmessage.TypeA, 0, []string{"127.0.0.1"}, true},
		{"100.7.18.198.in-addr.arpa.", dnsmessage.TypePTR, 0, []string{"alice.home.arpa."}, true},
		{"101.7.18.198.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, nil, true},
		{"1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, 0, nil, false},
		{"1." + strings.Repeat("0.", 15) + "0.0.0.0.7.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dnsmessage.TypePTR, 0, []string{"gateway.home.arpa."}, true},
	} {
		q, refused, err := parseQuery(pack(t, c.name, c.kind, 0))
		if err != nil || refused != nil {
			t.Fatalf("%s: %v %v", c.name, refused, err)
		}
		b := n.answer(q)
		if (b != nil) != c.ours {
			t.Errorf("%s %s: answered %v", c.name, c.kind, b != nil)
		}
		if b == nil {
			continue
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got []string
		for _, a := range m.Answers {
			switch b := a.Body.(type) {
			case *dnsmessage.AResource:
				got = append(got, netip.AddrFrom4(b.A).String())
			case *dnsmessage.AAAAResource:
				got = append(got, netip.AddrFrom16(b.AAAA).String())
			case *dnsmessage.PTRResource:
				got = append(got, b.PTR.String())
			}
		}
		if m.ID != 99 || !m.Response || !m.RecursionAvailable || m.RCode != c.code || !slices.Equal(got, c.want) || len(m.Questions) != 1 || m.Questions[0] != q.question {
			t.Errorf("%s %s: %v %v %+v", c.name, c.kind, m.RCode, got, m.Header)
		}
		if len(got) == 0 && len(m.Authorities) == 0 {
			t.Errorf("%s: nobody may remember that there is nothing", c.name)
		}
	}
}

// What is no question, or not one that is understood.
func TestBadQueries(t *testing.T) {
	good := pack(t, "alice.home.arpa.", dnsmessage.TypeA, 1400)
	change := func(i int, v byte) []byte {
		b := slices.Clone(good)
		b[i] = v
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		code int // -1: silence
	}{
		"empty":           {nil, -1},
		"cut off":         {good[:11], -1},
		"an answer":       {change(2, 0x81), -1},
		"notify":          {change(2, 0x21), int(dnsmessage.RCodeNotImplemented)},
		"no question":     {good[:12], int(dnsmessage.RCodeFormatError)},
		"two questions":   {change(5, 2), int(dnsmessage.RCodeFormatError)},
		"half a question": {good[:20], int(dnsmessage.RCodeFormatError)},
		"half an option":  {good[:len(good)-3], int(dnsmessage.RCodeFormatError)},
	} {
		q, refused, err := parseQuery(c.b)
		switch {
		case c.code < 0:
			if err == nil {
				t.Errorf("%s: taken for %+v", name, q)
			}
		case refused == nil || int(refused[3]&15) != c.code || refused[0] != good[0] || refused[1] != good[1] || refused[2]&0x80 == 0:
			t.Errorf("%s: %v %v", name, refused, err)
		}
	}
	q, _, _ := parseQuery(good)
	if !q.edns || q.size != 1232 {
		t.Errorf("%+v", q)
	}
}

// An answer that is too long for UDP is cut, so that who asks comes by TCP.
func TestLongAnswer(t *testing.T) {
	c := config()
	for i := range 60 {
		c.Names[0].Addresses = append(c.Names[0].Addresses, netip.AddrFrom4([4]byte{198, 18, 7, byte(i + 10)}))
	}
	n := newNames(c, nil, nil)
	for size, cut := range map[int]bool{0: true, 1232: false} {
		q, _, _ := parseQuery(pack(t, "gateway.home.arpa.", dnsmessage.TypeA, size))
		b := q.fit(n.answer(q))
		if truncated := b[2]&2 != 0; truncated != cut || len(b) > q.size {
			t.Errorf("asked with %d: %d bytes, truncated %v", size, len(b), truncated)
		}
	}
}

// Only an answer to what was asked is passed on.
func TestOnlyTheAnswerIsTaken(t *testing.T) {
	q, _, _ := parseQuery(pack(t, "www.example.com.", dnsmessage.TypeA, 0))
	reply := func(change func(m *dnsmessage.Message)) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q.question}}
		change(&m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		change func(m *dnsmessage.Message)
		ok     bool
	}{
		"right":            {func(*dnsmessage.Message) {}, true},
		"in capitals":      {func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("WWW.example.com.") }, true},
		"another id":       {func(m *dnsmessage.Message) { m.ID = 8 }, false},
		"a question":       {func(m *dnsmessage.Message) { m.Response = false }, false},
		"another name":     {func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("www.example.net.") }, false},
		"another type":     {func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeMX }, false},
		"refused, no name": {func(m *dnsmessage.Message) { m.Questions, m.RCode = nil, dnsmessage.RCodeRefused }, true},
		"good, no name":    {func(m *dnsmessage.Message) { m.Questions = nil }, false},
	} {
		if _, ok := q.answers(reply(c.change), 7); ok != c.ok {
			t.Errorf("%s: taken %v", name, ok)
		}
	}
}

// One client does not use up what is everybody's.
func TestLimits(t *testing.T) {
	var l limits
	now := time.Now()
	a, b := addr("198.18.7.100"), addr("198.18.7.101")
	asked := 0
	for range 2 * burst {
		if l.allow(a, 1, now) {
			asked++
		}
	}
	if asked != burst || !l.allow(b, 1, now) {
		t.Errorf("%d questions at once", asked)
	}
	if !l.allow(a, 1, now.Add(time.Second)) {
		t.Error("a second later it may ask again")
	}
	var ends []func()
	for range 2 * maxAsking {
		if end, ok := l.begin(a); ok {
			ends = append(ends, end)
		}
	}
	if _, ok := l.begin(b); len(ends) != maxAsking || !ok {
		t.Errorf("%d questions under way", len(ends))
	}
	for _, end := range ends {
		end()
	}
	if _, ok := l.begin(a); !ok {
		t.Error("none is under way, and it may not ask")
	}
	for i := range 2 * maxKnown {
		l.allow(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 1, now)
	}
	if len(l.clients) > maxKnown+2 {
		t.Errorf("%d clients are known", len(l.clients))
	}
}

func TestResolvConf(t *testing.T) {
	got := ParseResolvConf("# a comment\nsearch lan\nnameserver 127.0.0.53\nnameserver\nnameserver fe80::1%eth0\n  nameserver 2001:db8::53 \nnameserver bad\nnameserver 198.18.0.1\noptions edns0\n")
	want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// Our own address as a name server would be a circle.
func TestNoCircle(t *testing.T) {
	s := &Server{Config: config(), Log: t.Logf}
	s.SetUpstreams([]netip.AddrPort{netip.MustParseAddrPort("198.18.7.1:53"), netip.MustParseAddrPort("198.18.0.1:53"), netip.MustParseAddrPort("198.18.0.2:53")})
	s.prefer(netip.MustParseAddrPort("198.18.0.2:53"))
	if got := s.upstreamsNow(); len(got) != 2 || got[0] != netip.MustParseAddrPort("198.18.0.2:53") {
		t.Errorf("%v", got)
	}
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*model.DNSConfig){
		"nowhere":      func(c *model.DNSConfig) { c.Listen = nil },
		"a long name":  func(c *model.DNSConfig) { c.Names[0].Name = strings.Repeat("a.", 130) },
		"a long zone":  func(c *model.DNSConfig) { c.Zone = strings.Repeat("a.", 130) },
		"a long label": func(c *model.DNSConfig) { c.Zone = strings.Repeat("a", 64) },
	} {
		c := config()
		change(&c)
		if Check(c) == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if err := Check(config()); err != nil {
		t.Error(err)
	}
}

// FuzzQuery: whatever comes in, an answer can be read, is for the question, and is not
// longer than who asked takes.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{"alice.home.arpa.", "www.example.com.", "1.7.18.198.in-addr.arpa.", "1." + strings.Repeat("0.", 15) + "0.0.0.0.7.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."} {
		f.Add(pack(f, name, dnsmessage.TypeA, 0))
		f.Add(pack(f, name, dnsmessage.TypeALL, 1400))
	}
	n := testNames()
	f.Fuzz(func(t *testing.T, b []byte) {
		q, refused, err := parseQuery(b)
		if err != nil {
			return
		}
		out := refused
		if out == nil {
			out = n.answer(q)
			if out == nil {
				out = q.refuse(dnsmessage.RCodeServerFailure)
			}
			out = q.fit(out)
		}
		var p dnsmessage.Parser
		h, err := p.Start(out)
		if err != nil || !h.Response || h.ID != q.header.ID {
			t.Fatalf("answered with %x: %v", out, err)
		}
		if refused == nil && len(out) > q.size {
			t.Fatalf("%d bytes to one who takes %d", len(out), q.size)
		}
	})
}

// FuzzUpstream: whatever a name server answers, it is taken for an answer only with the
// right id and question.
func FuzzUpstream(f *testing.F) {
	asked := pack(f, "www.example.com.", dnsmessage.TypeA, 0)
	q, _, err := parseQuery(asked)
	if err != nil {
		f.Fatal(err)
	}
	good := slices.Clone(asked)
	good[2] |= 0x80
	f.Add(good)
	f.Add(asked)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := q.answers(b, 99); ok && (len(b) < 12 || b[0] != 0 || b[1] != 99 || b[2]&0x80 == 0) {
			t.Fatalf("%x is taken for the answer", b)
		}
	})
}
