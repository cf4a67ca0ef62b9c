package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/snoop"
)

// ears are what was heard on the bridges since they listen.
type ears struct {
	mu   sync.Mutex
	seen map[hearing]time.Time
}

// hearing is one sighting on one bridge.
type hearing struct {
	snoop.Sighting
	bridge string
}

// sighted is a hearing with its age.
type sighted struct {
	hearing
	secondsAgo int
}

// listen hears all bridges for a time.
func (e *ears) listen(ctx context.Context, s *session, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	ns, err := s.kernel.Observe(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, len(ns.Links))
	for _, l := range ns.Links {
		if l.Kind != model.Bridged || !l.Up {
			continue
		}
		wg.Go(func() {
			errs <- s.kernel.Inside(func() error { return snoop.Listen(ctx, l.Name, func(s snoop.Sighting) { e.hear(hearing{s, l.Name}) }) })
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return fmt.Errorf("%w\n  hint: to listen takes CAP_NET_RAW: sudo drawbridge status --listen %s", err, d)
		}
	}
	return nil
}

func (e *ears) hear(h hearing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[hearing]time.Time{}
	}
	const most = 10_000 // whoever makes up addresses shall not fill our memory
	if _, known := e.seen[h]; known || len(e.seen) < most {
		e.seen[h] = time.Now()
	}
}

func (e *ears) heard() []sighted {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []sighted
	for h, at := range e.seen {
		out = append(out, sighted{h, int(time.Since(at).Seconds())})
	}
	slices.SortFunc(out, func(a, b sighted) int {
		return cmp.Or(model.NaturalCompare(a.bridge, b.bridge), a.Address.Compare(b.Address), cmp.Compare(a.MAC, b.MAC), cmp.Compare(a.By, b.By))
	})
	return out
}

// recently is how old a sighting may be to speak against another one, in seconds: later,
// an address may have gone to somebody else rightly.
const recently = 600

// alarms are what should not be: one MAC address at two ports, one address at two hosts,
// two DHCP servers on one LAN.
func alarms(st status, heard []sighted) []string {
	var out []string
	macs := map[model.MAC][]string{}
	type where struct {
		bridge string
		netip.Addr
	}
	holders := map[where]map[model.MAC]string{}
	hold := func(bridge string, a netip.Addr, mac model.MAC, who string) {
		w := where{bridge, a}
		if holders[w] == nil {
			holders[w] = map[model.MAC]string{}
		}
		if holders[w][mac] == "" || who != string(mac) {
			holders[w][mac] = who
		}
	}
	for _, m := range st.Machines {
		for _, n := range m.NICs {
			who := m.Name + "/" + n.Name
			macs[n.MAC] = append(macs[n.MAC], who)
			for _, u := range n.Used {
				if n.Link != "" && (slices.Contains(u.By, byGuest) || u.SecondsAgo != nil && *u.SecondsAgo < recently) {
					hold(st.bridgeOf(n.Link), u.Address, n.MAC, who)
				}
			}
		}
	}
	for _, b := range st.Bridges {
		for _, a := range b.Addresses {
			hold(b.Name, a.Addr(), b.MAC, "this host")
		}
	}
	servers := map[string][]string{}
	for _, h := range heard {
		switch h.By {
		case snoop.ByDHCPServer:
			servers[h.bridge] = append(servers[h.bridge], fmt.Sprintf("%s (%s)", h.Address, h.MAC))
		default:
			hold(h.bridge, h.Address, h.MAC, string(h.MAC))
		}
	}
	for mac, who := range macs {
		if len(who) > 1 && mac != "" {
			out = append(out, fmt.Sprintf("%s have one MAC address, %s: the LAN cannot tell them apart", strings.Join(who, " and "), mac))
		}
	}
	for w, by := range holders {
		if len(by) > 1 && w.bridge != "" {
			var who []string
			for mac, name := range by {
				if name != string(mac) {
					name += " (" + string(mac) + ")"
				}
				who = append(who, name)
			}
			slices.Sort(who)
			out = append(out, fmt.Sprintf("%s on %s is used by %s", w.Addr, w.bridge, strings.Join(who, " and by ")))
		}
	}
	for bridge, list := range servers {
		if len(list) > 1 {
			out = append(out, fmt.Sprintf("more than one DHCP server is on the LAN of %s: %s", bridge, strings.Join(list, ", ")))
		}
	}
	slices.Sort(out)
	return out
}

// bridgeOf names the bridge that a link is a port of, "" if of none.
func (st *status) bridgeOf(link string) string {
	for _, b := range st.Bridges {
		if slices.ContainsFunc(b.Ports, func(p portStatus) bool { return p.Name == link }) {
			return b.Name
		}
	}
	return ""
}

// neighbourStatus is another host of the LAN.
type neighbourStatus struct {
	Address netip.Addr `json:"address"`
	MAC     model.MAC  `json:"mac"`
	Bridge  string     `json:"bridge"`
	// By is how it is known: the kernel's neighbour table, or what was heard.
	By         []string `json:"by"`
	SecondsAgo *int     `json:"seconds_ago,omitempty"`
}

const byKernel = "neighbour table"

func (n neighbourStatus) words() string {
	s := strings.Join(n.By, ", ")
	if n.SecondsAgo != nil {
		s += " " + ago(*n.SecondsAgo)
	}
	return s
}

// neighbours are the hosts of the bridges' LANs that are neither this one nor a machine.
func neighbours(st status, snap model.Snapshot, heard []sighted) []neighbourStatus {
	ours := map[model.MAC]bool{"": true}
	for _, b := range st.Bridges {
		ours[b.MAC] = true
	}
	for _, m := range st.Machines {
		for _, n := range m.NICs {
			ours[n.MAC] = true
		}
	}
	out := []neighbourStatus{}
	note := func(n neighbourStatus) {
		i := slices.IndexFunc(out, func(o neighbourStatus) bool {
			return o.Address == n.Address && o.MAC == n.MAC && o.Bridge == n.Bridge
		})
		switch {
		case ours[n.MAC]:
		case i < 0:
			out = append(out, n)
		default:
			out[i].By = append(out[i].By, n.By...)
			if n.SecondsAgo != nil && (out[i].SecondsAgo == nil || *n.SecondsAgo < *out[i].SecondsAgo) {
				out[i].SecondsAgo = n.SecondsAgo
			}
		}
	}
	for _, b := range st.Bridges {
		for _, n := range snap.Here().Neighbours {
			known := n.State != "failed" && n.State != "incomplete" && n.State != "noarp" && !n.Proxy
			if n.Link == b.Name && known {
				note(neighbourStatus{Address: n.Address, MAC: n.MAC, Bridge: b.Name, By: []string{byKernel}})
			}
		}
	}
	for _, h := range heard {
		note(neighbourStatus{Address: h.Address, MAC: h.MAC, Bridge: h.bridge, By: []string{h.By}, SecondsAgo: &h.secondsAgo})
	}
	slices.SortFunc(out, func(a, b neighbourStatus) int {
		return cmp.Or(model.NaturalCompare(a.Bridge, b.Bridge), a.Address.Compare(b.Address))
	})
	return out
}
