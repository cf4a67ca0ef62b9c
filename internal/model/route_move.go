package model

import "slices"

// RouteMove is how one route gets from its link to another by the messages that rtnetlink
// has. [MoveRoutes] is carried out by it, by internal/kernel and by the fake alike: of two
// routes of one key the first is in force, and NLM_F_REPLACE takes the first of a key,
// whoever's that is.
type RouteMove struct {
	// Target is the route as it shall be.
	Target Route
	// Old is the index of the route that goes, -1 where it is gone already.
	Old int
	// Twin is the index of a route equal to the target that must go first, since it would
	// make NLM_F_REPLACE fail (EEXIST): the connected one that the kernel made by itself; or -1.
	Twin int
	// Add: a message for the target is needed; else it is there already.
	Add bool
	// Replace: that message takes the old one's place. Else it is appended, and the old one
	// deleted by its device.
	Replace bool
}

// PlanRouteMove decides how one route gets to its new link, from what is there now in the
// kernel's order. done: there is nothing to do.
func PlanRouteMove(there []Route, r Route, o MoveRoutes) (m RouteMove, done bool) {
	find := func(r Route) int {
		return slices.IndexFunc(there, func(x Route) bool { return SameRoute(x, r) })
	}
	m = RouteMove{Target: r.moved(o.From, o.To), Old: find(r), Twin: -1}
	arrived := find(m.Target)
	if m.Old < 0 {
		// It is gone from its old link (an undo, after the link was down): as it was noted.
		m.Add = true
		return m, arrived >= 0
	}
	m.Replace = m.Target.Metric == r.Metric && isFirst(there, m.Old)
	switch {
	case arrived < 0:
		m.Add = true
	case m.Replace && hasStranger(there, m.Old, arrived):
		m.Add, m.Twin = true, arrived
	default:
		m.Replace = false // behind the old one, and next in force
	}
	return m, false
}

// isFirst tells whether a route is the one that NLM_F_REPLACE would replace.
func isFirst(there []Route, i int) bool {
	return FirstOfKey(there, there[i]) == i
}

// FirstOfKey is the index of the route that NLM_F_REPLACE of r would replace
// (fib_table_insert, fib6_add_rt2node), -1 if there is none.
func FirstOfKey(there []Route, r Route) int {
	return slices.IndexFunc(there, func(x Route) bool { return SameRouteKey(x, r) && multipathable(x) == multipathable(r) })
}

// hasStranger tells whether a third route shares the key of two.
func hasStranger(there []Route, i, j int) bool {
	for n := range there {
		if n != i && n != j && SameRouteKey(there[n], there[i]) {
			return true
		}
	}
	return false
}

// multipathable is rt6_qualify_for_ecmp: REPLACE keeps IPv6 routes that can be a leg
// apart from those that cannot. IPv4 makes no difference.
func multipathable(r Route) bool {
	return !r.Is4() && r.Gateway().IsValid() && r.Protocol != "ra"
}
