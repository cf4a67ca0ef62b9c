package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
	"drawbridge/internal/portsec"
)

// element is an address in a set, and how many milliseconds are left to it, 0 for ever.
type element struct {
	netip.Addr
	left uint64
}

func (k *Kernel) elements(ctx context.Context, set string) ([]element, error) {
	var out []element
	request := func() *message {
		m := portTable.message(unix.NFT_MSG_GETSETELEM, 0)
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
	chains, err := k.nftChains(ctx, portTable)
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
	rules, err := k.nftRules(ctx, portTable)
	if err != nil {
		return nil, false, refusal("port security", err)
	}
	sets, err := k.nftSets(ctx, portTable)
	if err != nil {
		return nil, false, refusal("port security", err)
	}
	byName := make(map[string]nftChain, len(chains))
	for _, c := range chains {
		byName[c.Name] = c
	}
	for _, c := range chains {
		if c.Hook != nft.Ingress || c.Name != portsec.ChainOf(c.Device) {
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
		if !there || !is.like(c, link) || !sameRules(rules[c.Name], c.Rules) {
			return false
		}
	}
	return !slices.ContainsFunc(portsec.Names(link), func(name string) bool {
		_, there := chains[name]
		return there && !wanted[name]
	})
}
