package plan

import (
	"errors"
	"fmt"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// choose takes the best mode that this host allows for a network of mode: auto. What is
// not possible is told with its reason; where nothing is, all of it is refused.
func (b *builder) choose(n spec.Network, wb *wantedBridge) {
	before := len(b.fails)
	try := func(find func(spec.Network) string) (uplink, why string) {
		uplink = find(n)
		why = reasons(b.fails[before:])
		b.fails = b.fails[:before]
		return uplink, why
	}
	bridged := "" // why it cannot be
	if b.staysRouted(n) {
		b.note("network %s stays routed: whether it could be bridged now could not be found out", n.Name)
	} else {
		var uplink string
		if uplink, bridged = try(b.findUplink); bridged == "" {
			wb.mode, wb.uplink = spec.Bridged, uplink
			return
		}
	}
	via, routed := try(b.findVia)
	switch {
	case routed == "":
		wb.mode, wb.via, wb.onLAN, wb.host, wb.addresses = spec.Routed, via, true, spec.HostNone, nil
		if bridged != "" {
			b.note("network %s is routed, not bridged: %s", n.Name, bridged)
		}
	case bridged == routed || bridged == "":
		b.refuse("network "+n.Name, "can be neither bridged nor routed: "+routed, "name another uplink, or use mode: host-only")
	default:
		b.refuse("network "+n.Name, "can be neither bridged nor routed. Bridged: "+bridged+". Routed: "+routed, "name another uplink, or use mode: host-only")
	}
}

// FreshUplinks are the links that would be plugged into a bridge, and are in none yet: what
// a plan wants to know of them (Options.Filtered) is found out beforehand.
func FreshUplinks(now model.Snapshot, want spec.Desired, own Owned, opt Options) []string {
	b := newBuilder(now, own, opt)
	var out []string
	for _, n := range want.Networks {
		if n.Mode != spec.Bridged && n.Mode != spec.AutoMode {
			continue
		}
		if l := b.here().Link(b.uplinkName(n)); l != nil && l.Master == "" && l.Up && l.Carrier && l.Kind != model.Wireless {
			out = append(out, l.Name)
		}
	}
	return out
}

// staysRouted: a question that nobody answers is no reason to change what works.
func (b *builder) staysRouted(n spec.Network) bool {
	for _, r := range b.own.Routed {
		if r.Network == n.Name && r.Bridge == n.Bridge && b.opt.Unasked[r.Uplink] {
			return true
		}
	}
	return false
}

// reasons are those of refusals, in one line.
func reasons(errs []error) string {
	var words []string
	for _, err := range errs {
		var r *Refusal
		if errors.As(err, &r) {
			words = append(words, fmt.Sprintf("%s %s", r.Object, r.Reason))
		} else {
			words = append(words, err.Error())
		}
	}
	return strings.Join(words, "; ")
}
