package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"drawbridge/internal/iproute"
	"drawbridge/internal/model"
)

// leaseFiles are where DHCP clients note their leases down: dhclient, systemd-networkd,
// NetworkManager.
var leaseFiles = []string{"/var/lib/dhcp/dhclient*.leases", "/run/systemd/netif/leases/*", "/var/lib/NetworkManager/*.lease"}

// askAround asks other programs what netlink does not tell: whom this host hides behind
// its own address, the peers of tunnels, the active ports of teams, DHCP servers. Without
// them, or without the rights, that is unknown, and the picture is without it.
func (s *session) askAround(ctx context.Context, n *model.Namespace) {
	var e iproute.Extras
	e.Nft, _ = s.runInside(ctx, "nft", "-j", "list", "ruleset")
	e.Iptables, _ = s.runInside(ctx, "iptables-save", "-t", "nat")
	var active strings.Builder
	wireguard := false
	for _, l := range n.Links {
		wireguard = wireguard || l.Kind == model.Wireguard
		if l.Kind == model.Team {
			port, _ := s.runInside(ctx, "teamnl", l.Name, "getoption", "activeport")
			fmt.Fprintln(&active, l.Name, strings.TrimSpace(string(port)))
		}
	}
	e.Active = []byte(active.String())
	if wireguard {
		e.Wireguard, _ = s.runInside(ctx, "wg", "show", "all", "endpoints")
	}
	for _, pattern := range leaseFiles {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			data, _ := os.ReadFile(path)
			e.Leases = append(append(e.Leases, data...), '\n')
		}
	}
	_ = e.Apply(n) // a ruleset that is not understood is as if there were none
}
