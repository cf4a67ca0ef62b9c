package kernel

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

// What is told, byte for byte: a request for oneself, and an advertisement that overrides.
func TestAnnouncements(t *testing.T) {
	from := []byte{2, 0xdb, 0, 0, 0, 5}
	for _, c := range []struct {
		p    place
		want string
	}{
		{place{address: netip.MustParseAddr("198.18.0.100"), mac: from}, "ffffffffffff" + "02db00000005" + "0806" + "0001080006040001" + "02db00000005" + "c6120064" + "000000000000" + "c6120064"},
		{place{address: netip.MustParseAddr("2001:db8::1"), mac: from, router: true}, "333300000001" + "02db00000005" + "86dd" + "6000000000203aff" +
			"20010db8000000000000000000000001" + "ff020000000000000000000000000001" + "8800" + "784b" + "a0000000" + "20010db8000000000000000000000001" + "020102db00000005"},
	} {
		want, err := hex.DecodeString(c.want)
		if err != nil {
			t.Fatal(err)
		}
		if got := announcement(everybody, from, c.p); !bytes.Equal(got, want) {
			t.Errorf("%s:\n%x, not\n%x", c.p.address, got, want)
		}
	}
}
