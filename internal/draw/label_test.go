package draw

import (
	"testing"

	"drawbridge/internal/model"
)

func TestVLANText(t *testing.T) {
	tagged := func(ids ...uint16) (out []model.PortVLAN) {
		for _, id := range ids {
			out = append(out, model.PortVLAN{ID: id})
		}
		return out
	}
	own := model.PortVLAN{ID: 10, PVID: true, Untagged: true}
	for want, list := range map[string][]model.PortVLAN{
		"":                                  {{ID: 1, PVID: true, Untagged: true}},
		"VLAN 10 untagged":                  {own},
		"VLAN 10 untagged, 20-22 30 tagged": append([]model.PortVLAN{own}, tagged(20, 21, 22, 30)...),
		"VLAN 2-4094 tagged":                tagged(ids(2, 4094)...),
	} {
		if got := vlanText(list); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func ids(from, to uint16) (out []uint16) {
	for id := from; id <= to; id++ {
		out = append(out, id)
	}
	return out
}
