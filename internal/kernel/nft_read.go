package kernel

import (
	"context"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/nft"
)

// nftChain is a chain of a table of ours as the kernel tells it.
type nftChain struct {
	nft.Chain // without its rules
	Device    string
}

// ours tells whether a message is about the table: kernels before Linux 4.18 or so tell
// those of all.
func (t nftTable) ours(b []byte) bool {
	return getString(findAttr(b, unix.NFTA_TABLE_NAME)) == nft.Table
}

// nftChains are the chains of a table, in the order in which they were made.
func (k *Kernel) nftChains(ctx context.Context, t nftTable) ([]nftChain, error) {
	var out []nftChain
	err := k.nftDump(ctx, func() *message { return t.message(unix.NFT_MSG_GETCHAIN, 0) }, func(b []byte) error {
		if !t.ours(b) {
			return nil // older kernels tell the chains of all tables
		}
		out = append(out, t.chain(b))
		return nil
	})
	return out, notThere(err)
}

// chain reads one message about a chain.
func (t nftTable) chain(b []byte) nftChain {
	c := nftChain{Chain: nft.Chain{Name: getString(findAttr(b, unix.NFTA_CHAIN_NAME))}}
	if hook := findAttr(b, unix.NFTA_CHAIN_HOOK); hook != nil {
		c.Hook = t.hook(getBE32(findAttr(hook, unix.NFTA_HOOK_HOOKNUM)))
		c.Priority = int(int32(getBE32(findAttr(hook, unix.NFTA_HOOK_PRIORITY))))
		c.NAT = getString(findAttr(b, unix.NFTA_CHAIN_TYPE)) == "nat"
		c.Drop = getBE32(findAttr(b, unix.NFTA_CHAIN_POLICY)) == nftPolicyDrop
		c.Device = getString(findAttr(hook, unix.NFTA_HOOK_DEV))
		if c.Device == "" { // one of several devices (nft_dump_basechain_hook)
			_ = walk(findAttr(hook, hookDevices), func(_ uint16, v []byte) { c.Device = getString(v) })
		}
	}
	return c
}

// hook is the word for a hook's number.
func (t nftTable) hook(number uint32) string {
	for word, n := range hookNumbers {
		ofDevice := word == nft.Ingress || word == nft.Egress
		if n == number && ofDevice == (t == portTable) {
			return word
		}
	}
	return "?"
}

// like tells whether a chain is as it was written, but for its rules.
func (c nftChain) like(w nft.Chain, device string) bool {
	same := c.Name == w.Name && c.Hook == w.Hook && c.Priority == w.Priority && c.NAT == w.NAT && c.Drop == w.Drop
	return same && (c.Hook == "" || c.Device == device)
}

// nftSets are the names of the sets of a table.
func (k *Kernel) nftSets(ctx context.Context, t nftTable) (map[string]bool, error) {
	out := map[string]bool{}
	err := k.nftDump(ctx, func() *message { return t.message(unix.NFT_MSG_GETSET, 0) }, func(b []byte) error {
		if t.ours(b) {
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

// nftRule is a rule of a table of ours: its expressions as the kernel tells them.
type nftRule struct {
	expressions []byte
	comment     string
	note        []byte
}

func (k *Kernel) nftRules(ctx context.Context, t nftTable) (map[string][]nftRule, error) {
	out := map[string][]nftRule{}
	err := k.nftDump(ctx, func() *message { return t.message(unix.NFT_MSG_GETRULE, 0) }, func(b []byte) error {
		if !t.ours(b) {
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

// sameRules tells whether a chain's rules are those that were written.
func sameRules(told []nftRule, sent []nft.Rule) bool {
	return slices.EqualFunc(told, sent, func(is nftRule, r nft.Rule) bool {
		m := &message{}
		m.expressions(r)
		return covers(is.expressions, m.b)
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
