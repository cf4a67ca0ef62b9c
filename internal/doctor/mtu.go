package doctor

import (
	"cmp"
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// mtu: a bridge drops a frame that is longer than the MTU of the port it goes out by, and
// tells nobody (is_skb_forwardable). A router would send "too big".
var mtu = Check{
	ID:    "mtu-mismatch",
	Title: "The MTUs of a bridge and of its ports differ",
	Shows: "ping works, and long transfers hang: SSH logs in and freezes at the first full screen, TLS does not come up",
	Knows: "the bridge's own MTU is more than that of a port that is up, or a machine's port has another MTU than the way out; a bridge drops what is too long for a port without a word (is_skb_forwardable)",
	Mends: "the bridge and its machines' ports get the MTU of the way out. What a guest believes its NIC's MTU to be is its own business: it must not be more",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			if f, wrong := h.mtuOf(b); wrong {
				out = append(out, f)
			}
		}
		return out
	},
}

// wayOutMTU is the MTU that the others have to fit: the least of the uplinks; without any,
// of tunnels and the like; among machines alone that which most of them have.
func wayOutMTU(ups, ports []*model.Link) int {
	others := slices.DeleteFunc(slices.Clone(ports), isGuestPort)
	for _, given := range [][]*model.Link{ups, others} {
		if len(given) > 0 {
			return slices.MinFunc(given, func(a, b *model.Link) int { return cmp.Compare(a.MTU, b.MTU) }).MTU
		}
	}
	count, most := map[int]int{}, 0
	for _, p := range ports {
		count[p.MTU]++
		if count[p.MTU] > count[most] || count[p.MTU] == count[most] && p.MTU > most {
			most = p.MTU
		}
	}
	return most
}

func (h *Host) mtuOf(b *model.Link) (Finding, bool) {
	least := b
	var ports []*model.Link
	for _, p := range h.ports[b.Name] {
		if p.Up && p.MTU != 0 {
			ports = append(ports, p)
			if p.MTU < least.MTU {
				least = p
			}
		}
	}
	ups := h.uplinks(b.Name)
	target := wayOutMTU(ups, ports)
	f := Finding{Object: b.Name, Severity: Risk, Sure: Likely}
	var ops []model.Operation
	fit := func(l *model.Link) {
		f.Seen = append(f.Seen, fmt.Sprintf("%s: mtu %d", l.Name, l.MTU))
		ops = append(ops, model.SetMTU{Link: l.Name, MTU: target})
	}
	for _, p := range ports {
		if p.MTU != target && isGuestPort(p) && !h.isUplink(p) {
			fit(p)
		}
	}
	if b.MTU > least.MTU {
		// The host's own packets are cut to the bridge's MTU: that of its smallest port.
		f.Sure = Certain
	}
	if b.MTU > least.MTU || b.MTU != target && len(ops) > 0 {
		fit(b)
	}
	if len(ops) == 0 {
		return f, false
	}
	f.What = fmt.Sprintf("what is longer than %d bytes is lost on %s without a word", least.MTU, b.Name)
	for _, u := range ups {
		f.Seen = append(f.Seen, fmt.Sprintf("%s, the way out: mtu %d", u.Name, u.MTU))
	}
	f.Mend = by(fmt.Sprintf("make them all %d; the NICs of the machines must not be set to more", target), ops...)
	return f, true
}
