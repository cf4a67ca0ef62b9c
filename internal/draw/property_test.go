package draw_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/model"
)

// anyName is a link's name of up to 15 bytes, now and then a vile one.
func anyName(t *rapid.T, prefix string, n int) string {
	switch rapid.IntRange(0, 9).Draw(t, "name") {
	case 0:
		return fmt.Sprintf("%s%0*d", prefix, 15-len(prefix), n)
	case 1:
		return fmt.Sprintf("%s<&>\"'%d", prefix, n)
	case 2:
		return fmt.Sprintf("%s日本\x1b%d", prefix, n)
	default:
		return fmt.Sprintf("%s%d", prefix, n)
	}
}

func anyAddresses(t *rapid.T) []string {
	var out []string
	for n := range rapid.SampledFrom([]int{0, 0, 1, 1, 2, 5}).Draw(t, "addresses") {
		if rapid.Bool().Draw(t, "ipv6") {
			out = append(out, fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%x/64", 0x6660+n))
		} else {
			out = append(out, fmt.Sprintf("198.18.%d.%d/24", rapid.IntRange(0, 255).Draw(t, "net"), n+1))
		}
	}
	return out
}

// anyHost is a host with any mixture of links, all of them wired in ways that the
// kernel allows.
func anyHost(t *rapid.T) *hostBuilder {
	b := newHost(rapid.SampledFrom([]string{"host", "h", strings.Repeat("host-name-", 6)}).Draw(t, "host"))
	b.s.System = rapid.SampledFrom([]string{"", "Debian 12"}).Draw(t, "system")
	count := func(what string, most int) int { return rapid.IntRange(0, most).Draw(t, what) }
	var masters []string
	for n := range count("bridges", 3) {
		name := anyName(t, "br", n)
		masters = append(masters, name)
		b.link(bridgeLink(name), anyAddresses(t)...)
	}
	bridges := len(masters)
	master := func() string {
		return rapid.SampledFrom(append([]string{"", ""}, masters...)).Draw(t, "master")
	}
	for n := range count("bonds", 1) {
		b.link(model.Link{Name: fmt.Sprintf("bond%d", n), Kind: model.Bond, Carrier: true, Master: master(), Mode: "802.3ad"}, anyAddresses(t)...)
		masters = append(masters, fmt.Sprintf("bond%d", n))
	}
	for n := range count("vrfs", 1) {
		b.link(model.Link{Name: fmt.Sprintf("vrf%d", n), Kind: model.VRF})
		masters = append(masters, fmt.Sprintf("vrf%d", n))
	}
	var uplinks []string
	for n := range count("uplinks", 4) {
		l := physical(anyName(t, "eth", n), master())
		l.Carrier = rapid.Bool().Draw(t, "carrier")
		l.MTU = rapid.SampledFrom([]int{1500, 9000}).Draw(t, "mtu")
		uplinks = append(uplinks, l.Name)
		b.link(l, anyAddresses(t)...)
	}
	masters = masters[:bridges]
	for n := range count("vlans", 3) {
		if len(uplinks) > 0 {
			b.link(vlanLink(rapid.SampledFrom(uplinks).Draw(t, "lower"), uint16(n+1), master()), anyAddresses(t)...)
		}
	}
	for n, kind := range rapid.SliceOfN(rapid.SampledFrom([]model.Kind{model.Dummy, model.Wireguard, model.TunKind, "odd"}), 0, 3).Draw(t, "others") {
		b.link(model.Link{Name: fmt.Sprintf("x%d", n), Kind: kind}, anyAddresses(t)...)
	}
	var taps []string
	for n := range count("taps", 16) {
		taps = append(taps, anyName(t, "tap", n))
		b.link(tapLink(taps[n], master()), anyAddresses(t)...)
	}
	for n := range count("vms", 5) {
		var nics []string
		for len(taps) > 0 && rapid.Bool().Draw(t, "nic") {
			nics, taps = append(nics, taps[0]), taps[1:]
		}
		b.vm(fmt.Sprintf("vm%d", n), rapid.SampledFrom([]string{"uml", "qemu", "process"}).Draw(t, "vmm"), nics...)
	}
	for n := range count("namespaces", 4) {
		ns := b.namespace(fmt.Sprintf("ns%d", n))
		pair(b, ns, fmt.Sprintf("ns%d", n), fmt.Sprintf("veth%d", n), master(), "eth0", anyAddresses(t)...)
	}
	return b
}

// anyStep changes a host in a few ways.
func anyStep(t *rapid.T, s model.Snapshot) model.Snapshot {
	out := s.Clone()
	ns := out.Here()
	for i := range ns.Links {
		l := &ns.Links[i]
		switch rapid.IntRange(0, 7).Draw(t, "change") {
		case 0:
			if l.Kind == model.TapKind {
				l.Master = ""
			}
		case 1:
			l.Carrier = !l.Carrier
		case 2:
			if l.Kind == model.TapKind && out.Machine("vm0") == nil {
				l.Name += "-" // as if another one came and this one went
			}
		}
	}
	if len(out.Machines) > 0 && rapid.Bool().Draw(t, "vm goes") {
		out.Machines = out.Machines[1:]
	}
	if n := len(ns.Addresses); n > 0 && rapid.Bool().Draw(t, "address goes") {
		ns.Addresses = ns.Addresses[:n-1]
	}
	return out
}

func anyFrames(t *rapid.T) []draw.Frame {
	before := anyHost(t).s
	after := anyStep(t, before)
	w := model.Wire(before)
	return []draw.Frame{
		{Title: "Before", Subtitle: strings.Repeat("A sentence about it. ", 12), Now: w},
		{Title: "After", Before: &w, Now: model.Compare(w, model.Wire(after))},
	}
}

func TestNothingOverlapsAndNothingMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := draw.Options{
			FoldFrom: rapid.SampledFrom([]int{0, 3, 100}).Draw(t, "fold"),
			MaxWidth: rapid.SampledFrom([]float64{0, 700, 5000}).Draw(t, "width"),
			Expand:   rapid.SampledFrom([][]string{nil, {"all"}}).Draw(t, "expand"),
		}
		scenes := draw.Scenes(o, anyFrames(t)...)
		for n, s := range scenes {
			for _, flaw := range geometry.Flaws(s) {
				t.Errorf("frame %d: %s", n, flaw)
			}
		}
		if scenes[0].Width != scenes[1].Width || scenes[0].Height != scenes[1].Height {
			t.Error("the canvas changes its size")
		}
		for _, m := range moved(scenes[0], scenes[1]) {
			t.Error(m)
		}
	})
}

func TestSVGIsWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := anyFrames(t)
		fs[0].Title, fs[1].Subtitle = rapid.String().Draw(t, "title"), rapid.String().Draw(t, "subtitle")
		for _, s := range draw.Scenes(draw.Options{}, fs...) {
			wellFormed(t, svg.Render(s, svg.Options{}))
		}
	})
}

// wellFormed parses the document and looks for ids that are there twice.
func wellFormed(t interface{ Errorf(string, ...any) }, doc []byte) {
	d := xml.NewDecoder(strings.NewReader(string(doc)))
	ids := map[string]bool{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, doc)
			return
		}
		el, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if el.Name.Local == "script" {
			t.Errorf("a name became an element")
		}
		for _, a := range el.Attr {
			if a.Name.Local == "id" && ids[a.Value] {
				t.Errorf("id %q twice", a.Value)
			}
			ids[a.Value] = ids[a.Value] || a.Name.Local == "id"
		}
	}
}

func TestTerminalKeepsToItsWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := term.Options{Width: rapid.IntRange(20, 200).Draw(t, "width"), ASCII: rapid.Bool().Draw(t, "ascii")}
		for _, text := range term.Render(o, anyFrames(t)...) {
			for _, line := range strings.Split(text, "\n") {
				if w := draw.CellWidth(line); w > o.Width {
					t.Errorf("%d columns, and a line of %d: %q", o.Width, w, line)
				}
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || o.ASCII && r > '~' }) {
					t.Errorf("a character that does not belong there: %q", line)
				}
			}
		}
	})
}

func TestOneWiringOnePicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := anyFrames(t)[0]
		a := svg.Render(draw.Draw(draw.Options{}, f), svg.Options{})
		b := svg.Render(draw.Draw(draw.Options{}, f), svg.Options{})
		if string(a) != string(b) {
			t.Error("two drawings of one wiring differ")
		}
	})
}

// TestNonsenseIsDrawn feeds wirings that no kernel would have: loops, ends in things
// that are not there, two of one id. They need not look well, but must not panic.
func TestNonsenseIsDrawn(t *testing.T) {
	id := rapid.SampledFrom([]string{"", "host", "vm:a", "vrf:b", "bridge:a", "bridge:b", "lan:a", "cable:a", "host/a", "host/b", "vm:a/c", "nowhere"})
	in := rapid.SampledFrom([]string{"", model.InStack, model.InSegment, model.InInterface, model.InTunnel, model.InNothing, "odd"})
	end := rapid.Custom(func(t *rapid.T) model.End { return model.End{In: in.Draw(t, "in"), ID: id.Draw(t, "id")} })
	wiring := rapid.Custom(func(t *rapid.T) model.Wiring {
		var w model.Wiring
		for range rapid.IntRange(0, 4).Draw(t, "stacks") {
			w.Stacks = append(w.Stacks, model.Stack{ID: id.Draw(t, "id"), Parent: id.Draw(t, "parent")})
		}
		for range rapid.IntRange(0, 5).Draw(t, "segments") {
			w.Segments = append(w.Segments, model.Segment{ID: id.Draw(t, "id"), Kind: rapid.SampledFrom([]string{"", "lan", "bridge", "cable"}).Draw(t, "kind"), Stack: id.Draw(t, "stack")})
		}
		for range rapid.IntRange(0, 8).Draw(t, "interfaces") {
			w.Interfaces = append(w.Interfaces, model.Interface{
				ID: id.Draw(t, "id"), Name: "x", Stack: id.Draw(t, "stack"), HostEnd: end.Draw(t, "host end"), WireEnd: end.Draw(t, "wire end"),
				Kind: rapid.SampledFrom([]model.Kind{model.Physical, model.Bridged, model.TapKind, model.Loopback}).Draw(t, "kind"),
			})
		}
		return w
	})
	rapid.Check(t, func(t *rapid.T) {
		before := wiring.Draw(t, "before")
		f := draw.Frame{Before: &before, Now: model.Compare(before, wiring.Draw(t, "now"))}
		for _, o := range []draw.Options{{}, {FoldFrom: 2}, {FoldFrom: 2, Expand: []string{"all"}}} {
			wellFormed(t, svg.Render(draw.Draw(o, f), svg.Options{}))
		}
		term.Render(term.Options{}, f)
	})
}
