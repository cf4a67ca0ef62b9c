package guest

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/model"
)

const help = `status          who this is, and how its NICs are
addresses       its addresses
routes          its routes
ping HOST       one answer from HOST
get URL         the page at URL
send HOST:PORT [SECONDS]      TCP to HOST: how fast?
receive HOST:PORT [SECONDS]   TCP from HOST: how fast?
halt            end this machine
`

// prompt reads commands from the console until it ends. The terminal's line
// discipline edits and echoes.
func (g *guest) prompt(ctx context.Context) {
	fmt.Fprintf(g.console, "\nThis is %s. `help` tells what can be asked.\n%s> ", g.config.Name, g.config.Name)
	in := bufio.NewScanner(g.console)
	for in.Scan() {
		if err := g.command(ctx, strings.Fields(in.Text())); err != nil {
			fmt.Fprintln(g.console, err)
		}
		fmt.Fprintf(g.console, "%s> ", g.config.Name)
	}
}

func (g *guest) command(ctx context.Context, words []string) error {
	if len(words) == 0 {
		return nil
	}
	argument := strings.Join(words[1:], " ")
	switch words[0] {
	case "help", "?":
		fmt.Fprint(g.console, help)
	case "status":
		return g.printStatus(ctx)
	case "addresses":
		addresses, err := g.addresses(ctx)
		for _, a := range addresses {
			fmt.Fprintf(g.console, "%-8s %s (%s)\n", a.Link, a.Prefix, a.Origin)
		}
		return err
	case "routes":
		return g.printRoutes(ctx)
	case "ping":
		rtt, err := ping(ctx, argument)
		if err == nil {
			fmt.Fprintf(g.console, "%s answered after %s\n", argument, rtt.Round(time.Microsecond))
		}
		return err
	case "get":
		code, body, err := get(ctx, argument)
		if err == nil {
			fmt.Fprintf(g.console, "%d\n%s\n", code, body)
		}
		return err
	case "send", "receive":
		return g.stream(ctx, words)
	case "halt":
		g.halt("asked on the console")
	default:
		return fmt.Errorf("%s: no such command; `help` tells which there are", words[0])
	}
	return nil
}

func (g *guest) printStatus(ctx context.Context) error {
	ns, err := g.kernel.Observe(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(g.console, "%s (%s), Linux %s, up for %s\n", g.config.Name, g.config.VMM, release(), g.uptime())
	for _, l := range ns.Links {
		if l.Kind == model.Loopback {
			continue
		}
		state := "no carrier"
		if l.Carrier {
			state = "carrier"
		}
		fmt.Fprintf(g.console, "%-8s %s, %s: %s\n", l.Name, l.MAC, state, model.SplitAddresses(ns.AddressesOf(l.Name)))
	}
	return nil
}

func (g *guest) printRoutes(ctx context.Context) error {
	ns, err := g.kernel.Observe(ctx)
	if err != nil {
		return err
	}
	for _, r := range ns.Routes {
		if r.Table != model.TableMain {
			continue
		}
		via := ""
		if gw := r.Gateway(); gw.IsValid() {
			via = " via " + gw.String()
		}
		fmt.Fprintf(g.console, "%s%s dev %s (%s)\n", r.Destination, via, r.Link(), r.Protocol)
	}
	return nil
}

// stream is the command send or receive.
func (g *guest) stream(ctx context.Context, words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("%s HOST:PORT [SECONDS]", words[0])
	}
	length := streamTime
	if len(words) > 2 {
		seconds, err := strconv.ParseFloat(words[2], 64)
		if err != nil || seconds <= 0 || seconds > 3600 {
			return fmt.Errorf("%s: no number of seconds", words[2])
		}
		length = time.Duration(seconds * float64(time.Second))
	}
	do := Send
	if words[0] == "receive" {
		do = Receive
	}
	s, err := do(ctx, words[1], length)
	if err == nil {
		fmt.Fprintf(g.console, "%s %s: %s\n", words[0], words[1], s)
	}
	return err
}
