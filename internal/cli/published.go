package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// publishedPort is a port of the host's that leads to a machine's.
type publishedPort struct {
	model.Publish
	Machine string `json:"machine,omitempty"`
}

// addNetworks tells which network a bridge carries, how it is connected, and what of it is
// published. It wants to know already who is where.
func (st *status) addNetworks(here *model.Namespace, owned plan.Owned) {
	for i := range st.Bridges {
		b := &st.Bridges[i]
		n := slices.IndexFunc(owned.Networks, func(n plan.OwnedNetwork) bool { return n.Bridge == b.Name })
		if n < 0 {
			continue
		}
		b.Network, b.Mode = owned.Networks[n].Name, owned.Networks[n].Mode
		if f := here.ForwardingOf(b.Network); f != nil {
			for _, p := range f.Publish {
				b.Published = append(b.Published, publishedPort{p, st.whoHas(p.To)})
			}
		}
	}
}

// whoHas names the machine with an address, "" where that is not known.
func (st *status) whoHas(a netip.Addr) string {
	for _, m := range st.Machines {
		for _, n := range m.NICs {
			if slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) ||
				slices.ContainsFunc(n.Used, func(u usedAddress) bool { return u.Address == a }) {
				return m.Name
			}
		}
	}
	return ""
}

// print writes a published port below its bridge in the table.
func (p publishedPort) print(w io.Writer) {
	at := "every address"
	if p.Address.IsValid() {
		at = p.Address.String()
	}
	to := netip.AddrPortFrom(p.To, p.ToPort).String()
	fmt.Fprintf(w, "  %d/%s\tpublished\t%s\t→ %s\n", p.Port, p.Protocol, at, cmp.Or(p.Machine, "-")+" "+to)
}
