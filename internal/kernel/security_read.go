package kernel

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/portsec"
)

// nftChain is a chain of our table as the kernel tells it.
type nftChain struct {
	Name, Hook string
	Device     string
	Drop       bool
}

func inOurTable(b []byte) bool { return getString(findAttr(b, unix.NFTA_TABLE_NAME)) == portsec.Table }

// nftChains are the chains of our table, in the order in which they were made.
func (k *Kernel) nftChains(ctx context.Context) ([]nftChain, error) {
	var out []nftChain
	err := k.nftDump(ctx, func() *message { return nftMessage(unix.NFT_MSG_GETCHAIN, 0) }, func(b []byte) error {
		if !inOurTable(b) {
			return nil // older kernels tell the chains of all tables
		}
		c := nftChain{Name: getString(findAttr(b, unix.NFTA_CHAIN_NAME))}
		hook := findAttr(b, unix.NFTA_CHAIN_HOOK)
		if hook != nil {
			c.Hook, c.Device = portsec.Ingress, getString(findAttr(hook, unix.NFTA_HOOK_DEV))
			if getBE32(findAttr(hook, unix.NFTA_HOOK_HOOKNUM)) == hookEgress {
				c.Hook = portsec.Egress
			}
			c.Drop = getBE32(findAttr(b, unix.NFTA_CHAIN_POLICY)) == nftPolicyDrop
			if c.Device == "" { // one of several devices (nft_dump_basechain_hook)
				_ = walk(findAttr(hook, hookDevices), func(_ uint16, v []byte) { c.Device = getString(v) })
			}
		}
		out = append(out, c)
		return nil
	})
	return out, notThere(err)
}

// nftSets are the names of the sets of our table.
func (k *Kernel) nftSets(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	err := k.nftDump(ctx, func() *message { return nftMessage(unix.NFT_MSG_GETSET, 0) }, func(b []byte) error {
		if inOurTable(b) {
			out[getString(findAttr(b, unix.NFTA_SET_NAME))] = true
		}
		return nil
	})
	return out, notThere(err)
}

// notThere: a dump of a table that does not exist is empty.
func notThere(err error) error {
	switch {
	case isErrno(err, unix.ENOENT):
		return nil
	case isErrno(err, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT):
		return errNoNFT // nfnetlink has nobody for this subsystem
	default:
		return err
	}
}

// nftRule is a rule of our table: its expressions as the kernel tells them.
type nftRule struct {
	expressions []byte
	comment     string
	note        []byte
}

func (k *Kernel) nftRules(ctx context.Context) (map[string][]nftRule, error) {
	out := map[string][]nftRule{}
	err := k.nftDump(ctx, func() *message { return nftMessage(unix.NFT_MSG_GETRULE, 0) }, func(b []byte) error {
		if !inOurTable(b) {
			return nil
		}
		r := nftRule{expressions: findAttr(b, unix.NFTA_RULE_EXPRESSIONS)}
		r.comment, r.note = parseRuleData(findAttr(b, unix.NFTA_RULE_USERDATA))
		chain := getString(findAttr(b, unix.NFTA_RULE_CHAIN))
		out[chain] = append(out[chain], r)
		return nil
	})
	return out, notThere(err)
}

// element is an address in a set, and how many milliseconds are left to it, 0 for ever.
type element struct {
	netip.Addr
	left uint64
}

func (k *Kernel) elements(ctx context.Context, set string) ([]element, error) {
	var out []element
	request := func() *message {
		m := nftMessage(unix.NFT_MSG_GETSETELEM, 0)
		m.str(unix.NFTA_SET_ELEM_LIST_SET, set)
		return m
	}
	err := k.nftDump(ctx, request, func(b []byte) error {
		return walk(findAttr(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(_ uint16, e []byte) {
			if a := getAddr(findAttr(findAttr(e, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)); a.IsValid() {
				out = append(out, element{a, getBE64(findAttr(e, unix.NFTA_SET_ELEM_EXPIRATION))})
			}
		})
	})
	slices.SortFunc(out, func(a, b element) int { return a.Compare(b.Addr) })
	return out, notThere(err)
}

// security reads which ports are secured. Unseen: who asks may not know.
func (k *Kernel) security(ctx context.Context) (ports []model.PortSecurity, unseen bool, err error) {
	chains, err := k.nftChains(ctx)
	switch {
	case errors.Is(err, errNoNFT):
		return nil, false, nil
	case isErrno(err, unix.EPERM):
		return nil, true, nil
	case err != nil:
		return nil, false, refusal("port security", err)
	case len(chains) == 0:
		return nil, false, nil
	}
	rules, err := k.nftRules(ctx)
	if err != nil {
		return nil, false, refusal("port security", err)
	}
	sets, err := k.nftSets(ctx)
	if err != nil {
		return nil, false, refusal("port security", err)
	}
	byName := make(map[string]nftChain, len(chains))
	for _, c := range chains {
		byName[c.Name] = c
	}
	for _, c := range chains {
		if c.Hook != portsec.Ingress || c.Name != portsec.ChainOf(c.Device) {
			continue
		}
		p := readPort(c.Device, byName, rules, sets)
		if err := k.readSeen(ctx, &p, sets); err != nil {
			return nil, false, refusal("port security", err)
		}
		ports = append(ports, p)
	}
	return ports, false, nil
}

// readSeen reads the addresses that were seen at a port.
func (k *Kernel) readSeen(ctx context.Context, p *model.PortSecurity, sets map[string]bool) error {
	by4, by6 := portsec.SeenOf(p.Link)
	for _, from := range []struct{ set, by string }{{portsec.LeasesOf(p.Link), model.SeenByDHCP}, {by4, model.SeenByARP}, {by6, model.SeenByND}} {
		if !sets[from.set] {
			continue
		}
		found, err := k.elements(ctx, from.set)
		if err != nil {
			return err
		}
		for _, e := range found {
			seen := model.SeenAddress{Address: e.Addr, By: from.by}
			if from.by == model.SeenByDHCP {
				p.Learned = append(p.Learned, e.Addr)
			} else {
				seen.SecondsAgo = max(portsec.SeenTimeout-int(e.left/1000), 0)
			}
			p.Seen = append(p.Seen, seen)
		}
	}
	return nil
}

// readPort reads what one port has, and compares it with what its note says.
func readPort(link string, chains map[string]nftChain, rules map[string][]nftRule, sets map[string]bool) model.PortSecurity {
	var text []byte
	dropped := map[string]uint64{}
	for _, chain := range portsec.Names(link) {
		for _, r := range rules[chain] {
			text = append(text, r.note...)
			if n := r.packets(); r.comment != "" && n > 0 {
				dropped[r.comment] += n
			}
		}
	}
	var n note
	if json.Unmarshal(text, &n) != nil || n.Link != link || n.Check() != nil {
		return model.PortSecurity{Link: link, Altered: true, Dropped: dropped}
	}
	n.Altered = !asWritten(portsec.Rules(n.PortSecurity, n.Snoop), link, chains, rules, sets)
	n.Dropped = dropped
	return n.PortSecurity
}

func asWritten(want portsec.Ruleset, link string, chains map[string]nftChain, rules map[string][]nftRule, sets map[string]bool) bool {
	for _, s := range want.Sets {
		if !sets[s.Name] {
			return false
		}
	}
	wanted := map[string]bool{}
	for _, c := range want.Chains {
		wanted[c.Name] = true
		is, there := chains[c.Name]
		if !there || is.Hook != c.Hook || is.Drop != c.Drop || c.Hook != "" && is.Device != link || len(rules[c.Name]) != len(c.Rules) {
			return false
		}
		for i, r := range c.Rules {
			m := &message{}
			m.expressions(r)
			if !covers(rules[c.Name][i].expressions, m.b) {
				return false
			}
		}
	}
	return !slices.ContainsFunc(portsec.Names(link), func(name string) bool {
		_, there := chains[name]
		return there && !wanted[name]
	})
}

// covers tells whether what the kernel tells has every attribute of what was sent, with
// the same value: kernels add attributes of their own, and counters count.
func covers(told, sent []byte) bool {
	list := func(b []byte) (out [][]byte) {
		_ = walk(b, func(_ uint16, v []byte) { out = append(out, v) })
		return out
	}
	return slices.EqualFunc(list(told), list(sent), sameExpression)
}

func sameExpression(told, sent []byte) bool {
	name := getString(findAttr(sent, unix.NFTA_EXPR_NAME))
	if getString(findAttr(told, unix.NFTA_EXPR_NAME)) != name {
		return false
	}
	return hasAll(findAttr(told, unix.NFTA_EXPR_DATA), findAttr(sent, unix.NFTA_EXPR_DATA), nestedIn[name])
}

// nestedIn are the attributes of an expression that hold others.
var nestedIn = map[string][]uint16{
	"cmp":       {unix.NFTA_CMP_DATA},
	"bitwise":   {unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR},
	"immediate": {unix.NFTA_IMMEDIATE_DATA},
}

// hasAll compares attributes; those of nested hold others, and so may a verdict in them.
func hasAll(told, sent []byte, nested []uint16) bool {
	same := true
	err := walk(sent, func(typ uint16, v []byte) {
		got := findAttr(told, typ)
		if got == nil || !slices.Contains(nested, typ) {
			same = same && string(got) == string(v)
			return
		}
		if verdict := findAttr(v, unix.NFTA_DATA_VERDICT); verdict != nil {
			got, v = findAttr(got, unix.NFTA_DATA_VERDICT), verdict
		}
		same = same && hasAll(got, v, nil)
	})
	return same && err == nil
}

// packets is what a rule's counter has counted.
func (r nftRule) packets() (n uint64) {
	_ = walk(r.expressions, func(_ uint16, e []byte) {
		if getString(findAttr(e, unix.NFTA_EXPR_NAME)) == "counter" {
			n = getBE64(findAttr(findAttr(e, unix.NFTA_EXPR_DATA), unix.NFTA_COUNTER_PACKETS))
		}
	})
	return n
}

func getBE64(v []byte) uint64 {
	if len(v) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func getBE32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}
