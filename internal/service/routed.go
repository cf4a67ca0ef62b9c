package service

import (
	"context"
	"errors"
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
	// unpluggedTime is how long a cable is pulled: the kernel's link watch tells of a carrier
	// that is lost a second after the last that it told (linkwatch_add_event).
	unpluggedTime = 1200 * time.Millisecond
)

// view is what a supervisor sees of the host, for a relay.
type view struct {
	facts relay.Facts
	// learned is routed by our mark already, as after a relay that was killed, and answered
	// has the uplink answer for it: a link that was down has forgotten that (pneigh_ifdown).
	learned  []model.LearnedAddress
	answered []netip.Addr
	// unanswered are addresses of the file that are routed, and the uplink does not answer.
	unanswered []netip.Addr
	cables     map[model.MAC]string // veth ports of the link, by who is behind them
}

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
		k := keeper{supervisor: s, nudged: map[model.MAC]bool{}}
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			if err := k.turn(); err != nil && err.Error() != k.said {
				s.log.say("%v", err)
				k.said = err.Error()
			}
		}
	}()
	return done
}

// keeper keeps what a relay wants routed.
type keeper struct {
	*supervisor
	now    *view
	looked time.Time
	// missing were not answered for when it looked before.
	missing []netip.Addr
	nudged  map[model.MAC]bool
	said    string
}

// turn asks the relay once, and does what it says.
func (k *keeper) turn() error {
	if k.now == nil || time.Since(k.looked) > factsTime {
		before := k.now
		now, err := k.look()
		if err != nil {
			return nil //nolint:nilerr // the link is away just now: its supervisor sees to that
		}
		k.now, k.looked, k.missing = &now, time.Now(), nil
		if before != nil {
			k.missing = before.unanswered
		}
	}
	k.mu.Lock()
	srv := k.server
	k.mu.Unlock()
	if srv == nil {
		return nil
	}
	r, err := srv.ask(call{Do: callRelay, Facts: &k.now.facts}, statusTime)
	if err != nil || r.Relay == nil {
		return nil //nolint:nilerr // it is about to be started again
	}
	if err := errors.Join(k.route(r.Relay.Learned), k.answer(r.Relay.Answers), k.nudge(r.Relay.Stranded)); err != nil {
		k.looked = time.Time{} // what is so now?
		return err
	}
	k.said = ""
	return nil
}

// answer has the uplink answer again for addresses of the file. What is missing twice is missing, and not just about to
// come or to go by a change of the network.
func (k *keeper) answer(want []netip.Addr) error {
	var again []netip.Addr
	for _, a := range k.now.unanswered {
		if slices.Contains(k.missing, a) && slices.Contains(want, a) {
			again = append(again, a)
		}
	}
	if len(again) == 0 {
		return nil
	}
	k.looked = time.Time{}
	uplink := k.config.Service.Relay.Uplink
	if _, err := k.kernel.Do(context.Background(), model.AddProxies{Link: uplink, Addresses: again}); err != nil {
		return fmt.Errorf("%s cannot answer for %v: %w", uplink, again, err)
	}
	k.log.say("%s answers for %v again", uplink, again)
	return nil
}

// nudge unplugs the cables of machines whose address is of a LAN that the host has left, and
// plugs them in again, once: most DHCP clients ask anew then. Only a cable that is a veth
// pair tells its other end (veth_close); what is on a tap asks when its lease is half over.
func (k *keeper) nudge(stranded []model.MAC) error {
	for m := range k.nudged {
		if !slices.Contains(stranded, m) {
			delete(k.nudged, m)
		}
	}
	for _, m := range stranded {
		port := k.now.cables[m]
		if port == "" || k.nudged[m] {
			continue
		}
		k.nudged[m] = true
		k.log.say("the cable of %s is pulled for a moment: its address is of another LAN", m)
		for _, up := range []bool{false, true} {
			if _, err := k.kernel.Do(context.Background(), model.SetUp{Link: port, Up: up}); err != nil {
				return err
			}
			if !up {
				time.Sleep(unpluggedTime)
			}
		}
	}
	return nil
}

// route changes what is routed to the link, and answered for at the uplink, to what was
// learned. The new before the old.
func (k *keeper) route(want []model.LearnedAddress) error {
	link, uplink := k.config.Service.Link, k.config.Service.Relay.Uplink
	var routes, add, drop model.Operations
	var answered []netip.Addr
	for _, l := range want {
		answered = append(answered, l.Address)
		if !learnedIn(k.now.learned, l.Address) {
			add = append(add, model.AddRoutes{Routes: []model.Route{model.ProxyRoute(link, l.Address, model.ProtocolLearned)}})
		}
		if !slices.Contains(k.now.answered, l.Address) {
			add = append(add, model.AddProxies{Link: uplink, Addresses: []netip.Addr{l.Address}, Protocol: model.ProtocolLearned})
		}
	}
	for _, a := range k.now.answered {
		if !learnedIn(want, a) {
			drop = append(drop, model.DeleteProxies{Link: uplink, Addresses: []netip.Addr{a}})
		}
	}
	for _, l := range k.now.learned {
		if !learnedIn(want, l.Address) {
			routes = append(routes, model.DeleteRoutes{Routes: []model.Route{model.ProxyRoute(link, l.Address, model.ProtocolLearned)}})
		}
	}
	for _, op := range slices.Concat(add, drop, routes) {
		if _, err := k.kernel.Do(context.Background(), op); err != nil {
			return fmt.Errorf("an address cannot be routed: %w", err)
		}
	}
	k.now.learned, k.now.answered = want, answered
	return nil
}

func learnedIn(list []model.LearnedAddress, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(l model.LearnedAddress) bool { return l.Address == a })
}

// look looks at the host. An uplink that is gone is away.
func (s *supervisor) look() (view, error) {
	link, uplink := s.config.Service.Link, s.config.Service.Relay.Uplink
	ns, err := s.kernel.Observe(context.Background())
	if err != nil {
		return view{}, err
	}
	near := ns.Link(link)
	if near == nil {
		return view{}, fmt.Errorf("%s: %w", link, model.ErrNotFound)
	}
	v := view{facts: relay.Facts{LinkMAC: near.MAC}, cables: map[model.MAC]string{}}
	f := &v.facts
	if far := ns.Link(uplink); far != nil {
		f.UplinkMAC, f.Away = far.MAC, !far.Up || !far.Carrier
	} else {
		f.Away = true
	}
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
	proxied := map[netip.Addr]bool{}
	for _, nb := range ns.Proxies(uplink) {
		proxied[nb.Address] = true
		if nb.Protocol == model.ProtocolLearned {
			v.answered = append(v.answered, nb.Address)
		}
	}
	for _, r := range ns.Routes {
		switch g, a := r.Gateway(), r.Destination.Addr(); {
		case r.Table == model.TableLocal || a.IsLinkLocalUnicast() || a.IsMulticast():
		case g.IsValid() && r.Link() == uplink:
			f.Gateways, f.Taken = append(f.Gateways, g), append(f.Taken, g)
		case r.Link() != link || !r.Destination.IsSingleIP():
		case r.Protocol != model.ProtocolLearned:
			f.Given = append(f.Given, a)
			if !proxied[a] {
				v.unanswered = append(v.unanswered, a)
			}
		default:
			v.learned = append(v.learned, model.LearnedAddress{Address: a, MAC: macOf(&ns, link, a)})
		}
	}
	for _, e := range ns.FDB {
		if p := ns.Link(e.Link); p != nil && p.Master == link && p.Kind == model.Veth && e.State == "" {
			v.cables[e.MAC] = p.Name
		}
	}
	return v, nil
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
