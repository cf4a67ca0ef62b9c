package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/lab/flow"
)

// byHand is the old pages' way, with what they leave out to keep IPv6.
const byHand = `set -e
brctl addbr br0
brctl stp br0 off
brctl setfd br0 0
ip link set br0 up
brctl addif br0 eth0
ip addr flush dev eth0
ip addr add 198.18.0.5/24 dev br0
ip -6 addr add 2001:db8::5/64 dev br0
ip route replace default via 198.18.0.1 dev br0
ip -6 route replace default via 2001:db8::1 dev br0
`

// inOneBatch is the same in one process.
const inOneBatch = `link add br0 type bridge stp_state 0 forward_delay 0
link set br0 up
link set eth0 master br0
addr flush dev eth0
addr add 198.18.0.5/24 dev br0
addr add 2001:db8::5/64 dev br0
route replace default via 198.18.0.1 dev br0
route replace default via 2001:db8::1 dev br0
`

const cutoverFile = `networks:
  lan: {mode: bridged, bridge: br0, uplink: eth0, host: move}
`

// flowFigures are what one way lost, a repetition each.
type flowFigures struct {
	lost map[string]series // packets, by the flow
	gap  map[string]series // ms
}

func (f *flowFigures) add(results []flow.Result) error {
	if f.lost == nil {
		f.lost, f.gap = map[string]series{}, map[string]series{}
	}
	for _, r := range results {
		if r.Error != "" && r.Network != "tcp" {
			return fmt.Errorf("%s: %s", r.Name, r.Error)
		}
		f.lost[r.Name] = append(f.lost[r.Name], float64(r.Lost))
		f.gap[r.Name] = append(f.gap[r.Name], r.LongestGapMS)
	}
	return nil
}

// way is one way of moving the uplink into a bridge.
type way struct {
	name    string
	command []string
	// back is measured after command, in the same lab.
	back     string
	backward []string
	// manager is who does it, in place of a command.
	manager *booted.Manager
}

func measureCutover(ctx context.Context, o options) (section, error) {
	repeat, managed, length, floods, floodLength := 5, 3, "3500ms", 10, "2s"
	if o.quick {
		repeat, managed, length, floods, floodLength = 1, 1, "800ms", 1, "200ms"
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return section{}, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"hand": byHand, "batch": inOneBatch, "file.yaml": cutoverFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return section{}, err
		}
	}
	up := []string{o.drawbridge, "up", filepath.Join(dir, "file.yaml"), "--yes"}
	ways := []way{
		{name: "no cutover", command: []string{"true"}},
		{name: "`brctl` + `ip`, by hand", command: []string{"sh", filepath.Join(dir, "hand")}},
		{name: "one `ip -batch`", command: []string{"ip", "-batch", filepath.Join(dir, "batch")}},
		{name: "**drawbridge up**", command: up, back: "**drawbridge down**", backward: []string{o.drawbridge, "down", "--yes"}},
	}
	var left []string
	if !installed("brctl") {
		ways = append(ways[:1], ways[2:]...)
		left = append(left, "`brctl`: neither here nor fetched (scripts/packages.sh bridge-utils)")
	}
	others, why := managers(o)
	ways, left = append(ways, others...), append(left, why...)
	figures := map[string]*flowFigures{}
	for i := range repeat {
		for _, w := range ways {
			if w.manager != nil && i >= managed {
				continue // a boot each, and some take their time
			}
			if err := w.once(ctx, o, length, figures); err != nil {
				return section{}, fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	text := flowTable(ways, figures) + fmt.Sprintf("\nEach manager is the real one, with an uplink that it owns, in a host that is booted in namespaces (`internal/lab/booted`), %d times; the others %d times.", managed, repeat)
	if len(left) > 0 {
		text += " Left out: " + strings.Join(left, "; ") + "."
	}
	text += "\n"
	flood, err := measureFlood(ctx, o, floods, floodLength, up)
	if err != nil {
		return section{}, fmt.Errorf("flood: %w", err)
	}
	return section{"Cutover: moving the uplink into a bridge", text + "\n" + flood}, nil
}

// once measures a way in a lab of its own: what one way leaves behind does not meet
// the next.
func (w way) once(ctx context.Context, o options, length string, figures map[string]*flowFigures) error {
	l, err := o.lab(ctx)
	if err != nil {
		return err
	}
	defer l.down()
	act := func(command []string) func() error {
		return func() error { return l.exec(ctx, "host", command...) }
	}
	there, back := act(w.command), act(w.backward)
	if w.manager != nil {
		m, err := l.manage(ctx, w.manager)
		if err != nil {
			return err
		}
		defer m.end()
		there = m.cutOver
		if !o.quick {
			length = managedLength
		}
	}
	for _, step := range []struct {
		name string
		act  func() error
	}{{w.name, there}, {w.back, back}} {
		if step.name == "" {
			continue
		}
		if err := l.measure(ctx, length, step.name, step.act, figures); err != nil {
			return err
		}
	}
	return nil
}

// measure probes the host while something is done to it.
func (l *pretend) measure(ctx context.Context, length, name string, act func() error, figures map[string]*flowFigures) error {
	results, err := l.probe(ctx, length, func() error {
		time.Sleep(300 * time.Millisecond)
		return act()
	})
	if err != nil {
		return err
	}
	if figures[name] == nil {
		figures[name] = &flowFigures{}
	}
	return figures[name].add(results)
}

func flowTable(ways []way, figures map[string]*flowFigures) string {
	flows := []string{"IPv4 on the link", "IPv4 routed", "IPv6 routed"}
	t := table{head: []string{"way", "lost, IPv4 on the link", "lost, IPv4 routed", "lost, IPv6 routed", "longest IPv6 silence, ms", "longest TCP silence, ms"}}
	for _, w := range ways {
		for _, name := range []string{w.name, w.back} {
			f := figures[name]
			if f == nil {
				continue
			}
			cells := []string{name}
			for _, n := range flows {
				cells = append(cells, f.lost[n].spread(whole))
			}
			t.row(append(cells, f.gap["IPv6 routed"].spread(oneDecimal), f.gap["TCP on the link"].spread(oneDecimal))...)
		}
	}
	return "1,000 probes a second in each flow, answered by the host; packets, and the longest time without an answer (what the machine's own scheduler adds included: the first row).\n\n" + t.String()
}

// floodRate is in packets a second, each way.
const floodRate = 50000

// measureFlood floods the host and is flooded by it while it moves its uplink.
func measureFlood(ctx context.Context, o options, repeat int, length string, up []string) (string, error) {
	var in, out, rate series
	clean := 0
	for range repeat {
		lostIn, lostOut, reached, err := floodOnce(ctx, o, length, up)
		if err != nil {
			return "", err
		}
		in, out, rate = append(in, lostIn), append(out, lostOut), append(rate, reached)
		if lostIn+lostOut == 0 {
			clean++
		}
	}
	t := table{head: []string{"direction", "lost of a flood across `up`"}}
	t.row("LAN to host", in.spread(whole))
	t.row("host to LAN", out.spread(whole))
	return fmt.Sprintf("One-way floods in both directions at once across `drawbridge up`: %d packets/s asked for, %s reached each way; nothing lost in %d of %d runs.\n\n%s",
		floodRate, rate.spread(whole), clean, repeat, t.String()), nil
}

func floodOnce(ctx context.Context, o options, length string, up []string) (lostIn, lostOut, reached float64, err error) {
	l, err := o.lab(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer l.down()
	var host, neighbour flooded
	ends := make(chan error, 2)
	flood := func(f *flooded, namespace, to string) {
		ends <- l.inner(ctx, namespace, f, "flood", "-to", to, "-rate", fmt.Sprint(floodRate), "-for", length)
	}
	go flood(&host, "host", "198.18.0.20")
	go flood(&neighbour, "neighbour", "198.18.0.5")
	total, err := time.ParseDuration(length)
	if err != nil {
		return 0, 0, 0, err
	}
	time.Sleep(500*time.Millisecond + total/4) // they greet each other first
	did := l.exec(ctx, "host", up...)
	for range 2 {
		if err := <-ends; err != nil {
			return 0, 0, 0, err
		}
	}
	lostIn, lostOut = float64(neighbour.Sent-host.Received), float64(host.Sent-neighbour.Received)
	reached = min(float64(host.Sent)/host.Seconds, float64(neighbour.Sent)/neighbour.Seconds)
	return lostIn, lostOut, reached, did
}
