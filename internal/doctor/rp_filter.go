package doctor

import (
	"fmt"
	"strconv"

	"drawbridge/internal/model"
)

// rpFilter: strict reverse path filtering drops what comes in by another link than the one
// that answers would leave by (fib_validate_source, RFC 3704). In force is the higher of the
// values of all and of the link (IN_DEV_RPFILTER).
var rpFilter = Check{
	ID:    "rp-filter",
	Title: "Strict reverse path filtering drops what comes in by a link",
	Shows: "packets arrive, as tcpdump shows, and nothing answers; with two interfaces on one LAN only one is reached",
	Knows: "rp_filter is 1 for a link with an IPv4 address, and the route to that address's own subnet leaves by another link. The counter IPReversePathFilter tells how much was dropped",
	Mends: "loose filtering on that link (rp_filter=2): a packet passes if its sender can be reached at all",
	Find: func(h *Host) []Finding {
		var out []Finding
		for i := range h.here.Links {
			l := &h.here.Links[i]
			if !l.Up || h.rpFilter(l.Name) != 1 {
				continue
			}
			for _, a := range h.addresses[l.Name] {
				way, ok := h.here.WayTo(neighbourOf(a))
				if !a.Prefix.Addr().Is4() || a.Prefix.Bits() > 30 || !ok || way.Link == l.Name || a.Flags.NoPrefixRoute || h.ruledBy(a) {
					continue
				}
				if b := h.links[l.Master]; b != nil && b.Kind == model.Bridged {
					continue // an address on a port: that is the fault to mend
				}
				path := "ipv4/conf/" + l.Name + "/rp_filter"
				f := Finding{Object: l.Name, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("what comes in by %s from %s is dropped: answers would leave by %s", l.Name, a.Prefix.Masked(), way.Link),
					Seen: []string{fmt.Sprintf("rp_filter: all %s, %s %s: strict", h.setting("ipv4/conf/all/rp_filter"), l.Name, h.setting(path)),
						fmt.Sprintf("%s is on %s; the route to %s leaves by %s", a.Prefix, l.Name, a.Prefix.Masked(), way.Link)},
					Mend: by("filter loosely on "+l.Name+", for whose sender there is another way", model.SetSetting{Path: path, Value: "2"}),
				}
				if n := h.Facts.Counters["TcpExt IPReversePathFilter"]; n > 0 {
					f.Seen = append(f.Seen, fmt.Sprintf("dropped so since boot, on all links: %d packets", n))
				}
				out = append(out, f)
				break
			}
		}
		return out
	},
}

// rpFilter is the value that is in force on a link.
func (h *Host) rpFilter(link string) int {
	all, _ := strconv.Atoi(h.setting("ipv4/conf/all/rp_filter"))
	own, _ := strconv.Atoi(h.setting("ipv4/conf/" + link + "/rp_filter"))
	return max(all, own)
}

// ruledBy tells whether a policy rule decides the way of an address's answers.
func (h *Host) ruledBy(a model.Address) bool {
	for _, r := range h.here.Rules {
		if r.Family == 4 && r.Priority != 0 && r.Priority != 32766 && r.Priority != 32767 {
			return true
		}
	}
	l := h.links[a.Link]
	return l != nil && h.links[l.Master] != nil && h.links[l.Master].Kind == model.VRF
}
