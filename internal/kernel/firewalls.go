package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// foreignTable is a table of nf_tables that is not ours.
type foreignTable struct {
	family byte
	name   string
}

// zoned: it is firewalld's.
func (t foreignTable) zoned() bool { return t.name == model.Firewalld && t.family == unix.NFPROTO_INET }

func (t foreignTable) message(typ, flags uint16) *message {
	m := newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags).raw([]byte{t.family, unix.NFNETLINK_V0, 0, 0})
	m.str(unix.NFTA_TABLE_NAME, t.name)
	return m
}

// foreignChain is a chain at one of the hooks that packets of our networks meet.
type foreignChain struct {
	nftChain
	table foreignTable
}

// iptables is the command that a chain belongs to, "" for one of nft(8)'s. Who has no
// iptables cannot have made it by that.
func (c foreignChain) iptables() string {
	if c.table.name != "filter" || c.Name != forward.IptablesChain(c.Hook == nft.Input) {
		return ""
	}
	command := map[byte]string{unix.NFPROTO_IPV4: "iptables-nft", unix.NFPROTO_IPV6: "ip6tables-nft"}[c.table.family]
	if _, err := findProgram(command + "-restore"); err != nil {
		return ""
	}
	return command
}

func (c foreignChain) firewall() model.Firewall {
	if command := c.iptables(); command != "" {
		return iptablesFirewall(command, c.Hook == nft.Input)
	}
	return model.Firewall{
		Name:  fmt.Sprintf("nft %s %s %s", nftFamilies.word(uint32(c.table.family)), c.table.name, c.Name),
		Input: c.Hook == nft.Input, IPv4: c.table.family != unix.NFPROTO_IPV6, IPv6: c.table.family != unix.NFPROTO_IPV4,
	}
}

// firewalls are the filters of others in the namespace: those of nf_tables by what the kernel
// tells, whoever made them; those of iptables-legacy by that program, and only where a table
// is there already: it makes one when it is asked.
func (k *Kernel) firewalls(ctx context.Context) ([]model.Firewall, error) {
	chains, err := k.foreignChains(ctx)
	if err != nil {
		if errors.Is(err, errNoNFT) || isErrno(err, unix.EPERM) {
			err = nil // it is told of the ports' security
		}
		return nil, refusal("firewalls", err)
	}
	var owned map[foreignTable]bool
	if len(chains) > 0 {
		if owned, err = k.ownedTables(ctx); err != nil {
			return nil, refusal("firewalls", err)
		}
	}
	var out []model.Firewall
	for _, c := range chains {
		if c.table.zoned() && c.Hook == nft.Input {
			continue // a zone is for both
		}
		f, err := k.readFirewall(ctx, c)
		if err != nil {
			return nil, refusal("firewalls", err)
		}
		f.Locked = owned[c.table]
		out = append(out, f)
	}
	for _, command := range k.legacyFilters() {
		for _, input := range []bool{false, true} {
			// What cannot be read is told by what looks ahead (internal/preflight).
			if f, _, _, err := k.readIptables(ctx, command, input); err == nil {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

func (k *Kernel) readFirewall(ctx context.Context, c foreignChain) (model.Firewall, error) {
	f := c.firewall()
	table, handles, err := k.foreignRules(ctx, c.table, c.Name)
	if err != nil {
		return f, err
	}
	if c.table.zoned() {
		return forward.ReadFirewalld(table, c.Name), nil
	}
	f, end := table.Read(f, c.Name, c.Drop)
	f.End = handles.place(end)
	return f, nil
}

// foreignChains are the base chains of others that filter what is forwarded, or is for the host.
func (k *Kernel) foreignChains(ctx context.Context) ([]foreignChain, error) {
	c, err := k.netfilter()
	if err != nil {
		return nil, err
	}
	var out []foreignChain
	err = c.dump(ctx, func() *message { return anyFamily(unix.NFT_MSG_GETCHAIN) }, func(b []byte) error {
		if len(b) < 4 {
			return errTruncated
		}
		x := foreignChain{nftChain: forwardTable.chain(b[4:]), table: foreignTable{b[0], getString(findAttr(b[4:], unix.NFTA_TABLE_NAME))}}
		family := slices.Contains([]byte{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}, x.table.family)
		ours := x.table == foreignTable{byte(forwardTable), nft.Table}
		if family && !ours && (x.Hook == nft.Forward || x.Hook == nft.Input) && !x.NAT {
			out = append(out, x)
		}
		return nil
	})
	return out, notThere(err)
}

func (k *Kernel) foreignChain(ctx context.Context, t foreignTable, name string) (foreignChain, bool, error) {
	chains, err := k.foreignChains(ctx)
	for _, c := range chains {
		if c.table == t && c.Name == name {
			return c, true, nil
		}
	}
	return foreignChain{}, false, err
}

// nftTableOwned is NFT_TABLE_F_OWNER (Linux 5.12): only who made the table may change it, as
// firewalld does since its version 2.1.
const nftTableOwned = 1 << 1

func (k *Kernel) ownedTables(ctx context.Context) (map[foreignTable]bool, error) {
	c, err := k.netfilter()
	if err != nil {
		return nil, err
	}
	out := map[foreignTable]bool{}
	err = c.dump(ctx, func() *message { return anyFamily(unix.NFT_MSG_GETTABLE) }, func(b []byte) error {
		if len(b) < 4 {
			return errTruncated
		}
		if getBE32(findAttr(b[4:], unix.NFTA_TABLE_FLAGS))&nftTableOwned != 0 {
			out[foreignTable{b[0], getString(findAttr(b[4:], unix.NFTA_TABLE_NAME))}] = true
		}
		return nil
	})
	return out, notThere(err)
}

// foreignRules are the rules of a chain, and of those that it leads to. Kubernetes has tens of
// thousands in chains that lead nowhere near: each is asked for by its name.
func (k *Kernel) foreignRules(ctx context.Context, t foreignTable, chain string) (forward.Table, ruleHandles, error) {
	out := forward.Table{}
	var handles ruleHandles
	decode := rulesetDecoder{sets: map[nftID]*nftSet{}, link: func(index uint32) string { return fmt.Sprintf("link %d", index) }}
	for ask := []string{chain}; len(ask) > 0; ask = ask[1:] {
		name := ask[0]
		if _, known := out[name]; known {
			continue
		}
		rules, hs, err := k.rulesOf(ctx, t, name, &decode)
		if err != nil {
			return nil, handles, err
		}
		out[name] = rules
		if name == chain {
			handles = hs
		}
		for _, r := range rules {
			if r.Target != "" && len(r.Matches) == 0 {
				ask = append(ask, r.Target)
			}
		}
	}
	return out, handles, nil
}

// ruleHandles are the handles of a chain's rules as the kernel has them, and of what was
// decoded of them: a rule may be several, and one that only counts is none.
type ruleHandles struct{ all, decoded []uint64 }

// place is that of a decoded rule among all of them, from 1 on; 0 for none.
func (h ruleHandles) place(decoded int) int {
	if decoded < 0 {
		return 0
	}
	return 1 + slices.Index(h.all, h.decoded[decoded])
}

func (k *Kernel) rulesOf(ctx context.Context, t foreignTable, chain string, decode *rulesetDecoder) (rules []model.FirewallRule, handles ruleHandles, err error) {
	read := nftReader{kernel: k, ctx: ctx}
	list, err := read.dump(func() *message {
		m := t.message(unix.NFT_MSG_GETRULE, 0)
		m.str(unix.NFTA_RULE_CHAIN, chain)
		return m
	})
	if err != nil {
		return nil, handles, err
	}
	family := nftFamilies.word(uint32(t.family))
	for _, m := range list {
		if getString(findAttr(m.attrs, unix.NFTA_RULE_TABLE)) != t.name || getString(findAttr(m.attrs, unix.NFTA_RULE_CHAIN)) != chain || m.family != family {
			continue // older kernels tell those of all chains
		}
		handle := getBE64(findAttr(m.attrs, unix.NFTA_RULE_HANDLE))
		handles.all = append(handles.all, handle)
		comment, _ := parseRuleData(findAttr(m.attrs, unix.NFTA_RULE_USERDATA))
		for _, rule := range decode.decodeRule(nftID{family: family, table: t.name}, findAttr(m.attrs, unix.NFTA_RULE_EXPRESSIONS)) {
			rule.Comment = cmp.Or(comment, rule.Comment)
			rules, handles.decoded = append(rules, rule), append(handles.decoded, handle)
		}
	}
	return rules, handles, nil
}

// legacyFilters are the commands of iptables-legacy whose table filter is there.
func (k *Kernel) legacyFilters() (out []string) {
	_ = k.inside(func() error {
		for _, tool := range []struct{ command, file string }{{"iptables-legacy", "ip_tables_names"}, {"ip6tables-legacy", "ip6_tables_names"}} {
			names, err := os.ReadFile("/proc/thread-self/net/" + tool.file)
			if err == nil && slices.Contains(strings.Fields(string(names)), "filter") {
				out = append(out, tool.command)
			}
		}
		return nil
	})
	return out
}
