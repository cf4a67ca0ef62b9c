package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// leaseUnrenewed: an address with a lifetime is deleted by the kernel when that is over
// (check_lifetime), unless a client sets it anew.
var leaseUnrenewed = Check{
	ID:    "lease-unrenewed",
	Title: "An address by DHCP runs out, and nobody renews it",
	Shows: "the host loses its address some time from now, in the middle of the night",
	Knows: "an IPv4 address has a lifetime, and neither a DHCP client for its link runs in this namespace nor a keeper of ours; or the keeper could not renew it",
	Mends: "'drawbridge recover' starts a keeper again for what 'up' moved; else a DHCP client is started on the link",
	Needs: []Fact{FactProcesses, FactOwned},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, a := range h.here.Addresses {
			if a.Origin != model.DHCP || a.Lifetime == nil || !a.Prefix.Addr().Is4() || len(h.Facts.Clients[a.Link]) > 0 {
				continue
			}
			k := h.keeperOf(a)
			if k != nil && k.Alive && k.Failing == "" {
				continue
			}
			f := Finding{Object: a.Link, Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("%s on %s runs out in %d s, and nobody renews it", a.Prefix, a.Link, a.Lifetime.Valid),
				Seen: []string{fmt.Sprintf("%s dev %s: valid_lft %d s", a.Prefix, a.Link, a.Lifetime.Valid)},
				Mend: byHand("start a DHCP client on "+a.Link, "dhclient "+a.Link),
			}
			switch {
			case k != nil && k.Alive:
				f.Sure = Likely
				f.What = fmt.Sprintf("%s on %s runs out in %d s, and could not be renewed: %s", a.Prefix, a.Link, a.Lifetime.Valid, k.Failing)
				f.Seen = append(f.Seen, "its keeper runs, and says: "+k.Failing)
				f.Mend = byHand("it is tried again; look whether the server answers", "drawbridge status")
				if k.Refused {
					f.Sure = Certain
					f.Mend = byHand("the LAN has other addresses by now: let the client have one on the uplink, and move that", "drawbridge down", "drawbridge up")
				}
			case k != nil:
				f.Seen = append(f.Seen, "its keeper has ended")
				f.Mend = byHand("start its keeper again: so does every 'drawbridge up' and 'drawbridge recover'", "drawbridge recover")
			default:
				f.Seen = append(f.Seen, "no DHCP client for "+a.Link+" runs in this namespace")
			}
			out = append(out, f)
		}
		return out
	},
}

func (h *Host) keeperOf(a model.Address) *Lease {
	for i := range h.Facts.Leases {
		if k := &h.Facts.Leases[i]; k.Link == a.Link && k.Address == a.Prefix {
			return k
		}
	}
	return nil
}
