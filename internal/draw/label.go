package draw

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
)

// run is a piece of text in one style; a line of a label is made of runs.
type run struct {
	text   string
	style  Style
	struck bool
	change model.Change
}

func (g *graph) runsWidth(runs []run) float64 {
	w := 0.0
	for n, r := range runs {
		if n > 0 {
			w += g.gap()
		}
		w += g.m.Measure(r.style, r.text)
	}
	return w
}

// headWidth is the room that the line with a stack's name needs, in the first or a
// further part of its box.
func (g *graph) headWidth(s model.Stack, further bool) float64 {
	w := g.runsWidth(headRuns(g.m, s, further)) + g.m.Mark + 2*g.m.Pad
	if g.m.Terse {
		w += 5 // ╭─ and ─╮, and a space after the mark
	}
	return w
}

// headRuns are a stack's name and what it is; of a further part of its box only that.
func headRuns(m *Metrics, s model.Stack, further bool) []run {
	runs := []run{{text: Clean(s.Name), style: NameText}}
	sys := systemText(s)
	if further {
		sys = "continued"
	}
	if s.Kind == "uml" && m.Terse {
		sys = strings.Replace(sys, "User-Mode Linux", "UML", 1)
	}
	if sys != "" && m.Terse {
		sys = "· " + sys
	}
	if sys != "" {
		runs = append(runs, run{text: sys, style: SystemText})
	}
	return runs
}

// systemText says what a stack is: "Debian 12", "User-Mode Linux". That it routes, a sign says.
func systemText(s model.Stack) string {
	var words []string
	switch s.Kind {
	case "host":
	case "uml":
		words = append(words, "User-Mode Linux")
	case "qemu":
		words = append(words, "QEMU")
	default:
		words = append(words, s.Kind)
	}
	if s.System != "" {
		words = append(words, s.System)
	}
	return Clean(strings.Join(words, " · "))
}

// behindText tells how a segment reaches further.
func behindText(s model.Segment) string {
	switch s.Behind {
	case model.BehindNAT:
		return "behind NAT"
	case model.BehindRouter, model.BehindHost, model.BehindIsolated:
		return s.Behind
	}
	return ""
}

// segmentLabel is a segment's name and what else is known about it.
func segmentLabel(m *Metrics, s model.Segment) (name, rest string) {
	var words []string
	if s.Kind == "bridge" {
		if s.VLAN != 0 {
			words = append(words, fmt.Sprintf("VLAN %d", s.VLAN))
		}
		if s.VLANAware {
			words = append(words, "keeps VLANs apart")
		}
		if b := behindText(s); b != "" {
			words = append(words, b)
		}
		if m.Terse {
			return "LAN of " + Clean(s.Name), strings.Join(words, " · ")
		}
		return "virtual LAN of " + Clean(s.Name), strings.Join(words, " · ")
	}
	for n, p := range s.Subnets {
		if n == 3 {
			words = append(words, fmt.Sprintf("and %d more", len(s.Subnets)-n))
			break
		}
		words = append(words, p.String())
	}
	if len(words) == 0 && s.Name != "" {
		words = append(words, Clean(s.Name))
	}
	if s.VLAN != 0 {
		words = append(words, fmt.Sprintf("VLAN %d", s.VLAN))
	}
	switch {
	case s.Gateway.IsValid() && s.DHCP == s.Gateway:
		words = append(words, "gateway and DHCP "+s.Gateway.String())
	case s.Gateway.IsValid():
		words = append(words, "gateway "+s.Gateway.String())
	}
	if s.DHCP.IsValid() && s.DHCP != s.Gateway {
		words = append(words, "DHCP "+s.DHCP.String())
	}
	return "LAN", strings.Join(words, " · ")
}

// addressLines are the lines beside a host end.
func (g *graph) addressLines(v *view, itf model.Interface, legend bool) [][]run {
	var lines [][]run
	for _, a := range itf.TellingAddresses() {
		addr := run{a.Address.String(), AddressText, a.Status == "misplaced" || a.Change == model.Removed, a.Change}
		note := addressNote(a)
		switch {
		case g.m.Terse:
			lines = append(lines, narrow(addr)...)
			if note != "" {
				lines = append(lines, []run{{text: note, style: NoteText}})
			}
		case note == "":
			lines = append(lines, []run{addr})
		default:
			lines = append(lines, []run{addr, {text: note, style: NoteText}})
		}
	}
	if itf.HostEnd.In == model.InNothing {
		lines = append(lines, []run{{text: notOnIt, style: NoteText}})
	}
	for _, n := range Roles(v.index, itf.Roles) {
		told := []string{n}
		if g.m.Terse {
			told = wrap(g.m, NoteText, n, narrowWidth)
		}
		for _, n := range told {
			lines = append(lines, []run{{text: n, style: NoteText}})
		}
	}
	if legend {
		for _, s := range hostEndLegend {
			lines = append(lines, []run{{text: s, style: CalloutText}})
		}
	}
	return lines
}

// narrowWidth is how much of an address stands on one line where columns are few: all
// of any IPv4 address, half of a long IPv6 one.
const narrowWidth = 20

// narrow breaks a long address after a colon, so that a box need not be as wide as it.
func narrow(addr run) [][]run {
	if len(addr.text) <= narrowWidth {
		return [][]run{{addr}}
	}
	at := strings.LastIndexByte(addr.text[:narrowWidth], ':') + 1
	if at <= 1 {
		return [][]run{{addr}}
	}
	first, rest := addr, addr
	first.text, rest.text, rest.change = addr.text[:at], addr.text[at:], ""
	return append([][]run{{first}}, narrow(rest)...)
}

// addressNote says what is out of the ordinary with an address.
func addressNote(a model.WiredAddress) string {
	var words []string
	switch a.Origin {
	case model.DHCP:
		words = append(words, "DHCP")
	case model.RA:
		words = append(words, "RA")
	}
	if a.Status != "" && a.Status != "ok" {
		words = append(words, a.Status)
	}
	return strings.Join(words, ", ")
}

// detailLines are the small print above a name plate.
func (g *graph) detailLines(itf model.Interface) []string {
	var lines, words []string
	for _, f := range itf.Findings {
		lines = append(lines, Clean(f))
	}
	if g.o.Detail == Full && itf.MAC != "" {
		lines = append(lines, string(itf.MAC))
	}
	if g.o.Detail < Little && itf.Owner != "" {
		lines = append(lines, "owner "+Clean(itf.Owner))
	}
	if g.o.Detail < Little && itf.Security != "" {
		lines = append(lines, "security "+Clean(itf.Security))
	}
	if g.o.Detail < Little && itf.Managers != "" {
		lines = append(lines, "by "+Clean(itf.Managers))
	}
	if itf.Detail != "" {
		lines = append(lines, Clean(itf.Detail))
	}
	if v := vlanText(itf.VLANs); v != "" {
		lines = append(lines, v)
	}
	if itf.Standby {
		words = append(words, "standby")
	}
	if g.o.Detail < Little && itf.MTU != 0 && itf.MTU != 1500 {
		words = append(words, fmt.Sprintf("MTU %d", itf.MTU))
	}
	if !itf.Up && !itf.Declared {
		words = append(words, "down")
	}
	if len(words) > 0 {
		lines = append(lines, strings.Join(words, " · "))
	}
	return lines
}

// detailStyle is that of the nth of them: what is wrong comes first.
func detailStyle(itf model.Interface, n int) Style {
	if n < len(itf.Findings) {
		return DiesText
	}
	return SmallText
}

// vlanText tells the VLANs of a port as a switch's label does: "VLAN 10 untagged, 20-22
// 30 tagged". The one that every port has by itself, 1 untagged, tells nothing.
func vlanText(list []model.PortVLAN) string {
	if len(list) == 1 && list[0] == (model.PortVLAN{ID: 1, PVID: true, Untagged: true}) {
		return ""
	}
	var kinds []string
	for _, untagged := range []bool{true, false} {
		var ids []string
		for n := 0; n < len(list); n++ {
			if list[n].Untagged != untagged {
				continue
			}
			first, last := list[n].ID, list[n].ID
			for n+1 < len(list) && list[n+1].Untagged == untagged && list[n+1].ID == last+1 {
				n++
				last++
			}
			text := fmt.Sprint(first)
			if last > first {
				text += fmt.Sprintf("-%d", last)
			}
			ids = append(ids, text)
		}
		if len(ids) > 0 {
			kinds = append(kinds, strings.Join(ids, " ")+map[bool]string{true: " untagged", false: " tagged"}[untagged])
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return "VLAN " + strings.Join(kinds, ", ")
}

// wireLines are the lines beside a wire end that leaves the box.
func (g *graph) wireLines(v *view, itf model.Interface, legend bool) [][]run {
	var text string
	e := itf.WireEnd
	switch {
	case g.wireContainer(g.byID[itf.ID], itf) != nil:
		return nil
	case itf.HolderUnknown:
		text = "holder unknown"
	case itf.Declared && !e.Plugged():
		text = "declared"
	case !e.Plugged():
		text = "dangles"
	case e.In == model.InTunnel && e.ID != "":
		text = "to " + Clean(e.ID)
	case e.In == model.InTunnel:
		text = "tunnel"
	case e.In == model.InInterface && g.byID[e.ID] == nil:
		text = "elsewhere"
	case e.In == model.InSegment && g.segs[e.ID] == nil:
		if _, ok := v.peers[itf.ID]; !ok {
			text = "elsewhere"
		}
	case e.In == model.InSegment && g.segs[e.ID].kind == "bridge":
		text = "in " + Clean(strings.TrimPrefix(e.ID, "bridge:"))
	}
	var lines [][]run
	if text != "" {
		lines = append(lines, []run{{text: text, style: NoteText}})
	}
	if legend {
		lines = nil
		for _, s := range wireEndLegend {
			lines = append(lines, []run{{text: s, style: CalloutText}})
		}
	}
	return lines
}

// chipText names a member of an opened group, and whom it leads to.
func chipText(itf model.Interface, peers map[string]peer) string {
	text := Clean(itf.Name)
	if m := mark(itf.Change); m != "" {
		text = m + " " + text
	}
	if p, ok := peers[itf.ID]; ok {
		text += " " + Clean(p.stack)
	}
	return text
}

// mark is the sign of a change, "" for none.
func mark(c model.Change) string {
	switch c {
	case model.Added:
		return "+"
	case model.Removed:
		return "−"
	case model.Altered:
		return "~"
	default:
		return ""
	}
}
