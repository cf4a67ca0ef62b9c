package lab

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/lab/router"
	"drawbridge/internal/model"
)

// network is the lab's network as it runs.
type network struct {
	kernels map[string]*kernel.Kernel
	dhcp    *router.DHCP
	mu      sync.Mutex
	isIn    bool // the host's uplink is plugged in
}

// buildNetwork makes the namespaces and all that is in them, and starts what runs there.
func buildNetwork(ctx context.Context, o Options, logger *log.Logger) (*network, error) {
	n := &network{kernels: map[string]*kernel.Kernel{}, isIn: !o.Unplugged}
	for _, name := range namespaceNames() {
		if err := kernel.CreateNamespace(name); err != nil {
			return nil, fmt.Errorf("make namespace %s: %w", name, err)
		}
		k, err := kernel.OpenNamed(name)
		if err != nil {
			return nil, fmt.Errorf("open namespace %s: %w", name, err)
		}
		n.kernels[name] = k
	}
	for _, a := range topology(o) {
		if _, err := n.kernels[a.namespace].Do(ctx, a.do); err != nil {
			return nil, fmt.Errorf("%s in namespace %s: %s: %w", a.do.Op(), a.namespace, a.do.Object(), err)
		}
	}
	if err := n.settle(ctx); err != nil {
		return nil, err
	}
	return n, n.startServices(ctx, o, logger)
}

// settle waits until every address can be used, and then lets the kernel detect
// duplicates as it does on every machine.
func (n *network) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for _, name := range namespaceNames() {
		for {
			ns, err := n.kernels[name].Observe(ctx)
			if err != nil {
				return fmt.Errorf("observe namespace %s: %w", name, err)
			}
			if !slices.ContainsFunc(ns.Addresses, func(a model.Address) bool { return a.Flags.Tentative }) {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	for _, a := range settled() {
		if _, err := n.kernels[a.namespace].Do(ctx, a.do); err != nil {
			return fmt.Errorf("%s in namespace %s: %s: %w", a.do.Op(), a.namespace, a.do.Object(), err)
		}
	}
	return nil
}

// startServices opens every socket inside its namespace: a socket stays in the one
// that it was opened in, whichever thread serves it later.
func (n *network) startServices(ctx context.Context, o Options, logger *log.Logger) error {
	n.dhcp = router.NewDHCP(router.DHCPConfig{
		Server: routerLAN4, First: poolFirst, Last: poolLast,
		Gateway: routerLAN4.Addr(), DNS: []netip.Addr{routerLAN4.Addr()}, LeaseTime: o.LeaseTime,
		Domain: "lab.invalid",
	}, logger)
	advert := router.AdvertConfig{
		Link: "eth0", Prefix: routerLAN6.Masked(), DNS: []netip.Addr{routerLAN6.Addr()},
		Interval: o.AdvertInterval, Lifetime: o.AdvertLifetime,
	}
	names := map[string][]netip.Addr{
		"router.lab.invalid":    {routerLAN4.Addr(), routerLAN6.Addr()},
		"neighbour.lab.invalid": {neighbour4.Addr(), neighbour6.Addr()},
		"host.lab.invalid":      {host4.Addr(), host6.Addr()},
		"far.lab.invalid":       {far4.Addr(), far6.Addr()},
	}
	services := []struct {
		namespace string
		what      string
		start     func() error
	}{
		{routerNS, "DHCP server", func() error { return n.dhcp.Start(ctx, "eth0") }},
		{routerNS, "router advertisements", func() error { return router.Advertise(ctx, advert, logger) }},
		{routerNS, "name server", func() error { return router.ServeNames(ctx, names, logger) }},
		{routerNS, "web page", func() error { return router.ServePage(ctx, "router", "the LAN's router, 198.18.0.1") }},
		{neighbourNS, "web page", func() error { return router.ServePage(ctx, "neighbour", "a neighbour on the LAN, 198.18.0.20") }},
		{farNS, "web page", func() error { return router.ServePage(ctx, "far", "a server in the second subnet, 198.18.1.2") }},
	}
	for _, s := range services {
		if err := kernel.Enter(filepath.Join(netnsDir, s.namespace), s.start); err != nil {
			return fmt.Errorf("%s in namespace %s: %w", s.what, s.namespace, err)
		}
	}
	return nil
}

// setUplink plugs the host's uplink in, or pulls it out, at the switch's side: the
// host sees its carrier go, as with a real cable.
func (n *network) setUplink(plugged bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if _, err := n.kernels[lanNS].Do(ctx, model.SetUp{Link: hostPort, Up: plugged}); err != nil {
		return fmt.Errorf("the host's uplink: %w", err)
	}
	n.isIn = plugged
	return nil
}

func (n *network) plugged() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isIn
}

func (n *network) leases() []Lease {
	out := []Lease{}
	for _, l := range n.dhcp.Leases() {
		out = append(out, Lease{Address: l.Address, MAC: l.MAC.String(), ClientID: l.ClientID, Hostname: l.Hostname, Expires: l.Expires})
	}
	return out
}
