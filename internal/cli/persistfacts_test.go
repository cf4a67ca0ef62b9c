package cli

import (
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/persist"
)

// Whose words the files are in: of two managers that have the uplink neither is chosen, and one
// that nobody knows is named.
func TestManagerOf(t *testing.T) {
	of := func(names ...string) (all []model.Manager) {
		for _, n := range names {
			all = append(all, model.Manager{Name: n, Acts: true})
		}
		return all
	}
	for _, c := range []struct {
		managers []model.Manager
		want     string
		refused  string
	}{
		{nil, persist.OwnUnit, ""},
		{of(model.Networkd), persist.Networkd, ""},
		{of(model.Networkd, model.Networkd), persist.Networkd, ""},
		{[]model.Manager{{Name: model.Networkd, Writer: "netplan"}}, persist.Netplan, ""},
		{of(model.NetworkManager, model.Networkd), "", "NetworkManager and networkd all manage the uplink"},
	} {
		got, err := managerOf(c.managers)
		if got != c.want || (err == nil) != (c.refused == "") || err != nil && (!strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "--manager ")) {
			t.Errorf("%v: %q, %v", c.managers, got, err)
		}
	}
	name, err := managerOf(of("acmed"))
	if err != nil || name != "acmed" {
		t.Fatalf("%q, %v", name, err)
	}
	if _, err := persist.Find(name); err == nil || !strings.Contains(err.Error(), "acmed: nothing can be written") || !strings.Contains(err.Error(), "unit") {
		t.Errorf("a manager that nobody knows: %v", err)
	}
	if managerNames["acmed"] != "" || managerNames[persist.OwnUnit] != "" {
		t.Error("nobody can take it over, and is asked to")
	}
}
