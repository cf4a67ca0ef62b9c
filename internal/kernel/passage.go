package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/forward"
	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// Other firewalls' chains are changed by the program that they belong to, which alone knows
// how it keeps them; so they are read, too.

// Firewalls are the forwarding chains of others in the namespace. Who may not look sees none.
// Programs are only asked where there is something of theirs: some make their tables when
// they are asked.
func (k *Kernel) Firewalls(ctx context.Context) ([]model.Firewall, error) {
	var out []model.Firewall
	chains, err := k.forwardChains(ctx)
	if err != nil && !errors.Is(err, errNoNFT) && !isErrno(err, unix.EPERM) {
		return nil, refusal("firewalls", err)
	}
	var commands []string
	for _, c := range chains {
		switch {
		case c.table == "filter" && c.Name == "FORWARD" && c.family == unix.NFPROTO_IPV4:
			commands = append(commands, "iptables-nft")
		case c.table == "filter" && c.Name == "FORWARD" && c.family == unix.NFPROTO_IPV6:
			commands = append(commands, "ip6tables-nft")
		default:
			out = append(out, c.firewall())
		}
	}
	_ = k.inside(func() error {
		for command, file := range map[string]string{"iptables-legacy": "ip_tables_names", "ip6tables-legacy": "ip6_tables_names"} {
			if names, err := os.ReadFile("/proc/thread-self/net/" + file); err == nil && slices.Contains(strings.Fields(string(names)), "filter") {
				commands = append(commands, command)
			}
		}
		return nil
	})
	slices.Sort(commands)
	for _, command := range commands {
		f, _, err := k.readIptables(ctx, command)
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
	return out, nil
}

func (k *Kernel) readIptables(ctx context.Context, command string) (model.Firewall, func(network string) int, error) {
	text, err := k.run(ctx, command+"-save", "", "-t", "filter")
	if err != nil {
		return model.Firewall{}, nil, err
	}
	f, place := forward.ReadIptables(command, text)
	return f, place, nil
}

// changePassage opens or closes a passage.
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
	if !slices.Contains(iptables, p.Firewall) {
		return fmt.Errorf("%s: %w: not a firewall that can be changed", p.Firewall, model.ErrInvalid)
	}
	f, place, err := k.readIptables(ctx, p.Firewall)
	if closing && errors.Is(err, exec.ErrNotFound) {
		return nil // who took the program away took its rules
	}
	if err != nil {
		return err
	}
	var was []model.Crossing
	for _, o := range f.Ours {
		if o.Network == p.Network {
			was = o.Crossings
		}
	}
	if closing {
		p.Crossings = nil
	}
	if len(was)+len(p.Crossings) == 0 {
		return nil
	}
	_, err = k.run(ctx, p.Firewall+"-restore", forward.Restore(was, p, place(p.Network)), "--noflush", "--wait", "5")
	return err
}

var iptables = []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"}

// run runs a program in the namespace; its error is what it said.
func (k *Kernel) run(ctx context.Context, name, input string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err != nil {
			path, err = exec.LookPath(dir + name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
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

// foreignChain is a chain of somebody else's at the forward hook.
type foreignChain struct {
	nftChain
	family byte
	table  string
}

func (c foreignChain) firewall() model.Firewall {
	family := map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}[c.family]
	f := model.Firewall{Name: fmt.Sprintf("nft %s %s %s", family, c.table, c.Name), IPv4: c.family != unix.NFPROTO_IPV6, IPv6: c.family != unix.NFPROTO_IPV4}
	if c.Drop {
		f.Drops = "its policy is drop"
	}
	return f
}

func (k *Kernel) forwardChains(ctx context.Context) ([]foreignChain, error) {
	var out []foreignChain
	for _, family := range []byte{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		request := func() *message {
			return newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, 0).raw([]byte{family, unix.NFNETLINK_V0, 0, 0})
		}
		err := k.nftDump(ctx, request, func(b []byte) error {
			c := foreignChain{nftChain: forwardTable.chain(b), family: family, table: getString(findAttr(b, unix.NFTA_TABLE_NAME))}
			if c.Hook == nft.Forward && !(family == byte(forwardTable) && c.table == nft.Table) {
				out = append(out, c)
			}
			return nil
		})
		if err := notThere(err); err != nil {
			return out, err
		}
	}
	return out, nil
}
