package doctor

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

const uplinkMAC, tapMAC = model.MAC("02:00:00:00:00:05"), model.MAC("fe:00:00:00:00:07")

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }

func static(link, p string) model.Address {
	return model.Address{Link: link, Prefix: prefix(p), Origin: model.Static}
}

// healthy is a host as 'up' leaves it: eth0 and a machine's tap0 are in br0, which has the
// host's address and its default route.
func healthy() Host {
	port := func() *model.BridgePort {
		return &model.BridgePort{State: "forwarding", Learning: true, Flood: true}
	}
	s := model.Snapshot{Namespaces: []model.Namespace{{
		Links: []model.Link{
			{Name: "br0", Kind: model.Bridged, MAC: uplinkMAC, MTU: 1500, Up: true, Carrier: true, OperState: "up", Bridge: &model.Bridge{McastSnooping: true}},
			{Name: "eth0", Kind: model.Physical, MAC: uplinkMAC, MTU: 1500, Up: true, Carrier: true, OperState: "up", Master: "br0", Port: port()},
			{Name: "tap0", Kind: model.TapKind, MAC: tapMAC, MTU: 1500, Up: true, Carrier: true, OperState: "up", Master: "br0", Port: port(),
				Tap: &model.Tap{Persistent: true, VnetHeader: true, Holders: []model.Holder{{PID: 9, Command: "linux.uml", Machine: "web"}}}},
		},
		Addresses: []model.Address{static("br0", "198.18.0.5/24"), static("br0", "2001:db8::5/64")},
		Routes: []model.Route{
			{Table: model.TableMain, Type: "unicast", Destination: prefix("0.0.0.0/0"), Protocol: "static", Scope: "global", NextHops: []model.NextHop{{Link: "br0", Gateway: ip("198.18.0.1")}}},
			{Table: model.TableMain, Type: "unicast", Destination: prefix("198.18.0.0/24"), Protocol: "kernel", Scope: "link", NextHops: []model.NextHop{{Link: "br0"}}},
		},
		Settings: map[string]string{
			"ipv4/ip_forward": "0", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/br0/rp_filter": "0",
			"ipv6/conf/br0/accept_ra": "1", "ipv6/conf/br0/forwarding": "0", "ipv6/conf/br0/autoconf": "1",
		},
	}}, Machines: []model.Machine{
		{Name: "web", VMM: "uml", State: model.MachineRunning, PID: 9, NICs: []model.MachineNIC{{Name: "eth1", MAC: "02:00:00:00:00:07", Link: model.Ref{Name: "tap0"}}}},
	}}
	s.Sort()
	return Host{Snapshot: s, Facts: Facts{
		Owned:    plan.Owned{Uplinks: []plan.OwnedUplink{{Name: "eth0", Bridge: "br0", Host: "move"}}},
		Offloads: map[string]bool{"tap0": true},
		Queriers: map[string]netip.Addr{"br0": ip("198.18.0.1")}, Persisted: "/etc/systemd/network",
	}}
}

// sick is a case of a check: what is changed of a healthy host, and what is found then.
type sick struct {
	name   string
	change func(*Host)
	// want is "severity sure check:object", and what is among the words of the finding;
	// "" for nothing.
	want string
	says string
}

func link(h *Host, name string) *model.Link { return h.Snapshot.Here().Link(name) }

// run examines the cases of one check, and mends what is found on the simulated kernel:
// the mend must be possible, and the finding gone.
func run(t *testing.T, cases []sick) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := healthy()
			c.change(&h)
			h.Snapshot.Sort()
			r := Examine(h)
			var got []string
			for _, f := range r.Findings {
				got = append(got, string(f.Severity)+" "+string(f.Sure)+" "+f.Name())
			}
			if c.want == "" {
				if len(got) > 0 {
					t.Errorf("found %v", got)
				}
				return
			}
			if len(got) != 1 || got[0] != c.want {
				t.Fatalf("found %q, want %q", got, c.want)
			}
			f := r.Findings[0]
			if all := f.What + "\n" + strings.Join(f.Seen, "\n") + "\n" + f.Mend.Says + "\n" + strings.Join(f.Mend.Commands, "\n"); !strings.Contains(all, c.says) {
				t.Errorf("%q is not in\n%s", c.says, all)
			}
			if f.Mend.Fixable() {
				mended(t, h, f)
			}
		})
	}
}

// mended carries the mend out in memory.
func mended(t *testing.T, h Host, f Finding) {
	t.Helper()
	p, err := plan.Mend(h.Snapshot, h.Facts.Owned, f.Mend.Steps)
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.After()
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range p.Steps {
		if len(st.Commands(plan.Modern)) == 0 {
			t.Errorf("%s: no command", st.Title)
		}
		switch op := st.Do.(type) { // what is in no snapshot
		case model.ResetOffloads:
			h.Facts.Offloads = map[string]bool{op.Link: false}
		case model.SetSetting:
			for i := range h.Facts.Neighbours {
				if strings.HasSuffix(op.Path, "gc_thresh3") {
					h.Facts.Neighbours[i].Hard *= 4
				}
			}
		}
	}
	h.Snapshot = after
	if still, is := Examine(h).Still(f); is {
		t.Errorf("mended, and still there: %s", still.What)
	}
	for i := len(p.Steps) - 1; i >= 0; i-- {
		for _, op := range p.Steps[i].Undo {
			if err := after.Apply(op); err != nil {
				t.Errorf("undo of %q: %v", p.Steps[i].Title, err)
			}
		}
	}
}

func TestHealthy(t *testing.T) {
	r := Examine(healthy())
	if len(r.Findings) != 0 || len(r.Unchecked) != 0 {
		t.Errorf("%+v\n%v", r.Findings, r.Unchecked)
	}
}

// TestChecksTell holds that every check can be explained, and is named as it should be.
func TestChecksTell(t *testing.T) {
	var ids []string
	for _, c := range Checks() {
		ids = append(ids, c.ID)
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`).MatchString(c.ID) {
			t.Errorf("%s: not kebab-case of two words or more", c.ID)
		}
		for what, text := range map[string]string{"title": c.Title, "shows": c.Shows, "knows": c.Knows, "mends": c.Mends} {
			if len(text) < 15 || strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s: %q", c.ID, what, text)
			}
		}
		if got, ok := Explain(c.ID); !ok || got.ID != c.ID {
			t.Errorf("%s is not found", c.ID)
		}
	}
	if slices.Sort(ids); len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("an id is used twice: %v", ids)
	}
	if _, ok := Explain("nonsense"); ok {
		t.Error("nonsense is explained")
	}
}

// A fact that could not be had makes a check impossible, and is told.
func TestUnchecked(t *testing.T) {
	h := healthy()
	h.Facts.Unknown = map[Fact]string{FactFirewall: "nft: not permitted"}
	r := Examine(h)
	at := slices.IndexFunc(r.Unchecked, func(u Unchecked) bool { return u.Check == "bridge-filter" })
	if at < 0 || r.Unchecked[at].Why != "the firewall's rules: nft: not permitted" {
		t.Errorf("%+v", r.Unchecked)
	}
	if slices.Contains(r.Checked, "bridge-filter") {
		t.Error("it is told as checked")
	}
}

func TestGravestFirst(t *testing.T) {
	h := healthy()
	check := func(id string, s Severity, sure Sureness) Check {
		return Check{ID: id, Find: func(*Host) []Finding { return []Finding{{Object: "x", Severity: s, Sure: sure}} }}
	}
	r := examine(h, []Check{check("a", Note, Certain), check("b", Risk, Certain), check("c", Broken, Likely), check("d", Broken, Certain), check("e", Risk, Certain)})
	var order string
	for _, f := range r.Findings {
		order += f.Check
	}
	if order != "dcbea" || r.Wrong() != 4 {
		t.Errorf("%s, %d wrong", order, r.Wrong())
	}
}

func TestParseCounters(t *testing.T) {
	got := ParseCounters("TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 12\nIpExt: InNoRoutes\nIpExt: 3\nIpExt: cut\n")
	if got["TcpExt IPReversePathFilter"] != 12 || got["IpExt InNoRoutes"] != 3 || len(got) != 3 {
		t.Errorf("%v", got)
	}
}
