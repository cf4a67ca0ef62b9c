package plan

import (
	"fmt"
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"

	"pgregory.net/rapid"
)

// wishes draws a file that can be carried out on host().
func wishes(t *rapid.T) spec.Desired {
	var want spec.Desired
	if rapid.Bool().Draw(t, "bridged") {
		mode := rapid.SampledFrom([]string{"move", "none", "list"}).Draw(t, "host")
		n := spec.Network{Name: "lan", Mode: "bridged", Bridge: "br0", Uplink: rapid.SampledFrom([]string{"auto", "eth0"}).Draw(t, "uplink"), Host: spec.HostAddressing{Mode: mode}}
		if mode == "list" {
			n.Host.Addresses = []netip.Prefix{netip.MustParsePrefix("198.18.0.77/24")}
		}
		n.Uplink = "eth0" // once the host is off the LAN no default route tells the uplink
		want.Networks = append(want.Networks, n)
	}
	if rapid.Bool().Draw(t, "private") {
		want.Networks = append(want.Networks, spec.Network{Name: "private", Mode: "host-only", Bridge: "br1",
			Host: spec.HostAddressing{Mode: "list", Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.7.1/24")}}})
	}
	networks := []string{""}
	for _, n := range want.Networks {
		networks = append(networks, n.Name)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "machines") {
		m := spec.Machine{Name: fmt.Sprintf("vm%d", i), VMM: rapid.SampledFrom([]string{"uml", "namespace"}).Draw(t, "vmm"), Memory: 64 << 20}
		for j := range rapid.IntRange(0, 2).Draw(t, "nics") {
			nic := spec.NIC{Name: fmt.Sprintf("eth%d", j), Network: rapid.SampledFrom(networks).Draw(t, "network"),
				Tap: fmt.Sprintf("tap%d%d", i, j), Cabled: rapid.Bool().Draw(t, "cabled"), DHCP: rapid.Bool().Draw(t, "dhcp")}
			if nic.Network == "" && rapid.Bool().Draw(t, "addressed") {
				nic.Host = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("198.18.8.%d/30", 8*i+4*j+1))}
				nic.Addresses = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("198.18.8.%d/30", 8*i+4*j+2))}
			}
			nic.Security = security(t, nic.Network != "")
			m.NICs = append(m.NICs, nic)
		}
		want.Machines = append(want.Machines, m)
	}
	for i := range rapid.SampledFrom([]int{0, 1, 2, 9, 20}).Draw(t, "taps") {
		tap := spec.Tap{Name: fmt.Sprintf("bare%d", i), Network: rapid.SampledFrom(networks).Draw(t, "network"), Owner: "alice", MAC: "02:00:00:00:00:09"}
		tap.Security = security(t, tap.Network != "")
		want.Taps = append(want.Taps, tap)
	}
	return want
}

func security(t *rapid.T, onNetwork bool) spec.Security {
	s := spec.Security{Level: rapid.SampledFrom([]string{model.SecurityStrict, model.SecurityMAC, model.SecurityOff}).Draw(t, "security"),
		Isolated: onNetwork && rapid.Bool().Draw(t, "isolated"), Rate: rapid.SampledFrom([]int64{0, 1e8}).Draw(t, "rate")}
	if rapid.Bool().Draw(t, "allow") {
		s.Allow, s.Sources = []string{model.AllowRouter}, []netip.Prefix{netip.MustParsePrefix("198.18.4.0/24")}
	}
	return s
}

// Whatever is wanted, one after the other: each plan can be carried out, a second plan
// of the same wish is empty, its undo brings back what was before it, and an empty
// wish at the end brings back the host as it was at the beginning.
func TestRandomWalksOverWishes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := host()
		start.Here().Settings["ipv4/conf/all/rp_filter"] = rapid.SampledFrom([]string{"0", "1", "2"}).Draw(t, "rp_filter")
		now, own := start.Clone(), Owned{}
		for range rapid.IntRange(1, 4).Draw(t, "length") {
			want := wishes(t)
			p, after := walk(t, now, own, want)
			checkUndo(t, p)
			again, err := Diff(after, want, p.Owned, options)
			if err != nil || len(again.Steps) != 0 {
				t.Fatalf("second plan: %v %v", err, titles(again))
			}
			now, own = after, p.Owned
		}
		p, end := walk(t, now, own, spec.Desired{})
		if !sameButIndexes(start, end) {
			t.Fatalf("down by %v left (-want +got)\n%s", titles(p), difference(start, end))
		}
		if !p.Owned.Empty() {
			t.Fatalf("still owned: %+v", p.Owned)
		}
	})
}

func walk(t *rapid.T, now model.Snapshot, own Owned, want spec.Desired) (Plan, model.Snapshot) {
	opt := options
	opt.Multicast = map[string][]netip.Addr{"eth0": {netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")}}
	p, err := Diff(now, want, own, opt)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	after, err := p.After()
	if err != nil {
		t.Fatalf("after: %v", err)
	}
	return p, after
}

// checkUndo undoes from some step back to the first.
func checkUndo(t *rapid.T, p Plan) {
	states, err := p.States()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) == 0 {
		return
	}
	last := rapid.IntRange(0, len(p.Steps)-1).Draw(t, "undo from")
	s := states[last+1].Clone()
	for i := last; i >= 0; i-- {
		for _, op := range p.Steps[i].Undo {
			if err := s.Advance(op); err != nil {
				t.Fatalf("undo of %q after %v: %v", p.Steps[i].Title, titles(p)[:last+1], err)
			}
		}
	}
	if !sameButIndexes(states[0], s) {
		t.Fatalf("undo of %v leaves (-want +got)\n%s", titles(p)[:last+1], difference(states[0], s))
	}
}

func titles(p Plan) []string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.Title)
	}
	return out
}
