package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// tapOffload: a program with a vnet header is given packets whose checksum and segments are
// left to it. The setting outlives the program on a tap that lasts (tun_set_offload); the
// next one, without the header, cannot even see that something is left to do.
var tapOffload = Check{
	ID:    "tap-offload",
	Title: "A tap gives unfinished packets to a program that does not finish them",
	Shows: "ping works, TCP hangs; the guest counts bad checksums",
	Knows: "the tap's transmit checksumming is left to its reader (ethtool -k: tx-checksumming on), and the tap has no vnet header that would say so",
	Mends: "the kernel finishes packets before the tap gets them (ethtool -K TAP tx off). Who opens the tap next asks for what it wants",
	Needs: []Fact{FactOffloads},
	Find: func(h *Host) []Finding {
		var out []Finding
		for i := range h.here.Links {
			l := &h.here.Links[i]
			if l.Kind != model.TapKind || l.Tap == nil || l.Tap.VnetHeader || !h.Facts.Offloads[l.Name] {
				continue
			}
			f := Finding{Object: l.Name, Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("%s leaves checksums and segments to its reader, and has no vnet header to tell it: they were asked for by a program that has ended", l.Name),
				Seen: []string{l.Name + ": tx-checksumming on, vnet_hdr off", "held by: " + holders(l)},
				Mend: by("let the kernel finish packets before the tap gets them", model.ResetOffloads{Link: l.Name}),
			}
			if len(l.Tap.Holders) > 0 {
				f.Severity = Broken
			}
			out = append(out, f)
		}
		return out
	},
}

// holders names who holds a tap.
func holders(l *model.Link) string {
	if l.Tap == nil || len(l.Tap.Holders) == 0 {
		return "nobody"
	}
	s := ""
	for i, o := range l.Tap.Holders {
		if i > 0 {
			s += ", "
		}
		s += holderWords(o)
	}
	return s
}

func holderWords(o model.Holder) string {
	name := o.Command
	switch {
	case o.Machine != "":
		name = o.Machine + " (" + o.Command + ")"
	case o.Name != "":
		name = o.Name + " (" + o.Command + ")"
	}
	return fmt.Sprintf("%s, pid %d", name, o.PID)
}
