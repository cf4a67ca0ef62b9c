package iproute

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// SourceNAT finds in the text of "nft -j list ruleset" and of "iptables-save -t nat" whom
// a host hides behind its own address; either may be empty. What iptables keeps in
// nf_tables is told by iptables-save alone: nft shows its targets as "xt".
func SourceNAT(nft, iptables []byte) ([]model.SourceNAT, error) {
	out, err := nftNAT(nft)
	for _, n := range iptablesNAT(string(iptables)) {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, err
}

// nftRuleset is what of libnftables-json(5) is read here.
type nftRuleset struct {
	Objects []struct {
		Rule *struct {
			Expr []map[string]json.RawMessage `json:"expr"`
		} `json:"rule"`
	} `json:"nftables"`
}

type nftMatch struct {
	Op   string `json:"op"`
	Left struct {
		Meta struct {
			Key string `json:"key"`
		} `json:"meta"`
		Payload struct {
			Field string `json:"field"`
		} `json:"payload"`
	} `json:"left"`
	Right json.RawMessage `json:"right"`
}

func nftNAT(text []byte) ([]model.SourceNAT, error) {
	var rules nftRuleset
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(text, &rules); err != nil {
		return nil, err
	}
	var out []model.SourceNAT
	for _, o := range rules.Objects {
		if o.Rule == nil {
			continue
		}
		var n model.SourceNAT
		hides := false
		for _, e := range o.Rule.Expr {
			if _, ok := e["masquerade"]; ok {
				hides = true
			}
			if _, ok := e["snat"]; ok {
				hides = true
			}
			var m nftMatch
			if json.Unmarshal(e["match"], &m) != nil {
				continue
			}
			switch key := m.Left.Meta.Key; {
			case key == "oifname" || key == "oif":
				name := ""
				_ = json.Unmarshal(m.Right, &name)
				if m.Op == "!=" {
					n.NotOut = name
				} else {
					n.Out = name
				}
			case m.Left.Payload.Field == "saddr" && m.Op != "!=":
				n.From = nftPrefix(m.Right)
			}
		}
		if hides && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// nftPrefix reads an address, or {"prefix": {"addr": ..., "len": ...}}.
func nftPrefix(raw json.RawMessage) netip.Prefix {
	var p struct {
		Prefix struct {
			Addr string `json:"addr"`
			Len  int    `json:"len"`
		} `json:"prefix"`
	}
	if json.Unmarshal(raw, &p) == nil && p.Prefix.Addr != "" {
		return netip.PrefixFrom(address(p.Prefix.Addr), p.Prefix.Len).Masked()
	}
	s := ""
	_ = json.Unmarshal(raw, &s)
	return prefixOf(s)
}

// prefixOf reads ADDRESS/LENGTH or ADDRESS; the zero Prefix for anything else.
func prefixOf(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked()
	}
	if a := address(s); a.IsValid() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}

// iptablesNAT reads iptables-save(8). A chain of one's own hides whom the rules that jump
// to it mean: Kubernetes' and libvirt's rules are written so.
func iptablesNAT(text string) []model.SourceNAT {
	type rule struct {
		model.SourceNAT
		target, to string
	}
	chains := map[string][]rule{}
	var order []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 4 || words[0] != "-A" {
			continue
		}
		var r rule
		not := false
		for i := 2; i+1 < len(words); i++ {
			switch words[i] {
			case "!":
				not = true
				continue
			case "-s", "--source":
				if !not {
					r.From = prefixOf(words[i+1])
				}
			case "-d", "--destination":
				if !not {
					r.to = words[i+1]
				}
			case "-o", "--out-interface":
				if not {
					r.NotOut = words[i+1]
				} else {
					r.Out = words[i+1]
				}
			case "-j", "--jump":
				r.target = words[i+1]
			}
			not = false
		}
		if r.to != "" && prefixOf(r.to) == r.From {
			continue // a host's packets to itself, by way of a forwarded port
		}
		if chains[words[1]] == nil {
			order = append(order, words[1])
		}
		chains[words[1]] = append(chains[words[1]], r)
	}
	var out []model.SourceNAT
	var visit func(chain string, from model.SourceNAT, depth int)
	visit = func(chain string, from model.SourceNAT, depth int) {
		for _, r := range chains[chain] {
			n := r.SourceNAT
			if !n.From.IsValid() {
				n.From = from.From
			}
			if n.Out == "" && n.NotOut == "" {
				n.Out, n.NotOut = from.Out, from.NotOut
			}
			switch {
			case r.target == "MASQUERADE" || r.target == "SNAT":
				if !slices.Contains(out, n) {
					out = append(out, n)
				}
			case depth < len(order):
				visit(r.target, n, depth+1)
			}
		}
	}
	visit("POSTROUTING", model.SourceNAT{}, 0)
	return out
}
