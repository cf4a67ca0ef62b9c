package kernel

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// What says what an observation reads beside what it always does.
type What struct {
	// All: every other namespace as well, see [ObserveAll].
	All bool
	// Ruleset: the rules of nf_tables, and what else decides about one packet only. That is
	// what a trace wants, and costs a dump for each set.
	Ruleset bool
}

// ObserveWith is [Kernel.Observe], or [ObserveAll], with what is asked for.
func ObserveWith(ctx context.Context, k *Kernel, what What) (all []model.Namespace, unseen int, err error) {
	if !what.All {
		n, err := k.observe(ctx, view{asked: k, ruleset: what.Ruleset})
		return []model.Namespace{n}, 0, err
	}
	return observeAll(ctx, k, view{asked: k, ruleset: what.Ruleset})
}

// nftFamilies are the families of tables (NFPROTO_*).
var nftFamilies = words{
	unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_ARP: "arp",
	unix.NFPROTO_NETDEV: "netdev", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_IPV6: "ip6",
}

// nftHooks are the hooks of the families of IP and of the bridge, by number (NF_INET_*, NF_BR_*).
var nftHooks = [...]string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}

var netdevHooks = [...]string{"ingress", "egress"}

var arpHooks = [...]string{"input", "output", "forward"}

// ruleset reads all tables of nf_tables, nil where that may not be looked at.
func (k *Kernel) ruleset(ctx context.Context) (*model.Ruleset, error) {
	f := &model.Ruleset{}
	r := nftReader{kernel: k, ctx: ctx, chains: map[nftID]int{}, out: f}
	err := r.read()
	switch {
	case errors.Is(err, errNoNFT): // no nf_tables, no rules
	case isErrno(err, unix.EPERM):
		return nil, nil
	case err != nil:
		return nil, refusal("firewall", err)
	}
	f.Unread = k.legacyTables()
	return f, nil
}

// legacyTables tells which tables of iptables-legacy have been used in the namespace: their
// rules are not nf_tables', and nobody but iptables-legacy(8) can read them.
func (k *Kernel) legacyTables() (out []string) {
	_ = k.inside(func() error {
		for _, tool := range []struct{ file, name string }{
			{"ip_tables_names", "iptables-legacy"}, {"ip6_tables_names", "ip6tables-legacy"},
		} {
			// /proc/net is that of the process; the thread's own is what counts here.
			b, err := os.ReadFile("/proc/thread-self/net/" + tool.file)
			if names := strings.Fields(string(b)); err == nil && len(names) > 0 {
				out = append(out, "the rules of "+tool.name+" ("+strings.Join(names, ", ")+")")
			}
		}
		return nil
	})
	return out
}

// nftID names a chain or a set.
type nftID struct{ family, table, name string }

// nftReader reads tables, and makes of the instructions of their rules what they mean.
type nftReader struct {
	kernel *Kernel
	ctx    context.Context
	chains map[nftID]int // places in out.Chains
	out    *model.Ruleset
}

// anyFamily is a request about the tables of all families.
func anyFamily(typ uint16) *message {
	return newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|typ, 0).raw([]byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0})
}

// eachNFT calls fn with the family and the attributes of what a request tells.
func (r *nftReader) eachNFT(request func() *message, fn func(family string, attrs []byte)) error {
	c, err := r.kernel.netfilter()
	if err != nil {
		return err
	}
	return notThere(c.dump(r.ctx, request, func(body []byte) error {
		if len(body) < 4 {
			return errTruncated
		}
		fn(nftFamilies.word(uint32(body[0])), body[4:])
		return nil
	}))
}

func (r *nftReader) read() error {
	err := r.eachNFT(func() *message { return anyFamily(unix.NFT_MSG_GETCHAIN) }, func(family string, b []byte) {
		c := parseChain(family, b)
		r.chains[nftID{family, c.Table, c.Name}] = len(r.out.Chains)
		r.out.Chains = append(r.out.Chains, c)
	})
	if err != nil || len(r.out.Chains) == 0 {
		return err
	}
	type raw struct {
		id          nftID
		expressions []byte
		comment     string
	}
	var rules []raw
	err = r.eachNFT(func() *message { return anyFamily(unix.NFT_MSG_GETRULE) }, func(family string, b []byte) {
		comment, _ := parseRuleData(findAttr(b, unix.NFTA_RULE_USERDATA))
		rules = append(rules, raw{
			nftID{family, getString(findAttr(b, unix.NFTA_RULE_TABLE)), getString(findAttr(b, unix.NFTA_RULE_CHAIN))},
			findAttr(b, unix.NFTA_RULE_EXPRESSIONS), comment,
		})
	})
	if err != nil {
		return err
	}
	sets := map[nftID][]setElement{}
	for _, x := range rules {
		at, known := r.chains[x.id]
		if !known {
			continue // made meanwhile
		}
		d := decoder{family: x.id.family, loads: map[uint32]loaded{}}
		d.elements = func(name string) []setElement {
			id := nftID{x.id.family, x.id.table, name}
			if _, read := sets[id]; !read {
				sets[id] = r.setElements(id)
			}
			return sets[id]
		}
		for _, rule := range d.rules(x.expressions) {
			rule.Comment = x.comment
			r.out.Chains[at].Rules = append(r.out.Chains[at].Rules, rule)
		}
	}
	return nil
}

func parseChain(family string, b []byte) model.FirewallChain {
	c := model.FirewallChain{Family: family, Table: getString(findAttr(b, unix.NFTA_CHAIN_TABLE)), Name: getString(findAttr(b, unix.NFTA_CHAIN_NAME)), Type: getString(findAttr(b, unix.NFTA_CHAIN_TYPE))}
	hook := findAttr(b, unix.NFTA_CHAIN_HOOK)
	if hook == nil {
		return c
	}
	names := nftHooks[:]
	switch family {
	case "netdev":
		names = netdevHooks[:]
	case "arp":
		names = arpHooks[:]
	}
	if n := getBE32(findAttr(hook, unix.NFTA_HOOK_HOOKNUM)); int(n) < len(names) {
		c.Hook = names[n]
	}
	c.Priority = int(int32(getBE32(findAttr(hook, unix.NFTA_HOOK_PRIORITY))))
	c.Drop = findAttr(b, unix.NFTA_CHAIN_POLICY) != nil && getBE32(findAttr(b, unix.NFTA_CHAIN_POLICY)) == nftPolicyDrop
	if dev := getString(findAttr(hook, unix.NFTA_HOOK_DEV)); dev != "" {
		c.Devices = []string{dev}
	}
	_ = walk(findAttr(hook, hookDevices), func(_ uint16, v []byte) {
		if dev := getString(v); dev != "" && len(c.Devices) == 0 || len(c.Devices) > 0 && c.Devices[0] != dev {
			c.Devices = append(c.Devices, dev)
		}
	})
	return c
}

// setElement is an element of a set; of a map to verdicts, with its verdict.
type setElement struct {
	key             []byte
	end             bool // the first value that is no longer in an interval
	verdict, target string
}

// setElements are the elements of a set, nil where they may not be read.
func (r *nftReader) setElements(id nftID) []setElement {
	var out []setElement
	family := uint8(unix.NFPROTO_UNSPEC)
	for n, word := range nftFamilies {
		if word == id.family {
			family = uint8(n)
		}
	}
	request := func() *message {
		m := newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM, 0).raw([]byte{family, unix.NFNETLINK_V0, 0, 0})
		m.str(unix.NFTA_SET_ELEM_LIST_TABLE, id.table)
		m.str(unix.NFTA_SET_ELEM_LIST_SET, id.name)
		return m
	}
	_ = r.eachNFT(request, func(_ string, b []byte) {
		_ = walk(findAttr(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(_ uint16, e []byte) {
			x := setElement{key: findAttr(findAttr(e, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)}
			x.end = getBE32(findAttr(e, unix.NFTA_SET_ELEM_FLAGS))&unix.NFT_SET_ELEM_INTERVAL_END != 0
			if v := findAttr(findAttr(e, unix.NFTA_SET_ELEM_DATA), unix.NFTA_DATA_VERDICT); v != nil {
				x.verdict, x.target = parseVerdict(v)
			}
			out = append(out, x)
		})
	})
	return out
}

// nftVerdicts are what a rule may decide (NF_*, NFT_*).
func parseVerdict(v []byte) (verdict, target string) {
	target = getString(findAttr(v, unix.NFTA_VERDICT_CHAIN))
	switch int32(getBE32(findAttr(v, unix.NFTA_VERDICT_CODE))) {
	case unix.NFT_CONTINUE:
		return "continue", ""
	case unix.NFT_BREAK:
		return "continue", ""
	case unix.NFT_JUMP:
		return "jump", target
	case unix.NFT_GOTO:
		return "goto", target
	case unix.NFT_RETURN:
		return "return", ""
	case nftPolicyDrop:
		return "drop", ""
	case nftPolicyAccept:
		return "accept", ""
	default:
		return "queue", "" // NF_QUEUE, NF_STOLEN: a program takes it
	}
}
