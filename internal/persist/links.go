package persist

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
)

// The commands by which a bridge or a tap is made, for managers that make none themselves.

// makeBridge makes a bridge.
func makeBridge(b Bridge) string {
	made := "ip link add name " + b.Name
	if b.MAC != "" {
		made += " address " + string(b.MAC)
	}
	if b.MTU != 0 && b.MTU != 1500 {
		made += fmt.Sprintf(" mtu %d", b.MTU)
	}
	snooping := map[bool]string{true: "1", false: "0"}[b.McastSnooping]
	return made + " type bridge stp_state 0 forward_delay 0 mcast_snooping " + snooping
}

// plugUplink makes the uplink a port of its bridge.
func plugUplink(b Bridge) (out []string) {
	if b.UplinkMTU != 0 && b.UplinkMTU != 1500 {
		out = append(out, fmt.Sprintf("ip link set dev %s mtu %d", b.Uplink, b.UplinkMTU))
	}
	return append(out, "ip link set dev "+b.Uplink+" master "+b.Name+" up")
}

// makeTap makes a tap that is in no bridge yet, and down.
func makeTap(t Tap) []string {
	made := "ip tuntap add dev " + t.Name + " mode tap"
	if t.Owner != "" {
		made += " user " + t.Owner
	}
	if t.Group != "" {
		made += " group " + t.Group
	}
	for _, flag := range []struct {
		on   bool
		word string
	}{{t.PacketInfo, "pi"}, {t.VnetHeader, "vnet_hdr"}, {t.MultiQueue, "multi_queue"}} {
		if flag.on {
			made += " " + flag.word
		}
	}
	out := []string{made}
	if t.MAC != "" {
		out = append(out, "ip link set dev "+t.Name+" address "+string(t.MAC))
	}
	if t.MTU != 0 && t.MTU != 1500 {
		out = append(out, fmt.Sprintf("ip link set dev %s mtu %d", t.Name, t.MTU))
	}
	return out
}

func isolate(t Tap) string { return "bridge link set dev " + t.Name + " isolated on" }

func addAddress(link, prefix string) string { return "ip address add " + prefix + " dev " + link }

func addRoute(r model.Route, link string) string {
	s := "ip route add " + r.Destination.String()
	if r.Gateway().IsValid() {
		s += " via " + r.Gateway().String()
	}
	s += " dev " + link
	if r.Source.IsValid() {
		s += " src " + r.Source.String()
	}
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	if r.Table != model.TableMain && r.Table != 0 {
		s += fmt.Sprintf(" table %d", r.Table)
	}
	return s
}

// phased puts a word before each command.
func phased(phase string, commands ...string) string {
	return "\t" + phase + " " + strings.Join(commands, "\n\t"+phase+" ") + "\n"
}
