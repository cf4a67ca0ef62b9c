package draw_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/dot"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/draw/mermaid"
	"drawbridge/internal/draw/story"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/draw/text"
	"drawbridge/internal/model"
)

// roles is a host that does everything for the machine web.
func roles(ports int) draw.Frame {
	b := inner()
	ns := b.s.Here()
	f := model.Forwarding{Network: "private", Link: "br1", Out: true, Masquerade: []netip.Prefix{netip.MustParsePrefix("198.18.7.0/24")}}
	for n := range ports {
		f.Publish = append(f.Publish, model.Publish{Protocol: "tcp", Port: uint16(8080 + n), To: netip.MustParseAddr("198.18.7.2"), ToPort: 80})
	}
	f.Publish = append(f.Publish, model.Publish{Protocol: "udp", Address: netip.MustParseAddr("198.18.0.5"), Port: 53, To: netip.MustParseAddr("198.18.7.99"), ToPort: 53})
	ns.Forwarding = []model.Forwarding{f}
	for n := range 6 {
		ns.Neighbours = append(ns.Neighbours, model.Neighbour{Link: "eth0", Address: netip.AddrFrom4([4]byte{198, 18, 0, byte(100 + n)}), Proxy: true})
	}
	ns.Neighbours = append(ns.Neighbours, model.Neighbour{Link: "eth0", Address: netip.MustParseAddr("2001:db8::1:2:3:4"), Proxy: true})
	b.s.Services = []model.Service{{Network: "private", Link: "br1", DHCP4: &model.DHCP4Config{}, RA: &model.RAConfig{}, DNS: &model.DNSConfig{}, Relay: &model.RelayConfig{Uplink: "eth0"}, State: model.ServiceRunning}}
	return frameOf("roles", b)
}

func TestRolesAreDrawn(t *testing.T) {
	f := roles(6)
	s := draw.Draw(draw.Options{}, f)
	for _, want := range []string{
		"NAT for 198.18.7.0/24", "port 8080/tcp to web:80", "port 8082/tcp to web:80", "and 4 ports more", "proxy ARP for 198.18.0.100, 198.18.0.101, 198.18.0.102 and 3 more",
		"proxy NDP for 2001:db8::1:2:3:4", "serves DHCP, RA, DNS", "relays DHCP and RA of eth0's LAN", "behind NAT", "router · NAT",
	} {
		if !hasLabel(s, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if hasLabel(s, "port 8083/tcp to web:80") {
		t.Error("all ports are in the picture")
	}
	for _, flaw := range geometry.Flaws(s) {
		t.Error(flaw)
	}
	if few := draw.Draw(draw.Options{}, roles(3)); !hasLabel(few, "port 53/udp of 198.18.0.5 to 198.18.7.99:53") {
		t.Error("the last of few ports is not in the picture")
	}
	for format, out := range map[string]string{
		"terminal": term.Render(term.Options{Width: 100}, f)[0], "text": string(text.Render("", f.Now)), "dot": string(dot.Render("", f.Now)),
		"mermaid": strings.ReplaceAll(string(mermaid.Render(f.Now)), "#44;", ","), "outline": fmt.Sprint(draw.Outline(f)),
	} {
		for _, want := range []string{"serves DHCP, RA, DNS", "NAT for"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", format, want, out)
			}
		}
	}
}

// A server that ended is told as such, and so is each way in which a LAN is shut.
func TestWhatIsShutIsTold(t *testing.T) {
	f := roles(0)
	i := slices.IndexFunc(f.Now.Interfaces, func(i model.Interface) bool { return i.Name == "br1" })
	f.Now.Interfaces[i].Failed = true
	if s := draw.Draw(draw.Options{}, f); !hasLabel(s, "no longer serves DHCP, RA, DNS") || !hasLabel(s, "no longer relays DHCP and RA of eth0's LAN") {
		t.Error("a server that ended is drawn as one that serves")
	}
	for _, how := range []string{model.BehindHost, model.BehindIsolated} {
		for n := range f.Now.Segments {
			f.Now.Segments[n].Behind = how
		}
		if s := draw.Draw(draw.Options{}, f); !hasLabel(s, how) {
			t.Errorf("the picture does not say %q", how)
		}
	}
}

// What a step changes of it is told in its words.
func TestRolesInWords(t *testing.T) {
	after := roles(1).Now
	before := frameOf("", inner()).Now
	words := strings.Join(story.Words(before, after), "\n")
	for _, want := range []string{"At the host end of eth0: NAT for 198.18.7.0/24.", "At the host end of eth0: port 8080/tcp to web:80.", "At the host end of br1: serves DHCP, RA, DNS."} {
		if !strings.Contains(words, want) {
			t.Errorf("not told: %q in\n%s", want, words)
		}
	}
	if back := strings.Join(story.Words(after, before), "\n"); !strings.Contains(back, "No longer at the host end of br1: serves DHCP, RA, DNS.") {
		t.Errorf("not told that it ends:\n%s", back)
	}
}
