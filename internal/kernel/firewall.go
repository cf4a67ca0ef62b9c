package kernel

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
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

// ruleset reads all tables of nf_tables, nil where that may not be looked at. names are the
// links' by their indexes: some rules ask for those.
func (k *Kernel) ruleset(ctx context.Context, names map[int]string) (*model.Ruleset, error) {
	r := nftReader{kernel: k, ctx: ctx}
	dump, err := r.read()
	f := &model.Ruleset{}
	switch {
	case errors.Is(err, errNoNFT): // no nf_tables, no rules
	case isErrno(err, unix.EPERM):
		return nil, nil
	case err != nil:
		return nil, refusal("firewall", err)
	default:
		f = dump.decode(r.setElements, func(index uint32) string { return names[int(index)] })
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

// nftMessage is what the kernel tells about one thing: its family and its attributes.
type nftMessage struct {
	family string
	attrs  []byte
}

// nftDump is what nf_tables hold, as the kernel tells it; elements of sets are asked for as a
// rule needs them.
type nftDump struct{ tables, chains, sets, rules []nftMessage }

// nftReader reads it.
type nftReader struct {
	kernel *Kernel
	ctx    context.Context
}

// anyFamily is a request about the tables of all families.
func anyFamily(typ uint16) *message {
	return newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|typ, 0).raw([]byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0})
}

// dump is what a request tells.
func (r *nftReader) dump(request func() *message) (out []nftMessage, err error) {
	c, err := r.kernel.netfilter()
	if err != nil {
		return nil, err
	}
	err = c.dump(r.ctx, request, func(body []byte) error {
		if len(body) < 4 {
			return errTruncated
		}
		out = append(out, nftMessage{nftFamilies.word(uint32(body[0])), slices.Clone(body[4:])})
		return nil
	})
	return out, notThere(err)
}

func (r *nftReader) read() (d nftDump, err error) {
	for _, x := range []struct {
		typ uint16
		to  *[]nftMessage
	}{{unix.NFT_MSG_GETTABLE, &d.tables}, {unix.NFT_MSG_GETCHAIN, &d.chains}, {unix.NFT_MSG_GETSET, &d.sets}, {unix.NFT_MSG_GETRULE, &d.rules}} {
		if *x.to, err = r.dump(func() *message { return anyFamily(x.typ) }); err != nil {
			return d, err
		}
		if len(d.tables) == 0 {
			break
		}
	}
	return d, nil
}

// setElements are the messages about the elements of a set.
func (r *nftReader) setElements(id nftID) ([]nftMessage, error) {
	family, _ := nftFamilies.number(id.family)
	return r.dump(func() *message {
		m := newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM, 0).raw([]byte{uint8(family), unix.NFNETLINK_V0, 0, 0})
		m.str(unix.NFTA_SET_ELEM_LIST_TABLE, id.table)
		m.str(unix.NFTA_SET_ELEM_LIST_SET, id.name)
		return m
	})
}

// rulesetDecoder makes of a dump what it means.
type rulesetDecoder struct {
	elements func(nftID) ([]nftMessage, error)
	link     func(index uint32) string
	sets     map[nftID]*nftSet
}

func (d nftDump) decode(elements func(nftID) ([]nftMessage, error), link func(index uint32) string) *model.Ruleset {
	r := rulesetDecoder{elements: elements, link: link, sets: map[nftID]*nftSet{}}
	dormant := map[nftID]bool{}
	for _, t := range d.tables {
		if getBE32(findAttr(t.attrs, unix.NFTA_TABLE_FLAGS))&unix.NFT_TABLE_F_DORMANT != 0 {
			dormant[nftID{family: t.family, table: getString(findAttr(t.attrs, unix.NFTA_TABLE_NAME))}] = true
		}
	}
	for _, s := range d.sets {
		set := parseSet(s.attrs)
		r.sets[nftID{s.family, getString(findAttr(s.attrs, unix.NFTA_SET_TABLE)), getString(findAttr(s.attrs, unix.NFTA_SET_NAME))}] = &set
	}
	out := &model.Ruleset{}
	chains := map[nftID]int{}
	for _, m := range d.chains {
		c := parseChain(m.family, m.attrs)
		if dormant[nftID{family: c.Family, table: c.Table}] {
			continue
		}
		chains[nftID{c.Family, c.Table, c.Name}] = len(out.Chains)
		out.Chains = append(out.Chains, c)
	}
	for _, m := range d.rules {
		id := nftID{m.family, getString(findAttr(m.attrs, unix.NFTA_RULE_TABLE)), getString(findAttr(m.attrs, unix.NFTA_RULE_CHAIN))}
		at, known := chains[id]
		if !known {
			continue // made meanwhile, or of a table that is asleep
		}
		comment, _ := parseRuleData(findAttr(m.attrs, unix.NFTA_RULE_USERDATA))
		for _, rule := range r.decodeRule(id, findAttr(m.attrs, unix.NFTA_RULE_EXPRESSIONS)) {
			rule.Comment = cmp.Or(comment, rule.Comment)
			out.Chains[at].Rules = append(out.Chains[at].Rules, rule)
		}
	}
	return out
}

// set is a set with its elements, which are read the first time.
func (r *rulesetDecoder) set(id nftID) *nftSet {
	s := r.sets[id]
	if s == nil { // made meanwhile
		return &nftSet{}
	}
	if s.elements != nil || r.elements == nil {
		return s
	}
	s.elements = []setElement{}
	list, err := r.elements(id)
	if err != nil {
		s.whole = false
	}
	for _, m := range list {
		_ = walk(findAttr(m.attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(_ uint16, e []byte) {
			x, counts := parseElement(e)
			s.elements, s.whole = append(s.elements, x), s.whole && counts
		})
	}
	return s
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
	const devicePrefix = 2 // NFTA_DEVICE_PREFIX: every link whose name begins so
	_ = walk(findAttr(hook, hookDevices), func(typ uint16, v []byte) {
		dev := getString(v)
		if typ == devicePrefix {
			dev += "*"
		}
		if dev != "" && !slices.Contains(c.Devices, dev) {
			c.Devices = append(c.Devices, dev)
		}
	})
	return c
}

// parseVerdict is what a rule decides (NF_*, NFT_*).
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
