package forward_test

import (
	"strings"
	"testing"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
)

func save(forwardPolicy string, rules ...string) string {
	return "*nat\n:FORWARD DROP [0:0]\n-A FORWARD -j DROP\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD " + forwardPolicy + " [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
}

// What drops in the end, and where ours belong: as late as they can be.
func TestReadIptables(t *testing.T) {
	const ours = `-A FORWARD -i br1 -o eth0 -m comment --comment "drawbridge:private" -j ACCEPT`
	for name, c := range map[string]struct {
		text  string
		drops string
		place int
		ours  int
	}{
		"nothing drops":           {save("ACCEPT", "-A FORWARD -s 198.18.9.0/24 -j DROP"), "", 0, 0},
		"Docker":                  {save("DROP", "-A FORWARD -j DOCKER-USER", "-A FORWARD -o docker0 -j DOCKER", "-A DOCKER-USER -j RETURN"), "policy", 0, 0},
		"with ours":               {save("DROP", "-A FORWARD -j DOCKER-USER", ours, "-A DOCKER-USER -j RETURN"), "policy", 0, 1},
		"a rule at the end":       {save("ACCEPT", "-A FORWARD -s 198.18.9.0/24 -j ACCEPT", ours, "-A FORWARD -j REJECT --reject-with icmp-host-prohibited"), "REJECT", 2, 1},
		"ours behind the end":     {save("ACCEPT", "-A FORWARD -j REJECT", ours), "REJECT", 1, 1},
		"ufw that rejects":        {save("DROP", "-A FORWARD -j ufw-before-forward", "-A FORWARD -j ufw-reject-forward", "-A ufw-reject-forward -j REJECT", "-A ufw-before-forward -m conntrack --ctstate ESTABLISHED -j ACCEPT"), "REJECT", 2, 0},
		"a chain that comes back": {save("ACCEPT", "-A FORWARD -j GUARD", "-A GUARD -j RETURN", "-A GUARD -j DROP"), "", 0, 0},
		"chains in a circle":      {save("ACCEPT", "-A FORWARD -j A", "-A A -j B", "-A B -j A"), "", 0, 0},
		"not this table":          {save("ACCEPT"), "", 0, 0},
		"nonsense":                {"*filter\n-A\n-A FORWARD\n-A FORWARD -j\n:\n", "", 0, 0},
	} {
		f, place := forward.ReadIptables("ip6tables-nft", c.text)
		if (f.Drops == "") != (c.drops == "") || !strings.Contains(f.Drops, c.drops) || place("private") != c.place || len(f.Ours) != c.ours || f.IPv4 || !f.IPv6 {
			t.Errorf("%s: %+v, place %d", name, f, place("private"))
		}
		if c.ours == 1 && !f.Ours[0].Same(model.Passage{Network: "private", Firewall: "ip6tables-nft", Crossings: []model.Crossing{{In: "br1", Out: "eth0"}}}) {
			t.Errorf("%s: %+v", name, f.Ours)
		}
	}
}

func TestRestore(t *testing.T) {
	p := model.Passage{Network: "private", Firewall: "iptables-nft", Crossings: []model.Crossing{{In: "br1", Out: "eth0"}, {In: "eth0", Out: "br1"}}}
	was := []model.Crossing{{In: "br1", Out: "eth1"}}
	want := `*filter
-D FORWARD -i br1 -o eth1 -m comment --comment drawbridge:private -j ACCEPT
-I FORWARD 3 -i br1 -o eth0 -m comment --comment drawbridge:private -j ACCEPT
-I FORWARD 4 -i eth0 -o br1 -m comment --comment drawbridge:private -j ACCEPT
COMMIT
`
	if got := forward.Restore(was, p, 3); got != want {
		t.Errorf("%s", got)
	}
	if got := forward.Restore(nil, p, 0); strings.Count(got, "-A FORWARD") != 2 {
		t.Errorf("%s", got)
	}
	for _, bad := range []model.Passage{{}, {Network: "a b", Firewall: "x", Crossings: p.Crossings}, {Network: "a", Firewall: "x", Crossings: []model.Crossing{{In: "-j", Out: "ACCEPT"}}}, {Network: "a", Firewall: "x"}} {
		if bad.Check() == nil {
			t.Errorf("%+v is one", bad)
		}
	}
}
