package doctor

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// misplacedAddress: an address of a port is still the host's own (Linux's addresses belong
// to the host), and answers for as long as the neighbours' old entries last. What arrives
// comes by the bridge, what leaves by the port's routes goes past it.
var misplacedAddress = Check{
	ID:    "address-on-port",
	Title: "An address is on a port of a bridge instead of on the bridge",
	Shows: "the host answers for a while, and then no longer; or only some of its neighbours reach it",
	Knows: "a link that is a port of a bridge has an address other than a link-local one",
	Mends: "the address and the port's routes move to the bridge, in the order that loses nothing",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			for _, p := range h.ports[b.Name] {
				as := slices.DeleteFunc(slices.Clone(h.addresses[p.Name]), func(a model.Address) bool {
					return a.Origin == model.LinkLocal || a.Prefix.Addr().IsLinkLocalUnicast() || a.Flags.Temporary
				})
				if len(as) == 0 {
					continue
				}
				f := Finding{Object: p.Name, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("%s is on %s, which is a port of %s: what comes in arrives at %s, and what goes out by %s's routes passes it by", model.SplitAddresses(as), p.Name, b.Name, b.Name, p.Name),
					Seen: []string{fmt.Sprintf("%s: master %s; %s", p.Name, b.Name, model.SplitAddresses(as))},
				}
				for _, r := range h.routesBy(p.Name) {
					f.Seen = append(f.Seen, "route: "+routeWords(r))
				}
				f.Mend = bySteps(fmt.Sprintf("move them to %s, with the routes", b.Name), plan.MoveHome(h.Snapshot, p.Name, b.Name))
				out = append(out, f)
			}
		}
		return out
	},
}

func linkLocals(as []model.Address) int {
	n := 0
	for _, a := range as {
		if a.Origin == model.LinkLocal || a.Prefix.Addr().IsLinkLocalUnicast() {
			n++
		}
	}
	return n
}

// routesBy are the routes of a link that somebody gave: not those of the kernel's own for
// link-local and multicast addresses, nor of table local.
func (h *Host) routesBy(link string) []model.Route {
	return slices.DeleteFunc(h.here.RoutesOf(link), func(r model.Route) bool {
		d := r.Destination.Addr()
		return r.Table == model.TableLocal || d.IsLinkLocalUnicast() || d.IsMulticast() || r.Type != "unicast"
	})
}

func routeWords(r model.Route) string {
	s := r.Destination.String()
	if r.IsDefault() {
		s = "default"
	}
	if r.Gateway().IsValid() {
		s += " via " + r.Gateway().String()
	}
	s += " dev " + r.Link()
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}

// counted is "1 route leaves" or "2 routes leave".
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
