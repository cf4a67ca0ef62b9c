package kernel_test

import (
	"fmt"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

const (
	ourGroup   = 1<<30 + 1
	otherGroup = 1<<30 + 2
)

func tapsNamed(prefix string, count int) []model.CreateTap {
	var out []model.CreateTap
	for i := range count {
		out = append(out, model.CreateTap{Name: fmt.Sprint(prefix, i), MAC: model.MAC(fmt.Sprintf("fe:00:00:00:%02x:%02x", i/256, i%256)), Owner: &alice})
	}
	return out
}

func inBridge(taps ...model.CreateTap) model.CreateTaps {
	return model.CreateTaps{Taps: taps, Master: "br0", Up: true, LinkGroup: ourGroup}
}

func drop(group uint32, ids ...model.LinkID) model.DeleteLinks {
	return model.DeleteLinks{Links: ids, LinkGroup: group, Kind: model.TapKind}
}

func names(prefix string, count int) []model.LinkID {
	var out []model.LinkID
	for i := range count {
		out = append(out, model.LinkID{Name: fmt.Sprint(prefix, i)})
	}
	return out
}

var withBridge = ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01", MTU: 1500})

var batchScenarios = []scenario{
	{name: "taps in a bridge", start: withBridge, do: inBridge(tapsNamed("tap", 20)...)},
	{name: "taps in the stack, down", do: model.CreateTaps{Taps: tapsNamed("tap", 3)}},
	{name: "taps of different shapes", start: withBridge, do: inBridge(
		model.CreateTap{Name: "tap0", VnetHeader: true, MTU: 1400}, model.CreateTap{Name: "tap1", MultiQueue: true}, model.CreateTap{Name: "tap2", Group: &alice})},
	{name: "no taps", do: model.CreateTaps{}},
	{name: "taps one of which exists", start: concat(withBridge, ops(model.CreateTap{Name: "tap3"})), do: inBridge(tapsNamed("tap", 5)...), refused: model.ErrExists},
	{name: "taps one of which is something else", start: concat(withBridge, cable("tap3")), do: inBridge(tapsNamed("tap", 5)...), refused: model.ErrExists},
	{name: "a tap twice", start: withBridge, do: inBridge(model.CreateTap{Name: "tap0"}, model.CreateTap{Name: "tap0"}), refused: model.ErrExists},
	{name: "taps with one impossible MTU", start: withBridge, do: inBridge(model.CreateTap{Name: "tap0"}, model.CreateTap{Name: "tap1", MTU: 10}), refused: model.ErrInvalid},
	{name: "taps with one impossible name", do: model.CreateTaps{Taps: []model.CreateTap{{Name: "tap0"}, {Name: "a-name-of-sixteen"}}}, refused: model.ErrInvalid},
	{name: "taps in no bridge", do: inBridge(tapsNamed("tap", 2)...), refused: model.ErrNotFound},
	{name: "taps in what is no bridge", start: cable("br0"), do: inBridge(tapsNamed("tap", 2)...), refused: model.ErrInvalid},
	{name: "more taps than a bridge takes", start: concat(withBridge, ops(inBridge(tapsNamed("tap", 1020)...))), do: inBridge(tapsNamed("more", 5)...), refused: model.ErrPortLimit},

	{name: "delete a group", start: concat(withBridge, ops(inBridge(tapsNamed("tap", 20)...))), do: drop(ourGroup, names("tap", 20)...)},
	{name: "delete a part of a group", start: concat(withBridge, ops(inBridge(tapsNamed("tap", 6)...))), do: drop(ourGroup, names("tap", 4)...)},
	{name: "delete what is gone", do: drop(ourGroup, names("tap", 4)...)},
	{name: "delete nothing", do: drop(ourGroup)},
	{name: "strangers of these names", start: ops(model.CreateTaps{Taps: tapsNamed("tap", 3), LinkGroup: otherGroup}), do: drop(ourGroup, names("tap", 3)...)},
	{name: "strangers with other indexes", start: ops(model.CreateTaps{Taps: tapsNamed("tap", 3), LinkGroup: ourGroup}), do: drop(ourGroup, model.LinkID{Name: "tap0"}, model.LinkID{Name: "tap1", Index: 4711})},
	{name: "half made taps", start: concat(withBridge, ops(model.CreateTap{Name: "tap0"}, model.CreateTaps{Taps: tapsNamed("tap1", 2), LinkGroup: ourGroup})), do: drop(ourGroup, append(names("tap1", 2), model.LinkID{Name: "tap0"})...)},
	{name: "taps in no group that are in use", start: concat(withBridge, ops(model.CreateTap{Name: "tap0"}, model.SetMaster{Link: "tap0", Master: "br0"}, model.CreateTap{Name: "tap1"}, model.SetUp{Link: "tap1", Up: true})), do: drop(ourGroup, names("tap", 2)...)},
}

func TestContractOfBatches(t *testing.T) {
	testnet.Require(t)
	for _, s := range batchScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// A stranger's link that has joined our group is not deleted with it.
func TestAStrangerInTheGroupStays(t *testing.T) {
	testnet.RequireTap(t)
	n := testnet.New(t)
	made, err := n.Do(t.Context(), model.CreateTaps{Taps: tapsNamed("tap", 5), LinkGroup: ourGroup})
	if err != nil || len(made) != 5 {
		t.Fatal(made, err)
	}
	n.Must(model.CreateTaps{Taps: tapsNamed("his", 2), LinkGroup: ourGroup, Up: true})
	op := model.DeleteLinks{LinkGroup: ourGroup}
	for name, index := range made {
		if l := n.Look().Link(name); l == nil || l.Index != index || l.Group != ourGroup {
			t.Errorf("%s: index %d was told, it is %+v", name, index, l)
		}
		op.Links = append(op.Links, model.LinkID{Name: name, Index: index})
	}
	n.Must(op)
	ns := n.Look()
	if len(ns.Links) != 3 || ns.Link("his0") == nil || ns.Link("his1") == nil {
		t.Errorf("left: %+v", ns.Links)
	}
	for _, name := range []string{"his0", "his1"} {
		if l := ns.Link(name); l != nil && (l.Group != ourGroup || !l.Up) {
			t.Errorf("altered: %+v", l)
		}
	}
}
