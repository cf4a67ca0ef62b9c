package fake_test

import (
	"errors"
	"testing"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
)

func TestFailBeforeAndAfter(t *testing.T) {
	broken := errors.New("injected")
	for at, want := range []int{0, 1} { // before: nothing is made; after: it is
		k := fake.New(model.Namespace{})
		k.Fail = func(n int, op model.Operation) error {
			if n == at {
				return broken
			}
			return nil
		}
		if _, err := k.Do(t.Context(), model.CreateBridge{Name: "br0"}); !errors.Is(err, broken) {
			t.Errorf("fault %d: %v", at, err)
		}
		ns, err := k.Observe(t.Context())
		if err != nil || len(ns.Links) != want {
			t.Errorf("fault %d: %d links, want %d", at, len(ns.Links), want)
		}
		if _, err := k.Do(t.Context(), model.CreateBridge{Name: "br1"}); err != nil {
			t.Errorf("the next operation: %v", err)
		}
	}
}

func TestRefusals(t *testing.T) {
	k := fake.New(model.Namespace{})
	made, err := k.Do(t.Context(), model.CreateBridge{Name: "br0"})
	index := made["br0"]
	if err != nil || index == 0 {
		t.Fatal(made, err)
	}
	if _, err := k.Do(t.Context(), model.DeleteLink{Name: "br0", Index: index + 1}); !errors.Is(err, model.ErrNotOurs) {
		t.Error(err)
	}
	if _, err := k.Do(t.Context(), model.StopMachine{Name: "web"}); !errors.Is(err, model.ErrInvalid) {
		t.Error(err)
	}
}
