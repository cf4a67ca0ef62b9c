package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"drawbridge/internal/lab/booted"
)

// managedLength is how long a manager is probed: some wait for duplicate address detection.
const managedLength = "5s"

// labUplink is what the lab's host has: internal/lab's topology.
var labUplink = booted.Uplink{
	Link:      "eth0",
	Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.5/24"), netip.MustParsePrefix("2001:db8::5/64")},
	Gateways:  []netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")},
}

// managers are the ways of the network managers that can be booted here, and why the
// others cannot.
func managers(o options) (ways []way, left []string) {
	if err := booted.Check(); err != nil {
		return nil, []string{"network managers: " + err.Error()}
	}
	for _, m := range booted.Managers() {
		if _, err := m.Folders(o.dir); err != nil {
			left = append(left, m.Name+": "+err.Error())
			continue
		}
		ways = append(ways, way{name: m.Name, manager: &m})
		if o.quick {
			break // the others are tried by their own tests
		}
	}
	return ways, left
}

// managed is a host of the lab whose uplink a manager owns.
type managed struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	words  *bufio.Reader
}

// manage boots a manager in the lab's host, and returns when it owns the uplink.
func (l *pretend) manage(ctx context.Context, m *booted.Manager) (*managed, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &managed{cmd: l.command(ctx, "host", self, "inside-manager", m.Name, l.options.dir, filepath.Dir(l.options.drawbridge))}
	g.cmd.Stderr = l.log
	if g.orders, err = g.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.words = bufio.NewReader(out)
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	if err := g.hear("booted"); err != nil {
		g.end()
		return nil, err
	}
	return g, nil
}

// hear waits for a word of the other side.
func (g *managed) hear(want string) error {
	line, err := g.words.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != want {
		err = errors.New(strings.TrimSpace(line))
	}
	return err
}

// cutOver has the manager move its uplink into a bridge.
func (g *managed) cutOver() error {
	if _, err := io.WriteString(g.orders, "move\n"); err != nil {
		return err
	}
	return g.hear("moved")
}

// run runs a command of one line in the manager's host.
func (g *managed) run(command string) error {
	if _, err := io.WriteString(g.orders, "run "+command+"\n"); err != nil {
		return err
	}
	return g.hear("moved")
}

func (g *managed) end() {
	g.orders.Close()
	_ = g.cmd.Wait() // what went wrong was said
}

// insideManager is "inside-manager NAME DIR BIND": it boots the manager, moves the uplink when
// it is told to, and ends with its standard input.
func insideManager(ctx context.Context, args []string) (err error) {
	if len(args) != 3 {
		return errors.New("inside-manager NAME DIR BIND")
	}
	m, h, err := bootManager(ctx, args[0], args[1], args[2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	fmt.Println("booted")
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		command, is := strings.CutPrefix(orders.Text(), "run ")
		if !is {
			command = m.Bridged(labUplink)
		}
		if _, err := h.Run(ctx, "sh", "-c", command); err != nil {
			return err
		}
		fmt.Println("moved")
	}
	return nil
}

// bootManager boots a manager in the lab's host, which owns the uplink then.
func bootManager(ctx context.Context, name, dir, bind string) (m booted.Manager, h *booted.Host, err error) {
	for _, m := range booted.Managers() {
		if m.Name != name {
			continue
		}
		// What the lab gave it would be there before the manager's own (ifup then fails).
		if out, err := exec.CommandContext(ctx, "ip", "addr", "flush", "dev", labUplink.Link, "scope", "global").CombinedOutput(); err != nil {
			return m, nil, fmt.Errorf("ip addr flush: %w: %s", err, out)
		}
		h, err := m.Boot(ctx, dir, labUplink, booted.Options{Binds: []string{bind}})
		return m, h, err
	}
	return m, nil, fmt.Errorf("no manager %q", name)
}
