package broker

import (
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

func secured() Rule {
	r := mine(5)
	r.Security = Security{Level: model.SecurityStrict, From: plan.Sources{DHCP: true}}
	return r
}

func TestAPortIsSecuredBeforeItIsPluggedIn(t *testing.T) {
	h := newFakeHost(t)
	safe := map[string]bool{}
	h.Fail = func(_ int, op model.Operation) error {
		switch op := op.(type) {
		case model.SecurePorts:
			safe[op.Ports[0].Link] = true
		case model.SetMaster:
			if !safe[op.Link] {
				t.Errorf("%s is plugged in, and not secured", op.Link)
			}
		}
		return nil
	}
	_, socket := serving(t, h, secured())
	for _, kind := range []string{KindDescriptor, KindNamed} {
		reply, tap, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		owned, _ := h.Owned()
		p := h.snapshot().SecurityOf(reply.Tap)
		if p == nil || len(p.MACs) != 1 || p.MACs[0] != reply.MAC || p.IPv4 != model.SourceLease || !owned.Secures(reply.Tap) {
			t.Errorf("%+v", p)
		}
		if tap != nil {
			tap.Close()
		}
	}
	// Given back, and with it the rules.
	h.Change(func(n *model.Namespace) {
		n.Links = slices.DeleteFunc(n.Links, func(l model.Link) bool { return l.Name == "dbtap0" })
	})
	if _, owned, err := Reap(t.Context(), h, h); err != nil || owned.Secures("dbtap0") || !owned.Secures("dbtap1") || h.snapshot().SecurityOf("dbtap0") != nil {
		t.Errorf("%+v %v", owned.Secured, err)
	}
}

func TestWhatCannotBeSecured(t *testing.T) {
	asked := secured()
	asked.Asked = true
	for _, tc := range []struct {
		rule    Rule
		refused bool
	}{{secured(), false}, {asked, true}} {
		h := newFakeHost(t)
		_, socket := serving(t, h, tc.rule, func(s *Server) { s.NoSecurity = "no nf_tables" })
		reply, tap, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor})
		if (err != nil) != tc.refused || err != nil && !strings.Contains(err.Error(), "cannot be secured: no nf_tables") {
			t.Errorf("asked %t: %v", tc.refused, err)
		}
		if err == nil && h.snapshot().SecurityOf(reply.Tap) != nil {
			t.Error("secured all the same")
		}
		if tap != nil {
			tap.Close()
		}
	}
}

// A bridge helper's port has the first address that its VM sends from, and no other then.
func TestAHelpersPortIsSecuredOnceItIsHeard(t *testing.T) {
	h := newFakeHost(t)
	_, socket := serving(t, h, secured())
	reply, tap, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor, Helper: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	if told, _, err := Reap(t.Context(), h, h); err != nil || len(told) > 0 || h.snapshot().SecurityOf(reply.Tap) != nil {
		t.Errorf("%v %v", told, err)
	}
	h.Change(func(n *model.Namespace) {
		n.FDB = append(n.FDB, model.FDBEntry{Link: reply.Tap, Master: "br0", MAC: n.Link(reply.Tap).MAC, State: "permanent"}, model.FDBEntry{Link: reply.Tap, Master: "br0", MAC: "52:54:00:12:34:56"})
	})
	told, owned, err := Reap(t.Context(), h, h)
	p := h.snapshot().SecurityOf(reply.Tap)
	if err != nil || len(told) != 1 || p == nil || p.MACs[0] != "52:54:00:12:34:56" || owned.Brokered()[0].Added.MAC != "52:54:00:12:34:56" {
		t.Errorf("%v %+v %v", told, p, err)
	}
	if told, _, err := Reap(t.Context(), h, h); err != nil || len(told) > 0 {
		t.Errorf("again: %v %v", told, err)
	}
}
