package model

import (
	"fmt"
	"testing"
)

// BenchmarkWire1000 wires a host with 1,000 taps in one bridge, 400 of them held by VMs.
func BenchmarkWire1000(b *testing.B) {
	s := snapshotWith(Link{Name: "br0", Kind: Bridged})
	for i := range 1000 {
		l := Link{Name: fmt.Sprintf("tap%d", i), Kind: TapKind, Master: "br0", Tap: &Tap{}}
		if i < 400 {
			l.Tap.Holders = []Holder{{PID: i + 1, Command: "qemu-system-x86"}}
		}
		s.Here().Links = append(s.Here().Links, l)
	}
	s.Sort()
	for b.Loop() {
		Wire(s)
	}
}
