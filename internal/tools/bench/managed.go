package main

import (
	"context"
	"fmt"
	"strings"

	"drawbridge/internal/lab/booted"
)

const managedFile = "/root/lan.yaml"

// managedWish is the lab's LAN, with a tap.
const managedWish = cutoverFile + "taps:\n  tap0: {network: lan}\n"

// managedStep is one thing that is done in a manager's host, and measured; without a name it
// is only done.
type managedStep struct{ name, command string }

// The host as it is to be after a step: the command fails where it is not.
const (
	bridgedAsWanted = "; timeout 20 sh -c 'until ip -o link show eth0 | grep -q \"master br0\" && ip -o addr show dev br0 | grep -q 198.18.0.5/24 && ip -o addr show dev br0 | grep -q 2001:db8::5/64 && ! ip -o addr show dev eth0 | grep -q global; do sleep 0.1; done'"
	backAsWanted    = "; timeout 20 sh -c 'until ! ip link show br0 2>/dev/null && ip -o addr show dev eth0 | grep -q 198.18.0.5/24 && ip -o addr show dev eth0 | grep -q 2001:db8::5/64; do sleep 0.1; done'"
)

// managedSteps are drawbridge's way under a manager, beside it or through it, and what the
// manager does afterwards when it is told to look again, or starts anew. For ifupdown the
// latter is an order to begin anew, and has no place here.
func managedSteps(o options, m booted.Manager, through bool) []managedStep {
	again := map[string][]string{
		"networkctl": {"networkctl reload", "systemctl restart systemd-networkd"},
		"nmcli":      {"nmcli general reload && nmcli connection reload", "systemctl restart NetworkManager && nm-online -s -q"},
		"netplan":    {"netplan generate && networkctl reload", "netplan apply", "systemctl restart systemd-networkd"},
		"ifreload":   {"ifreload -a"},
		"ifup":       {"ifup -a"},
	}[m.Program]
	if !through && (m.Program == "ifreload" || m.Program == "ifup") {
		again = nil // without files of ours it takes what is there for what it is to undo
	}
	up, down := o.drawbridge+" up --yes "+managedFile, o.drawbridge+" down --yes"
	name := "`up`"
	if through {
		up, name = o.drawbridge+" up --yes --persist "+managedFile, "`up --persist`"
		down = o.drawbridge + " persist remove --yes && " + down
	}
	prepare := "printf '" + strings.ReplaceAll(managedWish, "\n", "\\n") + "' >" + managedFile + "; if test -s /etc/network/interfaces; then sed -i '1i source /etc/network/interfaces.d/*' /etc/network/interfaces; fi; sleep 3"
	steps := []managedStep{{"", prepare}, {name, up + bridgedAsWanted}, {"", "sleep 60"}, {"a minute later", "true" + bridgedAsWanted}}
	for _, act := range again {
		// ifreload fails over a tap that is there already, and does the rest.
		steps = append(steps, managedStep{"`" + act + "`", act + bridgedAsWanted})
	}
	back := "`down`"
	if through {
		back = "`persist remove`, `down`"
	}
	return append(steps, managedStep{back, down + backAsWanted})
}

// measureManaged measures what a host loses under each manager: when it is moved into the
// bridge, beside the manager and through it, and by what the manager does later.
func measureManaged(ctx context.Context, o options) (section, error) {
	if err := booted.Check(); err != nil {
		return section{}, err
	}
	t := table{head: []string{"under", "what is done", "lost, IPv4 on the link", "lost, IPv4 routed", "lost, IPv6 routed", "longest IPv6 silence, ms", "longest TCP silence, ms"}}
	var left []string
	for _, m := range booted.Managers() {
		if _, err := m.Folders(o.dir); err != nil {
			left = append(left, m.Name+": "+err.Error())
			continue
		}
		for _, through := range []bool{false, true} {
			if err := measureUnder(ctx, o, m, through, &t); err != nil {
				return section{}, fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		if o.quick {
			break // the others are tried by their own tests
		}
	}
	text := "1,000 probes a second in each flow, for 5 s, once; packets, and the longest time without an answer (what the machine's own scheduler adds included). After each step the host is as it should be, or the run fails: eth0 in br0, all addresses there, or back.\n\n" + t.String()
	if len(left) > 0 {
		text += "\nLeft out: " + strings.Join(left, "; ") + ".\n"
	}
	return section{"Under a network manager: beside it, and taken over by it", text}, nil
}

func measureUnder(ctx context.Context, o options, m booted.Manager, through bool, t *table) error {
	l, err := o.lab(ctx)
	if err != nil {
		return err
	}
	defer l.down()
	g, err := l.manage(ctx, &m)
	if err != nil {
		return err
	}
	defer g.end()
	length := managedLength
	if o.quick {
		length = "1500ms"
	}
	for _, step := range managedSteps(o, m, through) {
		if step.name == "" {
			if o.quick {
				step.command = strings.Replace(step.command, "sleep 60", "true", 1)
			}
			if err := g.run(step.command); err != nil {
				return err
			}
			continue
		}
		figures := map[string]*flowFigures{}
		if err := l.measure(ctx, length, step.name, func() error { return g.run(step.command) }, figures); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		f := figures[step.name]
		cells := []string{strings.TrimSuffix(strings.Fields(m.Name)[0], ","), step.name}
		for _, flow := range []string{"IPv4 on the link", "IPv4 routed", "IPv6 routed"} {
			cells = append(cells, f.lost[flow].spread(whole))
		}
		t.row(append(cells, f.gap["IPv6 routed"].spread(oneDecimal), f.gap["TCP on the link"].spread(oneDecimal))...)
	}
	return nil
}
