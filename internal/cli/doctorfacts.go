package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/doctor"
	"drawbridge/internal/keeper"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
)

// gathering collects what the doctor asks for beside the snapshot. What cannot be had is
// noted as unknown, and keeps nothing else from being looked at.
type gathering struct {
	mu    sync.Mutex
	facts doctor.Facts
}

func (g *gathering) unknown(f doctor.Fact, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	why := ""
	if err != nil {
		why = strings.SplitN(err.Error(), "\n", 2)[0]
	}
	g.facts.Unknown[f] = why
}

// note writes down what was found, or why it was not.
func (g *gathering) note(f doctor.Fact, err error, found func()) {
	if err != nil {
		g.unknown(f, err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	found()
}

// ask looks at the namespace, and asks for all facts, those that wait for another program at
// the same time as the rest.
func (a *app) ask(ctx context.Context, s *session, listen time.Duration) (doctor.Host, error) {
	g := &gathering{facts: doctor.Facts{Unknown: map[doctor.Fact]string{}}}
	system := s.system(a)
	var wg sync.WaitGroup
	wg.Go(func() {
		rules := system.FirewallRules(ctx)
		var err error
		// What one firewall drops is dropped, whatever is in another that may not be read.
		if len(rules.Unread) > 0 && len(rules.Rules)+len(rules.ForwardDrop) == 0 {
			err = errors.New(rules.Unread[0])
		}
		g.note(doctor.FactFirewall, err, func() { g.facts.Firewall = rules })
	})
	snap, err := s.snapshot(ctx, false)
	if errors.Is(err, fs.ErrPermission) && snap.Here().Links != nil {
		err = nil // the machines' folder of another user; who holds a tap is seen all the same
	}
	if err != nil {
		wg.Wait()
		return doctor.Host{}, err
	}
	s.askAround(ctx, snap.Here())
	g.ofKernel(ctx, s, snap)
	g.ofOurs(s, snap)
	g.ofProcesses(ctx, s, snap)
	if listen > 0 {
		wg.Go(func() { g.listen(ctx, s, snap, listen) })
	} else {
		g.unknown(doctor.FactHeard, nil)
		g.unknown(doctor.FactSwitch, nil)
	}
	wg.Wait()
	return doctor.Host{Snapshot: snap, Facts: g.facts}, ctx.Err()
}

// askAgain asks once more, but does not listen again: what was heard is as it was.
func (a *app) askAgain(ctx context.Context, s *session, first doctor.Host) (doctor.Host, error) {
	h, err := a.ask(ctx, s, 0)
	h.Facts.Heard, h.Facts.Switch = first.Facts.Heard, first.Facts.Switch
	for _, f := range []doctor.Fact{doctor.FactHeard, doctor.FactSwitch} {
		if _, unknown := first.Facts.Unknown[f]; !unknown {
			delete(h.Facts.Unknown, f)
		}
	}
	return h, err
}

// system is how preflight's facts are gathered here.
func (s *session) system(a *app) preflight.System {
	return preflight.System{Root: os.DirFS("/"), Inside: s.kernel.Inside, Named: a.netns != "",
		Sockets: s.kernel.Sockets, Holders: s.kernel.SocketHolders, Run: s.runInside}
}

// ofKernel asks the kernel.
func (g *gathering) ofKernel(ctx context.Context, s *session, snap model.Snapshot) {
	var taps, bridges []string
	for _, l := range snap.Here().Links {
		switch l.Kind {
		case model.TapKind:
			taps = append(taps, l.Name)
		case model.Bridged:
			bridges = append(bridges, l.Name)
		}
	}
	offloads, err := s.kernel.TapOffloads(taps)
	g.note(doctor.FactOffloads, err, func() { g.facts.Offloads = offloads })
	tables, err := s.kernel.NeighbourTables(ctx)
	g.note(doctor.FactNeighbours, err, func() { g.facts.Neighbours = tables })
	queriers, ok, err := s.kernel.Queriers(bridges)
	if err == nil && !ok {
		err = errors.New("this kernel does not tell (Linux 5.16 does)")
	}
	g.note(doctor.FactQueriers, err, func() { g.facts.Queriers = queriers })
	err = s.kernel.Inside(func() error {
		// A file below /proc/net is of the thread's namespace.
		netstat, err := os.ReadFile("/proc/thread-self/net/netstat")
		if err != nil {
			return err
		}
		g.facts.Counters = doctor.ParseCounters(string(netstat))
		return nil
	})
	g.note(doctor.FactCounters, err, func() {})
	err = s.kernel.Inside(func() (err error) {
		g.facts.Conntrack, err = conntrack()
		return err
	})
	g.note(doctor.FactConntrack, err, func() {})
}

// conntrack reads how full the table of connections is; nil where nothing is tracked.
func conntrack() (*doctor.Conntrack, error) {
	var c doctor.Conntrack
	for file, to := range map[string]*uint64{"nf_conntrack_count": &c.Count, "nf_conntrack_max": &c.Max} {
		text, err := os.ReadFile("/proc/sys/net/netfilter/" + file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil //nolint:nilnil // no table is no error
		}
		if err == nil {
			*to, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// ofOurs looks up what drawbridge itself did here.
func (g *gathering) ofOurs(s *session, snap model.Snapshot) {
	owned, err := s.store.Owned()
	g.note(doctor.FactOwned, err, func() { g.facts.Owned = owned })
	if _, waits := s.store.Answer("left"); waits != nil { // no guard waits for a confirmation
		left, err := s.store.Interrupted()
		g.note(doctor.FactOwned, err, func() { g.facts.Interrupted = left })
	}
	kept, _ := keeper.Folder(s.store.Dir).List()
	for _, k := range kept {
		g.facts.Leases = append(g.facts.Leases, doctor.Lease{Link: k.Link, Address: k.Prefix, Alive: k.Alive, Failing: k.Failing, Refused: strings.HasSuffix(k.Failing, keeper.ErrRefused.Error())})
	}
	g.facts.Clients = map[string][]string{}
	for _, addr := range snap.Here().Addresses {
		if addr.Origin != model.DHCP || g.facts.Clients[addr.Link] != nil {
			continue
		}
		for _, c := range keeper.Clients(s.kernel.Inode(), addr.Link) {
			g.facts.Clients[addr.Link] = append(g.facts.Clients[addr.Link], c.String())
		}
	}
	g.facts.Ways = waysOut(s, snap, owned)
	if s.named {
		g.unknown(doctor.FactPersisted, errors.New("a namespace is made anew by whoever made it"))
		return
	}
	note, written, err := readNote()
	g.note(doctor.FactPersisted, err, func() {
		if written {
			g.facts.Persisted = note.File
		}
	})
}

// ofProcesses finds who else sees to the links, and tells it in the snapshot.
func (g *gathering) ofProcesses(ctx context.Context, s *session, snap model.Snapshot) {
	found, err := s.managers(ctx, snap.Here())
	g.note(doctor.FactProcesses, err, func() { g.facts.Processes = found.Processes })
	g.note(doctor.FactManagers, err, func() { found.Tell(snap.Here()) })
}

// listen hears the bridges, and what the switches at their uplinks say.
func (g *gathering) listen(ctx context.Context, s *session, snap model.Snapshot, d time.Duration) {
	var wg sync.WaitGroup
	ears := &ears{}
	wg.Go(func() {
		err := ears.listen(ctx, s, d)
		g.note(doctor.FactHeard, err, func() { g.facts.Heard = facts(ears.heard()) })
	})
	for _, uplink := range doctor.UplinksOf(snap, g.facts.Owned) {
		wg.Go(func() {
			heard, err := s.listen(ctx, uplink, d)
			g.note(doctor.FactSwitch, err, func() { g.facts.Switch = append(g.facts.Switch, heard...) })
		})
	}
	wg.Wait()
}

// The far end of the ways that are asked for: of prefixes that are nobody's network (RFC 5737,
// RFC 5180), so that nothing but a default route leads there.
var (
	farAway4 = netip.MustParseAddr("192.0.2.1")
	farAway6 = netip.MustParseAddr("2001:2::1")
)

// waysOut asks the kernel where it sends what machines send into the world. What it cannot
// tell, for it has no way or no machine has an address, is left out.
func waysOut(s *session, snap model.Snapshot, owned plan.Owned) (out []doctor.Way) {
	ask := func(w doctor.Way) {
		far := farAway4
		if w.From.Is6() {
			far = farAway6
		}
		a, err := s.kernel.LookupRoute(model.RouteQuery{Destination: far, Source: w.From, IIF: w.Link})
		if err == nil && a.Type == "unicast" && a.Link != "" {
			w.Out = a.Link
			out = append(out, w)
		}
	}
	for _, r := range owned.Routed {
		if service := snap.Service(r.Network); service == nil || service.Relay == nil {
			continue
		}
		for _, six := range []bool{false, true} {
			w := doctor.Way{Network: r.Network, Link: r.Bridge, Uplink: r.Uplink}
			for _, o := range snap.Here().Routes {
				switch a := o.Destination.Addr(); {
				case a.Is6() != six || o.Table == model.TableLocal:
				case o.Link() == r.Bridge && o.Destination.IsSingleIP():
					w.From = a
				case o.Link() == r.Uplink && o.Gateway().IsValid() && (!w.Gateway.IsValid() || o.Destination.Bits() == 0):
					w.Gateway = o.Gateway()
				}
			}
			if w.From.IsValid() {
				ask(w)
			}
		}
	}
	for _, f := range owned.Forwarding {
		if !f.Out {
			continue
		}
		for _, p := range f.Masquerade {
			ask(doctor.Way{Network: f.Network, Link: f.Link, From: p.Masked().Addr().Next().Next()})
		}
	}
	return out
}
