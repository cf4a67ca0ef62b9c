package kernel_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// A tap that is made for its descriptor's life is a port like any other, and is gone with
// the last one who has it.
func TestTransientTap(t *testing.T) {
	testnet.RequireTap(t)
	n := testnet.New(t)
	n.Must(model.CreateBridge{Name: "br0"})
	f, index, err := n.MakeTransientTap(model.CreateTap{Name: "tap0", MAC: "fe:11:22:33:44:55", MTU: 1400, Owner: &alice, VnetHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	n.Must(model.SetMaster{Link: "tap0", Master: "br0"}, model.SetUp{Link: "tap0", Up: true})
	l := n.Look().Link("tap0")
	if l == nil || l.Index != index || l.MAC != "fe:11:22:33:44:55" || l.MTU != 1400 || l.Tap.Persistent || !l.Tap.VnetHeader || *l.Tap.Owner != alice || !l.Carrier {
		t.Errorf("%+v", l)
	}
	if _, _, err := n.MakeTransientTap(model.CreateTap{Name: "tap0"}); !errors.Is(err, model.ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if _, _, err := n.MakeTransientTap(model.CreateTap{Name: "tap1", MAC: "nonsense"}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("no MAC: %v", err)
	}
	other, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if n.Look().Link("tap0") == nil {
		t.Error("gone with the first of two descriptors")
	}
	unix.Close(other)
	testnet.Eventually(t, func() error {
		for _, name := range []string{"tap0", "tap1"} {
			if n.Look().Link(name) != nil {
				return fmt.Errorf("%s outlives its descriptor", name)
			}
		}
		return nil
	})
}

func TestObserveLinksSeesTheSameLinks(t *testing.T) {
	n := testnet.New(t)
	n.Must(concat(cable("eth0"), ops(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"}, model.CreateTap{Name: "tap0", Owner: &alice}))...)
	testnet.Eventually(t, func() error {
		some, err := n.ObserveLinks(t.Context())
		if err != nil {
			return err
		}
		all := n.Look()
		for i := range all.Links {
			// What needs more than the links: the driver, names of accounts, far ends.
			want, got := all.Links[i], some.Links[i]
			want.Driver, want.Peer, got.Peer = "", nil, nil
			if want.Tap != nil {
				want.Tap.OwnerName, got.Tap.OwnerName = "", ""
			}
			if !reflect.DeepEqual(want, got) {
				return fmt.Errorf("%+v\n%+v", want, got)
			}
		}
		if !reflect.DeepEqual(all.FDB, some.FDB) {
			return fmt.Errorf("%v\n%v", all.FDB, some.FDB)
		}
		return nil
	})
}
