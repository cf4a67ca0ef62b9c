package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"

	"pgregory.net/rapid"
)

// site is a host with the network lan on br0, and a bridge of somebody else's.
func site() (plan.Owned, *model.Namespace) {
	return plan.Owned{Networks: []plan.OwnedNetwork{{Name: "lan", Bridge: "br0"}}},
		&model.Namespace{
			Links: []model.Link{
				{Name: "br0", Index: 2, Kind: model.Bridged, MAC: "02:11:22:33:44:55", MTU: 1400},
				{Name: "br1", Index: 3, Kind: model.Bridged, MAC: "02:11:22:33:44:56", MTU: 1500},
				{Name: "eth0", Index: 4, Kind: model.Physical, MAC: "02:11:22:33:44:55", Master: "br0"},
			},
			FDB: []model.FDBEntry{{Link: "eth0", Master: "br0", MAC: "02:aa:00:00:00:99"}},
		}
}

func alice() Peer {
	return Peer{UID: 1000, Groups: []uint32{1000}, PID: 77, Started: 123, User: "alice"}
}

func decide(t *testing.T, peer Peer, r Request, own plan.Owned, here *model.Namespace, acl error) (Grant, error) {
	t.Helper()
	if r.Kind == "" {
		r.Kind = KindDescriptor
	}
	return Decide(peer, r, Facts{Policy: policy(t, examplePolicy), Owned: own, Here: here, Seed: "seed", ACL: func(string) error { return acl }})
}

func TestDecide(t *testing.T) {
	own, here := site()
	g, err := decide(t, alice(), Request{Network: "lan", Machine: "web"}, own, here, nil)
	if err != nil {
		t.Fatal(err)
	}
	if g.Tap != "dbtap0" || g.Bridge != "br0" || g.MTU != 1400 || !strings.HasPrefix(string(g.MAC), "02:aa:00:") || !strings.HasPrefix(string(g.PortMAC), "fe:") || len(g.Security.From.List) != 2 || g.Security.Level != model.SecurityStrict {
		t.Errorf("%+v", g)
	}
	again, err := decide(t, alice(), Request{Network: "lan", Machine: "web"}, own, here, nil)
	if err != nil || again.MAC != g.MAC {
		t.Errorf("the same machine has %s, then %s: %v", g.MAC, again.MAC, err)
	}
	asked, err := decide(t, alice(), Request{Network: "lan", MAC: "02:aa:00:00:00:01"}, own, here, nil)
	if err != nil || asked.MAC != "02:aa:00:00:00:01" {
		t.Errorf("%+v %v", asked, err)
	}
	helper, err := decide(t, Peer{UID: 4711}, Request{Network: "br1", Helper: true}, own, here, nil)
	if err != nil || helper.MAC != "" || helper.Bridge != "br1" {
		t.Errorf("%+v %v", helper, err)
	}
}

func lent(name string, uid uint32, network string, mac model.MAC, machine string) plan.OwnedLink {
	return plan.OwnedLink{Name: name, Index: 9, Kind: model.TapKind, Added: &plan.AddedTap{By: plan.ByBroker, Network: network, MAC: mac, Machine: machine, Holder: &plan.TapHolder{UID: uid, PID: 55}}}
}

func TestDecideRefuses(t *testing.T) {
	own, here := site()
	full := own.With(lent("dbtap0", 1000, "lan", "02:aa:00:00:00:01", "web")).With(lent("dbtap1", 1000, "lan", "02:aa:00:00:00:02", ""))
	others := own.With(lent("dbtap0", 1002, "lan", "02:aa:00:00:00:01", "web"))
	for name, tc := range map[string]struct {
		peer Peer
		r    Request
		own  plan.Owned
		acl  error
		kind string
		want string
	}{
		"no network":              {alice(), Request{Network: "lam"}, own, nil, KindDenied, "no such network here"},
		"no bridge":               {alice(), Request{Network: "eth0"}, own, nil, KindDenied, "neither a network nor a bridge"},
		"not hers":                {alice(), Request{Network: "br1"}, own, nil, KindDenied, "alice may not plug into br1\n  hint: this user may plug into: lan"},
		"a stranger":              {Peer{UID: 4711}, Request{Network: "lan"}, own, nil, KindDenied, "user 4711 may not"},
		"refused by rule":         {Peer{UID: 1001, User: "bob"}, Request{Network: "lan"}, own, nil, KindDenied, "bob may not"},
		"the helper's rule too":   {Peer{UID: 1001, User: "bob"}, Request{Network: "lan", Helper: true}, own, nil, KindDenied, "bob may not"},
		"root is a user":          {Peer{UID: 0, User: "root"}, Request{Network: "lan"}, own, nil, KindDenied, "root may not"},
		"not in the access file":  {Peer{UID: 4711}, Request{Network: "br1", Helper: true}, own, errors.New("denied by bridge.conf"), KindDenied, "denied by bridge.conf"},
		"quota":                   {alice(), Request{Network: "lan"}, full, nil, KindQuota, "alice has 2 of 2 taps already: dbtap0 dbtap1"},
		"a MAC outside":           {alice(), Request{Network: "lan", MAC: "02:bb:00:00:00:01"}, own, nil, KindDenied, "not one that alice may have\n  hint: choose one of [02:aa:00:00:00:00/24]"},
		"another VM's MAC":        {alice(), Request{Network: "lan", MAC: "02:aa:00:00:00:01"}, others, nil, KindTaken, "somebody else's already"},
		"a LAN host's MAC":        {alice(), Request{Network: "lan", MAC: "02:aa:00:00:00:99"}, own, nil, KindTaken, "somebody else's already"},
		"a MAC without a range":   {Peer{UID: 5, Groups: []uint32{104}}, Request{Network: "br1", MAC: "02:bb:00:00:00:01"}, own, nil, KindDenied, "may not choose a MAC address"},
		"another's machine":       {alice(), Request{Network: "lan", Machine: "web"}, others, nil, KindTaken, "a machine web already"},
		"named, elsewhere":        {Peer{UID: 1000, PID: 7, Started: 1, Elsewhere: true}, Request{Network: "lan", Kind: KindNamed}, own, nil, KindInvalid, "another network namespace"},
		"named, without an end":   {Peer{UID: 1000, PID: 0}, Request{Network: "lan", Kind: KindNamed}, own, nil, KindInvalid, "cannot see this process"},
		"helper beyond its quota": {Peer{UID: 6}, Request{Network: "br1", Helper: true}, own.With(lent("a", 6, "br1", "", "")).With(lent("b", 6, "lan", "", "")).With(lent("c", 6, "x", "", "")), nil, KindQuota, "has 3 of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decide(t, tc.peer, tc.r, tc.own, here, tc.acl)
			var no *Refusal
			if !errors.As(err, &no) || no.Kind != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %#v %v lacks %s %q", no, err, tc.kind, tc.want)
			}
		})
	}
}

// Whoever asks for whatever in whatever order: nobody ever has more than his quota, no two
// VMs one address, and no two taps one name.
func TestRandomRequestsKeepTheBounds(t *testing.T) {
	p, err := ParsePolicy("broker.yaml", []byte(examplePolicy), accounts)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		own, here := site()
		for i := range rapid.IntRange(1, 30).Draw(t, "requests") {
			peer := Peer{UID: rapid.SampledFrom([]uint32{0, 6, 1000, 1001, 1002}).Draw(t, "uid"), PID: 100 + i, Started: 1}
			if rapid.Bool().Draw(t, "kvm") {
				peer.Groups = []uint32{104}
			}
			r := Request{Network: rapid.SampledFrom([]string{"lan", "br1", "br0", "none"}).Draw(t, "network"), Kind: rapid.SampledFrom([]string{KindDescriptor, KindNamed}).Draw(t, "kind"),
				Helper: rapid.Bool().Draw(t, "helper"), Machine: rapid.SampledFrom([]string{"", "web", "db"}).Draw(t, "machine")}
			if rapid.Bool().Draw(t, "chooses") {
				r.MAC = model.MAC(fmt.Sprintf("02:aa:00:00:00:%02x", rapid.IntRange(0, 3).Draw(t, "mac")))
			}
			g, err := Decide(peer, r, Facts{Policy: &p, Owned: own, Here: here, Seed: "s", ACL: func(string) error { return nil }})
			if err != nil {
				continue
			}
			added := g.added()
			own = own.With(plan.OwnedLink{Name: g.Tap, Kind: model.TapKind, Added: &added})
			here.Links = append(here.Links, model.Link{Name: g.Tap, Kind: model.TapKind, MAC: g.PortMAC, Master: g.Bridge})
		}
		names, macs, count := map[string]bool{}, map[model.MAC]bool{}, map[uint32]int{}
		for _, l := range own.Brokered() {
			if names[l.Name] || l.Added.MAC != "" && macs[l.Added.MAC] {
				t.Fatalf("twice: %+v", l)
			}
			names[l.Name], macs[l.Added.MAC] = true, true
			count[l.Added.Holder.UID]++
		}
		if count[1001] > 0 || count[0] > DefaultTaps || count[1000] > 2+DefaultTaps+3 {
			t.Fatalf("%v", count)
		}
	})
}

func TestEnds(t *testing.T) {
	own, here := site()
	add := func(name string, index int, persistent bool, mac model.MAC) {
		here.Links = append(here.Links, model.Link{Name: name, Index: index, Kind: model.TapKind, MAC: mac, Master: "br0", Tap: &model.Tap{Persistent: persistent}})
	}
	record := func(name string, index, pid int, named bool) {
		l := lent(name, 1000, "lan", "", "")
		l.Index, l.Added.PortMAC = index, "fe:00:00:00:00:01"
		l.Added.Holder = &plan.TapHolder{UID: 1000, User: "alice", PID: pid, Started: 5, Named: named}
		own = own.With(l)
	}
	for i, tap := range []struct {
		name       string
		there      bool
		index      int // of the link, 0: that of the record
		persistent bool
		mac        model.MAC
		named      bool
		pid        int
	}{
		{name: "fine", there: true, mac: "fe:00:00:00:00:01", pid: 1},
		{name: "holder-gone", there: true, mac: "fe:00:00:00:00:01", pid: 2}, // its descriptor may be another's by now
		{name: "gone", pid: 1},
		{name: "remade", there: true, index: 99, mac: "fe:00:00:00:00:01", pid: 1},
		{name: "kept", there: true, persistent: true, mac: "fe:00:00:00:00:01", pid: 1},
		{name: "spoof", there: true, mac: "02:11:22:33:44:55", pid: 1},
		{name: "named-fine", there: true, persistent: true, mac: "fe:00:00:00:00:01", named: true, pid: 1},
		{name: "named-dead", there: true, persistent: true, mac: "fe:00:00:00:00:01", named: true, pid: 2},
	} {
		record(tap.name, 10+i, tap.pid, tap.named)
		if tap.there {
			index := 10 + i
			if tap.index != 0 {
				index = tap.index
			}
			add(tap.name, index, tap.persistent, tap.mac)
		}
	}
	var got []string
	for _, e := range ends(own, here, func(h *plan.TapHolder) bool { return h.PID == 1 }) {
		got = append(got, e.String())
	}
	want := `gone of alice: given back
remade of alice: given back
kept of alice: its holder made it persistent: deleted
spoof of alice: its holder gave it the MAC address 02:11:22:33:44:55: deleted
named-dead of alice: its process 2 has ended: deleted`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
