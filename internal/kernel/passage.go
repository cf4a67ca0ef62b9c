package kernel

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// changePassage opens or closes a passage. Chains of iptables are changed by the program
// that they belong to, which alone knows how it keeps them.
func (k *Kernel) changePassage(ctx context.Context, op model.Operation) error {
	var p model.Passage
	closing := false
	switch o := op.(type) {
	case model.OpenPassage:
		p = o.Passage
	case model.ClosePassage:
		p, closing = o.Passage, true
	}
	if err := p.Check(); err != nil {
		return err
	}
	if closing {
		p.Crossings = nil
	}
	switch {
	case p.Zone != "":
		return fmt.Errorf("%s: %w: its zones are not the kernel's", p.Firewall, model.ErrInvalid)
	case strings.HasPrefix(p.Firewall, "nft "):
		return k.changeForeignChain(ctx, p)
	case slices.Contains(iptables, p.Firewall):
		return k.changeIptables(ctx, p)
	default:
		return fmt.Errorf("%s: %w: not a firewall that can be changed", p.Firewall, model.ErrInvalid)
	}
}

func (k *Kernel) changeIptables(ctx context.Context, p model.Passage) error {
	_, end, text, err := k.readIptables(ctx, p.Firewall, p.Input)
	if p.Crossings == nil && errors.Is(err, exec.ErrNotFound) {
		return nil // who took the program away took its rules
	}
	if err != nil {
		return err
	}
	script := forward.Restore(text, p, end)
	if script == "" {
		return nil
	}
	_, err = k.run(ctx, p.Firewall+"-restore", script, "--noflush", "--wait", "5")
	return err
}

// readIptables asks iptables for one of its chains. End is the place of the rule that ends it
// all, -1 for none.
func (k *Kernel) readIptables(ctx context.Context, command string, input bool) (f model.Firewall, end int, text string, err error) {
	if text, err = k.run(ctx, command+"-save", "", "-t", "filter"); err != nil {
		return f, -1, "", err
	}
	table, drops := forward.ParseIptables(text)
	chain := forward.IptablesChain(input)
	f, end = table.Read(iptablesFirewall(command, input), chain, drops[chain])
	return f, end, text, nil
}

func iptablesFirewall(command string, input bool) model.Firewall {
	six := strings.HasPrefix(command, "ip6")
	return model.Firewall{Name: command, Input: input, IPv4: !six, IPv6: six}
}

var iptables = []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"}

// changeForeignChain makes a network's rules in a chain of nf_tables' own, in the place of
// those that it has there, in one transaction.
func (k *Kernel) changeForeignChain(ctx context.Context, p model.Passage) error {
	words := strings.Fields(p.Firewall)
	if len(words) != 4 {
		return fmt.Errorf("%s: %w: not a chain", p.Firewall, model.ErrInvalid)
	}
	family, _ := nftFamilies.number(words[1])
	t := foreignTable{family: byte(family), name: words[2]}
	chain, found, err := k.foreignChain(ctx, t, words[3])
	if !found && err == nil && p.Crossings != nil {
		err = model.ErrNotFound
	}
	if err != nil || !found {
		return refusal(p.Firewall, err)
	}
	table, handles, err := k.foreignRules(ctx, t, chain.Name)
	if err != nil {
		return refusal(p.Firewall, err)
	}
	_, end := table.Read(model.Firewall{Name: p.Firewall, Input: p.Input}, chain.Name, chain.Drop)
	var ms []*message
	for i, r := range table[chain.Name] {
		if r.Comment == forward.Comment(p.Network) {
			m := t.message(unix.NFT_MSG_DELRULE, 0)
			m.str(unix.NFTA_RULE_CHAIN, chain.Name)
			m.be64(unix.NFTA_RULE_HANDLE, handles.decoded[i])
			ms = append(ms, m)
		}
	}
	for _, c := range p.Crossings {
		ms = append(ms, t.newRule(chain.Name, forward.NFTRule(p.Network, c), end, handles.decoded))
	}
	if len(ms) == 0 {
		return nil
	}
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	return refusal(p.Firewall, c.transact(ms, true))
}

// newRule is the message for a rule before the one at a place, or at the end for -1.
func (t foreignTable) newRule(chain string, r nft.Rule, place int, handles []uint64) *message {
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_APPEND)
	if place >= 0 {
		flags = unix.NLM_F_CREATE // before NFTA_RULE_POSITION (nf_tables_newrule)
	}
	m := t.message(unix.NFT_MSG_NEWRULE, flags)
	m.str(unix.NFTA_RULE_CHAIN, chain)
	if place >= 0 {
		m.be64(unix.NFTA_RULE_POSITION, handles[place])
	}
	m.nested(unix.NFTA_RULE_EXPRESSIONS, func() { m.expressions(r) })
	m.attr(unix.NFTA_RULE_USERDATA, ruleData(r.Reason, nil))
	return m
}

// run runs a program in the namespace; its error is what it said.
func (k *Kernel) run(ctx context.Context, name, input string, args ...string) (string, error) {
	path, err := findProgram(name)
	if err != nil {
		return "", err
	}
	var out, said strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &said
	if err := k.inside(cmd.Start); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return "", fmt.Errorf("%s: %w: %s", name, err, line)
	}
	return out.String(), nil
}

// findProgram finds a program of an administrator's, whose folder a user's PATH lacks.
func findProgram(name string) (path string, err error) {
	path, err = exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err != nil {
			path, err = exec.LookPath(dir + name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
	}
	return path, nil
}
