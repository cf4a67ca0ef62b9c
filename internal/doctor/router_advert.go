package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// routerAdvert: accept_ra=1 means "unless forwarding" (ipv6_accept_ra): who routes is a
// router, and a router does not listen to routers.
var routerAdvert = Check{
	ID:    "ra-forwarding",
	Title: "Router advertisements are not accepted, because the host forwards IPv6",
	Shows: "IPv6 works until the address runs out, half an hour to a month later; the default route is gone at once",
	Knows: "forwarding is on and accept_ra is 1 on a link, which has an address or a route from an advertisement, or a neighbour that is a router. With 2 they would be accepted all the same",
	Mends: "accept_ra=2 on that link",
	Find: func(h *Host) []Finding {
		var out []Finding
		for i := range h.here.Links {
			l := &h.here.Links[i]
			path := "ipv6/conf/" + l.Name + "/accept_ra"
			if !l.Up || h.setting("ipv6/conf/"+l.Name+"/forwarding") != "1" || h.setting(path) != "1" || h.setting("ipv6/conf/"+l.Name+"/disable_ipv6") == "1" {
				continue
			}
			evidence, severity, sure := h.advertised(l.Name)
			if len(evidence) == 0 {
				continue
			}
			out = append(out, Finding{Object: l.Name, Severity: severity, Sure: sure,
				What: fmt.Sprintf("%s does not listen to router advertisements any more: what it got by them runs out", l.Name),
				Seen: append([]string{fmt.Sprintf("%s: forwarding 1, accept_ra 1", l.Name)}, evidence...),
				Mend: by("accept advertisements on "+l.Name+" although the host forwards", model.SetSetting{Path: path, Value: "2"}),
			})
		}
		return out
	},
}

// advertised is what tells that there is a router whose advertisements matter on a link.
func (h *Host) advertised(link string) (evidence []string, s Severity, sure Sureness) {
	s, sure = Risk, Likely
	for _, a := range h.addresses[link] {
		if a.Origin == model.RA && a.Lifetime != nil {
			evidence, sure = append(evidence, fmt.Sprintf("%s is from an advertisement, and runs out in %d s", a.Prefix, a.Lifetime.Valid)), Certain
		}
	}
	for _, r := range h.here.RoutesOf(link) {
		if r.Protocol == "ra" {
			evidence, sure = append(evidence, "from an advertisement: route "+routeWords(r)), Certain
		}
	}
	for _, n := range h.here.Neighbours {
		if n.Link == link && n.Router && n.Address.Is6() && n.State != "failed" && n.State != "permanent" {
			evidence = append(evidence, fmt.Sprintf("%s is a router, by the neighbour table", n.Address))
		}
	}
	return evidence, s, sure
}
