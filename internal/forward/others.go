package forward

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// What we make in the chains of others has this comment, with the network's name.
const commentPrefix = "drawbridge:"

// ReadIptables reads what iptables-save(8) tells of the table filter: what its FORWARD does
// with packets that no rule knows, and what we made there. Place is where the rules of a
// network belong once those that it has are gone, from 1 on, 0 for the end: as late as they
// can be, so that whatever else drops a packet still does.
func ReadIptables(name, text string) (f model.Firewall, place func(network string) int) {
	f = model.Firewall{Name: name, IPv4: !strings.HasPrefix(name, "ip6"), IPv6: strings.HasPrefix(name, "ip6")}
	rules := map[string][][]string{}
	table, policy := "", ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0][0] == '*':
			table = words[0][1:]
		case table != "filter":
		case words[0] == ":FORWARD" && len(words) > 1:
			policy = words[1]
		case words[0] == "-A" && len(words) > 2:
			rules[words[1]] = append(rules[words[1]], words[2:])
		}
	}
	if policy == "DROP" {
		f.Drops = "the policy of its FORWARD is DROP"
	}
	var earlier []string // whose rules come before the one that ends it all, "" for others'
	ended := false
	for _, r := range rules["FORWARD"] {
		crossing, network := ourRule(r)
		if network != "" {
			f.Ours = addCrossing(f.Ours, name, network, crossing)
		} else if end := ends(r, rules, 0); end != "" && !ended {
			f.Drops, ended = end, true
		}
		if !ended {
			earlier = append(earlier, network)
		}
	}
	return f, func(network string) int {
		if !ended {
			return 0
		}
		own := 0
		for _, of := range earlier {
			if of == network {
				own++
			}
		}
		return 1 + len(earlier) - own
	}
}

// ends says what drops all packets that come as far as a rule, "" if some pass.
func ends(rule []string, rules map[string][][]string, depth int) string {
	if len(rule) < 2 || rule[0] != "-j" || depth > 8 {
		return "" // it looks at something
	}
	if rule[1] == "DROP" || rule[1] == "REJECT" {
		return "a rule of its FORWARD says " + rule[1]
	}
	for _, r := range rules[rule[1]] {
		if r[0] == "-j" && (r[1] == "RETURN" || r[1] == "ACCEPT") {
			return ""
		}
		if end := ends(r, rules, depth+1); end != "" {
			return end
		}
	}
	return ""
}

// ourRule tells the crossing and the network of a rule of ours, "" if it is another's.
func ourRule(words []string) (crossing model.Crossing, network string) {
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "-i":
			crossing.In = words[i+1]
		case "-o":
			crossing.Out = words[i+1]
		case "--comment":
			network, _ = strings.CutPrefix(strings.Trim(words[i+1], `"`), commentPrefix)
			if !strings.HasPrefix(strings.Trim(words[i+1], `"`), commentPrefix) {
				network = ""
			}
		}
	}
	return crossing, network
}

func addCrossing(list []model.Passage, firewall, network string, crossing model.Crossing) []model.Passage {
	i := slices.IndexFunc(list, func(p model.Passage) bool { return p.Network == network })
	if i < 0 {
		return append(list, model.Passage{Network: network, Firewall: firewall, Crossings: []model.Crossing{crossing}})
	}
	list[i].Crossings = append(list[i].Crossings, crossing)
	return list
}

// Rule is the rule for a crossing, as iptables(8) has it behind the chain's name.
func Rule(network string, w model.Crossing) string {
	return fmt.Sprintf("-i %s -o %s -m comment --comment %s -j ACCEPT", w.In, w.Out, commentPrefix+network)
}

// Restore is the text for iptables-restore(8) that takes away what a network has and makes
// what it is to have, at its place, all at once.
func Restore(was []model.Crossing, p model.Passage, place int) string {
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, w := range was {
		fmt.Fprintf(&b, "-D FORWARD %s\n", Rule(p.Network, w))
	}
	for i, w := range p.Crossings {
		if place > 0 {
			fmt.Fprintf(&b, "-I FORWARD %d %s\n", place+i, Rule(p.Network, w))
		} else {
			fmt.Fprintf(&b, "-A FORWARD %s\n", Rule(p.Network, w))
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
