package probe

import (
	"context"
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// TestForeign: a LAN that takes every MAC address, one that takes the host's only, and one
// where nobody answers.
func TestForeign(t *testing.T) {
	testnet.RequireRoot(t)
	host, gateway := lan(t)
	foreign := func(a string) Passage {
		t.Helper()
		var got Passage
		err := host.Kernel.Inside(func() (err error) {
			got, err = Foreign(context.Background(), "eth0", netip.MustParseAddr(a))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := foreign("198.18.0.1"); got != Passes {
		t.Errorf("ARP: %s, want it to pass", got)
	}
	if got := foreign("2001:db8::1"); got != Passes {
		t.Errorf("neighbour discovery: %s, want it to pass", got)
	}
	if got := foreign("198.18.0.77"); got != Unknown {
		t.Errorf("nobody there: %s, want it unknown", got)
	}
	_ = gateway
	_ = model.MAC("")
}
