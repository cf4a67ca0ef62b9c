package service

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/service/relay"
)

// How often a relay is asked what it has learned, and the host is looked at: for what the
// relay must know of it, and whether all that was learned is routed still.
const (
	learnTime = 200 * time.Millisecond
	factsTime = time.Second
)

// keepRouted routes what the server's relay learns, which has no rights to, until the
// supervisor is to end. What was learned stays then: who ended us takes it away, or goes on.
func (s *supervisor) keepRouted() (done chan struct{}) {
	done = make(chan struct{})
	if s.config.Service.Relay == nil {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(learnTime)
		defer tick.Stop()
		var facts *relay.Facts
		var routed []model.LearnedAddress
		var looked time.Time
		said := ""
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			if time.Since(looked) > factsTime || facts == nil {
				now, learned, err := s.relayFacts()
				if err != nil {
					continue // a link is away just now
				}
				facts, routed, looked = now, learned, time.Now()
			}
			s.mu.Lock()
			srv := s.server
			s.mu.Unlock()
			if srv == nil {
				continue
			}
			r, err := srv.ask(call{Do: callRelay, Facts: facts}, statusTime)
			if err != nil || r.Service == nil {
				continue
			}
			if err := s.route(routed, r.Service.Learned); err != nil {
				if err.Error() != said {
					s.log.say("%v", err)
					said = err.Error()
				}
				looked = time.Time{} // what is so now?
				continue
			}
			routed, said = r.Service.Learned, ""
		}
	}()
	return done
}

// route changes what is routed to the link, and answered for at the uplink, to what was
// learned. The new before the old.
func (s *supervisor) route(now, want []model.LearnedAddress) error {
	service := s.config.Service
	has := func(list []model.LearnedAddress, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(l model.LearnedAddress) bool { return l.Address == a })
	}
	var add, drop model.Operations
	for _, l := range want {
		if !has(now, l.Address) {
			add = append(add, model.AddRoutes{Routes: []model.Route{model.ProxyRoute(service.Link, l.Address, model.ProtocolLearned)}},
				model.AddProxies{Link: service.Relay.Uplink, Addresses: []netip.Addr{l.Address}, Protocol: model.ProtocolLearned})
		}
	}
	for _, l := range now {
		if !has(want, l.Address) {
			drop = append(drop, model.DeleteProxies{Link: service.Relay.Uplink, Addresses: []netip.Addr{l.Address}},
				model.DeleteRoutes{Routes: []model.Route{model.ProxyRoute(service.Link, l.Address, model.ProtocolLearned)}})
		}
	}
	for _, op := range append(add, drop...) {
		if _, err := s.kernel.Do(context.Background(), op); err != nil {
			return fmt.Errorf("an address cannot be routed: %w", err)
		}
	}
	return nil
}

// relayFacts looks at the host: what a relay must know, and what is routed by our mark, as
// after a relay that was killed.
func (s *supervisor) relayFacts() (*relay.Facts, []model.LearnedAddress, error) {
	link, uplink := s.config.Service.Link, s.config.Service.Relay.Uplink
	ns, err := s.kernel.Observe(context.Background())
	if err != nil {
		return nil, nil, err
	}
	near, far := ns.Link(link), ns.Link(uplink)
	if near == nil || far == nil {
		return nil, nil, fmt.Errorf("%s or %s: %w", link, uplink, model.ErrNotFound)
	}
	f := &relay.Facts{LinkMAC: near.MAC, UplinkMAC: far.MAC}
	for _, a := range ns.Addresses {
		own := a.Prefix.Addr()
		switch {
		case a.Flags.Tentative || a.Flags.DADFailed:
			continue
		case !own.IsLinkLocalUnicast():
			f.Taken = append(f.Taken, own)
			if a.Link == uplink && !a.Prefix.IsSingleIP() {
				f.LAN = append(f.LAN, a.Prefix)
			}
		case a.Link == link && own.Is6():
			f.LinkLocal = own
		case a.Link == uplink && own.Is6():
			f.UplinkLocal = own
		}
	}
	var learned []model.LearnedAddress
	for _, r := range ns.Routes {
		switch g := r.Gateway(); {
		case r.Table == model.TableLocal || r.Destination.Addr().IsLinkLocalUnicast() || r.Destination.Addr().IsMulticast():
		case g.IsValid() && r.Link() == uplink:
			f.Gateways, f.Taken = append(f.Gateways, g), append(f.Taken, g)
		case r.Link() != link || !r.Destination.IsSingleIP():
		case r.Protocol != model.ProtocolLearned:
			f.Given = append(f.Given, r.Destination.Addr())
		case slices.ContainsFunc(ns.Proxies(uplink), func(nb model.Neighbour) bool { return nb.Address == r.Destination.Addr() }):
			learned = append(learned, model.LearnedAddress{Address: r.Destination.Addr(), MAC: macOf(&ns, link, r.Destination.Addr())})
		}
	}
	return f, learned, nil
}

// macOf is where a machine was last found.
func macOf(ns *model.Namespace, link string, a netip.Addr) model.MAC {
	for _, nb := range ns.Neighbours {
		if nb.Link == link && nb.Address == a && !nb.Proxy {
			return nb.MAC
		}
	}
	return ""
}
