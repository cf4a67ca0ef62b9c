// Package walkthrough has the states through which a VM becomes a host of a LAN, as
// snapshots: what the legend, the story page and the goldens are drawn from.
//
// In: nothing. Out: [States], in the order in which they are explained.
package walkthrough

import (
	"net/netip"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// State is one state of the walkthrough.
type State struct {
	// Name is short and fit for a file: "6-bridged".
	Name            string
	Title, Subtitle string
	Snapshot        model.Snapshot
	Legend          bool
}

// States are the seven states.
func States() []State {
	alone := host("eth0")
	onLAN := host("eth0")
	uplink(&onLAN)

	dangling := onLAN.Clone()
	tap(&dangling)
	dangling.Machines = []model.Machine{vm(model.MachineNIC{Name: "eth1", Declared: true})}

	cabled := onLAN.Clone()
	tap(&cabled)
	ns := cabled.Here()
	ns.Link("tap0").Carrier = true
	cabled.Machines = []model.Machine{vm(model.MachineNIC{Name: "eth1", MAC: guestMAC, Link: model.Ref{Name: "tap0"}})}

	made := cabled.Clone()
	bridge(&made)

	bridged := made.Clone()
	enslave(&bridged)

	return []State{
		{"0-interface", "An interface has two ends", "Every picture is made of this one part.", legend(), true},
		{"1-host-alone", "1 · The host alone", "eth0 has its host end in the host; its wire end dangles: no cable, no carrier.", alone, false},
		{"2-host-on-lan", "2 · The host on its LAN", "Plugged in, eth0's wire end is on the LAN: the host reaches its neighbours.", onLAN, false},
		{"3-vm-dangling", "3 · A tap and a VM, not yet joined", "tap0 exists, but nobody holds its wire end. The VM is up; its eth1 is declared only: no device yet.", dangling, false},
		{"4-vm-cabled", "4 · The VM is cabled to tap0", "tap0 and eth1 are the two ends of one virtual Ethernet. Given an address each, host and VM can talk: host-only.", cabled, false},
		{"5-bridge-made", "5 · The bridge is made", "br0 is an empty virtual LAN inside the host; the interface br0 is the host's own way into it.", made, false},
		{"6-bridged", "6 · Bridged: the VM is a host of the LAN", "The host ends of eth0 and tap0 moved into br0's virtual LAN. The host's addresses live on br0 now; left on eth0 they would be misplaced.", bridged, false},
	}
}

// Frames are the pictures of states 1 to 6 that follow each other, marked with what
// changed; and before them, on its own, the legend.
func Frames() (legend draw.Frame, steps []draw.Frame) {
	var before *model.Wiring
	for _, s := range States() {
		f := draw.Frame{Title: s.Title, Subtitle: s.Subtitle, Now: model.Wire(s.Snapshot), Legend: s.Legend}
		if s.Legend {
			legend = f
			continue
		}
		now := f.Now
		if before != nil {
			f.Before, f.Now = before, model.Compare(*before, now)
		}
		before = &now
		steps = append(steps, f)
	}
	return legend, steps
}

const (
	hostMAC  = model.MAC("02:11:22:33:44:55")
	guestMAC = model.MAC("02:db:00:00:00:01")
)

func legend() model.Snapshot {
	s := host("eth0")
	ns := s.Here()
	ns.Links[0].MAC = ""
	ns.Addresses = ns.Addresses[:1]
	return s
}

func host(eth string) model.Snapshot {
	return model.Snapshot{Host: "host", System: "Debian 12", Namespaces: []model.Namespace{{
		Links:     []model.Link{{Name: eth, Kind: model.Physical, MAC: hostMAC, MTU: 1500, Up: true}},
		Addresses: []model.Address{address(eth, "198.18.0.5/24", model.Static), address(eth, "2001:db8::5/64", model.Static)},
	}}}
}

func address(link, prefix string, origin model.Origin) model.Address {
	return model.Address{Link: link, Prefix: netip.MustParsePrefix(prefix), Origin: origin, Scope: "global"}
}

func uplink(s *model.Snapshot) {
	ns := s.Here()
	ns.Link("eth0").Carrier = true
	ns.Routes = []model.Route{defaultRoute("eth0")}
}

func defaultRoute(link string) model.Route {
	return model.Route{
		Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"),
		NextHops: []model.NextHop{{Link: link, Gateway: netip.MustParseAddr("198.18.0.1")}},
	}
}

func tap(s *model.Snapshot) {
	ns := s.Here()
	ns.Links = append(ns.Links, model.Link{
		Name: "tap0", Kind: model.TapKind, MTU: 1500, Up: true,
		Tap: &model.Tap{OwnerName: "alice", Persistent: true},
	})
}

func vm(nic model.MachineNIC) model.Machine {
	return model.Machine{Name: "web", VMM: "uml", State: "running", NICs: []model.MachineNIC{nic}}
}

func bridge(s *model.Snapshot) {
	ns := s.Here()
	ns.Links = append(ns.Links, model.Link{Name: "br0", Kind: model.Bridged, MAC: hostMAC, MTU: 1500, Up: true, Bridge: &model.Bridge{}})
}

// enslave is the cutover: eth0 and tap0 become ports, the host's addresses and its
// default route move to br0, and the VM gets an address from the LAN.
func enslave(s *model.Snapshot) {
	ns := s.Here()
	ns.Link("eth0").Master, ns.Link("tap0").Master = "br0", "br0"
	ns.Link("br0").Carrier = true
	for i := range ns.Addresses {
		ns.Addresses[i].Link = "br0"
	}
	ns.Routes = []model.Route{defaultRoute("br0")}
	s.Machine("web").Inside = &model.Namespace{
		Links:     []model.Link{{Name: "eth1", Kind: model.Physical, MAC: guestMAC, MTU: 1500, Up: true, Carrier: true}},
		Addresses: []model.Address{address("eth1", "198.18.0.100/24", model.DHCP)},
	}
}
