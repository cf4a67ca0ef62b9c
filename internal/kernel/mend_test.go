package kernel_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// What a mend reads and writes beside the snapshot.

func TestPortsDoNotWaitForAProtocolThatIsOff(t *testing.T) {
	t.Parallel()
	n, lan := testnet.New(t), testnet.New(t)
	n.Must(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}, model.SetBridge{Bridge: "br0", STP: ref(true), ForwardDelay: ref(uint32(3000))})
	n.Veth("eth0", lan, "port0")
	n.Must(model.SetMaster{Link: "eth0", Master: "br0"})
	testnet.Eventually(t, func() error {
		if s := n.Look().Link("eth0").Port.State; s != "listening" {
			return fmt.Errorf("with spanning tree the port is %s", s)
		}
		return nil
	})
	n.Must(model.SetBridge{Bridge: "br0", STP: ref(false), ForwardDelay: ref(uint32(0))})
	if s := n.Look().Link("eth0").Port.State; s != "forwarding" {
		t.Errorf("without it, it is %s", s)
	}
}

func TestTapOffloads(t *testing.T) {
	t.Parallel()
	testnet.RequireTap(t)
	n := testnet.New(t)
	n.Must(model.CreateTap{Name: "tap0"}, model.CreateTap{Name: "tap1"})
	// A guest has asked for unfinished packets, and has ended.
	held, err := n.OpenTap("tap0", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(held[0].Fd()), unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4); err != nil {
		t.Fatal(err)
	}
	held[0].Close()
	got, err := n.TapOffloads([]string{"tap0", "tap1", "gone"})
	if err != nil || fmt.Sprint(got) != "map[tap0:true tap1:false]" {
		t.Fatalf("%v, %v", got, err)
	}
	n.Must(model.ResetOffloads{Link: "tap0"})
	if got, _ := n.TapOffloads([]string{"tap0"}); got["tap0"] {
		t.Error("reset, and still on")
	}
	n.Must(model.AllowOffloads{Link: "tap0"})
	if got, _ := n.TapOffloads([]string{"tap0"}); !got["tap0"] {
		t.Error("allowed again, and still off")
	}
}

func TestNeighbourTables(t *testing.T) {
	t.Parallel()
	n := testnet.New(t)
	tables, err := n.NeighbourTables(t.Context())
	if err != nil || len(tables) != 2 || tables[0].Family+tables[1].Family != 10 {
		t.Fatalf("%+v, %v", tables, err)
	}
	for _, table := range tables {
		if table.Hard == 0 || table.Soft > table.Hard {
			t.Errorf("limits: %+v", table)
		}
	}
}

func TestQueriers(t *testing.T) {
	t.Parallel()
	n, lan := testnet.New(t), testnet.New(t)
	n.Veth("eth0", lan, "port0")
	n.Must(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"})
	lan.Must(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "port0", Master: "br0"})
	got, ok, err := n.Queriers([]string{"br0", "gone"})
	if err != nil || !ok {
		t.Skipf("this kernel does not tell: %v", err)
	}
	if at, known := got["br0"]; !known || at.IsValid() || len(got) != 1 {
		t.Fatalf("with nobody asking: %v", got)
	}
	// Its queries of IPv4 come from 0.0.0.0, unless mcast_query_use_ifaddr is set.
	lan.Must(model.SetBridge{Bridge: "br0", McastQuerier: ref(true)})
	testnet.Within(t, testnet.Patience, func() error {
		got, _, err := n.Queriers([]string{"br0"})
		if err != nil || !got["br0"].IsValid() {
			return fmt.Errorf("%v: %w", got, err)
		}
		return nil
	})
}
