package fake

import (
	"net/netip"
	"slices"

	"drawbridge/internal/model"
)

// What the kernel does later, in moments: every Observe is one.
const (
	// linkwatchTakes: operational states follow a change by a work queue (linkwatch_event),
	// at once or up to a second later.
	linkwatchTakes = 2
	// dadTakes: an IPv6 address is tentative for a second or two (addrconf_dad_work).
	dadTakes = 3
)

// event is something that happens when some more moments have passed. It returns true to
// be asked again at the next one.
type event struct {
	in int
	do func() (again bool)
}

func (k *Kernel) after(moments int, do func() (again bool)) {
	k.later = append(k.later, event{moments, do})
}

// pass lets a moment pass.
func (k *Kernel) pass() {
	due := k.later
	k.later = nil
	for _, e := range due {
		if e.in--; e.in > 0 || e.do() {
			k.later = append(k.later, e)
		}
	}
}

// alter lets fn change the snapshot, and begins what follows from that later.
func (k *Kernel) alter(fn func() error) error {
	links, addresses := slices.Clone(k.snap.Here().Links), slices.Clone(k.snap.Here().Addresses)
	if err := fn(); err != nil {
		return err
	}
	k.watchLinks(links)
	k.detectDuplicates(addresses)
	k.forgetRouters()
	k.followRoutes()
	return nil
}

// watchLinks shows the operational states that were for a while longer.
func (k *Kernel) watchLinks(before []model.Link) {
	for _, was := range before {
		now := k.snap.Here().Link(was.Name)
		if now == nil || now.Index != was.Index {
			delete(k.shown, was.Name)
			continue
		}
		if now.OperState == was.OperState {
			continue
		}
		if _, late := k.shown[was.Name]; late {
			continue // one run for all that has changed since (LW_PENDING)
		}
		k.shown[was.Name] = was.OperState
		k.after(linkwatchTakes, func() bool { delete(k.shown, was.Name); return false })
	}
}

// detectDuplicates begins for every new IPv6 address on which nobody forbids it.
func (k *Kernel) detectDuplicates(before []model.Address) {
	ns := k.snap.Here()
	for i := range ns.Addresses {
		a := &ns.Addresses[i]
		known := slices.ContainsFunc(before, func(b model.Address) bool { return b.Link == a.Link && b.Prefix.Addr() == a.Prefix.Addr() })
		l := ns.Link(a.Link)
		if known || !a.Prefix.Addr().Is6() || a.Flags.NoDAD || l == nil || l.Kind == model.Loopback || ns.Settings["ipv6/conf/"+a.Link+"/accept_dad"] == "0" {
			continue
		}
		a.Flags.Tentative = true
		k.detect(a.Link, a.Prefix.Addr())
	}
}

// detect ends one detection. It waits for the link (addrconf_dad_start, IF_READY); an
// address that somebody else has stays tentative for ever, and is dadfailed.
func (k *Kernel) detect(link string, address netip.Addr) {
	patience := 0
	k.after(dadTakes, func() (again bool) {
		ns := k.snap.Here()
		a, l := sameAddress(ns, link, address), ns.Link(link)
		if a == nil || l == nil || !a.Flags.Tentative {
			return false
		}
		if !l.Up || !l.Carrier {
			patience++
			return patience < 100 // nobody looks that long
		}
		if slices.Contains(k.Taken, address) {
			a.Flags.DADFailed = true
		} else {
			a.Flags.Tentative = false
		}
		return false
	})
}
