package manager

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"drawbridge/internal/model"
)

// One that cannot be reached has its file; what is taken back takes the file away.
func TestTellWithoutABus(t *testing.T) {
	for _, name := range []string{NetworkManager, Networkd} {
		root := t.TempDir()
		path := filepath.Join(root, model.BesideFile(name))
		s := page(nil)
		tell := func(op model.Operation) {
			t.Helper()
			var unheard *Unheard
			if err := Tell(t.Context(), s, root, op, Hands{}); err != nil && (!errors.As(err, &unheard) || !errors.Is(err, errNoBus)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		tell(model.LeaveAlone{Manager: name, Links: []string{"tap0", "br0"}})
		tell(model.LeaveAlone{Manager: name, Links: []string{"eth0", "br0"}, Follows: true})
		data, err := os.ReadFile(path)
		if want := model.BesideText(name, []string{"br0", "eth0", "tap0"}); err != nil || string(data) != want {
			t.Errorf("%s: %s, %v", name, data, err)
		}
		tell(model.ManageAgain{Manager: name, Links: []string{"br0", "tap0", "other"}})
		data, err = os.ReadFile(path)
		if want := model.BesideText(name, []string{"eth0"}); err != nil || string(data) != want {
			t.Errorf("%s: %s, %v", name, data, err)
		}
		tell(model.ManageAgain{Manager: name, Links: []string{"eth0"}})
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it is still there: %v", name, err)
		}
		if err := Tell(t.Context(), s, root, model.ManageAgain{Manager: name, Links: []string{"eth0"}}, Hands{}); err != nil {
			t.Errorf("%s: what was never told: %v", name, err)
		}
	}
}

func TestTellNobody(t *testing.T) {
	root := t.TempDir()
	for _, op := range []model.Operation{model.LeaveAlone{Manager: "acme", Links: []string{"eth0"}}, model.SetUp{Link: "eth0"}} {
		if err := Tell(t.Context(), page(nil), root, op, Hands{}); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%v: %v", op, err)
		}
	}
	if err := Tell(t.Context(), page(nil), root, model.LeaveAlone{Manager: Networkd}, Hands{}); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 0 {
		t.Errorf("it wrote %v, %v", entries, err)
	}
}

// A folder that cannot be written to is an error of its own, not a manager that is silent.
func TestTellReadOnly(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "run"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var unheard *Unheard
	if err := Tell(t.Context(), page(nil), root, model.LeaveAlone{Manager: Networkd, Links: []string{"br0"}}, Hands{}); err == nil || errors.As(err, &unheard) {
		t.Errorf("%v", err)
	}
}

// One that does not understand what it is told has its file all the same.
func TestTellInVain(t *testing.T) {
	conn, socket := startBus(t)
	serve(t, conn, service{}) // it has the name, and knows no Reload
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var unheard *Unheard
	if err := Tell(ctx, onBus(t, socket), t.TempDir(), model.LeaveAlone{Manager: NetworkManager, Links: []string{"br0"}}, Hands{}); !errors.As(err, &unheard) {
		t.Errorf("%v", err)
	}
}
