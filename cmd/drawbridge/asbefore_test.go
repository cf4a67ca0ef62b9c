package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// state is a namespace as it must be again after 'down': in our own words, which know
// what changes by itself, and in iproute2's, by which nobody of ours is believed.
type state struct {
	ours model.Namespace
	text []string
}

// remember is the script command "remember NAMESPACE": notes the namespace's state.
func remember(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: remember NAMESPACE")
	}
	s, err := stateOf(args[0])
	ts.Check(err)
	remembered(ts)[args[0]] = s
}

// asBefore is the script command "as-before NAMESPACE": the namespace is what it was when
// it was last remembered.
func asBefore(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as-before NAMESPACE")
	}
	before, known := remembered(ts)[args[0]]
	if !known {
		ts.Fatalf("%s was not remembered", args[0])
	}
	now, err := stateOf(args[0])
	ts.Check(err)
	addr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	prefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(before.ours, now.ours, addr, prefix); diff != "" {
		ts.Fatalf("%s, before (-) and now (+):\n%s", args[0], diff)
	}
	if diff := cmp.Diff(before.text, now.text); diff != "" {
		ts.Fatalf("%s in iproute2's words, before (-) and now (+):\n%s", args[0], diff)
	}
}

type memoryKey struct{}

func remembered(ts *testscript.TestScript) map[string]state {
	return ts.Value(memoryKey{}).(map[string]state)
}

func stateOf(namespace string) (state, error) {
	k, err := kernel.OpenNamed(namespace)
	if err != nil {
		return state{}, err
	}
	defer k.Close()
	ns, err := k.Observe(context.Background())
	if err != nil {
		return state{}, err
	}
	s := state{ours: ns.Normalised()}
	var local []string
	for _, what := range []string{"ip -d link show", "ip -d addr show", "ip -4 route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule",
		"ip nexthop", "ip neigh show nud permanent", "ip neigh show proxy", "ip -6 neigh show proxy", "tc qdisc show", "ip token"} {
		words := strings.Fields(what)
		out, err := exec.Command(words[0], append([]string{"-n", namespace}, words[1:]...)...).Output()
		if err != nil {
			return s, fmt.Errorf("%s: %w", what, err)
		}
		for line := range strings.Lines(string(out)) {
			line = withoutRunning(line)
			switch {
			case line == "" || strings.Contains(line, "temporary"):
			case strings.Contains(line, "table local"): // the kernel's own, in the order of the addresses
				local = append(local, line)
			default:
				s.text = append(s.text, line)
			}
		}
	}
	slices.Sort(local)
	s.text = append(s.text, local...)
	return s, nil
}

// withoutRunning drops what the kernel counts: promiscuity, and the time that is left,
// but not whether there is an end to it; and the name of the namespace of a veth's peer,
// which depends on what else this machine runs.
func withoutRunning(line string) string {
	words := strings.Fields(line)
	for i := 0; i+1 < len(words); i++ {
		if strings.HasSuffix(words[i], "_timer") { // a bridge's
			words[i+1] = "N"
		}
		switch words[i] {
		case "link-netns", "link-netnsid": // the name, unless ip meets one in /run/netns that just goes
			words[i], words[i+1] = "link-netns", "N"
		case "promiscuity", "allmulti", "expires", "valid_lft", "preferred_lft":
			if words[i+1] != "forever" && words[i+1] != "0sec" {
				words[i+1] = "N"
			}
		}
	}
	return strings.Join(words, " ")
}
