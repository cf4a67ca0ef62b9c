package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Grant is what a request comes to: a tap that is still to be made.
type Grant struct {
	Peer     Peer
	Request  Request
	Tap      string
	Bridge   string
	MTU      int       // of the bridge, bytes
	MAC      model.MAC // of the VM's NIC, "" if none is agreed
	PortMAC  model.MAC // of the tap
	Security Security
}

// Facts are what a decision is made from, beside the request.
type Facts struct {
	Policy *Policy
	Owned  plan.Owned
	// Here is what [Host.ObserveLinks] tells.
	Here *model.Namespace
	// Seed makes chosen MAC addresses differ from another host's.
	Seed string
	// ACL asks qemu-bridge-helper's access file about a bridge, with the peer's rights.
	ACL func(bridge string) error
}

// tapPrefix is how the broker's taps are called: dbtap0, dbtap1 ...
const tapPrefix = "dbtap"

// Decide grants a request, or refuses it with a [*Refusal].
func Decide(peer Peer, r Request, f Facts) (Grant, error) {
	g := Grant{Peer: peer, Request: r}
	var err error
	if g.Bridge, err = f.Owned.BridgeOf(r.Network, f.Here); err != nil {
		var why *plan.Refusal
		errors.As(err, &why)
		return g, refuse(KindDenied, f.mayPlugInto(peer), "%s: %s", why.Object, why.Reason)
	}
	rule, err := f.rule(peer, r, g.Bridge)
	if err != nil {
		return g, err
	}
	if err := f.checkQuota(peer, rule); err != nil {
		return g, err
	}
	if err := f.checkHolder(peer, r); err != nil {
		return g, err
	}
	if len(f.Here.Ports(g.Bridge)) >= model.MaxPorts {
		return g, refuse(KindQuota, "", "%s has its %d ports, and takes no more", g.Bridge, model.MaxPorts)
	}
	if g.MAC, err = f.chooseMAC(peer, r, rule); err != nil {
		return g, err
	}
	g.Tap = f.freeName()
	g.MTU = f.Here.Link(g.Bridge).MTU
	// The highest of all: a bridge without an explicit address takes the lowest of its ports.
	g.PortMAC = MACRange{first: 0xfe << 40, bits: 8}.choose(f.Seed + "\x00port\x00" + g.Tap)
	g.Security = rule.Security
	return g, nil
}

// rule finds who decides: the policy, or for a helper its access file.
func (f Facts) rule(peer Peer, r Request, bridge string) (*Rule, error) {
	rule := f.Policy.find(peer, r.Network, bridge)
	if rule == nil && r.Helper && f.Policy.Helper != nil {
		if err := f.ACL(bridge); err != nil {
			return nil, refuse(KindDenied, "allow "+bridge+" in "+f.Policy.Helper.ACL, "%v", err)
		}
		rule = &Rule{Everybody: true, AllNetworks: true, Taps: f.Policy.Helper.Taps, Security: f.Policy.Helper.Security}
	}
	if rule == nil || rule.Taps == 0 {
		return nil, refuse(KindDenied, f.mayPlugInto(peer), "%s may not plug into %s", peer.name(), r.Network)
	}
	return rule, nil
}

func (f Facts) mayPlugInto(peer Peer) string {
	if may := f.Policy.networksOf(peer); len(may) > 0 {
		return "this user may plug into: " + strings.Join(may, ", ")
	}
	return "who runs the broker may add a rule for this user to its policy"
}

func (p Peer) name() string {
	if p.User != "" {
		return p.User
	}
	return fmt.Sprintf("user %d", p.UID)
}

func (f Facts) checkQuota(peer Peer, rule *Rule) error {
	var has []string
	for _, l := range f.Owned.Brokered() {
		if l.Added.Holder.UID == peer.UID && rule.covers(l.Added.Network, f.bridgeOf(l.Name)) {
			has = append(has, l.Name)
		}
	}
	if len(has) >= rule.Taps {
		return refuse(KindQuota, "end a VM first", "%s has %d of %d taps already: %s", peer.name(), len(has), rule.Taps, strings.Join(model.NameRuns(has), " "))
	}
	return nil
}

func (f Facts) bridgeOf(tap string) string {
	if l := f.Here.Link(tap); l != nil {
		return l.Master
	}
	return ""
}

// checkHolder refuses a tap by name to who could not open it, or whose end could not be
// seen; and a machine's name that another process has.
func (f Facts) checkHolder(peer Peer, r Request) error {
	if r.Kind == KindNamed {
		const hint = "ask for a descriptor (%FD%) instead"
		switch {
		case peer.Elsewhere:
			return refuse(KindInvalid, hint, "this process is in another network namespace than the broker, and cannot open a tap of it by name")
		case peer.PID == 0 || peer.Started == 0:
			return refuse(KindInvalid, hint, "the broker cannot see this process, nor when it ends")
		}
	}
	for _, l := range f.Owned.Brokered() {
		if h := l.Added.Holder; r.Machine != "" && l.Added.Machine == r.Machine && (h.UID != peer.UID || h.PID != peer.PID) {
			return refuse(KindTaken, "choose another --name", "there is a machine %s already, on %s", r.Machine, l.Name)
		}
	}
	return nil
}

// anyMAC are the addresses that nobody assigns: locally administered, unicast.
var anyMAC = MACRange{first: 0x02 << 40, bits: 8}

// macTries is how many addresses of a range are tried before it counts as full.
const macTries = 4096

func (f Facts) chooseMAC(peer Peer, r Request, rule *Rule) (model.MAC, error) {
	taken := f.takenMACs()
	ranges := rule.MACs
	if len(ranges) == 0 {
		ranges = []MACRange{anyMAC}
	}
	if r.MAC != "" {
		switch {
		case rule.macAllowed(r.MAC) && !taken[r.MAC]:
			return r.MAC, nil
		case rule.macAllowed(r.MAC):
			return "", refuse(KindTaken, "leave it to the broker", "MAC %s is somebody else's already", r.MAC)
		case len(rule.MACs) == 0:
			return "", refuse(KindDenied, "leave it to the broker", "%s may not choose a MAC address", peer.name())
		default:
			return "", refuse(KindDenied, fmt.Sprintf("choose one of %s", rule.MACs), "MAC %s is not one that %s may have", r.MAC, peer.name())
		}
	}
	if r.Helper {
		return "", nil // QEMU has chosen it, and did not tell its helper
	}
	// The same for the same user's same machine, so that it gets its address again; and
	// without a name, for his first VM, his second ...
	for n := range macTries {
		for _, x := range ranges {
			if m := x.choose(fmt.Sprintf("%s\x00%d\x00%s\x00%d", f.Seed, peer.UID, r.Machine, n)); m.Unicast() && !taken[m] {
				return m, nil
			}
		}
	}
	return "", refuse(KindQuota, "", "every MAC address that %s may have is in use", peer.name())
}

// takenMACs are the addresses of the links here, of what was heard behind their ports, and
// of the VMs that taps were given to.
func (f Facts) takenMACs() map[model.MAC]bool {
	taken := map[model.MAC]bool{}
	for _, l := range f.Here.Links {
		taken[l.MAC] = true
	}
	for _, e := range f.Here.FDB {
		taken[e.MAC] = true
	}
	for _, l := range f.Owned.Links {
		if l.Added != nil && l.Added.MAC != "" {
			taken[l.Added.MAC] = true
		}
	}
	return taken
}

func (f Facts) freeName() string {
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s%d", tapPrefix, n)
		owned := slices.ContainsFunc(f.Owned.Links, func(l plan.OwnedLink) bool { return l.Name == name })
		if f.Here.Link(name) == nil && !owned {
			return name
		}
	}
}

// added is the grant as it is remembered.
func (g Grant) added() plan.AddedTap {
	return plan.AddedTap{
		By: plan.ByBroker, Network: g.Request.Network, MAC: g.MAC, PortMAC: g.PortMAC, Machine: g.Request.Machine,
		Holder: &plan.TapHolder{UID: g.Peer.UID, User: g.Peer.User, PID: g.Peer.PID, Started: g.Peer.Started, Named: g.Request.Kind == KindNamed},
	}
}
