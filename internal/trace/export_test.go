package trace

import "drawbridge/internal/model"

// LookUp is the computed route, for tests that ask the kernel as well: several tells that it is one
// of several next hops.
func LookUp(ns *model.Namespace, q model.RouteQuery) (a model.RouteAnswer, doubt string, several bool) {
	w := lookup(ns, q)
	return w.RouteAnswer, w.doubt, w.several
}
