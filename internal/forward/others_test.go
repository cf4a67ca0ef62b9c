package forward_test

import (
	"strings"
	"testing"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
)

func save(forwardPolicy string, rules ...string) string {
	return "*nat\n:FORWARD DROP [0:0]\n-A FORWARD -j DROP\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD " + forwardPolicy + " [0:0]\n" + chains(rules) + strings.Join(rules, "\n") + "\nCOMMIT\n"
}

// chains are those that rules are in, as iptables-save(8) tells of them first.
func chains(rules []string) (out string) {
	for _, r := range rules {
		if name := strings.Fields(r)[1]; name != "FORWARD" && !strings.Contains(out, ":"+name+" ") {
			out += ":" + name + " - [0:0]\n"
		}
	}
	return out
}

const ours = `-A FORWARD -i br1 -o eth0 -m comment --comment "drawbridge:private" -j ACCEPT`

// What drops in the end, and where ours belong: as late as they can be.
func TestReadIptables(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		drops string
		end   int
		ours  int
		late  bool
	}{
		"nothing drops":           {save("ACCEPT", "-A FORWARD -s 198.18.9.0/24 -j DROP"), "", -1, 0, false},
		"Docker":                  {save("DROP", "-A FORWARD -j DOCKER-USER", "-A FORWARD -o docker0 -j DOCKER", "-A DOCKER-USER -j RETURN", "-A DOCKER -j RETURN"), "policy of its FORWARD is DROP", -1, 0, false},
		"with ours":               {save("DROP", "-A FORWARD -j DOCKER-USER", ours, "-A DOCKER-USER -j RETURN"), "policy", -1, 1, false},
		"ours before others":      {save("DROP", ours, "-A FORWARD -j ufw-before-forward", "-A ufw-before-forward -s 198.18.9.0/24 -j DROP"), "policy", -1, 1, true},
		"ours before a log":       {save("DROP", ours, "-A FORWARD -j LOG --log-prefix \"gone \""), "policy", -1, 1, false},
		"a rule at the end":       {save("ACCEPT", "-A FORWARD -s 198.18.9.0/24 -j ACCEPT", ours, "-A FORWARD -j REJECT --reject-with icmp-host-prohibited"), "REJECT", 2, 1, false},
		"ours behind the end":     {save("ACCEPT", "-A FORWARD -j REJECT", ours), "REJECT", 0, 1, true},
		"ufw that rejects":        {save("DROP", "-A FORWARD -j ufw-before-forward", "-A FORWARD -j ufw-reject-forward", "-A ufw-reject-forward -j REJECT", "-A ufw-before-forward -m conntrack --ctstate ESTABLISHED -j ACCEPT"), "REJECT", 1, 0, false},
		"firewalld by iptables":   {save("ACCEPT", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A FORWARD -j FORWARD_ZONES", "-A FORWARD -j REJECT", "-A FORWARD_ZONES -g FWD_public", "-A FWD_public -j REJECT"), "REJECT", 1, 0, false},
		"a comment and no more":   {save("ACCEPT", `-A FORWARD -m comment --comment "no -j ACCEPT here" -j DROP`), "DROP", 0, 0, false},
		"an option without value": {save("ACCEPT", "-A FORWARD -m physdev --physdev-is-bridged -j DROP"), "", -1, 0, false},
		"a chain that comes back": {save("ACCEPT", "-A FORWARD -j GUARD", "-A GUARD -j RETURN", "-A GUARD -j DROP"), "", -1, 0, false},
		"chains in a circle":      {save("ACCEPT", "-A FORWARD -j A", "-A A -j B", "-A B -j A"), "", -1, 0, false},
		"not this table":          {save("ACCEPT"), "", -1, 0, false},
		"nonsense":                {"*filter\n-A\n-A FORWARD\n-A FORWARD -j\n-A FORWARD --comment\n:\n", "", -1, 0, false},
	} {
		table, drops := forward.ParseIptables(c.text)
		f, end := table.Read(model.Firewall{Name: "ip6tables-nft", IPv6: true}, "FORWARD", drops["FORWARD"])
		if (f.Drops == "") != (c.drops == "") || !strings.Contains(f.Drops, c.drops) || end != c.end || len(f.Ours) != c.ours {
			t.Errorf("%s: %+v, end %d", name, f, end)
		}
		if c.ours == 1 {
			is := f.Ours[0]
			if is.Misplaced != c.late {
				t.Errorf("%s: %+v", name, is)
			}
			if is.Misplaced = false; !is.Same(model.Passage{Network: "private", Firewall: "ip6tables-nft", Crossings: []model.Crossing{{In: "br1", Out: "eth0"}}}) {
				t.Errorf("%s: %+v", name, is)
			}
		}
	}
}

// What is for the host: a port.
func TestReadInput(t *testing.T) {
	const text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -i br1 -p udp -m udp --dport 53 -m comment --comment drawbridge:private -j ACCEPT\nCOMMIT\n"
	table, drops := forward.ParseIptables(text)
	f, _ := table.Read(model.Firewall{Name: "iptables-legacy", Input: true, IPv4: true}, "INPUT", drops["INPUT"])
	want := model.Passage{Network: "private", Firewall: "iptables-legacy", Input: true, Crossings: []model.Crossing{{In: "br1", Protocol: "udp", Port: 53}}}
	if len(f.Ours) != 1 || !f.Ours[0].Same(want) {
		t.Errorf("%+v", f)
	}
	if got := forward.Restore(text, want, -1); got != "*filter\n-D INPUT -i br1 -p udp -m udp --dport 53 -m comment --comment drawbridge:private -j ACCEPT\n-A INPUT -i br1 -p udp -m udp --dport 53 -m comment --comment drawbridge:private -j ACCEPT\nCOMMIT\n" {
		t.Errorf("%s", got)
	}
}

func TestRestore(t *testing.T) {
	p := model.Passage{Network: "private", Firewall: "iptables-nft", Crossings: []model.Crossing{{In: "br1", Out: "eth0"}, {In: "eth0", Out: "br1"}}}
	// One of ours that somebody has changed goes as it is, that of another network stays.
	was := save("DROP", "-A FORWARD -s 198.18.9.0/24 -j DROP", `-A FORWARD -i br1 -o eth0 -s 198.18.7.10/32 -m comment --comment drawbridge:private -j ACCEPT`,
		`-A FORWARD -i br2 -o eth0 -m comment --comment drawbridge:other -j ACCEPT`, "-A FORWARD -j REJECT")
	want := `*filter
-D FORWARD -i br1 -o eth0 -s 198.18.7.10/32 -m comment --comment drawbridge:private -j ACCEPT
-I FORWARD 3 -i br1 -o eth0 -m comment --comment drawbridge:private -j ACCEPT
-I FORWARD 4 -i eth0 -o br1 -m comment --comment drawbridge:private -j ACCEPT
COMMIT
`
	if got := forward.Restore(was, p, 3); got != want {
		t.Errorf("%s", got)
	}
	if got := forward.Restore(save("DROP"), p, -1); strings.Count(got, "-A FORWARD") != 2 {
		t.Errorf("%s", got)
	}
	if got := forward.Restore(save("DROP"), model.Passage{Network: "private"}, -1); got != "" {
		t.Errorf("%q", got)
	}
	between := p.Crossings
	for _, bad := range []model.Passage{{}, {Network: "a b", Firewall: "x", Crossings: between}, {Network: "a", Firewall: "x", Crossings: []model.Crossing{{In: "-j", Out: "ACCEPT"}}}, {Network: "a", Firewall: "x"},
		{Network: "a", Firewall: "x", Input: true, Crossings: between}, {Network: "a", Firewall: "x", Crossings: []model.Crossing{{In: "br1", Protocol: "udp", Port: 53}}},
		{Network: "a", Firewall: "x", Zone: "trusted", Crossings: []model.Crossing{{In: "br1"}}}, {Network: "a", Firewall: model.Firewalld, Crossings: []model.Crossing{{In: "br1"}}},
		{Network: "a", Firewall: model.Firewalld, Zone: "trusted", Crossings: between}} {
		if bad.Check() == nil {
			t.Errorf("%+v is one", bad)
		}
	}
}

// The zones of firewalld's links, by the chains that it makes (1.3.3, its default zone public).
func TestReadFirewalld(t *testing.T) {
	table := forward.Table{
		"filter_FORWARD": {{Matches: []model.FirewallMatch{{Key: "ct state", Values: []string{"established", "related"}}}, Verdict: "accept"},
			{Verdict: "jump", Target: "filter_FORWARD_ZONES"}, {Verdict: "reject"}},
		"filter_FORWARD_ZONES": {{Matches: []model.FirewallMatch{{Key: "iifname", Values: []string{"br1"}}}, Verdict: "goto", Target: "filter_FWD_trusted"},
			{Matches: []model.FirewallMatch{{Key: "ip saddr", Values: []string{"198.18.9.0/24"}}}, Verdict: "goto", Target: "filter_FWD_drop"}, {Verdict: "goto", Target: "filter_FWD_public"}},
		"filter_FWD_public": {{Verdict: "jump", Target: "filter_FORWARD_POLICIES_pre"}, {Verdict: "reject"}},
	}
	f := forward.ReadFirewalld(table, "filter_FORWARD")
	if f.Drops == "" || len(f.Zones) != 2 || f.Zones["br1"] != "trusted" || f.Zones[""] != "public" {
		t.Errorf("%+v", f)
	}
}
