package draw_test

import (
	"fmt"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// What goes into another bridge than the many is none of them, also where all are new: a
// tap that comes into the stack and moves to br1, and forty that come into br0.
func TestNewPortsFoldByTheirBridge(t *testing.T) {
	state := func(tap, many bool) model.Wiring {
		b := newHost("host").link(bridgeLink("br0")).link(bridgeLink("br1"))
		if tap {
			b.link(tapLink("tapdb", map[bool]string{true: "br1"}[many]))
		}
		for i := range 40 {
			if many {
				b.link(tapLink(fmt.Sprintf("tap%d", i), "br0"))
			}
		}
		return model.Wire(b.s)
	}
	bare, made, plugged := state(false, false), state(true, false), state(true, true)
	scenes := draw.Scenes(draw.Options{},
		draw.Frame{Now: bare},
		draw.Frame{Before: &bare, Now: model.Compare(bare, made)},
		draw.Frame{Before: &made, Now: model.Compare(made, plugged)},
	)
	if s := scenes[2]; !hasLabel(s, "tapdb") || !hasLabel(s, "40 taps") {
		t.Error("the one on br1 is not drawn by itself beside the forty on br0")
	}
}
