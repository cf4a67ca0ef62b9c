package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"

	"go.yaml.in/yaml/v4"
)

// Policy says who may plug into what. What no rule lets, is refused.
type Policy struct {
	// Rules are asked in their order: the first that speaks of the user and the network
	// decides.
	Rules []Rule
	// Helper lets qemu-bridge-helper's own access file decide where no rule does; nil: not.
	Helper *Helper
}

// Rule lets users plug into networks.
type Rule struct {
	// Everybody, or those who are one of Users or in one of Groups.
	Everybody bool
	Users     []uint32
	Groups    []uint32
	// Networks by their names or their bridges'; AllNetworks for whichever there is.
	Networks    []string
	AllNetworks bool
	// Taps that a user may have at a time by this rule; 0 refuses.
	Taps int
	// MACs that a user may ask for; where there are none, the broker chooses.
	MACs []MACRange
	Security
}

// Security is what the ports of a rule are secured with.
type Security struct {
	// Level is one of model's.
	Level string
	// Asked: the policy has a word about it. What is only the default is left out where the
	// kernel cannot.
	Asked bool
	// From are the addresses that a VM may send from.
	From plan.Sources
}

// port is the security of one port, nil for none. Without a MAC address it waits for one.
func (s Security) port(link string, mac model.MAC) *model.PortSecurity {
	return s.From.Port(link, s.Level, mac)
}

// Helper is how far qemu-bridge-helper's access file is heeded.
type Helper struct {
	ACL  string
	Taps int // that a user may have at a time by it
	Security
}

// DefaultTaps is how many a user may have where the policy says nothing.
const DefaultTaps = 4

// mostTaps a user may be given by a rule: a bridge takes no more.
const mostTaps = 1023

// Peer is who asks, as the kernel knows him.
type Peer struct {
	UID    uint32
	Groups []uint32 // the primary one, too
	PID    int      // 0: in a PID namespace that is not seen from here
	User   string   // "" for an id without a name
	// Started is the process's start in clock ticks after boot, 0 if it is not known.
	Started uint64
	// Elsewhere: the process is in another network namespace than the broker's.
	Elsewhere bool
}

// String names a peer for the log.
func (p Peer) String() string {
	if p.User == "" {
		return fmt.Sprintf("user %d (process %d)", p.UID, p.PID)
	}
	return fmt.Sprintf("%s (process %d)", p.User, p.PID)
}

// Accounts looks users and groups up by name.
type Accounts struct {
	User, Group func(name string) (uint32, error)
}

// policyFile is the file as it is written.
type policyFile struct {
	Rules []struct {
		Users     []string `yaml:"users"`
		Groups    []string `yaml:"groups"`
		Networks  []string `yaml:"networks"`
		Taps      *int     `yaml:"taps"`
		MACs      []string `yaml:"macs"`
		Security  string   `yaml:"security"`
		Addresses []string `yaml:"addresses"`
	} `yaml:"rules"`
	BridgeHelper *struct {
		ACL       string   `yaml:"acl"`
		Taps      *int     `yaml:"taps"`
		Security  string   `yaml:"security"`
		Addresses []string `yaml:"addresses"`
	} `yaml:"bridge_helper"`
}

// security reads the two keys that a rule and bridge_helper have in common. Where nothing
// is said of addresses, they are what addresses says.
func security(level string, words []string, addresses plan.Sources, fail func(format string, args ...any)) Security {
	s := Security{Level: model.SecurityStrict, Asked: level != "" || len(words) > 0, From: addresses}
	switch level {
	case "":
	case model.SecurityStrict, model.SecurityMAC, model.SecurityOff:
		s.Level = level
	default:
		fail("security: %q: strict, mac or off", level)
	}
	if len(words) == 0 {
		return s
	}
	var err error
	if s.From, err = plan.ParseSources(words); err != nil {
		fail("addresses: %v (hint: [dhcp], [198.18.0.100, 198.18.0.96/28])", err)
	}
	if s.Level != model.SecurityStrict {
		fail("addresses: are looked at with security: strict only")
	}
	return s
}

// ParsePolicy reads a policy file; name is for the messages. All its errors come as one.
func ParsePolicy(name string, data []byte, accounts Accounts) (Policy, error) {
	var f policyFile
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err == nil {
		err = loader.Load(&f)
	}
	if err != nil && !errors.Is(err, io.EOF) { // an empty file lets nobody
		return Policy{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := loader.Load(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Policy{}, fmt.Errorf("%s: a second document begins in it; a policy is one", name)
	}
	var p Policy
	var errs []error
	fail := func(rule int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: rule %d: %s", name, rule+1, fmt.Sprintf(format, args...)))
	}
	for i, in := range f.Rules {
		r := Rule{Taps: DefaultTaps}
		r.Users = accountsOf(in.Users, "user", accounts.User, &r.Everybody, func(s string) { fail(i, "%s", s) })
		r.Groups = accountsOf(in.Groups, "group", accounts.Group, nil, func(s string) { fail(i, "%s", s) })
		if len(in.Users)+len(in.Groups) == 0 {
			fail(i, "nobody is named (hint: users: [alice], groups: [kvm], or users: ['*'] for everybody)")
		}
		for _, n := range in.Networks {
			switch {
			case n == "*":
				r.AllNetworks = true
			case isNetwork(n):
				r.Networks = append(r.Networks, n)
			default:
				fail(i, "network %q: not a name", n)
			}
		}
		if len(in.Networks) == 0 {
			fail(i, "no network is named (hint: networks: [lan], or ['*'] for all)")
		}
		if in.Taps != nil {
			r.Taps = *in.Taps
		}
		if r.Taps < 0 || r.Taps > mostTaps {
			fail(i, "taps: %d: a number from 0, which refuses, to %d", r.Taps, mostTaps)
		}
		for _, s := range in.MACs {
			m, err := ParseMACRange(s)
			if err != nil {
				fail(i, "macs: %v (hint: 02:aa:00:00:00:00/24)", err)
			}
			r.MACs = append(r.MACs, m)
		}
		r.Security = security(in.Security, in.Addresses, plan.Sources{DHCP: true}, func(format string, args ...any) { fail(i, format, args...) })
		p.Rules = append(p.Rules, r)
	}
	if h := f.BridgeHelper; h != nil {
		p.Helper = &Helper{ACL: h.ACL, Taps: DefaultTaps}
		p.Helper.Security = security(h.Security, h.Addresses, plan.Sources{Any: true}, func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: bridge_helper: %s", name, fmt.Sprintf(format, args...)))
		})
		if h.Taps != nil {
			p.Helper.Taps = *h.Taps
		}
		if h.ACL == "" {
			p.Helper.ACL = DefaultACL
		}
		if p.Helper.Taps < 0 || p.Helper.Taps > mostTaps {
			errs = append(errs, fmt.Errorf("%s: bridge_helper: taps: %d: a number from 0, which refuses, to %d", name, p.Helper.Taps, mostTaps))
		}
	}
	return p, errors.Join(errs...)
}

// accountsOf looks names up; a number is an id of its own. all is set by '*'.
func accountsOf(names []string, what string, look func(string) (uint32, error), all *bool, fail func(string)) []uint32 {
	var out []uint32
	for _, name := range names {
		if name == "*" && all != nil {
			*all = true
			continue
		}
		id, err := look(name)
		if err != nil {
			n, nerr := strconv.ParseUint(name, 10, 32)
			if nerr != nil {
				fail(fmt.Sprintf("%s %q: there is none of that name on this host", what, name))
				continue
			}
			id = uint32(n)
		}
		out = append(out, id)
	}
	return out
}

// find is the rule that decides about a peer and a network, nil if none speaks of them.
func (p *Policy) find(peer Peer, network, bridge string) *Rule {
	for i := range p.Rules {
		if r := &p.Rules[i]; r.speaksOf(peer) && r.covers(network, bridge) {
			return r
		}
	}
	return nil
}

func (r *Rule) speaksOf(peer Peer) bool {
	return r.Everybody || slices.Contains(r.Users, peer.UID) ||
		slices.ContainsFunc(peer.Groups, func(g uint32) bool { return slices.Contains(r.Groups, g) })
}

func (r *Rule) covers(network, bridge string) bool {
	return r.AllNetworks || slices.Contains(r.Networks, network) || slices.Contains(r.Networks, bridge)
}

// macAllowed tells whether a user may ask for an address.
func (r *Rule) macAllowed(m model.MAC) bool {
	return slices.ContainsFunc(r.MACs, func(x MACRange) bool { return x.Contains(m) })
}

// networksOf lists, for the refusal's hint, what a peer may plug into.
func (p *Policy) networksOf(peer Peer) []string {
	var out []string
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.speaksOf(peer) || r.Taps == 0 {
			continue
		}
		if r.AllNetworks {
			out = append(out, "all others")
		}
		out = append(out, r.Networks...)
	}
	return out
}
