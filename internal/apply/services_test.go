package apply

import (
	"context"
	"errors"
	"strings"
	"testing"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Servers are part of the transaction: what fails after they were started stops them, and
// what they should be is looked at.
func TestServersInATransaction(t *testing.T) {
	serve := func(network string) plan.Step {
		return plan.Step{Title: "Serve " + network, Do: model.StartService{Service: model.Service{Network: network, Link: "eth0", RA: &model.RAConfig{}}},
			Undo: model.Operations{model.StopService{Network: network}}}
	}
	for _, c := range []struct {
		name  string
		fault func(n int, after bool, op model.Operation) error
		lies  bool // the server is found to serve something else
		fails string
	}{
		{name: "both"},
		{name: "the second does not start", fault: func(n int, after bool, _ model.Operation) error {
			if n == 1 && !after {
				return errFault
			}
			return nil
		}, fails: errFault.Error()},
		{name: "the second serves something else", lies: true, fails: "servers should be RA on eth0 as planned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, tx := site(t)
			m.fault = c.fault
			tx.Services = services{fake.Services{Kernel: m.Kernel}, c.lies}
			p := plan.Plan{Before: m.Snapshot(), Steps: []plan.Step{serve("a"), serve("b")}, Owned: plan.Owned{Services: []string{"a", "b"}}}
			err := tx.Run(context.Background(), p)
			now := m.Snapshot()
			var f *Failure
			switch {
			case c.fails == "" && (err != nil || len(now.Services) != 2):
				t.Errorf("%v, %+v", err, now.Services)
			case c.fails != "" && (!errors.As(err, &f) || !strings.Contains(err.Error(), c.fails) || len(f.Left) > 0 || len(now.Services) != 0):
				t.Errorf("%v, %+v", err, now.Services)
			}
		})
	}
}

// services are those in memory; where they lie, network b has another MTU than wanted.
type services struct {
	fake.Services
	lie bool
}

func (s services) List(ctx context.Context) ([]model.Service, error) {
	list, err := s.Services.List(ctx)
	for i := range list {
		if s.lie && list[i].Network == "b" {
			list[i].RA.MTU = 1280
		}
	}
	return list, err
}
