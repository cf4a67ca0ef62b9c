package probe_test

import (
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/probe"
	"drawbridge/internal/testnet"
)

// TestForeign: a LAN that takes every MAC address, one where nobody answers, and one that
// takes the host's own only.
func TestForeign(t *testing.T) {
	t.Parallel()
	host, gateway := lan(t)
	foreign := func(a string) (got probe.Passage) {
		t.Helper()
		host.Inside(func() (err error) {
			got, err = probe.Foreign(t.Context(), "eth0", netip.MustParseAddr(a))
			return err
		})
		return got
	}
	for address, want := range map[string]probe.Passage{"198.18.0.1": probe.Passes, "2001:db8::1": probe.Passes, "198.18.0.77": probe.Unknown} {
		if got := foreign(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	testnet.RequireSecurity(t)
	gateway.Must(model.SecurePorts{Ports: []model.PortSecurity{{Link: "host0", Level: model.SecurityMAC, MACs: []model.MAC{host.Look().Link("eth0").MAC}}}})
	for _, address := range []string{"198.18.0.1", "2001:db8::1"} {
		if got := foreign(address); got != probe.Filtered {
			t.Errorf("%s behind a filter: %s, want %s", address, got, probe.Filtered)
		}
	}
}
