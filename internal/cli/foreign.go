package cli

import (
	"context"
	"net/netip"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/probe"
	"drawbridge/internal/spec"
)

// foreignTime bounds how long it may take to find out about one uplink.
const foreignTime = 3 * time.Second

// askUplinks finds out, of each uplink that is to be plugged into a bridge and is not yet,
// whether its LAN takes frames from other MAC addresses than its own. Who may not ask, for
// want of rights, plans without.
func (s *session) askUplinks(ctx context.Context, now model.Snapshot, want spec.Desired, owned plan.Owned, o *plan.Options) {
	o.Filtered, o.Unasked = map[string]bool{}, map[string]bool{}
	for _, uplink := range plan.FreshUplinks(now, want, owned, *o) {
		ctx, cancel := context.WithTimeout(ctx, foreignTime)
		passage := s.askUplink(ctx, now.Here(), uplink)
		cancel()
		o.Filtered[uplink], o.Unasked[uplink] = passage == probe.Filtered, passage == probe.Unknown
	}
}

func (s *session) askUplink(ctx context.Context, ns *model.Namespace, uplink string) (p probe.Passage) {
	neighbour := someNeighbour(ns, uplink)
	if !neighbour.IsValid() {
		return probe.Unknown
	}
	err := s.kernel.Inside(func() (err error) {
		p, err = probe.Foreign(ctx, uplink, neighbour)
		return err
	})
	if err != nil {
		return probe.Unknown
	}
	return p
}

// someNeighbour is somebody on the LAN who answers: a gateway, or else whoever was heard of.
func someNeighbour(ns *model.Namespace, uplink string) (best netip.Addr) {
	for _, r := range ns.RoutesOf(uplink) {
		for _, hop := range r.NextHops {
			if hop.Link == uplink && hop.Gateway.IsValid() && (!best.IsValid() || best.Is6() && hop.Gateway.Is4()) {
				best = hop.Gateway.WithZone("")
			}
		}
	}
	if best.IsValid() {
		return best
	}
	for _, nb := range ns.Neighbours {
		if nb.Link == uplink && (nb.State == "reachable" || nb.State == "stale") && !nb.Address.IsMulticast() {
			return nb.Address
		}
	}
	return netip.Addr{}
}
