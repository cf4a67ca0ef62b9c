package plan

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
)

// passages are those that the networks need: one in each chain of others that drops what it
// does not know, and that their packets pass. Those are the packets that the host forwards
// for them, and with br_netfilter also the frames that their bridges do.
func (b *builder) passages(w *wanted) (out []model.Passage) {
	for _, f := range b.opt.Firewalls {
		if f.Drops == "" {
			continue
		}
		for _, wb := range w.bridges {
			p := model.Passage{Network: wb.network, Firewall: f.Name, Crossings: b.crossings(w, wb, f)}
			switch {
			case len(p.Crossings) == 0:
			case strings.HasPrefix(f.Name, "nft "):
				b.note("%s drops what comes from or goes to %s: %s. %s", f.Name, wb.name, f.Drops, b.byHand(f, wb.name))
			default:
				out = append(out, p)
			}
		}
	}
	return out
}

// byHand says what the administrator of a firewall can do that we cannot: its rules are a
// file of somebody's, or a program's that makes them anew as it likes.
func (b *builder) byHand(f model.Firewall, bridge string) string {
	if strings.Contains(f.Name, " firewalld ") {
		return "Let it through: firewall-cmd --zone=trusted --add-interface=" + bridge
	}
	words := strings.Fields(f.Name)
	return fmt.Sprintf("Let it through: nft add rule %s iifname %q accept; nft add rule %s oifname %q accept", strings.Join(words[1:], " "), bridge, strings.Join(words[1:], " "), bridge)
}

func (b *builder) crossings(w *wanted, wb wantedBridge, f model.Firewall) (out []model.Crossing) {
	for _, six := range []bool{false, true} {
		if six && !f.IPv6 || !six && !f.IPv4 {
			continue
		}
		key := "bridge/bridge-nf-call-iptables"
		if six {
			key = "bridge/bridge-nf-call-ip6tables"
		}
		if b.here().Settings[key] == "1" {
			out = append(out, model.Crossing{In: wb.name, Out: wb.name})
		}
		if wb.via != "" {
			out = append(out, model.Crossing{In: wb.name, Out: wb.via}, model.Crossing{In: wb.via, Out: wb.name})
		}
		if !wb.opens() || !hasFamily(*wb.forwarding, six) {
			continue
		}
		for _, l := range b.outward(w, six) {
			out = append(out, model.Crossing{In: wb.name, Out: l}, model.Crossing{In: l, Out: wb.name})
		}
	}
	return out
}

// openPassages opens those that are not as they should be.
func (b *builder) openPassages(w *wanted) {
	for _, p := range b.passages(w) {
		f := at(b.opt.Firewalls, func(f model.Firewall) bool { return f.Name == p.Firewall })
		if slices.ContainsFunc(f.Ours, p.Same) {
			if !slices.ContainsFunc(b.own.Passages, p.Same) {
				b.own.record(model.OpenPassage{Passage: p}, &b.now)
			}
			continue
		}
		// Taken away first, so that what is undone brings the former one back.
		if was := at(b.own.Passages, func(o model.Passage) bool { return o.Network == p.Network && o.Firewall == p.Firewall }); was != nil {
			b.step(fmt.Sprintf("Take network %s out of the FORWARD of %s", p.Network, p.Firewall), "It is to pass there otherwise, or somebody changed its rules.", model.ClosePassage{Passage: *was})
		}
		why := fmt.Sprintf("There %s, and an accept of our own table does not overrule that. These rules come after all of its own, and name the links of this network only; what they let through, our own rules have looked at. Everything else of it stays as it is.", f.Drops)
		if slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool { return wb.network == p.Network && wb.via != "" }) {
			why = fmt.Sprintf("There %s, also what is routed between the LAN and the machines. These rules come after all of its own, and name these two links only. Everything else of it stays as it is.", f.Drops)
		}
		b.step(fmt.Sprintf("Let network %s through the FORWARD of %s", p.Network, p.Firewall), why,
			model.OpenPassage{Passage: p})
	}
}

// closePassages takes those away that no network needs any more.
func (b *builder) closePassages(w *wanted) {
	for _, p := range slices.Clone(b.own.Passages) {
		f := at(b.opt.Firewalls, func(f model.Firewall) bool { return f.Name == p.Firewall })
		needed := f != nil && f.Drops != "" && slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool {
			return wb.network == p.Network && (wb.opens() || wb.via != "" || b.here().Settings["bridge/bridge-nf-call-iptables"] == "1" || b.here().Settings["bridge/bridge-nf-call-ip6tables"] == "1")
		})
		if !needed {
			b.step(fmt.Sprintf("Take network %s out of the FORWARD of %s", p.Network, p.Firewall), "Nothing of the network passes there any more: its rules are as before.", model.ClosePassage{Passage: p})
		}
	}
}

// passageCommands are for iptables(8), nil for any other operation.
func passageCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.OpenPassage:
		return each(op.Passage.Crossings, func(c model.Crossing) string {
			return op.Passage.Firewall + " -A FORWARD " + forward.Rule(op.Passage.Network, c)
		})
	case model.ClosePassage:
		return each(op.Passage.Crossings, func(c model.Crossing) string {
			return op.Passage.Firewall + " -D FORWARD " + forward.Rule(op.Passage.Network, c)
		})
	}
	return nil
}

// Passes tells whether a bridge has, or gets, a passage through the chains of others that
// frames between its ports come through.
func (p Plan) Passes(bridge string) bool {
	return slices.ContainsFunc(p.Owned.Passages, func(x model.Passage) bool {
		return slices.Contains(x.Crossings, model.Crossing{In: bridge, Out: bridge})
	})
}
