// Package testwiring has wirings for the tests of what draws them: the walkthrough, hosts
// made at random, and hosts all of whose names are foreign.
//
// In: nothing, or a rapid.T to draw from. Out: snapshots and wirings. For tests only.
package testwiring

import (
	"fmt"
	"net/netip"
	"strings"

	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"

	"pgregory.net/rapid"
)

// Case is a wiring with a name.
type Case struct {
	Name   string
	Wiring model.Wiring
}

// Cases are all that a format is tried on: each state of the walkthrough with its changes
// marked, n hosts made at random, the same each time, and one for each hostile name.
func Cases(n int) []Case {
	var out []Case
	_, frames := walkthrough.Frames()
	for _, f := range frames {
		out = append(out, Case{f.Title, f.Now})
	}
	two := rapid.Custom(func(t *rapid.T) [2]model.Snapshot {
		before := Host(t)
		return [2]model.Snapshot{before, Step(t, before)}
	})
	for seed := range n {
		s := two.Example(seed)
		w := model.Wire(s[1])
		if seed%2 == 1 {
			w = model.Compare(model.Wire(s[0]), w)
		}
		out = append(out, Case{fmt.Sprintf("random %d", seed), w})
	}
	for _, name := range HostileNames {
		out = append(out, Case{fmt.Sprintf("%q", name), Named(name)})
	}
	return out
}

// HostileNames are names that are syntax or mark-up somewhere, cannot be shown, turn the
// direction of reading, or are wide. A link's name may be any bytes but '/', white space and
// ':' (dev_valid_name in net/core/dev.c); other names may be anything.
var HostileNames = []string{
	`"];evil`, `a\`, `\N\G`, `<b>x</b>`, "&lt;&quot;", "]]>", "<!--", "}{", "a\nb", "a\tb", "\x00\x1b[31m", "\xff\xfe",
	"</script><script>alert(1)</script>", `"onload="x`, "${x}", "`**x**`", "%%{init: {}}%%", `click i0 href "javascript:alert(1)"`,
	"<img src=x onerror=alert(1)>", "end", "graph", "1. x", "- x", "#quot;", "#35;", "$$x$$", "a--b", "---", "===", "[[x]]", "(x", ";", "", " ",
	"🦊", "👩‍👩‍👧", "x\u202ey", "\u2066x", "שלום", "مرحبا", "ＷＩＤＥＷＩＤＥＷＩＤＥＷＩＤ", "日本語の名前が十五文字分ある", "e\u0301\u0301", "\ufeffx", "\u2028",
	"javascript:x", "default", "toString", "__proto__", strings.Repeat("W", 300),
}

// Named is the last state of the walkthrough with a name in every place that has one, and
// its changes marked.
func Named(name string) model.Wiring {
	states := walkthrough.States()
	w := model.Compare(model.Wire(states[5].Snapshot), model.Wire(states[6].Snapshot))
	for i := range w.Stacks {
		w.Stacks[i].Name, w.Stacks[i].System = name, name
	}
	for i := range w.Segments {
		w.Segments[i].Name = name
	}
	for i := range w.Interfaces {
		itf := &w.Interfaces[i]
		itf.Name, itf.Owner, itf.Detail, itf.Kind = name, name, name, model.Kind(name)
	}
	w.Interfaces = append(w.Interfaces, model.Interface{
		ID: "host/" + name, Name: name, Stack: "host", HostEnd: model.End{In: model.InStack, ID: "host"}, WireEnd: model.End{In: model.InTunnel, ID: name},
	})
	return w
}

// linkName is a link's name of up to 15 bytes, now and then a vile one.
func linkName(t *rapid.T, prefix string, n int) string {
	switch rapid.IntRange(0, 9).Draw(t, "name") {
	case 0:
		return fmt.Sprintf("%s%0*d", prefix, 15-len(prefix), n)
	case 1:
		return fmt.Sprintf("%s<&>\"'%d", prefix, n)
	case 2:
		return fmt.Sprintf("%s日本\x1b%d", prefix, n)
	default:
		return fmt.Sprintf("%s%d", prefix, n)
	}
}

// host is a snapshot that grows.
type host struct {
	t *rapid.T
	s model.Snapshot
}

func (h *host) count(what string, most int) int { return rapid.IntRange(0, most).Draw(h.t, what) }

// link adds a link of a namespace, with some addresses.
func (h *host) link(ns int, l model.Link, addresses bool) string {
	l.Up, l.MTU = rapid.Bool().Draw(h.t, "up"), rapid.SampledFrom([]int{1500, 9000}).Draw(h.t, "mtu")
	n := &h.s.Namespaces[ns]
	n.Links = append(n.Links, l)
	for k := range rapid.SampledFrom([]int{0, 0, 1, 1, 2, 5}).Draw(h.t, "addresses") {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(h.count("net", 255)), byte(k + 1)}), 24)
		if rapid.Bool().Draw(h.t, "ipv6") {
			p = netip.MustParsePrefix(fmt.Sprintf("2001:db8:1111:2222:3333:4444:%x:666%x/64", h.count("net", 0xffff), k))
		}
		if addresses {
			n.Addresses = append(n.Addresses, model.Address{Link: l.Name, Prefix: p, Origin: rapid.SampledFrom([]model.Origin{model.Static, model.DHCP, model.RA}).Draw(h.t, "origin")})
		}
	}
	return l.Name
}

// Host is a host with any mixture of links, wired in ways that the kernel allows.
func Host(t *rapid.T) model.Snapshot {
	h := &host{t, model.Snapshot{Host: rapid.SampledFrom([]string{linkName(t, "host", 1), strings.Repeat("host-name-", 6)}).Draw(t, "host"), System: rapid.SampledFrom([]string{"", "Debian 12"}).Draw(t, "system"), Namespaces: []model.Namespace{{}}}}
	masters := []string{"", ""}
	for n := range h.count("bridges", 3) {
		masters = append(masters, h.link(0, model.Link{Name: linkName(t, "br", n), Kind: model.Bridged, Carrier: true, Bridge: &model.Bridge{}}, true))
	}
	master := func() string { return rapid.SampledFrom(masters).Draw(t, "master") }
	above := []string{""}
	for n := range h.count("bonds", 1) {
		above = append(above, h.link(0, model.Link{Name: fmt.Sprintf("bond%d", n), Kind: model.Bond, Carrier: true, Master: master(), Mode: "802.3ad"}, true))
	}
	for n := range h.count("vrfs", 1) {
		above = append(above, h.link(0, model.Link{Name: fmt.Sprintf("vrf%d", n), Kind: model.VRF}, false))
	}
	var uplinks []string
	for n := range h.count("uplinks", 4) {
		m := rapid.SampledFrom([]string{master(), rapid.SampledFrom(above).Draw(t, "above")}).Draw(t, "of")
		uplinks = append(uplinks, h.link(0, model.Link{Name: linkName(t, "eth", n), Kind: model.Physical, MAC: "02:11:22:33:44:55", Carrier: rapid.Bool().Draw(t, "carrier"), Master: m}, true))
	}
	for n := range h.count("vlans", 3) {
		if len(uplinks) > 0 {
			parent := rapid.SampledFrom(uplinks).Draw(t, "parent")
			h.link(0, model.Link{Name: fmt.Sprintf("vlan%d", n), Kind: model.VLANKind, Carrier: true, Master: master(), Parent: &model.Ref{Name: parent}, VLAN: &model.VLAN{ID: uint16(n + 1)}}, true)
		}
	}
	for n, kind := range rapid.SliceOfN(rapid.SampledFrom([]model.Kind{model.Dummy, model.Wireguard, model.TunKind, model.VXLAN, "odd"}), 0, 3).Draw(t, "others") {
		l := model.Link{Name: fmt.Sprintf("x%d", n), Kind: kind}
		if kind == model.VXLAN {
			l.Tunnel = &model.Tunnel{Remote: "198.18.0.9", ID: 42}
		}
		h.link(0, l, true)
	}
	h.machines(master)
	for n := range h.count("namespaces", 4) {
		name, inside, outside := fmt.Sprintf("ns%d", n), "eth0", fmt.Sprintf("veth%d", n)
		h.s.Namespaces = append(h.s.Namespaces, model.Namespace{Name: name})
		h.link(0, model.Link{Name: outside, Kind: model.Veth, Carrier: true, Master: master(), Peer: &model.Ref{Namespace: name, Name: inside}}, false)
		h.link(n+1, model.Link{Name: inside, Kind: model.Veth, Carrier: true, Peer: &model.Ref{Name: outside}}, true)
	}
	return h.s
}

// machines adds taps, and machines that hold some of them.
func (h *host) machines(master func() string) {
	var taps []string
	for n := range h.count("taps", 16) {
		taps = append(taps, h.link(0, model.Link{Name: linkName(h.t, "tap", n), Kind: model.TapKind, Master: master(), Tap: &model.Tap{OwnerName: "alice"}}, true))
	}
	for n := range h.count("machines", 5) {
		m := model.Machine{Name: linkName(h.t, "vm", n), VMM: rapid.SampledFrom([]string{"uml", "qemu", "process"}).Draw(h.t, "vmm"), State: "running"}
		for len(taps) > 0 && rapid.Bool().Draw(h.t, "nic") {
			m.NICs = append(m.NICs, model.MachineNIC{Name: fmt.Sprintf("eth%d", len(m.NICs)+1), MAC: "02:db:00:00:00:01", Link: model.Ref{Name: taps[0]}})
			taps = taps[1:]
		}
		h.s.Machines = append(h.s.Machines, m)
	}
}

// Step is a host after something has happened to it.
func Step(t *rapid.T, s model.Snapshot) model.Snapshot {
	out := s.Clone()
	ns := out.Here()
	for i := range ns.Links {
		l := &ns.Links[i]
		switch rapid.IntRange(0, 7).Draw(t, "change") {
		case 0:
			if l.Kind == model.TapKind {
				l.Master = ""
			}
		case 1:
			l.Carrier = !l.Carrier
		case 2:
			if l.Kind == model.TapKind && len(out.Machines) == 0 {
				l.Name += "-" // as if another one came and this one went
			}
		}
	}
	if len(out.Machines) > 0 && rapid.Bool().Draw(t, "a machine goes") {
		out.Machines = out.Machines[1:]
	}
	if n := len(ns.Addresses); n > 0 && rapid.Bool().Draw(t, "an address goes") {
		ns.Addresses = ns.Addresses[:n-1]
	}
	return out
}
