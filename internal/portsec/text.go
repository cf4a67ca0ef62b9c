package portsec

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
)

// Text is what secures ports, as a script for nft(8). It is for a port that has no rules
// yet, on a kernel with an egress hook.
func Text(ports ...model.PortSecurity) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev %s {\n", Table)
	told := map[string]bool{}
	for _, p := range ports {
		r := Rules(p, true)
		for _, s := range r.Sets {
			if !told[s.Name] {
				told[s.Name] = true
				b.WriteString(s.text())
			}
		}
		for i := len(r.Chains) - 1; i >= 0; i-- { // nft knows a chain from its line on
			b.WriteString(r.Chains[i].text(p.Link))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) text() string {
	typ, rest := "type ipv4_addr", ""
	if s.IPv6 {
		// Before 1.0.8, nft has no word for the target of neighbour discovery: the bytes
		// must be of one type.
		typ = "typeof @nh,64,128"
	}
	flags := "dynamic"
	if s.Timeout > 0 {
		flags, rest = "dynamic,timeout", fmt.Sprintf("; timeout %ds", s.Timeout)
	}
	return fmt.Sprintf("\tset %s { %s; size %d; flags %s%s; }\n", s.Name, typ, s.Size, flags, rest)
}

func (c Chain) text(device string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
	if c.Hook != "" {
		policy := "accept"
		if c.Drop {
			policy = "drop"
		}
		fmt.Fprintf(&b, "\t\ttype filter hook %s device \"%s\" priority %d; policy %s;\n", c.Hook, device, Priority, policy)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", r.Text())
	}
	b.WriteString("\t}\n")
	return b.String()
}
