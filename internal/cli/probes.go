package cli

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/probe"
	"drawbridge/internal/spec"
)

// asked are the probes of a change, with what became of them.
type asked struct {
	set     *probe.Set
	results []probe.Result
}

// probes prepares what is asked before and after a change; nil where nothing is: no
// way of the host's moves, and the file asks nothing.
func (a *app) probes(s *session, p plan.Plan, want spec.Desired, isLogin func(model.Socket) bool, quiet bool) *asked {
	moves := p.Moves()
	if len(p.Steps) == 0 || len(moves)+len(want.Probes) == 0 {
		return nil
	}
	out := &asked{}
	out.set = &probe.Set{Moves: moves, Inside: s.kernel.Inside, Sockets: s.kernel.Sockets, Servers: nameServers(a.netns), Login: isLogin}
	for _, own := range want.Probes {
		out.set.Own = append(out.set.Own, probe.Own{Name: own.Name, Kind: own.Kind, Target: own.Target, Timeout: own.Timeout})
	}
	out.set.Report = func(r probe.Result) {
		out.results = append(out.results, r)
		if r.Verdict == probe.NotRequired && !quiet {
			fmt.Fprintf(a.err, "  probe %s: %s; it is not required after\n", r.Probe, r.Saw)
		}
	}
	return out
}

// nameServers are the namespace's, where it has a resolv.conf of its own (ip-netns(8)):
// the host's servers are seldom for a namespace of the host's.
func nameServers(netns string) []netip.Addr {
	file := "/etc/resolv.conf"
	if netns != "" {
		file = filepath.Join("/etc/netns", netns, "resolv.conf")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	servers := probe.Servers(data)
	if netns == "" && !slices.ContainsFunc(servers, func(a netip.Addr) bool { return !a.IsLoopback() }) {
		// A resolver on this host answers there; systemd-resolved(8) writes here whom it asks.
		if data, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			servers = probe.Servers(data)
		}
	}
	return servers
}

func (r *asked) all() []probe.Result {
	if r == nil {
		return nil
	}
	return r.results
}

// String is what a person hears of the probes at the end.
func (r *asked) String() string {
	counts := map[probe.Verdict]int{}
	for _, one := range r.all() {
		counts[one.Verdict]++
	}
	var parts []string
	for _, v := range []probe.Verdict{probe.Passed, probe.NotJudged, probe.NotRequired} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "; probes: " + strings.Join(parts, ", ")
}
