package model

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
)

func TestOperationsSurviveJSON(t *testing.T) {
	uid := uint32(1000)
	ops := Operations{
		CreateBridge{Name: "br0", MAC: "02:11:22:33:44:55", MTU: 9000},
		CreateTap{Name: "tap0", Owner: &uid, OwnerName: "alice", VnetHeader: true},
		CreateTaps{Taps: []CreateTap{{Name: "tap1", Owner: &uid}, {Name: "tap2"}}, Master: "br0", Up: true, LinkGroup: 1<<30 + 7},
		DeleteLinks{Links: []LinkID{{Name: "tap1", Index: 8}, {Name: "tap2", MAC: "02:00:00:00:00:02"}}, LinkGroup: 1<<30 + 7, Kind: TapKind},
		CreateVeth{Name: "v0", Peer: Ref{"lan", "v1"}},
		DeleteLink{Name: "br0", Index: 7, Kind: Bridged},
		AddAddresses{Link: "br0", Addresses: []Address{{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: DHCP, Lifetime: &Lifetime{600, 300}}}},
		MoveRoutes{From: "eth0", To: "br0", Routes: []Route{{Table: TableMain, Destination: netip.MustParsePrefix("::/0"), NextHops: []NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("2001:db8::1")}}}}},
		JoinGroups{From: "eth0", To: "br0", Groups: []netip.Addr{netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")}},
		StartMachine{Machine: MachineConfig{Name: "web", VMM: "uml", Memory: 64 << 20, NICs: []NICConfig{{Name: "eth1", DHCP: true}}}},
		StartMachines{Machines: []MachineConfig{{Name: "web1", VMM: "uml", Root: "/srv/debian.img", Writes: "keep", Restart: "always"}, {Name: "web2", VMM: "namespace"}}},
		StopMachines{Machines: []string{"web1", "web2"}},
		PlugNIC{Machine: "web", NIC: NICConfig{Name: "eth1", Link: "tap0", Transport: TransportTap}},
		StartService{Service: Service{Network: "private", Link: "br1",
			DHCP4: &DHCP4Config{Server: netip.MustParsePrefix("198.18.7.1/24"), First: netip.MustParseAddr("198.18.7.100"), Last: netip.MustParseAddr("198.18.7.199"), Static: []StaticLease{{MAC: "02:00:00:00:00:09", Name: "web"}}},
			RA:    &RAConfig{Prefixes: []RAPrefix{{Prefix: netip.MustParsePrefix("2001:db8:7::/64")}}, Search: []string{"home.arpa"}},
			DNS:   &DNSConfig{Listen: []netip.Addr{netip.MustParseAddr("198.18.7.1")}, Clients: []netip.Prefix{netip.MustParsePrefix("198.18.7.0/24")}, Upstreams: []netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:53")}}}},
		StopService{Network: "private"},
	}
	data, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	var back Operations
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(ops, back) {
		t.Errorf("%s\ncame back as\n%#v", data, back)
	}
	if err := json.Unmarshal([]byte(`[{"op":"format-disk","do":{}}]`), &back); err == nil {
		t.Error("an unknown operation is no error")
	}
}

func TestEveryOperationTypeIsRegistered(t *testing.T) {
	for name, typ := range operationTypes {
		op := reflect.New(typ).Elem().Interface().(Operation)
		if op.Op() != name {
			t.Errorf("%s is registered as %s", op.Op(), name)
		}
	}
	// Whatever has a method Op is one.
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		declared += len(regexp.MustCompile(`(?m)^func \(\w*\s?\w+\) Op\(\) string`).FindAll(text, -1))
	}
	if declared < 40 || len(operationTypes) != declared {
		t.Errorf("%d operations are registered, %d are declared", len(operationTypes), declared)
	}
}
