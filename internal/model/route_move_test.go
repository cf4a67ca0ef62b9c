package model

import (
	"net/netip"
	"testing"
)

func TestPlanRouteMove(t *testing.T) {
	r := func(link string) Route {
		return Route{Table: TableMain, Type: "unicast", Destination: netip.MustParsePrefix("198.18.0.0/24"), Protocol: "kernel", NextHops: []NextHop{{Link: link}}}
	}
	o := MoveRoutes{From: "eth0", To: "br0"}
	for _, c := range []struct {
		name  string
		there []Route
		want  RouteMove
		done  bool
	}{
		{"alone", []Route{r("eth0")}, RouteMove{Target: r("br0"), Old: 0, Twin: -1, Add: true, Replace: true}, false},
		{"before a stranger's", []Route{r("eth0"), r("eth1")}, RouteMove{Target: r("br0"), Old: 0, Twin: -1, Add: true, Replace: true}, false},
		{"behind a stranger's, which REPLACE would hit", []Route{r("eth1"), r("eth0")}, RouteMove{Target: r("br0"), Old: 1, Twin: -1, Add: true}, false},
		{"the kernel's own stands behind it", []Route{r("eth0"), r("br0")}, RouteMove{Target: r("br0"), Old: 0, Twin: -1}, false},
		{"and a stranger's between them", []Route{r("eth0"), r("eth1"), r("br0")}, RouteMove{Target: r("br0"), Old: 0, Twin: 2, Add: true, Replace: true}, false},
		{"gone from its link", nil, RouteMove{Target: r("br0"), Old: -1, Twin: -1, Add: true}, false},
		{"moved before", []Route{r("br0")}, RouteMove{Target: r("br0"), Old: -1, Twin: -1, Add: true}, true},
	} {
		m, done := PlanRouteMove(c.there, r("eth0"), o)
		if done != c.done || m.Old != c.want.Old || m.Twin != c.want.Twin || m.Add != c.want.Add || m.Replace != c.want.Replace || !SameRoute(m.Target, c.want.Target) {
			t.Errorf("%s: %+v, done %v", c.name, m, done)
		}
	}
}
