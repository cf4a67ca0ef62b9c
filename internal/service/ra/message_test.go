package ra

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"

	"golang.org/x/sys/unix"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func config() model.RAConfig {
	return model.RAConfig{Prefixes: []model.RAPrefix{{Prefix: netip.MustParsePrefix("2001:db8:7::5/64")}, {Prefix: netip.MustParsePrefix("2001:db8:8::/60"), Valid: 600, Preferred: 900}},
		LifetimeSeconds: 1800, DNS: []netip.Addr{addr("198.18.7.1"), addr("2001:db8:7::1")}, Search: []string{"home.arpa", "lan"}, IntervalSeconds: 300}
}

// The message, byte by byte, as RFC 4861, 4.2 and 4.6, and RFC 8106, 5, have it.
func TestMessage(t *testing.T) {
	got := message(config(), model.RAConfig{}, mac, 1400)
	want := [][]byte{
		{134, 0, 0, 0, 64, 0, 1800 >> 8, 1800 & 255, 0, 0, 0, 0, 0, 0, 0, 0},
		{1, 1, 2, 0, 0, 0, 0, 1},
		{5, 1, 0, 0, 0, 0, 1400 >> 8, 1400 & 255},
		{3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		{3, 4, 60, 0x80, 0, 0, 2, 88, 0, 0, 2, 88, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		{25, 3, 0, 0, 0, 0, 3, 132, 0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		append(append([]byte{31, 3, 0, 0, 0, 0, 3, 132, 4}, "home\x04arpa\x00\x03lan"...), 0),
	}
	if !bytes.Equal(got, bytes.Join(want, nil)) {
		t.Errorf("%x\nwant\n%x", got, bytes.Join(want, nil))
	}
	if len(got)%8 != 0 {
		t.Errorf("%d bytes", len(got))
	}
}

// What is no longer so is taken back: with lifetimes of nothing.
func TestTakeBack(t *testing.T) {
	still := model.RAConfig{Prefixes: []model.RAPrefix{{Prefix: netip.MustParsePrefix("2001:db8:7::/64")}}, Search: []string{"lan"}, IntervalSeconds: 300}
	got := message(still, config(), mac, 1500)
	options := map[byte][][]byte{}
	for b := got[16:]; len(b) > 0; b = b[int(b[1])*8:] {
		options[b[0]] = append(options[b[0]], b[:int(b[1])*8])
	}
	if got[6] != 0 || got[7] != 0 {
		t.Error("it is still a router")
	}
	if p := options[optionPrefix]; len(p) != 2 || p[0][4]|p[0][5]|p[0][6] == 0 || !bytes.Equal(p[1][2:12], []byte{60, 0x80, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("prefixes %x", p)
	}
	if s := options[optionRDNSS]; len(s) != 1 || !bytes.Equal(s[0][4:8], make([]byte, 4)) {
		t.Errorf("servers %x", s)
	}
	if d := options[optionDNSSL]; len(d) != 2 || d[0][6]|d[0][7] == 0 || !bytes.Equal(d[1][4:8], make([]byte, 4)) || !strings.Contains(string(d[1]), "arpa") {
		t.Errorf("domains %x", d)
	}
}

func TestSolicits(t *testing.T) {
	bare := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	with := append(bytes.Clone(bare), 1, 1, 2, 0, 0, 0, 0, 9)
	for name, c := range map[string]struct {
		b    []byte
		hops int
		ok   bool
	}{
		"bare": {bare, 255, true}, "with its address": {with, 255, true}, "from afar": {bare, 254, false}, "short": {bare[:7], 255, false},
		"another message": {append([]byte{134}, bare[1:]...), 255, false}, "code 1": {[]byte{133, 1, 0, 0, 0, 0, 0, 0}, 255, false},
		"an option of length 0": {append(bytes.Clone(bare), 1, 0, 0, 0, 0, 0, 0, 0), 255, false}, "an option cut off": {with[:12], 255, false},
	} {
		if solicits(c.b, c.hops) != c.ok {
			t.Errorf("%s: taken %v", name, !c.ok)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]model.RAConfig{
		"IPv4":       {Prefixes: []model.RAPrefix{{Prefix: netip.MustParsePrefix("198.18.0.0/24")}}},
		"link-local": {Prefixes: []model.RAPrefix{{Prefix: netip.MustParsePrefix("fe80::/64")}}},
		"no prefix":  {Prefixes: []model.RAPrefix{{}}},
		"no domain":  {Search: []string{"a..b"}},
	} {
		if Check(c) == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if err := Check(config()); err != nil {
		t.Error(err)
	}
}

func FuzzSolicits(f *testing.F) {
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		if solicits(b, 255) && (len(b)%8 != 0 || b[0] != 133) {
			t.Fatalf("%x is taken for a solicitation", b)
		}
	})
}

// TestSettling: a link that has no address yet is no trouble, one that gets none is.
func TestSettling(t *testing.T) {
	s := &Sender{Link: "lo"} // it always runs
	now := time.Now()
	no := fmt.Errorf("sendmsg: %w", unix.EADDRNOTAVAIL)
	for _, c := range []struct {
		err   error
		after time.Duration
		want  bool
	}{
		{no, 0, true},
		{no, addressTime - time.Second, true},
		{no, addressTime, false},
		{unix.ENOBUFS, addressTime, false},
		{no, addressTime + time.Second, true}, // anew
	} {
		if got := s.settling(c.err, now.Add(c.after)); got != c.want {
			t.Errorf("%v after %v: settling %v", c.err, c.after, got)
		}
	}
	if (&Sender{Link: "gone"}).settling(no, now) {
		t.Error("a link that is gone settles")
	}
}
