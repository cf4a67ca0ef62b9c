package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// TestSockets: what is bound to a link, and what a connection has sent, as sock_diag tells.
func TestSockets(t *testing.T) {
	a, b := testnet.New(t), testnet.New(t)
	a.Veth("eth0", b, "host0")
	a.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{address("198.18.0.5/24", nodad), address("fe80::5/64", nodad)}})
	b.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{address("198.18.0.1/24", nodad), address("fe80::1/64", nodad)}})
	var free, zoned net.Listener
	var bound net.PacketConn
	a.Inside(func() (err error) {
		if free, err = net.Listen("tcp4", "198.18.0.5:22"); err != nil {
			return err
		}
		if zoned, err = net.Listen("tcp", "[fe80::5%eth0]:23"); err != nil {
			return err
		}
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if cerr := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "eth0")
			}); cerr != nil {
				return cerr
			}
			return err
		}}
		bound, err = lc.ListenPacket(context.Background(), "udp4", ":68")
		return err
	})
	defer free.Close()
	defer zoned.Close()
	defer bound.Close()
	var peer, zonedPeer net.Conn
	b.Inside(func() (err error) {
		if peer, err = net.Dial("tcp", "198.18.0.5:22"); err != nil {
			return err
		}
		zonedPeer, err = net.Dial("tcp", "[fe80::5%host0]:23")
		return err
	})
	defer peer.Close()
	defer zonedPeer.Close()
	server, err := free.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, func() error {
		if s := find(t, a, "tcp", "198.18.0.5:22", "established"); s.TCP == nil || s.TCP.Acknowledged < 1000 || s.Queued != 0 || s.Bound != "" {
			return fmt.Errorf("%+v %+v", s, s.TCP)
		}
		return nil
	})
	if s := find(t, a, "tcp", "[fe80::5]:23", "established"); s.Bound != "eth0" {
		t.Errorf("a link-local connection: %+v", s)
	}
	udp := find(t, a, "udp", "0.0.0.0:68", "unconnected")
	if udp.Bound != "eth0" {
		t.Errorf("SO_BINDTODEVICE: %+v", udp)
	}
	holders, err := a.SocketHolders(map[uint64]bool{udp.Inode: true})
	if err != nil || holders[udp.Inode].PID != os.Getpid() {
		t.Errorf("%v %v", holders, err)
	}

	// What is never acknowledged is sent again, and counted. (Without a carrier nothing
	// would be on its way at all: what the own stack cannot send stays queued.)
	b.Must(model.AddRoutes{Routes: []model.Route{{Table: model.TableMain, Type: "blackhole", Destination: netip.MustParsePrefix("198.18.0.5/32"), Protocol: "static", Scope: "global"}}})
	if _, err := server.Write(make([]byte, 500)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if s := find(t, a, "tcp", "198.18.0.5:22", "established"); s.TCP == nil || s.TCP.Retransmits < 1 || s.Queued != 500 || s.TCP.Unacknowledged != 1 {
		t.Errorf("unacknowledged: %+v %+v", s, s.TCP)
	}
}

func find(t *testing.T, n *testnet.Net, protocol, local, state string) model.Socket {
	t.Helper()
	all, err := n.Sockets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Protocol == protocol && s.Local.String() == local && s.State == state {
			return s
		}
	}
	t.Fatalf("no %s socket at %s that is %s: %v", protocol, local, state, all)
	return model.Socket{}
}
