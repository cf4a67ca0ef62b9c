package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// way is a route that was chosen.
type way struct {
	model.RouteAnswer
	text  string // what decided
	doubt string // what of the rules is not known
	// several: the route has more next hops than the one.
	several bool
}

// reaches tells whether the packet goes anywhere by it.
func (r way) reaches() bool { return r.Type == "unicast" || r.Type == "local" }

// route looks up the way of a packet: in the snapshot, and by the kernel where it can be asked,
// which then decides.
func (w *world) route(st *stack, q model.RouteQuery, m mark) way {
	q.Mark = m.value
	computed := lookup(st.ns, q)
	if m.unknown && asksForMark(st.ns, familyOf(q.Destination)) {
		computed.doubt = "the mark that a rule of the firewall gives it, and that rules of routing ask for, is not known"
		return computed
	}
	if w.router == nil || st.id != hostID && !strings.HasPrefix(st.id, "netns:") {
		return computed
	}
	a, ok := w.router.Lookup(st.ns.Name, q)
	// With a link that it came in by, the kernel refuses for more reasons than routes.
	if !ok || q.IIF != "" && a.Type != "unicast" && a.Type != "local" {
		return computed
	}
	if agree(a, computed) {
		computed.doubt = "" // the kernel has looked at the rules as well
		computed.Link, computed.Gateway, computed.Source = cmp.Or(a.Link, computed.Link), a.Gateway, cmp.Or(a.Source, computed.Source)
		return computed
	}
	answer := way{RouteAnswer: a, text: fmt.Sprintf("the kernel has no route to %s", q.Destination)}
	if a.Type != "" {
		answer.text = describeWay(a) + ", by the kernel's own look-up"
	}
	// Somebody has changed the tables since they were read, or has a rule that is not understood.
	answer.text += "; by the tables that were read: " + computed.text
	return answer
}

// agree tells whether the kernel answers what was computed: the same way, or one of several next
// hops; or none, for which it has the same word whether a route says so or there is none.
func agree(a model.RouteAnswer, computed way) bool {
	lost := func(t string) bool { return t == "" || t == "unreachable" }
	switch {
	case a.Type != computed.Type:
		return lost(a.Type) && lost(computed.Type)
	case a.Type != "unicast":
		return true
	}
	return computed.several || a.Link == computed.Link && a.Gateway == computed.Gateway
}

// lookup computes the way from the rules and routes of a namespace, as the kernel does.
func lookup(ns *model.Namespace, q model.RouteQuery) way {
	r := lookupRules(ns, q)
	if q.OIF == "" || q.IIF != "" || !q.Destination.Is4() || r.Type == "unicast" || r.Type == "local" || r.Type == "broadcast" {
		return r
	}
	// Who insists on a link, and has no route by it, is believed that the destination is on it
	// (ip_route_output_key_hash_rcu).
	on := model.RouteAnswer{Type: "unicast", Link: q.OIF, Source: sourceFor(ns, q.OIF, netip.Addr{}, q.Destination)}
	return way{RouteAnswer: on, text: "on the link " + q.OIF + ", for want of a route", doubt: r.doubt}
}

// lookupRules goes through the rules and tables of a namespace, as fib_rules_lookup and
// fib_table_lookup do.
func lookupRules(ns *model.Namespace, q model.RouteQuery) way {
	var doubts []string
	rules := rulesOf(ns, familyOf(q.Destination))
	for i := 0; i < len(rules); i++ {
		r := rules[i]
		matches, known, vrf := selects(ns, r.Selector, q)
		if !known {
			doubts = append(doubts, fmt.Sprintf("whether the rule %d %q selects it is not known", r.Priority, r.Selector))
			continue
		}
		if !matches {
			continue
		}
		if i+1 < len(rules) && rules[i+1].Priority == r.Priority { // that which was made first is asked first
			if twin, _, _ := selects(ns, rules[i+1].Selector, q); twin {
				doubts = append(doubts, fmt.Sprintf("which of two rules of priority %d is asked first is not known", r.Priority))
			}
		}
		words := strings.Fields(r.Action)
		if vrf != 0 {
			words = []string{"lookup", fmt.Sprint(vrf)}
		}
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "lookup":
			suppress := -1
			switch {
			case len(words) == 4 && words[2] == "suppress_prefixlength":
				suppress, _ = strconv.Atoi(words[3])
			case len(words) > 2:
				doubts = append(doubts, fmt.Sprintf("what the rule %d %q does is not known", r.Priority, r.Action))
			}
			if rt := best(ns, tableNumber(words[1]), q, suppress); rt != nil {
				answer := answerOf(ns, *rt, q)
				if r.Priority != 32766 && r.Priority != 0 && r.Priority != 32767 {
					answer.text += fmt.Sprintf(" (rule %d: %s %s)", r.Priority, r.Selector, r.Action)
				}
				answer.doubt = strings.Join(doubts, "; ")
				return answer
			}
		case "goto":
			target, _ := strconv.ParseUint(words[len(words)-1], 10, 32)
			for i+1 < len(rules) && uint64(rules[i+1].Priority) < target {
				i++
			}
		case "blackhole", "unreachable", "prohibit":
			return way{RouteAnswer: model.RouteAnswer{Type: words[0]}, text: fmt.Sprintf("rule %d: %s %s", r.Priority, r.Selector, r.Action), doubt: strings.Join(doubts, "; ")}
		}
	}
	return way{text: fmt.Sprintf("no route to %s", q.Destination), doubt: strings.Join(doubts, "; ")}
}

// rulesOf are the rules of a family; those that every kernel has where none were read.
func rulesOf(ns *model.Namespace, family int) []model.Rule {
	var out []model.Rule
	for _, r := range ns.Rules {
		if r.Family == family {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		out = []model.Rule{{Priority: 0, Selector: "from all", Action: "lookup local"}, {Priority: 32766, Selector: "from all", Action: "lookup main"}}
	}
	slices.SortStableFunc(out, func(a, b model.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	return out
}

func tableNumber(word string) uint32 {
	switch word {
	case "local":
		return model.TableLocal
	case "main":
		return model.TableMain
	case "default":
		return model.TableDefault
	}
	n, _ := strconv.ParseUint(word, 10, 32)
	return uint32(n)
}

// selects tells whether a rule is for a packet. known is false where that depends on what
// a trace does not have: a user, a port. vrf is the table of a VRF that the packet is in.
func selects(ns *model.Namespace, selector string, q model.RouteQuery) (matches, known bool, vrf uint32) {
	words := strings.Fields(selector)
	matches, known = true, true
	not := false
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "not":
			not = true
			continue
		case "from":
			matches = matches && within(value, q.Source)
		case "to":
			matches = matches && within(value, q.Destination)
		case "iif": // a packet of the stack's own comes from lo
			matches = matches && (q.IIF == value || q.IIF == "" && value == "lo")
		case "oif":
			matches = matches && q.OIF == value
		case "fwmark":
			mark, mask, masked := strings.Cut(value, "/")
			v, _ := strconv.ParseUint(mark, 0, 32)
			m := ^uint64(0)
			if masked {
				m, _ = strconv.ParseUint(mask, 0, 32)
			}
			matches = matches && (uint64(q.Mark)^v)&m == 0
		case "lookup": // [l3mdev-table]
			vrf = vrfTable(ns, q)
			matches = matches && vrf != 0
		case "tos":
			matches = matches && value == "0x0"
		default:
			known = !matches
		}
		i++
	}
	return matches != not, known, vrf
}

// vrfTable is the table of the VRF that a packet is in by the link that it came in by, or
// has to leave by (l3mdev_fib_rule_match).
func vrfTable(ns *model.Namespace, q model.RouteQuery) uint32 {
	for _, name := range []string{q.IIF, q.OIF} {
		l := ns.Link(name)
		if l == nil {
			continue
		}
		if m := ns.Link(l.Master); m != nil && m.Kind == model.VRF {
			return m.VRFTable
		}
		if l.Kind == model.VRF {
			return l.VRFTable
		}
	}
	return 0
}

func within(word string, a netip.Addr) bool {
	if word == "all" || word == "" {
		return true
	}
	if p, err := netip.ParsePrefix(word); err == nil {
		return a.IsValid() && p.Contains(a)
	}
	x, err := netip.ParseAddr(word)
	return err == nil && x == a
}

// best is the route of a table that is the most specific, then that of the least metric.
// One shorter than suppress is as if it were not there.
func best(ns *model.Namespace, table uint32, q model.RouteQuery, suppress int) *model.Route {
	var found *model.Route
	for i := range ns.Routes {
		r := &ns.Routes[i]
		switch {
		case r.Table != table || r.TOS != 0 || !r.Destination.Contains(q.Destination):
			continue
		case r.From.IsValid() && !r.From.Contains(q.Source):
			continue
		case q.OIF != "" && len(r.NextHops) > 0 && !slices.ContainsFunc(r.NextHops, func(h model.NextHop) bool { return h.Link == q.OIF }):
			continue
		case r.Type == "multicast" || !alive(ns, *r):
			continue
		case found == nil, r.Destination.Bits() > found.Destination.Bits(), r.Destination.Bits() == found.Destination.Bits() && r.Metric < found.Metric:
			found = r
		}
	}
	if found == nil || found.Type == "throw" {
		return nil
	}
	// One that refuses is an error by then, and is not suppressed (fib_rules_lookup).
	refuses := found.Type == "blackhole" || found.Type == "unreachable" || found.Type == "prohibit"
	if !refuses && suppress >= 0 && found.Destination.Bits() <= suppress {
		return nil
	}
	return found
}

// alive: the routes of a link that is down are dead, or gone.
func alive(ns *model.Namespace, r model.Route) bool {
	if r.Type != "unicast" || len(r.NextHops) == 0 {
		return true
	}
	return slices.ContainsFunc(r.NextHops, func(h model.NextHop) bool {
		l := ns.Link(h.Link)
		return l == nil || l.Up
	})
}

func answerOf(ns *model.Namespace, r model.Route, q model.RouteQuery) way {
	a := model.RouteAnswer{Type: r.Type, Table: r.Table, Source: r.Source}
	switch a.Type {
	case "broadcast", "anycast":
		return way{RouteAnswer: a, text: describeRoute(r)}
	case "":
		a.Type = "unicast"
	}
	for _, h := range r.NextHops {
		l := ns.Link(h.Link)
		if l != nil && !l.Up || q.OIF != "" && h.Link != q.OIF {
			continue
		}
		a.Link, a.Gateway = h.Link, h.Gateway
		break
	}
	if a.Link == "" && r.NextHopID != 0 {
		return way{RouteAnswer: a, text: describeRoute(r), doubt: "its nexthop object was not read"}
	}
	if !a.Source.IsValid() {
		a.Source = sourceFor(ns, a.Link, a.Gateway, q.Destination)
	}
	text := describeRoute(r)
	if len(r.NextHops) > 1 {
		text += fmt.Sprintf(", one of %d next hops", len(r.NextHops))
	}
	return way{RouteAnswer: a, text: text, several: len(r.NextHops) > 1}
}

func describeRoute(r model.Route) string {
	words := []string{r.Destination.String()}
	if r.IsDefault() {
		words[0] = "default"
	}
	if r.Type != "unicast" && r.Type != "" {
		words = append([]string{r.Type}, words...)
	}
	if g := r.Gateway(); g.IsValid() {
		words = append(words, "via", g.String())
	}
	if l := r.Link(); l != "" {
		words = append(words, "dev", l)
	}
	if r.Table != model.TableMain && r.Table != model.TableLocal {
		words = append(words, "table", fmt.Sprint(r.Table))
	}
	if r.Metric != 0 {
		words = append(words, "metric", fmt.Sprint(r.Metric))
	}
	return strings.Join(words, " ")
}

func describeWay(a model.RouteAnswer) string {
	words := []string{a.Type}
	if a.Gateway.IsValid() {
		words = append(words, "via", a.Gateway.String())
	}
	if a.Link != "" {
		words = append(words, "dev", a.Link)
	}
	return strings.Join(words, " ")
}
