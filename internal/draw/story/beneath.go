package story

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// most is how many sentences of one kind a step tells; of the rest it tells the number.
const most = 8

// beneath tells what a picture does not show: routes, neighbours, settings.
func beneath(before, after model.Snapshot) []string {
	was, is := before.Here(), after.Here()
	return slices.Concat(atMost(routes(was, is), "routes"), neighbours(was, is), atMost(settings(was, is), "settings"))
}

func atMost(list []string, what string) []string {
	if len(list) <= most {
		return list
	}
	return append(list[:most:most], fmt.Sprintf("And %d more %s.", len(list)-most, what))
}

// routes tells by which interface each destination leaves.
func routes(before, after *model.Namespace) []string {
	order, was := exits(before)
	second, is := exits(after)
	for _, d := range second {
		if was[d] == nil {
			order = append(order, d)
		}
	}
	var out []string
	for _, d := range order {
		old, now := and(was[d]), and(is[d])
		switch {
		case old == now:
		case old == "":
			out = append(out, fmt.Sprintf("The %s leaves by %s.", d, now))
		case now == "":
			out = append(out, fmt.Sprintf("The %s, by %s, is gone.", d, old))
		default:
			out = append(out, fmt.Sprintf("The %s leaves by %s now, before by %s.", d, now, old))
		}
	}
	return out
}

// exits are by route, in words, the interfaces by which it leaves.
func exits(ns *model.Namespace) (order []string, by map[string][]string) {
	by = map[string][]string{}
	for _, r := range ns.Routes {
		if r.Type != "unicast" || r.Destination.Addr().IsLinkLocalUnicast() || r.Destination.Addr().IsMulticast() {
			continue
		}
		d := "route to " + r.Destination.String()
		if r.IsDefault() {
			d = map[bool]string{true: "IPv4", false: "IPv6"}[r.Is4()] + " default route"
		}
		if g := r.Gateway(); g.IsValid() {
			d += " via " + g.String()
		}
		if r.Table != model.TableMain {
			d += fmt.Sprintf(" of table %d", r.Table)
		}
		for _, h := range r.NextHops {
			if by[d] == nil {
				order = append(order, d)
			}
			if !slices.Contains(by[d], h.Link) {
				by[d] = append(by[d], h.Link)
			}
		}
	}
	return order, by
}

func neighbours(before, after *model.Namespace) []string {
	count := func(ns *model.Namespace) map[string]int {
		n := map[string]int{}
		for _, e := range ns.Neighbours {
			n[e.Link]++
		}
		return n
	}
	was, is := count(before), count(after)
	var out []string
	for _, link := range slices.Sorted(maps.Keys(is)) {
		if n := is[link]; n > was[link] {
			out = append(out, fmt.Sprintf("%s knows the MAC addresses of %d neighbours, before of %d.", link, n, was[link]))
		}
	}
	return out
}

func settings(before, after *model.Namespace) []string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(after.Settings)) {
		name := "net." + strings.ReplaceAll(path, "/", ".")
		// Those of a new interface are what the kernel gives each: no change of anything.
		if was, known := before.Settings[path]; known && was != after.Settings[path] {
			out = append(out, fmt.Sprintf("%s is %s, before %s.", name, after.Settings[path], was))
		}
	}
	return out
}
