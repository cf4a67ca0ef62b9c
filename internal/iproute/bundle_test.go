package iproute

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"drawbridge/internal/model"
)

const addrJSON = `[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"link_type":"loopback","addr_info":[]},
{},
{"ifindex":2,"ifname":"eth0","flags":["UP","LOWER_UP"],"mtu":1500,"link_type":"ether","address":"02:00:00:00:00:05","master":"br0",
 "linkinfo":{"info_slave_kind":"bridge","info_slave_data":{"state":"forwarding","priority":32,"cost":2}},"addr_info":[]},
{"ifindex":3,"ifname":"br0","flags":["UP","LOWER_UP"],"mtu":1500,"link_type":"ether","linkinfo":{"info_kind":"bridge","info_data":{"vlan_filtering":1}},
 "addr_info":[{"family":"inet","local":"198.18.0.5","prefixlen":24,"scope":"global","label":"br0","valid_life_time":3600,"preferred_life_time":3600}]}]
`

const routeJSON = `[{"dst":"default","gateway":"198.18.0.1","dev":"br0","flags":[]}]`

func read(t *testing.T, text string) (model.Snapshot, []string) {
	t.Helper()
	s, missing, err := Read(File{Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return s, missing
}

// Outputs one after the other are told apart by what is in them; what is not there is
// said, and the picture is made all the same.
func TestPlainOutputs(t *testing.T) {
	s, missing := read(t, addrJSON+routeJSON)
	w := model.Wire(s)
	if eth0 := w.Interface("host/eth0"); eth0 == nil || eth0.HostEnd.ID != "bridge:br0" {
		t.Errorf("%+v", eth0)
	}
	if lan := w.Segment("lan:eth0"); lan == nil || lan.Gateway.String() != "198.18.0.1" || lan.Name != "198.18.0.0/24" {
		t.Errorf("%+v", lan)
	}
	if a := s.Here().Addresses[0]; a.Origin != model.DHCP || a.Label != "" {
		t.Errorf("%+v", a)
	}
	if len(missing) != 1 || !strings.Contains(missing[0], "bridge -d -j vlan") { // br0 filters by VLAN
		t.Error(missing)
	}
	_, missing = read(t, addrJSON)
	if len(missing) != 2 || !strings.Contains(missing[0], "ip -d -j route") {
		t.Error(missing)
	}
}

func TestMarkersInAnySpelling(t *testing.T) {
	for line, want := range map[string]string{
		"ip -d -j link": partLink, "ip -details -json link show": partLink, "/sbin/ip -j -d a": partAddress, "ip -n blue -j route": partRoute,
		"ip -6 -j r": partRoute6, "ip -j rule": partRule, "bridge -j fdb show": partFDB, "bridge vlan": partVLAN, "ip -j n": partNeighbour, "ls -l": "?", "hostname": partHostname,
	} {
		if got := partOf(strings.Fields(line)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for name, want := range map[string]string{
		"ip-link.json": partLink, "dump/ip_addr.txt": partAddress, "ip-route6.json": partRoute6, "ip-6-route.json": partRoute6, "bridge-fdb.json": partFDB,
		"os-release": partSystem, "hostname": partHostname, "everything.txt": "",
	} {
		if got := partOfFile(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A command that failed, and a text that is cut off, are not an empty host.
func TestWhatFailedIsMissing(t *testing.T) {
	if _, _, err := Read(File{Data: []byte("### collector\n### hostname\nx\n### failed ip -d -j link\n### ip -d -j addr\n\n### end\n")}); !errors.Is(err, ErrNotBundle) {
		t.Error(err)
	}
	_, missing := read(t, "### collector\n### ip -d -j addr\n"+addrJSON+"### failed ip -d -j route\n### ip -6 -j route\n")
	if len(missing) != 3 || !strings.Contains(missing[0], "cut off") || !strings.Contains(missing[1], "routes") {
		t.Error(missing)
	}
}

func TestFilesAndNamespaces(t *testing.T) {
	s, _, err := Read(File{"ip-addr.json", []byte(addrJSON)}, File{"ip-route.json", []byte("[]")},
		File{"netns/blue/ip-addr.json", []byte(addrJSON)}, File{"netns/blue/ip-link.json", []byte("[{},{}]")}, File{"hostname", []byte("gw\n")})
	if err != nil || s.Host != "gw" || len(s.Namespaces) != 2 || s.Namespaces[1].Name != "blue" || len(s.Namespaces[1].Links) == 0 {
		t.Errorf("%v %+v", err, s)
	}
}

// iproute2 4.20 wrote the peer into the name, and an empty object for each link that it
// left out.
func TestOldOutput(t *testing.T) {
	s, _ := read(t, `[{},{"ifindex":5,"ifname":"veth1@if4","link_index":4,"link_netnsid":0,"flags":["UP"],"link_type":"ether","linkinfo":{"info_kind":"veth"},"addr_info":[{}]}]`)
	if l := s.Here().Link("veth1"); l == nil || l.Peer == nil || l.Peer.Name != "" {
		t.Errorf("%+v", s.Here().Links)
	}
}

func TestBadInput(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "there is no output of",
		"hello":                              "line 1: the JSON: invalid character 'h'",
		`{"a":1}`:                            "not the JSON of ip(8)",
		addrJSON[:len(addrJSON)/2]:           "unexpected EOF",
		"### ip -j addr\n\n[{\"ifname\":\n":  "line 2: ip -d -j addr: unexpected EOF",
		"### ip -j addr\n[\n{\"ifname\":7}]": "line 3: ip -d -j addr: json: cannot unmarshal number",
		"### hostname\nx\n":                  "there is no output of",
	} {
		_, _, err := Read(File{Data: []byte(text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
	if _, _, err := Read(File{Data: []byte("[1]")}); !errors.Is(err, ErrNotBundle) {
		t.Error(err)
	}
}

// Whatever the bytes: no panic, and what comes out can be drawn and saved.
func FuzzRead(f *testing.F) {
	f.Add([]byte(addrJSON + routeJSON))
	f.Add([]byte("### netns x\n### bridge vlan\n[{\"ifname\":\"a\",\"vlans\":[{\"vlan\":4000,\"vlanEnd\":65535}]}]\n### holders\ntap0 1 qemu"))
	f.Add([]byte("### sysctl\nnet.ipv4.ip_forward = 1\n### ip rule\n[{\"src\":\"all\",\"table\":7,\"not\":null}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := Read(File{Data: data})
		if err != nil {
			return
		}
		w := model.Wire(s)
		if _, err := json.Marshal(w); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
	})
}
