package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
)

// OwnedProxy is an address that a link answers for because of us.
type OwnedProxy struct {
	Link    string     `json:"link"`
	Address netip.Addr `json:"address"`
}

func inverseForProxies(op model.Operation, ns *model.Namespace) model.Operations {
	there := func(link string, a netip.Addr) bool {
		return slices.ContainsFunc(ns.Proxies(link), func(nb model.Neighbour) bool { return nb.Address == a })
	}
	switch op := op.(type) {
	case model.AddProxies:
		if added := slices.DeleteFunc(slices.Clone(op.Addresses), func(a netip.Addr) bool { return there(op.Link, a) }); len(added) > 0 {
			return model.Operations{model.DeleteProxies{Link: op.Link, Addresses: added}}
		}
	case model.DeleteProxies:
		if gone := slices.DeleteFunc(slices.Clone(op.Addresses), func(a netip.Addr) bool { return !there(op.Link, a) }); len(gone) > 0 {
			return model.Operations{model.AddProxies{Link: op.Link, Addresses: gone}}
		}
	}
	return nil
}

// recordProxies notes what is made ours: what was there before is somebody else's.
func (o *Owned) recordProxies(op model.Operation, before *model.Snapshot) {
	switch op := op.(type) {
	case model.AddProxies:
		for _, a := range op.Addresses {
			there := slices.ContainsFunc(before.Here().Proxies(op.Link), func(nb model.Neighbour) bool { return nb.Address == a })
			if !there && op.Protocol == "" {
				o.Proxies = append(o.Proxies, OwnedProxy{op.Link, a})
			}
		}
	case model.DeleteProxies:
		o.Proxies = slices.DeleteFunc(o.Proxies, func(p OwnedProxy) bool { return p.Link == op.Link && slices.Contains(op.Addresses, p.Address) })
	}
}

func proxyCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.AddProxies:
		return each(op.Addresses, func(a netip.Addr) string { return fmt.Sprintf("ip neigh add proxy %s dev %s", a, op.Link) })
	case model.DeleteProxies:
		return each(op.Addresses, func(a netip.Addr) string { return fmt.Sprintf("ip neigh del proxy %s dev %s", a, op.Link) })
	case model.ForgetLearned:
		return []string{
			fmt.Sprintf("ip neigh show proxy dev %s | while read ip _; do ip neigh del proxy $ip dev %[1]s; done", op.Uplink),
			fmt.Sprintf("ip route flush dev %s proto %s", op.Link, model.ProtocolLearned),
			fmt.Sprintf("ip -6 route flush dev %s proto %s", op.Link, model.ProtocolLearned),
		}
	}
	return nil
}
