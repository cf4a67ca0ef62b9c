package draw_test

import (
	"fmt"
	"net/netip"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// The hard cases: hosts whose pictures are easily wrong.

type hostBuilder struct{ s model.Snapshot }

func newHost(name string) *hostBuilder {
	return &hostBuilder{model.Snapshot{Host: name, System: "Debian 12", Namespaces: []model.Namespace{{}}}}
}

func (b *hostBuilder) link(l model.Link, addrs ...string) *hostBuilder {
	return b.linkIn(0, l, addrs...)
}

func (b *hostBuilder) linkIn(n int, l model.Link, addrs ...string) *hostBuilder {
	ns := &b.s.Namespaces[n]
	l.Up = true
	if l.MTU == 0 {
		l.MTU = 1500
	}
	ns.Links = append(ns.Links, l)
	for _, a := range addrs {
		ns.Addresses = append(ns.Addresses, model.Address{Link: l.Name, Prefix: netip.MustParsePrefix(a), Origin: model.Static})
	}
	return b
}

func (b *hostBuilder) namespace(name string) int {
	b.s.Namespaces = append(b.s.Namespaces, model.Namespace{Name: name})
	return len(b.s.Namespaces) - 1
}

func (b *hostBuilder) vm(name, vmm string, taps ...string) *hostBuilder {
	m := model.Machine{Name: name, VMM: vmm, State: "running"}
	for n, t := range taps {
		m.NICs = append(m.NICs, model.MachineNIC{Name: fmt.Sprintf("eth%d", n+1), MAC: "02:db:00:00:00:01", Link: model.Ref{Name: t}})
	}
	b.s.Machines = append(b.s.Machines, m)
	return b
}

func physical(name, master string) model.Link {
	return model.Link{Name: name, Kind: model.Physical, MAC: "02:11:22:33:44:55", Carrier: true, Master: master}
}

func bridgeLink(name string) model.Link {
	return model.Link{Name: name, Kind: model.Bridged, MAC: "02:11:22:33:44:55", Carrier: true, Bridge: &model.Bridge{}}
}

func tapLink(name, master string) model.Link {
	return model.Link{Name: name, Kind: model.TapKind, Master: master, Tap: &model.Tap{OwnerName: "alice"}}
}

func vlanLink(parent string, id uint16, master string) model.Link {
	return model.Link{
		Name: fmt.Sprintf("%s.%d", parent, id), Kind: model.VLANKind, Carrier: true, Master: master,
		Parent: &model.Ref{Name: parent}, VLAN: &model.VLAN{ID: id},
	}
}

func frameOf(title string, b *hostBuilder) draw.Frame {
	return draw.Frame{Title: title, Now: model.Wire(b.s)}
}

func manyTaps(n, held int) *hostBuilder {
	b := newHost("host").link(physical("eth0", "br0")).link(bridgeLink("br0"), "198.18.0.5/24")
	for i := range n {
		b.link(tapLink(fmt.Sprintf("tap%d", i), "br0"))
		if i < held {
			b.vm(fmt.Sprintf("web%d", i), "qemu", fmt.Sprintf("tap%d", i))
		}
	}
	return b
}

func pair(b *hostBuilder, ns int, nsName, outside, master, inside string, addrs ...string) {
	b.link(model.Link{Name: outside, Kind: model.Veth, Carrier: true, Master: master, Peer: &model.Ref{Namespace: nsName, Name: inside}})
	b.linkIn(ns, model.Link{Name: inside, Kind: model.Veth, Carrier: true, Peer: &model.Ref{Name: outside}}, addrs...)
}

func longNames() *hostBuilder {
	b := newHost(strings.Repeat("long-host-", 6))
	b.link(physical("enp0s31f6abcdef", ""), "198.18.0.5/24", "198.18.100.200/24", "198.19.255.254/15",
		"2001:db8:1111:2222:3333:4444:5555:6666/64", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128")
	b.s.Here().Addresses[4].Origin = model.RA
	b.s.Here().Addresses[4].Flags.Deprecated = true
	b.link(model.Link{Name: "wlp2s0abcdefghi", Kind: model.Wireless, MTU: 9000})
	b.link(model.Link{Name: "tap012345678901", Kind: model.TapKind, Tap: &model.Tap{OwnerName: "alice"}})
	return b.vm("a-virtual-machine-with-a-name-of-40-chars", "qemu", "tap012345678901")
}

func twoLANs() *hostBuilder {
	b := newHost("gate")
	b.link(physical("eth0", "br0")).link(bridgeLink("br0"), "198.18.0.5/24").link(tapLink("tap0", "br0")).link(tapLink("tap1", "br0"))
	b.link(physical("eth1", "br1")).link(bridgeLink("br1"), "198.18.1.5/24").link(tapLink("tap2", "br1"))
	b.link(physical("eth2", ""), "198.19.0.9/16")
	return b.vm("db", "qemu", "tap1").vm("web", "uml", "tap0", "tap2").vm("idle", "uml")
}

func vlans() *hostBuilder {
	b := newHost("trunk")
	b.link(physical("eth0", ""), "198.18.0.5/24").link(vlanLink("eth0", 10, "br10")).link(vlanLink("eth0", 20, "br20")).link(vlanLink("eth0", 30, ""), "198.18.30.5/24")
	b.link(bridgeLink("br10"), "198.18.10.5/24").link(bridgeLink("br20"))
	b.link(tapLink("tap1", "br10")).link(tapLink("tap2", "br10")).link(tapLink("tap3", "br20"))
	return b.vm("a", "qemu", "tap1").vm("b", "qemu", "tap2").vm("c", "qemu", "tap3")
}

func bonded() *hostBuilder {
	b := newHost("bonded")
	b.link(model.Link{Name: "bond0", Kind: model.Bond, Carrier: true, Mode: "802.3ad", Master: "br0", MAC: "02:11:22:33:44:55"})
	b.link(physical("eth0", "bond0")).link(physical("eth1", "bond0")).link(bridgeLink("br0"), "198.18.0.5/24")
	b.link(vlanLink("br0", 30, ""), "198.18.30.5/24").link(tapLink("tap0", "br0"))
	return b.vm("web", "qemu", "tap0")
}

func zoo() *hostBuilder {
	b := newHost("zoo")
	b.link(physical("eth0", ""), "198.18.0.5/24").link(model.Link{Name: "blue", Kind: model.VRF, Carrier: true})
	b.link(physical("eth1", "blue"), "198.18.1.5/24").link(physical("eth2", "blue"), "198.18.2.5/24")
	b.link(bridgeLink("br0"), "198.18.7.1/24")
	b.link(model.Link{Name: "vxlan42", Kind: model.VXLAN, Master: "br0", Tunnel: &model.Tunnel{Remote: "198.18.0.9", ID: 42}})
	b.link(model.Link{Name: "wg0", Kind: model.Wireguard, Carrier: true}, "198.18.9.1/24")
	b.link(model.Link{Name: "dummy0", Kind: model.Dummy}).link(model.Link{Name: "tun0", Kind: model.TunKind, Carrier: true})
	b.link(model.Link{Name: "mac0", Kind: model.Macvlan, Mode: "bridge", Carrier: true, Parent: &model.Ref{Name: "eth0"}})
	return b.link(model.Link{Name: "strange0", Kind: "nlmon"})
}

func namespaces() *hostBuilder {
	b := newHost("host")
	lan, router, other := b.namespace("lan"), b.namespace("router"), b.namespace("neighbour")
	b.link(bridgeLink("br0"), "198.18.0.5/24").link(tapLink("tap0", "br0")).vm("web", "uml", "tap0")
	b.linkIn(lan, bridgeLink("sw0"))
	for _, x := range []struct {
		name, master string
		ns           int
		addr         string
	}{{"h", "br0", 0, ""}, {"r", "", router, "198.18.0.1/24"}, {"n", "", other, "198.18.0.7/24"}} {
		peerNS := b.s.Namespaces[x.ns].Name
		b.linkIn(lan, model.Link{Name: "port-" + x.name, Kind: model.Veth, Carrier: true, Master: "sw0", Peer: &model.Ref{Namespace: peerNS, Name: "eth0"}})
		var addrs []string
		if x.addr != "" {
			addrs = append(addrs, x.addr)
		}
		b.linkIn(x.ns, model.Link{Name: "eth0", Kind: model.Veth, Carrier: true, Master: x.master, Peer: &model.Ref{Namespace: "lan", Name: "port-" + x.name}}, addrs...)
	}
	return b
}

func misplaced() *hostBuilder {
	return newHost("host").link(physical("eth0", "br0"), "198.18.0.5/24", "2001:db8::5/64").link(bridgeLink("br0")).link(tapLink("tap0", "br0"))
}

func evil() *hostBuilder {
	name := "<&>\"'\x1b[31m\x00\u202e\n"
	b := newHost(name).link(physical("eth<&>\"'\x07", ""), "198.18.0.5/24").link(tapLink("日本語😀tap", ""))
	b.s.Here().Links[1].Tap.OwnerName = "</text><script>"
	return b.vm(name, "]]>", "日本語😀tap")
}

func pods() *hostBuilder {
	b := newHost("node").link(physical("eth0", ""), "198.18.0.5/24").link(bridgeLink("cni0"), "198.19.0.1/24")
	for i := range 5 {
		name := fmt.Sprintf("pod%d", i)
		pair(b, b.namespace(name), name, fmt.Sprintf("veth%d", i), "cni0", "eth0", fmt.Sprintf("198.19.0.%d/24", i+2))
	}
	return b
}

// loop is a bridge over both halves of one veth pair.
func loop() *hostBuilder {
	b := newHost("loop").link(bridgeLink("br0"), "198.18.0.5/24")
	for _, x := range [][2]string{{"veth0", "veth1"}, {"veth1", "veth0"}} {
		b.link(model.Link{Name: x[0], Kind: model.Veth, Carrier: true, Master: "br0", Peer: &model.Ref{Name: x[1]}})
	}
	return b
}

// removal is a step in which a VM and its tap go.
func removal() draw.Frame {
	before := manyTaps(3, 3)
	after := manyTaps(2, 2)
	w := model.Wire(before.s)
	return draw.Frame{Title: "A VM goes", Before: &w, Now: model.Compare(w, model.Wire(after.s))}
}

// cases are all of them by name.
func cases() map[string]draw.Frame {
	out := map[string]draw.Frame{"removal": removal(), "nothing": {Title: "No wiring at all"}}
	for name, b := range map[string]*hostBuilder{
		"long-names": longNames(), "two-lans": twoLANs(), "vlans": vlans(), "bond": bonded(), "zoo": zoo(),
		"namespaces": namespaces(), "misplaced": misplaced(), "evil": evil(), "pods": pods(), "loop": loop(),
		"taps-6": manyTaps(6, 5), "taps-14": manyTaps(14, 10), "taps-1000": manyTaps(1000, 400), "no-interface": newHost("bare"),
	} {
		out[name] = frameOf(name, b)
	}
	return out
}
