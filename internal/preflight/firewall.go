package preflight

import (
	"fmt"
	"regexp"
	"strings"
)

// Firewall is what the firewalls of a namespace say.
type Firewall struct {
	Rules []Rule
	// ForwardDrop are the chains at the forward hook that drop by default.
	ForwardDrop []string
	// Accepts are rules by which something may pass that hook: those of chains that are not
	// of another hook.
	Accepts []Rule
	// Unread tells which firewall could not be read, and why.
	Unread []string
}

// Rule is a line of a ruleset.
type Rule struct {
	Where string // "nft inet filter input", "iptables filter INPUT"
	Line  string
}

// names tells whether a rule names a link as an interface: in quotes as nft(8) writes
// it, behind an option as iptables(8) does. Names that end in * or + stand for many.
func (r Rule) names(link string) bool {
	for _, m := range interfaceNames.FindAllStringSubmatch(r.Line, -1) {
		for _, name := range m[1:] {
			if prefix, many := strings.CutSuffix(strings.TrimSuffix(name, "+"), "*"); name == link || (many || strings.HasSuffix(name, "+")) && strings.HasPrefix(link, prefix) {
				return name != ""
			}
		}
	}
	return false
}

// acceptVerdict is a verdict, also of a map, and no part of a name.
var acceptVerdict = regexp.MustCompile(`(?:^|[\s:])accept(?:$|[\s,}])`)

var interfaceNames = regexp.MustCompile(`"([^"]+)"|(?:^|\s)(?:-i|-o|--in-interface|--out-interface|--physdev-in|--physdev-out)\s+"?([^\s"]+)`)

// firewall: a packet that came in by eth0 comes in by br0 now, and a rule for eth0 no
// longer sees it.
func (c *checker) firewall() {
	severity, hint := Warn, "add the same rule for "+c.move.To+" before; --fail-on-firewall refuses instead of warning"
	if c.FailOnFirewall {
		severity, hint = Refuse, "add the same rule for "+c.move.To+" before, and take this one out; or leave --fail-on-firewall out"
	}
	for _, r := range c.Facts.Firewall.Rules {
		if r.names(c.move.From) {
			c.add(severity, r.Where, fmt.Sprintf("a rule names %s, and no longer matches what then comes by %s: %s", c.move.From, c.move.To, r.Line), hint)
		}
	}
	for _, why := range c.Facts.Firewall.Unread {
		c.add(Note, "firewall", why+": rules that name "+c.move.From+" would no longer match", "run it with the rights to read them")
	}
}

// ParseNft reads `nft list ruleset`. Comments and descriptions of rules in netdev tables
// are left out: they are at the wire, where the link stays.
func ParseNft(text string) (f Firewall) {
	var table, chain, hook string
	depth := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		opens := strings.HasSuffix(line, "{")
		switch {
		case len(words) >= 3 && opens && words[0] == "table":
			table, chain, hook = strings.Join(words[1:len(words)-1], " "), "", ""
		case len(words) >= 3 && opens && depth == 1:
			chain, hook = words[1], ""
		case strings.HasPrefix(line, "type ") && strings.Contains(line, " hook "):
			_, rest, _ := strings.Cut(line, " hook ")
			hook, _, _ = strings.Cut(rest, " ")
			if hook == "forward" && strings.Contains(line, "policy drop") {
				f.ForwardDrop = append(f.ForwardDrop, "nft "+table+" "+chain)
			}
		case depth >= 2 && !strings.HasPrefix(table, "netdev") && !strings.HasPrefix(line, "comment ") && !strings.HasPrefix(line, "type "):
			rule, _, _ := strings.Cut(line, ` comment "`)
			if strings.Contains(rule, `"`) {
				f.Rules = append(f.Rules, Rule{"nft " + table + " " + chain, line})
			}
			if (hook == "" || hook == "forward") && acceptVerdict.MatchString(rule) {
				f.Accepts = append(f.Accepts, Rule{"nft " + table + " " + chain, line})
			}
		}
		depth += strings.Count(line, "{") - strings.Count(line, "}")
	}
	return f
}

// ParseIptables reads iptables-save(8)'s output; tool is its name. What is kept in
// nf_tables is nft's to list as well: managed tells that.
func ParseIptables(tool, text string) (f Firewall, managed bool) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "#"):
			managed = managed || strings.Contains(line, "(nf_tables)")
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":FORWARD DROP"):
			f.ForwardDrop = append(f.ForwardDrop, tool+" "+table+" FORWARD")
		case len(words) > 2 && words[0] == "-A":
			r := Rule{tool + " " + table + " " + words[1], line}
			f.Rules = append(f.Rules, r)
			if table == "filter" && words[1] != "INPUT" && words[1] != "OUTPUT" && strings.Contains(line, "-j ACCEPT") {
				f.Accepts = append(f.Accepts, r)
			}
		}
	}
	return f, managed
}

func (f *Firewall) merge(o Firewall) {
	f.Rules = append(f.Rules, o.Rules...)
	f.ForwardDrop = append(f.ForwardDrop, o.ForwardDrop...)
	f.Accepts = append(f.Accepts, o.Accepts...)
}
