package keeper

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

const dhclientLeases = `default-duid "\000\001";
lease {
  interface "eth0";
  fixed-address 198.18.0.100;
  option dhcp-lease-time 3600;
  option dhcp-server-identifier 198.18.0.1;
  option host-name "old";
  renew 0 2026/01/04 00:00:00;
}
lease {
  interface "eth1";
  fixed-address 198.18.0.101;
  option dhcp-client-identifier "text";
}
lease {
  interface "eth0";
  fixed-address 198.18.0.100;
  option dhcp-client-identifier 1:2:aa:b:c:d:e;
  option host-name "alice";
}
`

func TestNotesOfDhclient(t *testing.T) {
	n, ok := parseDhclient([]byte(dhclientLeases), "eth0", netip.MustParseAddr("198.18.0.100"))
	if !ok || n.Hostname != "alice" || !bytes.Equal(n.ClientID, []byte{1, 2, 0xaa, 0xb, 0xc, 0xd, 0xe}) {
		t.Errorf("%+v %v: the last lease counts", n, ok)
	}
	if n, ok := parseDhclient([]byte(dhclientLeases), "eth1", netip.MustParseAddr("198.18.0.101")); !ok || string(n.ClientID) != "text" {
		t.Errorf("%+v %v", n, ok)
	}
	for _, cut := range []string{"", "lease {", dhclientLeases[:200], "}\n}\n}", "option dhcp-client-identifier zz;\n}"} {
		if n, ok := parseDhclient([]byte(cut), "eth0", netip.MustParseAddr("198.18.0.9")); ok {
			t.Errorf("%q: %+v", cut, n)
		}
	}
}

func TestNotesOfNetworkd(t *testing.T) {
	n, ok := parseNetworkd([]byte("# private\nADDRESS=198.18.0.100\nCLIENTID=ff0102\nHOSTNAME=alice\n"), netip.MustParseAddr("198.18.0.100"))
	if !ok || n.Hostname != "alice" || !bytes.Equal(n.ClientID, []byte{0xff, 1, 2}) {
		t.Errorf("%+v %v", n, ok)
	}
	if _, ok := parseNetworkd([]byte("ADDRESS=198.18.0.1\n"), netip.MustParseAddr("198.18.0.100")); ok {
		t.Error("another address's lease")
	}
}

func TestIdentities(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0xa, 0xb, 0xc}
	got := Identities([]byte{7}, mac, [][]byte{{9, 9}})
	want := [][]byte{{7}, nil, {1, 2, 0, 0, 0xa, 0xb, 0xc}, {0xff, 0, 0xa, 0xb, 0xc, 9, 9}}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("%d: %v, want %v", i, got[i], want[i])
		}
	}
	if got := Identities(nil, nil, nil); len(got) != 1 || got[0] != nil {
		t.Errorf("without a MAC address: %v", got)
	}
}

func TestServes(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want bool
	}{
		{"dhclient", []string{"dhclient", "-4", "eth0"}, true},
		{"dhclient", []string{"dhclient", "eth1"}, false},
		{"udhcpc", []string{"udhcpc", "-i", "eth0"}, true},
		{"udhcpc", []string{"udhcpc", "-ieth0"}, true},
		{"udhcpc", []string{"udhcpc"}, true},
		{"udhcpc", []string{"udhcpc", "-i", "eth1"}, false},
		{"dhcpcd", []string{"dhcpcd:", "eth0", "[ip4]"}, true},
		{"dhcpcd", []string{"dhcpcd:", "[manager]", "[ip4]"}, true},
		{"systemd-network", []string{"/usr/lib/systemd/systemd-networkd"}, true},
	} {
		if got := (Client{Name: tc.name, args: tc.args}).serves("eth0"); got != tc.want {
			t.Errorf("%v serves eth0: %v", tc.args, got)
		}
	}
}

func FuzzNotes(f *testing.F) {
	f.Add([]byte(dhclientLeases))
	f.Add([]byte("ADDRESS=198.18.0.100\nCLIENTID=f"))
	address := netip.MustParseAddr("198.18.0.100")
	f.Fuzz(func(_ *testing.T, data []byte) {
		parseDhclient(data, "eth0", address)
		parseNetworkd(data, address)
	})
}
