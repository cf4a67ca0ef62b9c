package portsec

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// Text is what secures ports, as a script for nft(8). It is for a port that has no rules
// yet, on a kernel with an egress hook.
func Text(ports ...model.PortSecurity) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev %s {\n", nft.Table)
	told := map[string]bool{}
	for _, p := range ports {
		r := Rules(p, true)
		for _, s := range r.Sets {
			if !told[s.Name] {
				told[s.Name] = true
				b.WriteString(s.Text())
			}
		}
		for i := len(r.Chains) - 1; i >= 0; i-- { // nft knows a chain from its line on
			b.WriteString(r.Chains[i].Text(p.Link))
		}
	}
	b.WriteString("}\n")
	return b.String()
}
