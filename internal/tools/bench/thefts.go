package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"drawbridge/internal/lab/booted"
)

const (
	theftFile = "/root/lan.yaml"
	// betweenThefts is the peace before the next one: who steals sooner than some two seconds
	// after a mend is one who fights, and has to wait. A manager may take more than once for
	// one order, where it is still at work when it is mended.
	betweenThefts = 2800 * time.Millisecond
	theftPatience = 30 * time.Second
)

// theftWish is what is stolen from: an uplink, a tap, rules, servers, a machine.
const theftWish = `heal: true
networks:
  lan: {mode: bridged, bridge: br0, uplink: eth0}
  box: {mode: isolated, bridge: br1}
machines:
  web: {vmm: namespace, nics: {eth1: {network: box, tap: web0, address: none}}}
taps:
  tap0: {network: lan}
  tap1: {network: box}
`

// theftWay is one way to take something of ours, in the host of a manager.
type theftWay struct {
	Name    string
	manager string // its program
	before  string // once
	command string
}

// theftWays come in the order in which they are done: what an earlier one prepares, stays.
func theftWays() []theftWay {
	const networkd, nm = "networkctl", "nmcli"
	return []theftWay{
		{"`nmcli device set eth0 managed yes`", nm, "", "nmcli device set eth0 managed yes"},
		{"`nmcli connection up uplink`", nm, "", "nmcli --wait 0 connection up uplink"},
		{"`networkctl reload`, our file taken away", networkd, "", "rm /run/systemd/network/00-drawbridge-beside.network; networkctl reload"},
		{"`networkctl reconfigure eth0`, another file before ours", networkd, "cp /etc/systemd/network/10-uplink.network /etc/systemd/network/00-a.network; networkctl reload", "networkctl reconfigure eth0"},
		{"`ip link set eth0 nomaster`", networkd, "", "ip link set eth0 nomaster"},
		{"`ip link set tap0 nomaster`", networkd, "", "ip link set tap0 nomaster"},
		{"`nft flush ruleset`", networkd, "", "nft flush ruleset"},
		{"a machine's process killed", networkd, "", "kill -KILL $(pgrep -f '[m]achine-shim.*/web')"},
	}
}

// theftTimes are the seconds from the theft's beginning, once for each theft.
type theftTimes struct{ Noticed, Mended series }

// measureThefts has what is ours stolen again and again while a watch looks after it.
func measureThefts(ctx context.Context, o options) (section, error) {
	const title = "Thefts: noticed and mended"
	if err := booted.Check(); err != nil {
		return section{title, "Not measured: " + err.Error() + ".\n"}, nil //nolint:nilerr // told in the table
	}
	repeat := 20
	if o.quick {
		repeat = 1
	}
	t := table{head: []string{"what is taken", "times", "noticed after", "mended after"}}
	left := ""
	for _, m := range booted.Managers() {
		if m.Program != "nmcli" && m.Program != "networkctl" {
			continue
		}
		if _, err := m.Folders(o.dir); err != nil {
			left += fmt.Sprintf(" Left out: %s: %v.", m.Name, err)
			continue
		}
		figures, err := theftsUnder(ctx, o, m, repeat)
		if err != nil {
			return section{}, fmt.Errorf("%s: %w", m.Name, err)
		}
		for _, w := range theftWays() {
			if f, done := figures[w.Name]; done {
				t.row(w.Name, strconv.Itoa(len(f.Noticed)), f.Noticed.spread(seconds), f.Mended.spread(seconds))
			}
		}
	}
	text := "`drawbridge watch` with `heal: true` in a host that is booted in namespaces with the real manager. Counted from the start of the command that takes: " +
		"until it is told, and until everything is in its place again, verified. (Events within 100 ms are looked at as one.)" + left + "\n\n" + t.String()
	return section{title, text}, nil
}

func theftsUnder(ctx context.Context, o options, m booted.Manager, repeat int) (map[string]theftTimes, error) {
	l, err := o.lab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.down()
	var figures map[string]theftTimes
	return figures, l.inner(ctx, "host", &figures, "inside-thefts", m.Name, o.dir, o.drawbridge, strconv.Itoa(repeat))
}

// insideThefts is "inside-thefts MANAGER DIR DRAWBRIDGE TIMES", in a lab's host: it boots the
// manager, and steals.
func insideThefts(ctx context.Context, args []string) (err error) {
	if len(args) != 4 {
		return errors.New("inside-thefts MANAGER DIR DRAWBRIDGE TIMES")
	}
	repeat, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	m, h, err := bootManager(ctx, args[0], args[1], filepath.Dir(args[2]))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := h.Write(ctx, theftFile, theftWish); err != nil {
		return err
	}
	if out, err := h.Run(ctx, args[2], "up", "--yes", theftFile); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	cmd := h.Command(ctx, args[2], "watch", "--json", theftFile)
	events, err := startWatch(cmd)
	if err != nil {
		return err
	}
	figures := map[string]theftTimes{}
	for _, w := range theftWays() {
		if w.manager != m.Program {
			continue
		}
		f, err := stealAgainAndAgain(ctx, h, w, events, repeat)
		if err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		figures[w.Name] = f
	}
	return json.NewEncoder(os.Stdout).Encode(figures) // the watch ends with its host
}

// theftEvent is a line of watch --json.
type theftEvent struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	Error string    `json:"error"`
}

// startWatch starts a watch, and returns when it watches.
func startWatch(cmd *exec.Cmd) (<-chan theftEvent, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	events := make(chan theftEvent, 100)
	go func() {
		defer close(events)
		for in := json.NewDecoder(out); ; {
			var e theftEvent
			if err := in.Decode(&e); err != nil {
				if !errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr, "watch:", err)
				}
				return
			}
			events <- e
		}
	}()
	_, err = awaitEvent(events, "watching")
	return events, err
}

// awaitEvent waits for an event of a kind. Others on the way are told.
func awaitEvent(events <-chan theftEvent, kind string) (theftEvent, error) {
	late := time.After(theftPatience)
	for {
		select {
		case e, open := <-events:
			if !open {
				return e, errors.New("the watch has ended")
			}
			if e.Event == kind {
				return e, nil
			}
			fmt.Fprintf(os.Stderr, "on the way to %s: %s %s\n", kind, e.Event, e.Error)
		case <-late:
			return theftEvent{}, fmt.Errorf("no %s within %s", kind, theftPatience)
		}
	}
}

// awaitPeace waits until nothing has been told for a while.
func awaitPeace(ctx context.Context, events <-chan theftEvent) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-events:
			if !open {
				return errors.New("the watch has ended")
			}
			fmt.Fprintf(os.Stderr, "after the last one: %s %s\n", e.Event, e.Error)
		case <-time.After(betweenThefts):
			return nil
		}
	}
}

func stealAgainAndAgain(ctx context.Context, h *booted.Host, w theftWay, events <-chan theftEvent, repeat int) (f theftTimes, err error) {
	if w.before != "" {
		if out, err := h.Run(ctx, "sh", "-c", w.before); err != nil {
			return f, fmt.Errorf("%w: %s", err, out)
		}
		if _, err := awaitEvent(events, "mended"); err != nil {
			return f, err
		}
	}
	for range repeat {
		if err := awaitPeace(ctx, events); err != nil {
			return f, err
		}
		began := time.Now()
		if out, err := h.Run(ctx, "sh", "-c", w.command); err != nil {
			return f, fmt.Errorf("%w: %s", err, out)
		}
		noticed, err := awaitEvent(events, "drift")
		if err != nil {
			return f, err
		}
		mended, err := awaitEvent(events, "mended")
		if err != nil {
			return f, err
		}
		f.Noticed = append(f.Noticed, noticed.Time.Sub(began).Seconds())
		f.Mended = append(f.Mended, mended.Time.Sub(began).Seconds())
	}
	return f, nil
}
