package plan

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// inverseForForwarding brings back what a network has. Rules that somebody altered cannot
// be told; those that were meant come back.
func inverseForForwarding(op model.Operation, ns *model.Namespace) model.Operations {
	was := ns.ForwardingOf(op.Object())
	_, drops := op.(model.DropForwarding)
	switch {
	case was != nil && was.Check() == nil:
		return model.Operations{model.SetForwarding{Forwarding: was.Wish()}}
	case drops:
		return nil
	default:
		return model.Operations{model.DropForwarding{Network: op.Object()}}
	}
}

// forwardingCommands are for nft(8), nil for any other operation.
func forwardingCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.SetForwarding:
		return []string{"nft -f - <<'END'\n" + forward.Text(op.Forwarding) + "END"}
	case model.DropForwarding:
		return []string{fmt.Sprintf("for c in %s; do nft delete chain inet %s $c; done", strings.Join(forward.Names(op.Network), " "), nft.Table)}
	}
	return nil
}

// setForwarding makes the rules of a network as they shall be.
func (b *builder) setForwarding(want model.Forwarding, why string) {
	is := b.here().ForwardingOf(want.Network)
	if is != nil && is.Same(want) {
		return
	}
	title := "Make the rules of network " + want.Network
	switch {
	case is != nil && is.Altered:
		title, why = "Make the rules of network "+want.Network+" again", "Somebody changed them. "+why
	case is != nil:
		title = "Change the rules of network " + want.Network
	}
	b.step(title, why, model.SetForwarding{Forwarding: want})
}

// dropForwarding takes the rules of the networks away that nobody wants any more, and with
// the last of them the table.
func (b *builder) dropForwarding(w *wanted) {
	wanted := map[string]bool{}
	for _, wb := range w.bridges {
		wanted[wb.network] = wb.forwarding != nil
	}
	for _, c := range w.cables {
		if c.forwarding != nil {
			wanted[c.link] = true
		}
	}
	for _, f := range b.own.clone().Forwarding {
		switch {
		case wanted[f.Network]:
		case b.here().ForwardingOf(f.Network) == nil:
			b.own.dropForwarding(f.Network)
		default:
			b.step("Take the rules of network "+f.Network+" away", "The file no longer asks for them.", model.DropForwarding{Network: f.Network})
		}
	}
}

func forwardingWhy(f model.Forwarding) string {
	var words []string
	switch {
	case f.Out && f.In:
		words = append(words, fmt.Sprintf("What comes by %s from its own addresses is forwarded, and so is what others send there.", f.Link))
	case f.Out:
		words = append(words, fmt.Sprintf("Machines on %s may open connections to wherever this host can, and nobody to them.", f.Link))
	case f.In:
		words = append(words, fmt.Sprintf("Others may open connections to machines on %s, and they to nobody.", f.Link))
	default:
		words = append(words, fmt.Sprintf("Nothing is forwarded from %s, nor to it.", f.Link))
	}
	if len(f.Masquerade) > 0 {
		words = append(words, "Beyond it nobody knows their addresses: there they have this host's (masquerade), whichever way they leave.")
	}
	if n := len(f.Publish); n > 0 {
		words = append(words, fmt.Sprintf("But what comes to %s of this host goes to theirs instead.", publishWords(f.Publish)))
	}
	if f.Closed {
		words = append(words, "The host itself hears nothing of it.")
	}
	return strings.Join(words, " ")
}

// publishWords names ports: "port 8080", "ports 53 (udp) and 8080".
func publishWords(list []model.Publish) string {
	var out []string
	for _, p := range list {
		word := fmt.Sprint(p.Port)
		if p.Protocol != "tcp" {
			word += " (" + p.Protocol + ")"
		}
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	if len(out) == 1 {
		return "port " + out[0]
	}
	if len(out) > 4 {
		return fmt.Sprintf("%d ports", len(out))
	}
	return "ports " + strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
}
