package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// CanForward tells whether this kernel has what our table of forwarding is made of, nil if
// so: by a transaction that it tries and forgets.
func (k *Kernel) CanForward() error {
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	lan := netip.MustParsePrefix("198.18.0.0/24")
	all := model.Forwarding{Network: "try", Link: "lo", Subnets: []netip.Prefix{lan}, Out: true, Masquerade: []netip.Prefix{lan},
		Publish: []model.Publish{{Protocol: "tcp", Port: 1, To: lan.Addr().Next(), ToPort: 1}}}
	ms, err := forwarding(all, nil)
	if err != nil {
		return err
	}
	err = c.transact(append([]*message{forwardTable.add()}, ms...), false)
	switch {
	case isErrno(err, unix.EPERM):
		return refusal("nftables", err)
	case isErrno(err, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT):
		return fmt.Errorf("this kernel's nftables cannot do address translation for both IPv4 and IPv6 (CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_FIB_INET, NFT_CT; Linux 5.2): %w", err)
	default:
		return err
	}
}

// changeForwarding carries out what is done to the rules of a network.
func (k *Kernel) changeForwarding(ctx context.Context, op model.Operation) error {
	switch o := op.(type) {
	case model.SetForwarding:
		return k.setForwarding(ctx, o)
	case model.DropForwarding:
		return k.dropForwarding(ctx, o.Network)
	default:
		return model.ErrInvalid
	}
}

// setForwarding replaces the chains of a network.
func (k *Kernel) setForwarding(ctx context.Context, o model.SetForwarding) error {
	f := o.Forwarding.Wish()
	if err := f.Check(); err != nil {
		return err
	}
	chains, err := k.nftChains(ctx, forwardTable)
	if err != nil {
		return refusal("forwarding", err)
	}
	ms, err := forwarding(f, chains)
	if err != nil {
		return err
	}
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	return refusal("forwarding of "+f.Network, c.transact(append([]*message{forwardTable.add()}, ms...), true))
}

// forwarding are the messages that make a network's chains in the place of those there.
func forwarding(f model.Forwarding, there []nftChain) ([]*message, error) {
	ms := dropChains(f.Network, there)
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	for _, c := range forward.Rules(f) {
		ms = append(ms, forwardTable.newChain(c, ""))
		for _, r := range c.Rules {
			piece := text[:min(len(text), noteSize)]
			text = text[len(piece):]
			ms = append(ms, forwardTable.newRule(c.Name, r, piece))
		}
	}
	if len(text) > 0 {
		return nil, fmt.Errorf("forwarding of %s: %w: too long to be kept with its rules", f.Network, model.ErrInvalid)
	}
	return ms, nil
}

// dropChains are the messages that take a network's chains away, with their rules.
func dropChains(network string, there []nftChain) []*message {
	var ms []*message
	names := forward.Names(network)
	for _, c := range there {
		if slices.Contains(names, c.Name) {
			ms = append(ms, forwardTable.delChain(c.Name))
		}
	}
	return ms
}

// dropForwarding takes a network's chains away, and the table with the last.
func (k *Kernel) dropForwarding(ctx context.Context, network string) error {
	chains, err := k.nftChains(ctx, forwardTable)
	switch {
	case errors.Is(err, errNoNFT):
		return nil
	case err != nil:
		return refusal("forwarding", err)
	}
	names := forward.Names(network)
	ms := dropChains(network, chains)
	if !slices.ContainsFunc(chains, func(c nftChain) bool { return !slices.Contains(names, c.Name) }) {
		ms = []*message{forwardTable.remove()}
	}
	if len(ms) == 0 {
		return nil
	}
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	if err = c.transact(ms, true); isErrno(err, unix.ENOENT) {
		return nil
	}
	return refusal("forwarding of "+network, err)
}

// forwarding reads what is forwarded for our networks.
func (k *Kernel) forwarding(ctx context.Context) ([]model.Forwarding, error) {
	chains, err := k.nftChains(ctx, forwardTable)
	if len(chains) == 0 || err != nil {
		if errors.Is(err, errNoNFT) || isErrno(err, unix.EPERM) {
			err = nil // it is told of the ports' security
		}
		return nil, refusal("forwarding", err)
	}
	rules, err := k.nftRules(ctx, forwardTable)
	if err != nil {
		return nil, refusal("forwarding", err)
	}
	byName := make(map[string]nftChain, len(chains))
	for _, c := range chains {
		byName[c.Name] = c
	}
	var out []model.Forwarding
	for _, c := range chains {
		if c.Hook == nft.Forward {
			out = append(out, readForwarding(c, byName, rules))
		}
	}
	return out, nil
}

// readForwarding reads what one network has, and compares it with what its note says.
func readForwarding(c nftChain, chains map[string]nftChain, rules map[string][]nftRule) model.Forwarding {
	var text []byte
	for _, name := range forward.Beside(c.Name) {
		for _, r := range rules[name] {
			text = append(text, r.note...)
		}
	}
	var f model.Forwarding
	if json.Unmarshal(text, &f) != nil || f.Check() != nil || forward.ChainOf(f.Network) != c.Name {
		return model.Forwarding{Network: strings.TrimSuffix(strings.TrimPrefix(c.Name, "net-"), "-forward"), Altered: true}
	}
	f.Altered = !forwardsAsWritten(f, chains, rules)
	return f
}

func forwardsAsWritten(f model.Forwarding, chains map[string]nftChain, rules map[string][]nftRule) bool {
	wanted := map[string]bool{}
	for _, c := range forward.Rules(f) {
		wanted[c.Name] = true
		is, there := chains[c.Name]
		if !there || !is.like(c, "") || !sameRules(rules[c.Name], c.Rules) {
			return false
		}
	}
	return !slices.ContainsFunc(forward.Names(f.Network), func(name string) bool {
		_, there := chains[name]
		return there && !wanted[name]
	})
}
