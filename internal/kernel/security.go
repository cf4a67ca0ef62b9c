package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
	"drawbridge/internal/portsec"
)

// CanSecure tells whether this kernel can secure ports, nil if so: by a transaction that
// it tries and forgets. Snoop tells whether it can also learn from what goes to a port
// (CONFIG_NETFILTER_EGRESS, Linux 5.16).
func (k *Kernel) CanSecure() (snoop bool, err error) {
	try := func(hook string) error {
		c, err := k.netfilter()
		if err != nil {
			return err
		}
		return c.transact([]*message{portTable.add(), portTable.newChain(nft.Chain{Name: "try", Hook: hook}, "lo")}, false)
	}
	switch err = try(nft.Ingress); {
	case isErrno(err, unix.EPERM):
		return false, refusal("nftables", err)
	case isErrno(err, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT):
		return false, fmt.Errorf("%w: %w", errNoNFT, err)
	case err != nil:
		return false, err
	}
	return try(nft.Egress) == nil, nil
}

// note is what is kept with the rules of a port, so that they can be read back.
type note struct {
	model.PortSecurity
	Snoop bool `json:"snoop,omitempty"`
}

// changePorts carries out what is done to ports.
func (k *Kernel) changePorts(ctx context.Context, op model.Operation) error {
	switch o := op.(type) {
	case model.SecurePorts:
		return k.securePorts(ctx, o)
	case model.FreePorts:
		return k.freePorts(ctx, o.Links)
	case model.SetIsolated:
		return k.setIsolated(o)
	default:
		return model.ErrInvalid
	}
}

// securePorts replaces what ports have, some in one transaction: what fits into one
// message of an unprivileged socket's size.
func (k *Kernel) securePorts(ctx context.Context, o model.SecurePorts) error {
	for _, p := range o.Ports {
		if err := p.Check(); err != nil {
			return err
		}
		if _, err := k.linkByName(p.Link); err != nil {
			return err
		}
	}
	snoop, err := k.CanSecure()
	if err != nil {
		return fmt.Errorf("port security: %w (hint: load the module nf_tables, or write security: off)", err)
	}
	chains, err := k.nftChains(ctx, portTable)
	if err != nil {
		return refusal("port security", err)
	}
	there := chainNames(chains)
	sets, err := k.nftSets(ctx, portTable)
	if err != nil {
		return refusal("port security", err)
	}
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	var batch []*message
	size, links := 0, []string{}
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := c.transact(append([]*message{portTable.add()}, batch...), true)
		object := fmt.Sprint(model.NameRuns(links))
		batch, size, links = nil, 0, nil
		return refusal("port security of "+object, err)
	}
	for _, p := range o.Ports {
		ms, err := secure(p, snoop, there, sets)
		if err != nil {
			return err
		}
		n := 0
		for _, m := range ms {
			n += len(m.b)
		}
		if size+n > sendLimit {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size, links = append(batch, ms...), size+n, append(links, p.Link)
	}
	return flush()
}

// secure are the messages that secure one port, in the place of what it has.
func secure(p model.PortSecurity, snoop bool, there map[string]bool, sets map[string]bool) ([]*message, error) {
	rules := portsec.Rules(p, snoop)
	ms := free(p.Link, there, nil)
	for _, name := range portsec.SetsOf(p.Link) {
		unwanted := !slices.ContainsFunc(rules.Sets, func(s nft.Set) bool { return s.Name == name })
		if unwanted && sets[name] {
			ms = append(ms, portTable.delSet(name))
		}
	}
	for i, s := range rules.Sets {
		ms = append(ms, portTable.newSet(s, uint32(i+1)))
	}
	for _, c := range rules.Chains {
		ms = append(ms, portTable.newChain(c, p.Link))
	}
	text, err := json.Marshal(note{p.Wish(), snoop})
	if err != nil {
		return nil, err
	}
	for _, c := range rules.Chains {
		for _, r := range c.Rules {
			piece := text[:min(len(text), noteSize)]
			text = text[len(piece):]
			ms = append(ms, portTable.newRule(c.Name, r, piece))
		}
	}
	if len(text) > 0 {
		return nil, fmt.Errorf("port security of %s: %w: too many addresses are allowed", p.Link, model.ErrInvalid)
	}
	return ms, nil
}

func chainNames(chains []nftChain) map[string]bool {
	names := make(map[string]bool, len(chains))
	for _, c := range chains {
		names[c.Name] = true
	}
	return names
}

// free are the messages that take away what a port has, chains before those that they
// go to: the kernel does not delete a chain that a rule goes to.
func free(link string, there map[string]bool, sets map[string]bool) []*message {
	var ms []*message
	for _, name := range portsec.Names(link) {
		if there[name] {
			ms = append(ms, portTable.delChain(name))
		}
	}
	for _, name := range portsec.SetsOf(link) {
		if sets[name] {
			ms = append(ms, portTable.delSet(name))
		}
	}
	return ms
}

// freePorts takes away what ports have, and with the last of them the table.
func (k *Kernel) freePorts(ctx context.Context, links []string) error {
	chains, err := k.nftChains(ctx, portTable)
	switch {
	case errors.Is(err, errNoNFT), err == nil && len(chains) == 0:
		return nil
	case err != nil:
		return refusal("port security", err)
	}
	sets, err := k.nftSets(ctx, portTable)
	if err != nil {
		return refusal("port security", err)
	}
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	ours := make(map[string]bool, len(chains))
	for _, l := range links {
		for _, name := range portsec.Names(l) {
			ours[name] = true
		}
	}
	others := slices.ContainsFunc(chains, func(c nftChain) bool { return c.Hook != "" && !ours[c.Name] })
	if !others {
		err := c.transact([]*message{portTable.remove()}, true)
		if isErrno(err, unix.ENOENT) {
			return nil
		}
		return refusal("port security", err)
	}
	there := chainNames(chains)
	for part := range slices.Chunk(links, 64) {
		var ms []*message
		for _, l := range part {
			ms = append(ms, free(l, there, sets)...)
		}
		if len(ms) == 0 {
			continue
		}
		if err := c.transact(ms, true); err != nil {
			return refusal(fmt.Sprintf("port security of %v", model.NameRuns(part)), err)
		}
	}
	return nil
}

// setIsolated sets IFLA_BRPORT_ISOLATED (Linux 4.18) by the bridge's own message.
func (k *Kernel) setIsolated(o model.SetIsolated) error {
	var ms []*message
	for _, link := range o.Links {
		l, err := k.linkByName(link)
		if err != nil {
			return err
		}
		if l.Port == nil {
			return fmt.Errorf("%s: %w: it is not a port of a bridge", link, model.ErrInvalid)
		}
		m := newMessage(unix.RTM_SETLINK, 0).raw(linkHeader(unix.AF_BRIDGE, l.Index, 0, 0))
		m.nested(unix.IFLA_PROTINFO, func() {
			v := uint8(0)
			if o.Isolated {
				v = 1
			}
			m.u8(unix.IFLA_BRPORT_ISOLATED, v)
		})
		ms = append(ms, m)
	}
	for i, err := range k.rt.doAll(ms) {
		if err != nil {
			return refusal(o.Links[i], err)
		}
	}
	return nil
}

// freeGone takes away what links had that are gone. Before Linux 6.16 the kernel deletes the
// chains that hung on a link with it (nft_netdev_event), later ones keep them for
// whatever link gets the name. It is best effort: the links are gone already, and what
// is left is seen and taken away by the next plan.
func (k *Kernel) freeGone(links ...string) {
	_ = k.freePorts(context.Background(), links)
}
