package main

import (
	"fmt"
	"path/filepath"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
	"drawbridge/internal/trace"
)

// mode is a way to connect machines, in two steps from a host on its LAN: the network is
// made, its machines come. Then packets are traced: what the mode promises, and what not.
type mode struct {
	name, title string
	steps       [2]string // what is to be seen in each
	packets     []packet
}

type packet struct{ from, to, text string }

var modes = []mode{
	{"tap", "Host-only: a tap with an address at either end", [2]string{
		"tap0 has the host's address; nobody holds its wire end yet, and the machine's eth1 is declared only.",
		"tap0 and eth1 are the ends of one cable, each with an address: host and machine reach each other, and nobody else.",
	}, []packet{{"web", "host", "The machine reaches the host."}}},
	{"host-only", "Host-only: a bridge without an uplink", [2]string{
		"br1 is a LAN inside the host; the host's end of it has an address, and no uplink is plugged in.",
		"The machines reach one another and the host. The host forwards nothing for them.",
	}, []packet{{"web", "db", "One machine reaches the other by the bridge."}, {"web", "lan", "The machines have no way to the LAN."}}},
	{"isolated", "Isolated: machines among themselves", [2]string{
		"br1 has no uplink, and its host end dangles: rules at it let nothing to the host, or from it.",
		"The machines reach one another, and nobody else.",
	}, []packet{{"web", "db", "One machine reaches the other."}, {"web", "host", "The host is not on their LAN."}}},
	{"routed", "Routed: hosts of the LAN without a bridge to it", [2]string{
		"The host routes between eth0 and br1, which are two Ethernets, and relays the LAN's DHCP and router advertisements to br1.",
		"web has its addresses from the LAN's own server and router; eth0 answers for them (proxy ARP, proxy NDP), and a route leads to br1.",
	}, []packet{{"lan", "web", "The LAN reaches the machine at its own address."}}},
	{"nat", "NAT: a network behind the host's addresses", [2]string{
		"br1 has a subnet of its own, in which the host serves addresses and names; eth0 hides it behind the host's address.",
		"web has its address from the host. Port 8080 of the host leads to it.",
	}, []packet{{"web", "lan", "The machine reaches the LAN; its packets leave with the host's address."}, {"lan", "web", "Nobody reaches the machine itself, but at its published port."}}},
	{"auto", "Auto, where the access point drops foreign MACs: routed", [2]string{
		"Two ARP requests, from the uplink's MAC address and from another, showed that a bridge would be of no use: the network is routed.",
		"web is a host of the LAN all the same, by an uplink that only its own MAC address passes.",
	}, []packet{{"web", "lan", "The frames that leave eth0 have the MAC address of eth0."}}},
}

// picture is one of the gallery's: its file's name, and what is to be said of it.
type picture struct {
	name  string
	scene *draw.Scene
}

// pictures draws a mode: its steps in one layout, each with what changed, and the packets.
func (m mode) pictures(dir string) ([]picture, error) {
	var frames []draw.Frame
	var last model.Snapshot
	for n, name := range []string{"host", m.name + "-1", m.name + "-2"} {
		s, err := load(filepath.Join(dir, "bundles", "mode-"+name+".json.gz"))
		if err != nil {
			return nil, err
		}
		f := draw.Frame{Now: model.Wire(s)}
		if n > 0 {
			before := model.Wire(last)
			f.Title, f.Subtitle = fmt.Sprintf("%d · %s", n, m.title), m.steps[n-1]
			f.Before, f.Now = &before, model.Compare(before, f.Now)
		}
		frames, last = append(frames, f), s
	}
	var out []picture
	for n, s := range draw.Scenes(draw.Options{}, frames...)[1:] {
		out = append(out, picture{fmt.Sprintf("mode-%s-%d", m.name, n+1), s})
	}
	for n, p := range m.packets {
		t, err := trace.Compute(&last, trace.Query{From: p.from, To: p.to}, nil)
		if err != nil {
			return nil, err
		}
		f := draw.Frame{Title: fmt.Sprintf("%d · From %s to %s", n+3, p.from, p.to), Subtitle: p.text, Now: model.Wire(last), Trace: t}
		out = append(out, picture{fmt.Sprintf("mode-%s-%d", m.name, n+3), draw.Draw(draw.Options{}, f)})
	}
	return out, nil
}
