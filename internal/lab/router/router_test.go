package router

import (
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The bytes of RFC 4861, 4.2 and 4.6, and RFC 8106, 5.1, written out.
func TestAdvertisementBytes(t *testing.T) {
	got := advertisement(AdvertConfig{
		Prefix: netip.MustParsePrefix("2001:db8::/64"), DNS: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
		Lifetime: 30 * time.Minute,
	}, &net.Interface{HardwareAddr: net.HardwareAddr{2, 0xdb, 0, 0, 0, 1}, MTU: 1500})
	want := "8600 0000 40 00 0708 00000000 00000000" +
		"01 01 02db00000001" +
		"05 01 0000 000005dc" +
		"03 04 40 c0 00000708 00000708 00000000 20010db8000000000000000000000000" +
		"19 03 0000 00000708 20010db8000000000000000000000001"
	if h := hex.EncodeToString(got); h != strings.ReplaceAll(want, " ", "") {
		t.Errorf("%s", h)
	}
}

func TestNames(t *testing.T) {
	names := map[string][]netip.Addr{"host.lab.invalid": {netip.MustParseAddr("198.18.0.5"), netip.MustParseAddr("2001:db8::5")}}
	for _, tc := range []struct {
		name    string
		kind    dnsmessage.Type
		rcode   dnsmessage.RCode
		answers int
	}{
		{"host.lab.invalid.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		{"HOST.lab.invalid.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, 1},
		{"host.lab.invalid.", dnsmessage.TypeMX, dnsmessage.RCodeSuccess, 0},
		{"example.com.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
	} {
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(tc.name), Type: tc.kind, Class: dnsmessage.ClassINET}}}
		b, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := answerName(b, names)
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil {
			t.Fatal(err)
		}
		if m.ID != 7 || !m.Response || m.RCode != tc.rcode || len(m.Answers) != tc.answers {
			t.Errorf("%s %v: %+v", tc.name, tc.kind, m)
		}
	}
}

func FuzzNames(f *testing.F) {
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("host."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, _ := q.Pack()
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = answerName(b, map[string][]netip.Addr{"host": {netip.MustParseAddr("198.18.0.5")}})
	})
}

func TestPage(t *testing.T) {
	for from, want := range map[string]string{
		"198.18.0.5:4242": "You are 198.18.0.5.", "[2001:db8::5]:4242": "You are 2001:db8::5.", "[::ffff:198.18.0.5]:1": "You are 198.18.0.5.",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = from
		page("far", "a server").ServeHTTP(w, r)
		if body := w.Body.String(); !strings.Contains(body, want) || !strings.Contains(body, "This is far: a server.") {
			t.Errorf("%s: %q", from, body)
		}
	}
}
