package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// stopServices stops the servers of ours that nobody wants, or whose link is another one
// now: before the links go.
func (b *builder) stopServices(w *wanted) {
	for _, network := range slices.Clone(b.own.Services) {
		now := b.now.Service(network)
		if now == nil {
			b.own.record(model.StopService{Network: network}, &b.now)
			continue
		}
		switch want := w.service(network); {
		case want == nil:
			b.step("Stop the servers of network "+network, "The network no longer has any, or is no more.", model.StopService{Network: network})
		case want.Link != now.Link:
			b.step("Stop the servers of network "+network, fmt.Sprintf("They serve on %s, and are to serve on %s.", now.Link, want.Link), model.StopService{Network: network})
		}
	}
}

// runServices starts the servers of networks, and changes those that run: once the links
// have their addresses, and before machines ask for theirs.
func (b *builder) runServices(w *wanted) {
	for _, want := range w.services {
		want = want.Wish()
		switch now := b.now.Service(want.Network); {
		case now == nil:
			b.step(serviceTitle(want), serviceWhy(want), model.StartService{Service: want})
		case !now.Same(want):
			b.step("Change the servers of network "+want.Network, "The file wants them otherwise. Leases that were given stay.", model.ChangeService{Service: want})
		}
	}
}

func (w *wanted) service(network string) *model.Service {
	return at(w.services, func(s model.Service) bool { return s.Network == network })
}

func serviceWhy(s model.Service) string {
	if r := s.Relay; r != nil {
		return fmt.Sprintf("A process takes the machines' DHCP to the servers of the LAN by %s, as a relay agent with the host's address, and its router advertisements to the machines. What addresses they take it learns from DHCP, ARP and duplicate address detection: they are routed to %s, and %[1]s answers for them.", r.Uplink, s.Link)
	}
	why := fmt.Sprintf("A process of its own serves network %s, without any rights but to its sockets.", s.Network)
	if d := s.DHCP4; d != nil {
		why += fmt.Sprintf(" Whoever asks by DHCP gets an address from %s to %s", d.First, d.Last)
		if d.Router.IsValid() {
			why += fmt.Sprintf(", and %s as its router", d.Router)
		}
		why += "."
	}
	if r := s.RA; r != nil && len(r.Prefixes) > 0 {
		why += fmt.Sprintf(" Router advertisements tell the prefix %s, of which hosts make their own IPv6 addresses.", r.Prefixes[0].Prefix)
	}
	if d := s.DNS; d != nil && d.Zone != "" {
		why += fmt.Sprintf(" Names in %s are answered here, all others are asked of the host's own name servers.", d.Zone)
	}
	return why
}

func inverseForService(op model.Operation, before *model.Snapshot) model.Operations {
	switch op := op.(type) {
	case model.StartService:
		return model.Operations{model.StopService{Network: op.Service.Network}}
	case model.ChangeService:
		if s := before.Service(op.Service.Network); s != nil {
			return model.Operations{model.ChangeService{Service: s.Wish()}}
		}
	case model.StopService:
		if s := before.Service(op.Network); s != nil {
			return model.Operations{model.StartService{Service: s.Wish()}}
		}
	}
	return nil
}

// recordService notes which networks are served by us.
func (o *Owned) recordService(op model.Operation) {
	switch op := op.(type) {
	case model.StartService:
		o.Services = append(o.Services, op.Service.Network)
	case model.StopService:
		o.Services = slices.DeleteFunc(o.Services, func(n string) bool { return n == op.Network })
	}
}

// serviceCommands serve the same with dnsmasq(8).
func serviceCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.StartService:
		if op.Service.Relay != nil {
			return relayWords(op.Service)
		}
		return []string{dnsmasq(op.Service)}
	case model.StopService:
		return []string{"kill $(cat " + dnsmasqPID(op.Network) + ")"}
	case model.ChangeService:
		return []string{"kill $(cat " + dnsmasqPID(op.Service.Network) + ")", dnsmasq(op.Service)}
	}
	return nil
}

func dnsmasqPID(network string) string { return "/run/dnsmasq-" + network + ".pid" }

func dnsmasq(s model.Service) string {
	words := []string{"dnsmasq", "--pid-file=" + dnsmasqPID(s.Network), "--interface=" + s.Link, "--bind-interfaces", "--except-interface=lo"}
	if d := s.DHCP4; d != nil {
		words = append(words, fmt.Sprintf("--dhcp-range=%s,%s,%d", d.First, d.Last, orHour(d.LeaseSeconds)))
		if d.Router.IsValid() {
			words = append(words, "--dhcp-option=option:router,"+d.Router.String())
		} else {
			words = append(words, "--dhcp-option=option:router")
		}
		if len(d.DNS) > 0 {
			words = append(words, "--dhcp-option=option:dns-server,"+joined(d.DNS))
		}
		if d.Domain != "" {
			words = append(words, "--domain="+d.Domain)
		}
		for _, l := range d.Static {
			host := []string{string(l.MAC)}
			if l.Name != "" {
				host = append(host, l.Name)
			}
			if l.Address.IsValid() {
				host = append(host, l.Address.String())
			}
			words = append(words, "--dhcp-host="+strings.Join(host, ","))
		}
	}
	if r := s.RA; r != nil {
		words = append(words, "--enable-ra", fmt.Sprintf("--ra-param=%s,%d,%d", s.Link, r.IntervalSeconds, r.LifetimeSeconds))
		for _, p := range r.Prefixes {
			words = append(words, fmt.Sprintf("--dhcp-range=%s,ra-only,%d", p.Prefix.Addr(), p.Prefix.Bits()))
		}
	}
	return strings.Join(append(words, dnsWords(s.DNS)...), " ")
}

func dnsWords(d *model.DNSConfig) []string {
	if d == nil {
		return []string{"--port=0"}
	}
	var words []string
	if d.Zone != "" {
		words = append(words, "--local=/"+d.Zone+"/")
	}
	for _, n := range d.Names {
		name := n.Name
		if d.Zone != "" {
			name += "." + d.Zone
		}
		words = append(words, "--host-record="+name+","+joined(n.Addresses))
	}
	for _, u := range d.Upstreams {
		if len(words) == 0 || !slices.Contains(words, "--no-resolv") {
			words = append(words, "--no-resolv")
		}
		words = append(words, fmt.Sprintf("--server=%s#%d", u.Addr(), u.Port()))
	}
	return words
}

func joined(as []netip.Addr) string {
	return strings.Join(each(as, netip.Addr.String), ",")
}

func orHour(seconds uint32) uint32 {
	if seconds == 0 {
		return 3600
	}
	return seconds
}

func serviceTitle(s model.Service) string {
	if s.Relay != nil {
		return fmt.Sprintf("Make %s a part of the LAN by %s", s.Link, s.Relay.Uplink)
	}
	return fmt.Sprintf("Serve %s on %s", s.Parts(), s.Link)
}

// relayWords do most of it with other programs.
func relayWords(s model.Service) []string {
	return []string{fmt.Sprintf("dhcrelay -4 -id %s -iu %s SERVER", s.Link, s.Relay.Uplink), fmt.Sprintf("parprouted %s %s", s.Link, s.Relay.Uplink),
		fmt.Sprintf("ndppd -c /etc/ndppd.conf  # proxy %s { rule PREFIX { iface %s } }", s.Relay.Uplink, s.Link)}
}
