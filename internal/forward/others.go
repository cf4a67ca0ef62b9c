package forward

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// What we make in the chains of others has this comment, with the network's name.
const commentPrefix = "drawbridge:"

// Comment is what a rule of ours in the chain of somebody else's is found by.
func Comment(network string) string { return commentPrefix + network }

// Table is a table of somebody else's firewall: what its chains do, in order.
type Table map[string][]model.FirewallRule

// Read tells of one of its base chains, whose policy is to drop or not: what drops the packets
// that no rule knows, and what we made there. End is the place of the rule that ends it all,
// -1 for none: ours belong right before it, or at the end, so that whatever else drops a
// packet still does.
func (t Table) Read(f model.Firewall, chain string, drop bool) (_ model.Firewall, end int) {
	if drop {
		f.Drops = fmt.Sprintf("the policy of its %s is %s", chain, inWordsOf(f.Name, "drop"))
	}
	rules := t[chain]
	end = slices.IndexFunc(rules, func(r model.FirewallRule) bool { return networkOf(r) == "" && t.ends(r, 0) != "" })
	last := len(rules)
	f.End = end + 1
	if end >= 0 {
		f.Drops = fmt.Sprintf("a rule of its %s says %s", chain, inWordsOf(f.Name, t.ends(rules[end], 0)))
		last = end
	}
	for i, r := range rules {
		network := networkOf(r)
		if network == "" {
			continue
		}
		p := model.Passage{Network: network, Firewall: f.Name, Input: f.Input}
		at := slices.IndexFunc(f.Ours, p.At)
		if at < 0 {
			at = len(f.Ours)
			f.Ours = append(f.Ours, p)
		}
		f.Ours[at].Crossings = append(f.Ours[at].Crossings, crossingOf(r))
		behind := i > last || slices.ContainsFunc(rules[min(i, last):last], func(r model.FirewallRule) bool { return networkOf(r) == "" && r.Verdict != "" })
		f.Ours[at].Misplaced = f.Ours[at].Misplaced || behind || r.Verdict != "accept"
	}
	slices.SortFunc(f.Ours, func(a, b model.Passage) int { return strings.Compare(a.Network, b.Network) })
	return f, end
}

// inWordsOf writes a verdict as the program of a firewall does.
func inWordsOf(firewall, verdict string) string {
	if strings.HasPrefix(firewall, "nft ") {
		return verdict
	}
	return strings.ToUpper(verdict)
}

// ends says what drops all packets that come as far as a rule, "" if some pass.
func (t Table) ends(r model.FirewallRule, depth int) string {
	if len(r.Matches) > 0 || depth > 8 {
		return "" // it looks at something
	}
	switch r.Verdict {
	case "drop", "reject":
		return r.Verdict
	case "jump", "goto":
		for _, next := range t[r.Target] {
			if len(next.Matches) == 0 && (next.Verdict == "return" || next.Verdict == "accept") {
				return ""
			}
			if end := t.ends(next, depth+1); end != "" {
				return end
			}
		}
	}
	return ""
}

// networkOf tells whose rule of ours it is, "" for another's.
func networkOf(r model.FirewallRule) string {
	network, ours := strings.CutPrefix(r.Comment, commentPrefix)
	if !ours {
		return ""
	}
	return network
}

func crossingOf(r model.FirewallRule) (c model.Crossing) {
	for _, m := range r.Matches {
		if len(m.Values) != 1 || m.Not {
			continue
		}
		switch v := m.Values[0]; m.Key {
		case "iifname":
			c.In = v
		case "oifname":
			c.Out = v
		case "l4proto", "ip protocol", "ip6 nexthdr":
			c.Protocol = v
		case "th dport", "tcp dport", "udp dport":
			first, _, _ := strings.Cut(v, "-")
			n, _ := strconv.ParseUint(first, 10, 16)
			c.Port = uint16(n)
		}
	}
	return c
}

// ParseIptables reads what iptables-save(8) tells of the table filter: its chains, and which
// of them drop by their policy.
func ParseIptables(text string) (t Table, drops map[string]bool) {
	t, drops = Table{}, map[string]bool{}
	table := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0][0] == '*':
			table = words[0][1:]
		case table != "filter":
		case words[0][0] == ':' && len(words) > 1:
			t[words[0][1:]] = nil
			drops[words[0][1:]] = words[1] == "DROP"
		case words[0] == "-A" && len(words) > 2:
			t[words[1]] = append(t[words[1]], parseRule(words[2:]))
		}
	}
	for _, rules := range t {
		for i, r := range rules {
			if r.Target == "" {
				continue
			}
			if _, chain := t[r.Target]; !chain { // a target such as LOG or MARK
				rules[i].Verdict, rules[i].Target = "", ""
			}
		}
	}
	return t, drops
}

// parseRule reads a rule as iptables-save(8) writes it. What is not understood is a match
// that is not.
func parseRule(words []string) (r model.FirewallRule) {
	keys := map[string]string{"-i": "iifname", "-o": "oifname", "-p": "l4proto", "--dport": "th dport"}
	not := false
	for i := 0; i < len(words); i++ {
		option, value := words[i], ""
		if option == "!" {
			not = true
			continue
		}
		if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") && words[i+1] != "!" {
			i++
			value = words[i]
		}
		switch option {
		case "-j", "-g": // what follows are the target's own options
			r.Verdict, r.Target = verdictOf(option, value)
			return r
		case "-m":
		case "--comment":
			for strings.HasPrefix(value, `"`) && (len(value) < 2 || !strings.HasSuffix(value, `"`)) && i+1 < len(words) {
				i++
				value += " " + words[i]
			}
			r.Comment = strings.Trim(value, `"`)
		default:
			key := keys[option]
			if key == "" {
				key = model.MatchUnknown + option
			}
			r.Matches = append(r.Matches, model.FirewallMatch{Key: key, Values: []string{value}, Not: not})
		}
		not = false
	}
	return r
}

func verdictOf(option, target string) (verdict, chain string) {
	switch target {
	case "ACCEPT", "DROP", "REJECT", "RETURN":
		return strings.ToLower(target), ""
	case "QUEUE", "NFQUEUE":
		return "queue", ""
	}
	return map[string]string{"-j": "jump", "-g": "goto"}[option], target
}

// Rule is the rule for a crossing, as iptables(8) has it behind the chain's name.
func Rule(network string, c model.Crossing) string {
	what := "-o " + c.Out
	if c.Out == "" {
		what = fmt.Sprintf("-p %s -m %s --dport %d", c.Protocol, c.Protocol, c.Port)
	}
	return fmt.Sprintf("-i %s %s -m comment --comment %s -j ACCEPT", c.In, what, Comment(network))
}

// IptablesChain is the chain that a passage is in.
func IptablesChain(input bool) string {
	if input {
		return "INPUT"
	}
	return "FORWARD"
}

// Restore is the text for iptables-restore(8) that takes away what a network has by the text
// that iptables-save(8) gave, and makes what it is to have, all at once; "" for nothing to do.
// Place is that of the rule which ends it all, -1 for none.
func Restore(saved string, p model.Passage, place int) string {
	var b strings.Builder
	chain, table := IptablesChain(p.Input), ""
	b.WriteString("*filter\n")
	number, was, before := 0, 0, 0
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		if name, is := strings.CutPrefix(line, "*"); is {
			table = name
		}
		// As it is written there: somebody may have changed what it asks for.
		rule, is := strings.CutPrefix(line, "-A "+chain+" ")
		if !is || table != "filter" {
			continue
		}
		if parseRule(strings.Fields(rule)).Comment == Comment(p.Network) {
			was++
			if number < place {
				before++
			}
			fmt.Fprintf(&b, "-D %s %s\n", chain, rule)
		}
		number++
	}
	if was+len(p.Crossings) == 0 {
		return ""
	}
	for i, c := range p.Crossings {
		if place >= 0 {
			fmt.Fprintf(&b, "-I %s %d %s\n", chain, place-before+1+i, Rule(p.Network, c))
		} else {
			fmt.Fprintf(&b, "-A %s %s\n", chain, Rule(p.Network, c))
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// NFTRule is the rule for a crossing as a value.
func NFTRule(network string, c model.Crossing) nft.Rule {
	m := []nft.Match{nft.Interface{Name: c.In}, nft.Interface{Out: true, Name: c.Out}}
	if c.Out == "" {
		m = append(m[:1], nft.Port(c.Protocol, c.Port)...)
	}
	return nft.Rule{Matches: m, Reason: Comment(network), Verdict: nft.Verdict{Accept: true}}
}
