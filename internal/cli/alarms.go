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

	"drawbridge/internal/doctor"
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

// facts are what was heard, as the doctor takes it.
func facts(heard []sighted) []doctor.Heard {
	var out []doctor.Heard
	for _, h := range heard {
		out = append(out, doctor.Heard{Bridge: h.bridge, Address: h.Address, MAC: h.MAC, By: h.By})
	}
	return out
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
